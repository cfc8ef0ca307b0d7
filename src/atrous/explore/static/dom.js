// Small things that every part of the page uses.
const SVG = "http://www.w3.org/2000/svg";

export const at = (id) => document.getElementById(id);

export function drawn(name, attributes, home) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  home?.append(made);
  return made;
}

export function made(name, attributes = {}, ...inside) {
  const one = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") one.className = value; else one.setAttribute(key, value);
  }
  one.append(...inside);
  return one;
}

// Says it there, or nothing any more.
export function say(id, text = "") {
  const place = at(id);
  if (place.textContent !== text) place.textContent = text;
  place.hidden = !text;
}

// Whether a button can be pressed. One that has the focus keeps it until it is left: otherwise the
// keyboard would start again at the top of the page.
export function enable(button, on) {
  const held = !on && document.activeElement === button && !button.disabled;
  button.disabled = !on && !held;
  if (held) button.setAttribute("aria-disabled", "true"); else button.removeAttribute("aria-disabled");
}
addEventListener("click", (event) => {
  if (event.target.closest?.("button[aria-disabled]")) { event.preventDefault(); event.stopImmediatePropagation(); }
}, true);
addEventListener("focusout", (event) => { if (event.target.matches("button[aria-disabled]")) enable(event.target, false); });

// A table whose cells change only where their text does.
export function fill(table, label, head, rows) {
  if (!table.tHead) {
    table.createTHead().insertRow().append(...head.map((title, column) => made("th", { scope: "col", class: column > 1 ? "right" : "" }, title)));
    table.createTBody();
  }
  const body = table.tBodies[0];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, place) => {
    let row = body.rows[place];
    if (!row) {
      row = body.insertRow();
      row.append(...cells.map((_, column) => column ? made("td", { "data-title": head[column], class: column > 1 ? "right" : "" }) : made("th", { scope: "row" })));
    }
    cells.forEach((text, column) => {
      const cell = row.cells[column];
      if (cell.textContent !== text) cell.textContent = text;
    });
  });
  table.dataset.version = String(Number(table.dataset.version || 0) + 1);
}

export const numbers = (list, most = 24) => list.length > most
  ? `${list.slice(0, most).join(", ")} and ${list.length - most} more` : list.join(", ");
