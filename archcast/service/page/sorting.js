// Tables that a heading sorts: numbers by their raw value, largest first; words from A. Headings hold buttons.

function sorter(table, head, column) {
  return () => {
    const numeric = head.classList.contains("n");
    const now = head.getAttribute("aria-sort");
    const up = now ? now === "descending" : !numeric;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].map((row) => [row.cells[column].dataset.v, row]);
    rows.sort(([a], [b]) => (up ? 1 : -1) * (numeric ? Number(a) - Number(b) : a.localeCompare(b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
}

export function sortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector("button").addEventListener("click", sorter(table, head, column));
  });
}
