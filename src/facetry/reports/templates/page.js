// Sorts a table's rows within each of its groups; without this script the tables are simply in order.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = Number(text.replaceAll(",", ""));
    return text === "–" ? -Infinity : Number.isNaN(number) ? text : number;
  };
  const sort = (heading, column) => {
    const down = heading.getAttribute("aria-sort") !== "descending";
    headings.forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.classList.contains("category"));
      const compare = (a, b) => {
        const [x, y] = [valueOf(a, column), valueOf(b, column)];
        if (typeof x === "string" || typeof y === "string") return String(y).localeCompare(String(x));
        return y > x ? 1 : y < x ? -1 : 0;
      };
      rows.sort((a, b) => (down ? compare(a, b) : compare(b, a)));
      body.append(...rows);
    }
  };
  headings.forEach((heading, column) => {
    if (heading.classList.contains("plot")) return;
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(heading, column));
    heading.append(button);
  });
}
