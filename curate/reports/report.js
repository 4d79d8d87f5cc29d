"use strict";
// Tables sort by a click on a column's head, and long ones filter. Without this file they are read.
(function () {
  const LONG = 12;

  function value(row, column) {
    const cell = row.cells[column];
    return cell.hasAttribute("data-value") ? Number(cell.dataset.value) : cell.textContent.trim();
  }

  // Numbers by size, texts by their letters; what is unknown comes last in either direction.
  function compare(a, b, down) {
    const missing = (x) => x === "" || x === "–";
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    const both = typeof a === "number" && typeof b === "number";
    const order = both ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return down ? -order : order;
  }

  function sort(table, column) {
    const head = table.tHead.rows[0].cells[column];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row) => [value(row, column), row]);
    rows.sort((a, b) => compare(a[0], b[0], down));
    body.append(...rows.map((pair) => pair[1]));
  }

  function sortable(table) {
    Array.from(table.tHead.rows[0].cells).forEach((cell, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...cell.childNodes);
      cell.append(button);
      button.addEventListener("click", () => sort(table, column));
    });
  }

  function filterable(table, place) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    const shown = document.createElement("span");
    const rows = Array.from(table.tBodies[0].rows);
    const texts = rows.map((row) => row.textContent.toLowerCase());
    input.type = "search";
    shown.setAttribute("role", "status");
    label.className = "filter";
    label.append("Filter rows ", input, " ", shown);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows.forEach((row, k) => {
        row.hidden = !words.every((word) => texts[k].includes(word));
        count += row.hidden ? 0 : 1;
      });
      shown.textContent = words.length ? `${count} of ${rows.length} rows` : "";
    });
    place.before(label);
  }

  for (const place of document.querySelectorAll(".scroll")) {
    const table = place.querySelector("table");
    const rows = table.tBodies[0].rows.length;
    if (rows > 1) sortable(table);
    if (rows > LONG) filterable(table, place);
  }
})();
