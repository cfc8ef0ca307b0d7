// One layer's kernel, sliding over a small input with its padding.
import { at, drawn, say } from "./dom.js";

let shown = null, now = 0, timer = null, place = null, marks = null;

export function setUp() {
  at("play").addEventListener("click", () => play(true));
  at("pause").addEventListener("click", () => play(false));
  for (const one of document.querySelectorAll("[data-turn]")) one.addEventListener("click", () => { now += Number(one.dataset.turn); paint(); });
  at("slide").addEventListener("pointermove", point);
}

export function show(given) {
  say("slide-problem", given.problem || "");
  if (given.problem) {
    play(false);
    shown = null;
    at("slide").replaceChildren();
    at("slide-text").textContent = "";
    return;
  }
  shown = given;
  now = 0;
  const [tapsY, tapsX] = shown.taps;
  const ends = (taps, length) => {
    const all = taps.flat();
    return [Math.min(0, ...all), Math.max(length - 1, ...all)];
  };
  const [top, bottom] = ends(tapsY, shown.length[0]), [first, last] = ends(tapsX, shown.length[1]);
  const rows = bottom - top + 1, columns = last - first + 1, flat = rows === 1;
  // A line of positions lies above its outputs, a map beside them.
  place = { top, first, right: flat ? 0 : columns + 2, under: flat ? 2.6 : 0 };
  const wide = flat ? Math.max(columns, tapsX.length) : columns + 2 + tapsX.length;
  const tall = flat ? 3.6 : Math.max(rows, tapsY.length);
  const letter = Math.min(wide / 26, 0.8);
  const svg = drawn("svg", { viewBox: `-0.2 ${-letter * 1.6} ${wide + 0.4} ${tall + letter * 1.6 + 0.2}`, role: "img", "aria-label": `The kernel of ${shown.name} slides over its input, on the left or above; the output that it makes is beside it` });
  const name = (text, x, y) => { drawn("text", { x, y: y - letter * 0.5, "font-size": letter }, svg).textContent = text; };
  name(`input, ${shown.length[0] > 1 ? shown.length.join("x") : shown.length[1]}`, 0, 0);
  name(`output, ${tapsY.length > 1 || shown.length[0] > 1 ? `${tapsY.length}x` : ""}${tapsX.length}`, place.right, place.under);
  // All squares of a kind are one path; those that are read or made lie on top of it.
  const squares = { cell: [], pad: [] };
  for (let row = top; row <= bottom; row++) for (let column = first; column <= last; column++) {
    squares[inside(row, column) ? "cell" : "pad"].push(square(column - first, row - top));
  }
  tapsY.forEach((_, row) => tapsX.forEach((_, column) => squares.cell.push(square(place.right + column, place.under + row))));
  for (const [kind, path] of Object.entries(squares)) drawn("path", { class: kind, d: path.join("") }, svg);
  marks = drawn("g", {}, svg);
  at("slide").replaceChildren(svg);
  paint();
}

const inside = (row, column) => row >= 0 && column >= 0 && row < shown.length[0] && column < shown.length[1];
const square = (x, y) => `M${x + 0.04},${(y + 0.04).toFixed(2)}h.9v.9h-.9Z`;

// The output under the pointer is the one that is made.
function point(event) {
  const over = at("slide").firstElementChild?.getScreenCTM();
  if (!shown || !over) return;
  const spot = new DOMPoint(event.clientX, event.clientY).matrixTransform(over.inverse());
  const [tapsY, tapsX] = shown.taps, row = Math.floor(spot.y - place.under), column = Math.floor(spot.x - place.right);
  if (row < 0 || column < 0 || row >= tapsY.length || column >= tapsX.length) return;
  now = row * tapsX.length + column;
  paint();
}

function paint() {
  if (!shown) return;
  const [tapsY, tapsX] = shown.taps, total = tapsY.length * tapsX.length;
  now = (now + total) % total;
  const row = Math.floor(now / tapsX.length), column = now % tapsX.length;
  const mark = (kind, x, y) => drawn("path", { class: kind, d: square(x, y) });
  const read = tapsY[row].flatMap((y) => tapsX[column].map((x) => mark(inside(y, x) ? "read" : "pad read", x - place.first, y - place.top)));
  marks.replaceChildren(...read, mark("made", place.right + column, place.under + row));
  const along = (axis, taps) => axis ? `${axis} ${taps.join(", ")}` : "";
  at("slide-text").textContent = `Output ${shown.axes[0] ? `(${row}, ${column})` : column} reads ${[along(shown.axes[0], tapsY[row]), along(shown.axes[1], tapsX[column])].filter(Boolean).join(" and ")}; positions outside are padding.`;
}

function play(on) {
  clearInterval(timer);
  timer = on ? setInterval(() => { now++; paint(); }, 350) : null;
}
