// Sorts a table's rows within each of its groups by the heading that is pressed: numbers from the largest,
// texts from A; the other way round when it is pressed again. What is not known comes last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells].filter((each) => !each.classList.contains("plot"));

  const contentOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell && cell.colSpan === 1 ? (cell.dataset.value ?? cell.textContent).trim() : "";
    const number = Number(text.replaceAll(",", "").replace(/%$/, ""));
    if (["", "–", "nan"].includes(text)) return null;
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number"
      ? a - b
      : String(a).localeCompare(String(b), undefined, { numeric: true });

  const sort = (heading) => {
    const column = heading.cellIndex;
    const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
    const sorted = rows.filter((row) => !row.classList.contains("category"));
    const isText = sorted.some((row) => typeof contentOf(row, column) === "string");
    const isUp = { none: isText, ascending: false, descending: true }[heading.getAttribute("aria-sort")];
    headings.forEach((each) => each.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", isUp ? "ascending" : "descending");
    sorted.sort((one, other) => {
      const [a, b] = [contentOf(one, column), contentOf(other, column)];
      if (a === null || b === null) return (a === null) - (b === null);
      return isUp ? compare(a, b) : compare(b, a);
    });
    sorted.forEach((row) => row.parentElement.append(row));
    table.dispatchEvent(new Event("sorted", { bubbles: true }));
  };

  for (const heading of headings) {
    const button = document.createElement("button");
    const arrow = document.createElement("span");
    button.type = "button";
    button.append(...heading.childNodes, arrow);
    arrow.className = "arrow";
    arrow.ariaHidden = "true";
    button.addEventListener("click", () => sort(heading));
    heading.setAttribute("aria-sort", "none");
    heading.append(button);
  }
}
