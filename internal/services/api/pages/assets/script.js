// What a page gains where scripts run: values that follow the archive, tables
// that sort by a click, and buttons that copy. Nothing here is needed.
"use strict";

// Values that the server sends when they change, by their name.
function live() {
  const places = document.querySelectorAll("[data-live]");
  if (places.length === 0 || !window.EventSource) return;
  let source = null;
  const follow = () => {
    if (document.hidden) {
      source?.close();
      source = null;
    } else if (!source) {
      source = new EventSource("/live");
      source.onmessage = (message) => {
        const values = JSON.parse(message.data);
        for (const place of places) {
          const value = values[place.dataset.live];
          if (value === undefined || value === place.textContent) continue;
          place.textContent = value;
          place.classList.remove("changed");
          void place.offsetWidth; // begins the animation again
          place.classList.add("changed");
        }
      };
    }
  };
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", () => source?.close());
  follow();
}

// Tables that are whole on the page sort by any column. A cell's data-sort is
// what it sorts by, else its text.
function sortable(table) {
  const body = table.tBodies[0];
  const value = (row, column) => {
    const cell = row.cells[column];
    if (!cell) return "";
    const text = cell.dataset.sort ?? cell.textContent.trim();
    const number = Number(text.replaceAll(",", ""));
    return text !== "" && !Number.isNaN(number) ? number : text.toLowerCase();
  };
  const compare = (a, b) => {
    if (typeof a !== typeof b) return typeof a === "number" ? 1 : -1;
    return a < b ? -1 : a > b ? 1 : 0;
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending" ||
        (!head.hasAttribute("aria-sort") && head.classList.contains("n"));
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [value(row, column), row]);
      rows.sort(([a], [b]) => (falling ? compare(b, a) : compare(a, b)));
      body.append(...rows.map(([, row]) => row));
    });
  });
}

function copying(button) {
  if (!navigator.clipboard) return;
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    let told = "copied";
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      told = "not copied";
    }
    button.textContent = told;
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}

live();
document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll("button.copy").forEach(copying);
