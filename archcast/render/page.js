(function () {
  "use strict";
  var root = document.documentElement;
  window.addEventListener("error", function (event) { root.dataset.error = event.message; });

  // Titles become one tooltip that appears at once and also on touch; without this script the browser shows them.
  var tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  document.body.appendChild(tip);
  document.querySelectorAll("svg title").forEach(function (title) {
    title.parentNode.setAttribute("data-tip", title.textContent);
    title.remove();
  });
  function show(event) {
    var target = event.target.closest ? event.target.closest("[data-tip]") : null;
    if (!target) { tip.className = ""; return; }
    tip.textContent = target.getAttribute("data-tip");
    tip.className = "on";
    var x = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
    var y = event.clientY + 16;
    if (y + tip.offsetHeight > window.innerHeight - 8) { y = event.clientY - tip.offsetHeight - 10; }
    tip.style.left = Math.max(8, x) + "px";
    tip.style.top = Math.max(8, y) + "px";
  }
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("scroll", function () { tip.className = ""; }, { passive: true });

  // A click on a heading sorts by the column: numbers by their raw value, largest first; words from A.
  function sorter(table, head, column) {
    return function () {
      var numeric = head.classList.contains("n");
      var now = head.getAttribute("aria-sort");
      var up = now ? now === "descending" : !numeric;
      table.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      var body = table.tBodies[0];
      var rows = Array.prototype.slice.call(body.rows);
      rows.sort(function (a, b) {
        var p = a.cells[column].dataset.v, q = b.cells[column].dataset.v;
        var order = numeric ? Number(p) - Number(q) : p.localeCompare(q);
        return up ? order : -order;
      });
      rows.forEach(function (row) { body.appendChild(row); });
    };
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, column) {
      head.querySelector("button").addEventListener("click", sorter(table, head, column));
    });
  });
  root.dataset.ready = "yes";
})();
