"use strict";
// The queue: keys and buttons become answers; the next product is on the page before it is needed.
// What is not stored yet is kept in the tab's own storage, and sent again until the server has it.

const meta = (name) => document.querySelector(`meta[name="facetry-${name}"]`).content;
const token = meta("token");
const address = "/review/" + meta("review");
const queue = document.getElementById("queue");
const status = document.getElementById("status");
const empty = document.getElementById("empty");
const ask = document.getElementById("ask");
const help = document.getElementById("help");
const RENEW_MS = 60_000;
const EMPTY_MS = 15_000; // how often an empty queue looks for work
const TWICE_MS = 100; // the same key again so soon was meant for the product before
const CLICK_MS = 180;
const LONGEST_WAIT_MS = 15_000;

const shown = () => queue.querySelector("article.product:not([hidden])");
const products = () => [...queue.querySelectorAll("article.product")];
const cells = (product) => [...product.querySelectorAll(".cell")];
const current = () => cells(shown()).find((cell) => !cell.classList.contains("done"));
const newKey = () => crypto.randomUUID();
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// What the tab keeps: `outbox` has answers product by product, `pending` those of the product shown.
const place = `facetry ${address} ${meta("person")}`;
const kept = JSON.parse(sessionStorage.getItem(place) ?? '{"outbox": [], "pending": []}');
const outbox = kept.outbox;
let pending = new Map(); // answers about the product that is shown, by cell
let shownAt = performance.now();
let last = { act: "", at: -Infinity };
let working = Promise.resolve();
let numWaiting = 0;
let isLeaving = false;

function keep() {
  sessionStorage.setItem(place, JSON.stringify({ outbox, pending: [...pending.values()] }));
}

function mark() {
  const product = shown();
  empty.hidden = Boolean(product);
  if (!product) return;
  const cell = current();
  for (const each of cells(product)) each.classList.toggle("current", each === cell);
  const head = cell && !("blind" in cell.dataset) ? cell.dataset.head : "";
  const alike = product.querySelector(".alike");
  alike?.classList.toggle("unseen-here", head === "");
  for (const value of product.querySelectorAll("[data-for]")) value.hidden = value.dataset.for !== head;
}

function show(product) {
  // Where the focus was on what has gone, it goes to what has come: nobody is lost on the page.
  const isLost = !document.activeElement || document.activeElement === document.body;
  for (const each of products()) each.hidden = each !== product;
  shownAt = performance.now();
  if (product && isLost) product.focus({ preventScroll: true });
  window.scrollTo(0, 0);
  mark();
}

// Requests.

class Refused extends Error {}
class SignedOut extends Error {}

async function request(path, options) {
  const response = await fetch(address + path, options);
  if (response.ok) return response;
  if (response.status >= 500 || response.status === 429) throw new Error("busy");
  const { error } = await response.json();
  const said = `${error.message} ${error.hint}`.trim();
  // A page from before another signing in has the token of that time: it is loaded again.
  throw response.status === 401 || response.status === 403 ? new SignedOut(said) : new Refused(said);
}

const post = (path, body) => request(path, {
  method: "POST",
  headers: { "Content-Type": "application/json", "X-Facetry-Token": token },
  body: JSON.stringify(body),
});

function tell(text, link) {
  status.textContent = text;
  if (!link) return;
  const way = document.createElement("a");
  way.href = location.pathname;
  way.textContent = link;
  way.onclick = () => { isLeaving = true; };
  status.append(" ", way);
}

function numKept() {
  const num = outbox.flat().length + pending.size;
  return num ? ` ${num} ${num === 1 ? "answer is" : "answers are"} kept here and sent then.` : "";
}

async function patiently(work) {
  // Again and again while the server cannot be reached; the keys say that it is the same answer.
  for (let wait = 500; ; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
    try {
      const found = await work();
      if (wait > 500) tell("");
      return found;
    } catch (error) {
      if (error instanceof Refused || error instanceof SignedOut) throw error;
      tell(`The server cannot be reached; it is tried again by itself.${numKept()}`);
      await pause(wait);
    }
  }
}

function later(work) {
  // One request after the other, in the order of the keys.
  numWaiting += 1;
  document.body.toggleAttribute("data-sending", true);
  working = working.then(() => patiently(work)).catch((error) => {
    if (error instanceof SignedOut) tell(`You are not signed in any more.${numKept()}`, "Sign in again");
    else tell(error.message);
  }).finally(() => {
    numWaiting -= 1;
    document.body.toggleAttribute("data-sending", numWaiting > 0);
  });
}

async function sendAll() {
  let refused = null;
  while (outbox.length) {
    try {
      await post("/answers", { answers: outbox[0] });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refused = error; // its product comes again
    }
    outbox.shift();
    keep();
  }
  if (refused) throw refused;
}

async function fill() {
  const response = await request("/next");
  const parts = document.createElement("template");
  parts.innerHTML = await response.text();
  const answered = new Set(outbox.flat().map((each) => String(each.row)));
  const there = new Set(products().map((each) => each.dataset.row));
  for (const product of parts.content.querySelectorAll("article.product")) {
    if (there.has(product.dataset.row) || answered.has(product.dataset.row)) continue;
    product.hidden = true;
    queue.insertBefore(product, empty);
    product.querySelector("img.main")?.decode().catch(() => {}); // so that it is painted at once
  }
  if (!shown() && products().length) show(products()[0]);
  mark();
}

function send() {
  later(sendAll);
  later(fill);
}

async function renew() {
  // What is another's by now, or was decided in another tab, is not asked about here any more.
  const rows = new Set((await (await post("/renew", {})).json()).rows.map(String));
  const before = shown();
  for (const product of products()) {
    if (rows.has(product.dataset.row)) continue;
    if (product === before && pending.size) continue; // what was begun is finished, and stored
    product.remove();
  }
  if (before && !before.isConnected) {
    tell("The product that was here has been decided elsewhere, or somebody else has it now.");
    show(products()[0]);
  }
  if (products().length < 3) await fill();
}

// Answers.

function choose(cell, { kind, value }) {
  cell.classList.add("done");
  for (const button of cell.querySelectorAll("[data-kind]")) {
    const isIt = button.dataset.kind === kind && (kind !== "value" || button.dataset.value === value);
    button.classList.toggle("chosen", isIt);
  }
}

function say(cell, kind, value) {
  const head = Number(cell.dataset.head);
  const seconds = Math.round(performance.now() - shownAt) / 1000;
  const answer = { key: newKey(), row: Number(shown().dataset.row), head, kind, value, seconds };
  pending.set(head, answer);
  choose(cell, answer);
  if (!current()) {
    finish();
    return;
  }
  keep();
  mark();
  current().scrollIntoView({ block: "nearest" });
}

function countDown(num) {
  const left = document.getElementById("left");
  const number = Number(left.textContent.replaceAll(",", "")) - num;
  left.textContent = Math.max(0, number).toLocaleString("en");
}

function finish(answers = [...pending.values()]) {
  // The next product is shown at once; what was said is sent meanwhile.
  pending = new Map();
  countDown(answers.length);
  outbox.push(answers);
  keep();
  if (!numWaiting) tell("");
  shown().remove();
  show(products()[0]);
  send();
}

function accept() {
  for (const cell of cells(shown())) {
    const marked = cell.querySelector("[data-predicted]");
    if (!marked || cell.classList.contains("done")) continue;
    say(cell, "value", marked.dataset.value);
    if (!cell.isConnected) return;
  }
}

function undo() {
  const head = [...pending.keys()].at(-1);
  if (head !== undefined) {
    const cell = shown().querySelector(`.cell[data-head="${head}"]`);
    pending.delete(head);
    keep();
    cell.classList.remove("done");
    for (const button of cell.querySelectorAll(".chosen")) button.classList.remove("chosen");
    mark();
    return;
  }
  later(async () => {
    const parts = document.createElement("template");
    parts.innerHTML = await (await post("/undo", {})).text();
    const back = parts.content.querySelector("article.product");
    countDown(-1);
    for (const each of products()) if (each.dataset.row === back.dataset.row) each.remove();
    setAside();
    queue.prepend(back);
    show(back);
  });
}

function setAside() {
  // What was begun on a product that gives way to another is sent: it is an answer.
  if (!pending.size) return;
  outbox.push([...pending.values()]);
  pending = new Map();
  keep();
  send();
}

function restore() {
  // What was said before the page was loaded again.
  const answers = kept.pending;
  const product = shown();
  const isHere = product && answers.every((each) => String(each.row) === product.dataset.row);
  if (isHere) {
    for (const answer of answers) {
      const cell = product.querySelector(`.cell[data-head="${answer.head}"]`);
      if (!cell) continue;
      pending.set(answer.head, answer);
      choose(cell, answer);
    }
  } else if (answers.length) outbox.push(answers);
  const answered = new Set(outbox.flat().map((each) => String(each.row)));
  for (const each of products()) if (answered.has(each.dataset.row)) each.remove();
  if (!shown()) show(products()[0]);
  keep();
  if (outbox.length) send();
  if (shown() && !current()) finish();
}

const valuesOf = new Map(); // all values of a head, once they are asked for: pages have the likely ones alone

function known(cell) {
  const { head } = cell.dataset;
  if (!valuesOf.has(head)) {
    const found = fetch(`${address}/heads/${head}`).then((response) => response.ok ? response.json() : Promise.reject(response));
    found.catch(() => valuesOf.delete(head));
    valuesOf.set(head, found);
  }
  return valuesOf.get(head).then(({ values }) => values);
}

function likely(cell) {
  return [...cell.querySelectorAll('[data-kind="value"]')].map((each) => each.dataset.value);
}

function search(cell, proposes) {
  const input = document.getElementById("text");
  const found = document.getElementById("found");
  const attribute = cell.querySelector("legend").textContent;
  document.getElementById("ask-label").textContent = proposes
    ? `A value of ${attribute} that the list lacks: an admin says what becomes of it`
    : `Search the values of ${attribute}`;
  document.getElementById("ask-take").textContent = proposes ? "Propose it" : "Take the first";
  input.value = "";
  let values = proposes ? [] : likely(cell); // at once; the others follow, if they can be had
  if (!proposes) known(cell).then((found) => { values = found; list(); }, () => {});
  const take = (value) => { ask.close(); say(cell, proposes ? "proposed" : "value", value); };
  const list = () => {
    const wanted = input.value.trim().toLowerCase();
    found.replaceChildren(...values.filter((each) => each.toLowerCase().includes(wanted)).slice(0, 50).map((each) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.dir = "auto";
      button.textContent = each;
      button.onclick = () => take(each);
      item.append(button);
      return item;
    }));
  };
  const submit = () => {
    const first = found.querySelector("button");
    if (proposes && input.value.trim()) take(input.value.trim());
    else if (first) first.click();
  };
  input.oninput = list;
  input.onkeydown = (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    event.stopPropagation(); // the dialog closes by it, and the key must not accept what comes next
    if (!event.repeat) submit();
  };
  document.getElementById("ask-take").onclick = submit;
  list();
  ask.showModal();
}

// Photos.

function showPhoto(button) {
  const main = shown().querySelector("img.main");
  main.src = button.querySelector("img").src.replace(/small$/, "large");
  for (const each of shown().querySelectorAll("[data-photo]")) {
    if (each === button) each.setAttribute("aria-current", "true");
    else each.removeAttribute("aria-current");
  }
}

function turn(step) {
  const all = [...shown().querySelectorAll("[data-photo]")];
  if (!all.length) return;
  const at = Math.max(0, all.findIndex((each) => each.hasAttribute("aria-current")));
  showPhoto(all[(at + step + all.length) % all.length]);
}

function missing(image) {
  if (image.classList.contains("gone")) return;
  image.classList.add("gone");
  if (image.classList.contains("main")) {
    const note = document.createElement("p");
    note.className = "refusal";
    note.textContent = "The photo cannot be shown: it is gone, or cannot be read.";
    image.after(note);
  }
}

// Keys and buttons.

const acts = {
  accept,
  undo,
  "bad-photo": () => finish([...pending.values(), { key: newKey(), row: Number(shown().dataset.row), kind: "bad_photo" }]),
  help: () => help.showModal(),
  close: () => { ask.close(); help.close(); },
  search: () => search(current(), false),
  propose: () => search(current(), true),
  zoom: () => shown().classList.toggle("zoomed"),
  next: () => turn(1),
  previous: () => turn(-1),
};
const keys = {
  Enter: "accept", u: "undo", Backspace: "undo", b: "bad-photo", "?": "help", "/": "search", t: "propose",
  z: "zoom", p: "next", ArrowRight: "next", ArrowLeft: "previous",
};
const kinds = { n: "not_applicable", v: "not_visible", s: "skipped" };
const decides = new Set(["accept", "bad-photo"]);
const needNone = new Set(["undo", "help", "close"]); // what works without a product

function isTwice(act) {
  // A double press or click is one: the second half would decide what nobody has looked at.
  const again = act === last.act && performance.now() - last.at < (act === "click" ? CLICK_MS : TWICE_MS);
  last = { act, at: performance.now() };
  return again;
}

function press(key) {
  if (key in kinds) return () => say(current(), kinds[key]);
  if (!/^[1-9]$/.test(key)) return null;
  const button = current().querySelectorAll('[data-kind="value"]')[Number(key) - 1];
  return button ? () => say(current(), "value", button.dataset.value) : null;
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || ask.open || help.open) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "Enter" && event.target.closest("button, a")) return;
  const act = keys[key];
  if (!shown() && !needNone.has(act)) return;
  const decision = act ? null : press(key);
  if (!act && !decision) return;
  event.preventDefault();
  if ((decision || decides.has(act)) && isTwice(key)) return;
  if (decision) decision();
  else acts[act]();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { act, kind, photo, value } = button.dataset;
  const cell = button.closest(".cell");
  if (act && !needNone.has(act) && !shown()) return;
  if ((kind || decides.has(act)) && isTwice("click") && event.detail > 1) return;
  if (act === "search" || act === "propose") search(cell, act === "propose");
  else if (act) acts[act]();
  else if (kind) say(cell, kind, value);
  else if (photo) showPhoto(button);
});

document.addEventListener("error", (event) => {
  if (event.target.tagName === "IMG") missing(event.target);
}, true);

window.addEventListener("beforeunload", (event) => {
  if (outbox.length && !isLeaving) event.preventDefault(); // something is not stored yet
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted) later(renew); // shown again as it was left: some of it may be decided
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) later(renew);
});
setInterval(() => {
  if (!document.hidden && shown() && !numWaiting) later(renew);
}, RENEW_MS);
setInterval(() => {
  if (!document.hidden && !shown() && !numWaiting) later(fill);
}, EMPTY_MS);

restore();
mark();
for (const image of queue.querySelectorAll("img")) if (image.complete && !image.naturalWidth) missing(image);
