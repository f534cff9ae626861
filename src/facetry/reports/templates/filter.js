// Puts a search box and a control for each fact above a section marked with `data-filter`, and hides the
// items that do not fit; it stands before the element marked with `data-items`. An item's facts stand in its `data-item`, those of its parts, which fit or not on
// their own, in `data-part`: a text becomes a list to choose from, a number from 0 to 1 a slider. With
// `data-most` only so many items are shown until the reader asks for all that fit.
const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

const makeChoice = (name, values) => {
  const sorted = [...values].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  const options = sorted.map((value) => make("option", { value, textContent: value }));
  const select = make("select", {}, make("option", { value: "", textContent: "all" }), ...options);
  return {
    label: make("label", {}, make("span", { textContent: name }), select),
    isSet: () => select.value !== "",
    fits: (facts) => select.value === "" || facts[name] === select.value,
  };
};

const makeSlider = (name) => {
  const shown = make("output", {});
  const range = make("input", { type: "range", min: 0, max: 100, step: 5, value: 0 });
  range.setAttribute("value", "0"); // what a reset goes back to
  const show = () => {
    shown.textContent = range.value === "0" ? "any" : `${range.value}% and more`;
    range.setAttribute("aria-valuetext", shown.textContent);
  };
  show();
  return {
    label: make("label", {}, make("span", {}, `${name}: `, shown), range),
    show,
    isSet: () => range.value !== "0",
    fits: (facts) => range.value === "0" || 100 * facts[name] >= Number(range.value),
  };
};

const readItem = (element) => {
  const own = JSON.parse(element.dataset.item);
  const parts = [...element.querySelectorAll("[data-part]")].map((part) => ({
    element: part,
    facts: { ...own, ...JSON.parse(part.dataset.part) },
  }));
  const units = parts.length ? parts : [{ facts: own }];
  return { element, text: element.textContent.toLowerCase(), parts, units };
};

const makeControls = (items) => {
  const facts = items.flatMap((item) => item.units.map((unit) => unit.facts));
  const names = [...new Set(facts.flatMap(Object.keys))];
  return names.flatMap((name) => {
    const values = new Set(facts.map((each) => each[name]).filter((value) => value !== undefined));
    if (values.size < 2) return [];
    return [typeof [...values][0] === "number" ? makeSlider(name) : makeChoice(name, values)];
  });
};

for (const section of document.querySelectorAll("[data-filter]")) {
  const items = [...section.querySelectorAll("[data-item]")].map(readItem);
  if (items.length < 2) continue;
  const controls = makeControls(items);
  const search = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  const count = make("output", { className: "count" });
  const reset = make("button", { type: "reset", textContent: "Clear" });
  const more = make("button", { type: "button", className: "show-more" });
  const form = make(
    "form",
    { className: "filter", role: "search", ariaLabel: section.dataset.filter },
    make("label", {}, make("span", { textContent: "Search" }), search),
    ...controls.map((each) => each.label),
    make("p", {}, count, reset),
  );

  let most = Number(section.dataset.most ?? Infinity);
  const inOrder = () => {
    const byElement = new Map(items.map((item) => [item.element, item]));
    return [...section.querySelectorAll("[data-item]")].map((element) => byElement.get(element));
  };

  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    const isPicky = controls.some((each) => each.isSet());
    let num = 0;
    for (const { element, text, parts, units } of inOrder()) {
      const fitting = units.filter((unit) => controls.every((each) => each.fits(unit.facts)));
      const fits = fitting.length && words.every((word) => text.includes(word));
      num += Boolean(fits);
      element.hidden = !fits || num > most;
      parts.forEach((part) => part.element.classList.toggle("other", isPicky && !fitting.includes(part)));
    }
    for (const group of section.querySelectorAll("[data-group]"))
      group.hidden = !group.querySelector("[data-item]:not([hidden])");
    controls.forEach((each) => each.show?.());
    const shown = Math.min(num, most).toLocaleString("en");
    count.textContent = `${shown} of ${items.length.toLocaleString("en")} shown`;
    more.hidden = num <= most;
    more.textContent = `Show all ${num.toLocaleString("en")}`;
    reset.disabled = !isPicky && search.value === "";
  };
  form.addEventListener("input", apply);
  section.addEventListener("sorted", apply);
  more.addEventListener("click", () => {
    most = Infinity;
    apply();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply)); // once the controls are reset
  apply();
  const list = section.querySelector("[data-items]");
  list.before(form);
  list.after(more);
}
