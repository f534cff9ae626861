"use strict";
// The queue: keys and buttons become answers; the next product is on the page before it is needed.

const token = document.querySelector('meta[name="facetry-token"]').content;
const address = "/review/" + document.querySelector('meta[name="facetry-review"]').content;
const queue = document.getElementById("queue");
const status = document.getElementById("status");
const empty = document.getElementById("empty");
const ask = document.getElementById("ask");
const help = document.getElementById("help");
let pending = new Map(); // answers about the product that is shown, by cell
const left = new Set(); // products whose answers are on their way, so that they are not shown again
let shownAt = performance.now();
let sending = Promise.resolve();
let numWaiting = 0;

const shown = () => queue.querySelector("article.product:not([hidden])");
const cells = (product) => [...product.querySelectorAll(".cell")];
const current = () => cells(shown()).find((cell) => !cell.classList.contains("done"));
const newKey = () => crypto.randomUUID();

function mark() {
  const product = shown();
  empty.hidden = Boolean(product);
  if (!product) return;
  for (const cell of cells(product)) cell.classList.toggle("current", cell === current());
}

async function send(path, body) {
  const response = await fetch(address + path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Facetry-Token": token },
    body: JSON.stringify(body),
  });
  if (response.ok) return response;
  const { error } = await response.json();
  throw new Error(`${error.message} ${error.hint}`);
}

function later(work) {
  // One request after the other, in the order of the keys; one that fails says so and is not lost.
  numWaiting += 1;
  document.body.toggleAttribute("data-sending", true);
  sending = sending.then(work).then(
    () => { status.textContent = ""; },
    (error) => { status.textContent = error.message; },
  ).finally(() => {
    numWaiting -= 1;
    document.body.toggleAttribute("data-sending", numWaiting > 0);
  });
  return sending;
}

function say(cell, kind, value) {
  const head = Number(cell.dataset.head);
  const seconds = Math.round(performance.now() - shownAt) / 1000;
  pending.set(head, { key: newKey(), row: Number(shown().dataset.row), head, kind, value, seconds });
  cell.classList.add("done");
  for (const button of cell.querySelectorAll("[data-kind]")) {
    const isIt = button.dataset.kind === kind && (kind !== "value" || button.dataset.value === value);
    button.classList.toggle("chosen", isIt);
  }
  if (cells(shown()).every((each) => each.classList.contains("done"))) finish();
  else mark();
}

function finish(answers = [...pending.values()]) {
  // The next product is shown at once; what was said is sent meanwhile.
  const product = shown();
  pending = new Map();
  left.add(product.dataset.row);
  product.remove();
  const next = queue.querySelector("article.product");
  if (next) next.hidden = false;
  shownAt = performance.now();
  mark();
  later(async () => {
    try {
      await send("/answers", { answers });
    } finally {
      left.delete(product.dataset.row); // what could not be stored comes again
    }
    await fill();
  });
}

async function fill() {
  const response = await fetch(address + "/next");
  if (!response.ok) throw new Error("The next products could not be fetched. Reload the page.");
  const parts = document.createElement("template");
  parts.innerHTML = await response.text();
  const there = new Set([...queue.querySelectorAll("article.product")].map((each) => each.dataset.row));
  for (const product of parts.content.querySelectorAll("article.product")) {
    if (there.has(product.dataset.row) || left.has(product.dataset.row)) continue;
    product.hidden = Boolean(shown());
    queue.insertBefore(product, empty);
  }
  mark();
}

function accept() {
  for (const cell of cells(shown())) {
    if (cell.classList.contains("done")) continue;
    const marked = cell.querySelector("[data-predicted]");
    if (!marked) continue;
    say(cell, "value", marked.dataset.value);
    if (!cell.isConnected) return;
  }
}

function undo() {
  const product = shown();
  const done = product ? cells(product).filter((cell) => cell.classList.contains("done")) : [];
  if (done.length) {
    const cell = done.at(-1);
    pending.delete(Number(cell.dataset.head));
    cell.classList.remove("done");
    for (const button of cell.querySelectorAll(".chosen")) button.classList.remove("chosen");
    mark();
    return;
  }
  later(async () => {
    const response = await send("/undo", {});
    const parts = document.createElement("template");
    parts.innerHTML = await response.text();
    const back = parts.content.querySelector("article.product");
    for (const each of queue.querySelectorAll("article.product")) {
      if (each.dataset.row === back.dataset.row) each.remove();
      else each.hidden = true;
    }
    back.hidden = false;
    queue.prepend(back);
    pending = new Map();
    shownAt = performance.now();
    mark();
  });
}

function search(cell, proposes) {
  const input = document.getElementById("text");
  const found = document.getElementById("found");
  document.getElementById("ask-label").textContent = proposes ? "A value that is missing" : "Search the values";
  input.value = "";
  const values = proposes ? [] : [...cell.querySelectorAll('[data-kind="value"]')].map((each) => each.dataset.value);
  const choose = (value) => { ask.close(); say(cell, proposes ? "proposed" : "value", value); };
  const list = () => {
    const wanted = input.value.trim().toLowerCase();
    found.replaceChildren(...values.filter((each) => each.toLowerCase().includes(wanted)).slice(0, 50).map((each) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.dir = "auto";
      button.textContent = each;
      button.onclick = () => choose(each);
      item.append(button);
      return item;
    }));
  };
  input.oninput = list;
  input.onkeydown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const first = found.querySelector("button");
    if (proposes && input.value.trim()) choose(input.value.trim());
    else if (first) first.click();
  };
  list();
  ask.showModal();
}

const acts = {
  accept,
  undo,
  "bad-photo": () => finish([{ key: newKey(), row: Number(shown().dataset.row), kind: "bad_photo" }]),
  help: () => help.showModal(),
  close: () => { ask.close(); help.close(); },
  search: () => search(current(), false),
  propose: () => search(current(), true),
  zoom: () => shown().classList.toggle("zoomed"),
};
const keys = {
  Enter: "accept", u: "undo", Backspace: "undo", b: "bad-photo", "?": "help", "/": "search", t: "propose", z: "zoom",
};
const kinds = { n: "not_applicable", v: "not_visible", s: "skipped" };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || ask.open || help.open) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "Enter" && event.target.closest("button, a")) return;
  const needsProduct = key !== "u" && key !== "Backspace" && key !== "?";
  if (needsProduct && !shown()) return;
  if (key in kinds) say(current(), kinds[key]);
  else if (/^[1-9]$/.test(key)) current().querySelectorAll('[data-kind="value"]:not([data-further])')[Number(key) - 1]?.click();
  else if (key in keys) acts[keys[key]]();
  else return;
  event.preventDefault();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const cell = button.closest(".cell");
  if (button.dataset.act === "search" || button.dataset.act === "propose") search(cell, button.dataset.act === "propose");
  else if (button.dataset.act) acts[button.dataset.act]();
  else if (button.dataset.kind) say(cell, button.dataset.kind, button.dataset.value);
  else if (button.dataset.photo) {
    const main = shown().querySelector("img.main");
    main.src = button.querySelector("img").src.replace(/small$/, "large");
  }
});

window.addEventListener("beforeunload", (event) => {
  if (numWaiting || pending.size) event.preventDefault(); // something is not stored yet
});

mark();
