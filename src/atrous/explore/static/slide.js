// One layer's kernel, sliding over a small input with its padding.
import { at, drawn, say } from "./dom.js";

let shown = null, now = 0, timer = null, cells = null, outs = null;

export function setUp() {
  at("play").addEventListener("click", () => play(true));
  at("pause").addEventListener("click", () => play(false));
  for (const one of document.querySelectorAll("[data-turn]")) one.addEventListener("click", () => { now += Number(one.dataset.turn); paint(); });
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
  const right = flat ? 0 : columns + 2, under = flat ? 2.6 : 0;
  const wide = flat ? Math.max(columns, tapsX.length) : columns + 2 + tapsX.length;
  const tall = flat ? 3.6 : Math.max(rows, tapsY.length);
  const letter = Math.min(wide / 26, 0.8);
  const svg = drawn("svg", { viewBox: `-0.2 ${-letter * 1.6} ${wide + 0.4} ${tall + letter * 1.6 + 0.2}`, role: "img", "aria-label": `The kernel of ${shown.name} slides over its input, on the left or above; the output that it makes is beside it` });
  const name = (text, x, y) => { drawn("text", { x, y: y - letter * 0.5, "font-size": letter }, svg).textContent = text; };
  name(`input, ${shown.length[0] > 1 ? shown.length.join("x") : shown.length[1]}`, 0, 0);
  name(`output, ${tapsY.length > 1 || shown.length[0] > 1 ? `${tapsY.length}x` : ""}${tapsX.length}`, right, under);
  cells = new Map();
  for (let row = top; row <= bottom; row++) for (let column = first; column <= last; column++) {
    const inside = row >= 0 && column >= 0 && row < shown.length[0] && column < shown.length[1];
    cells.set(`${row},${column}`, drawn("rect", { x: column - first + 0.04, y: row - top + 0.04, width: 0.9, height: 0.9, class: inside ? "cell" : "cell pad" }, svg));
  }
  outs = tapsY.map((_, row) => tapsX.map((_, column) => {
    const one = drawn("rect", { x: right + column + 0.04, y: under + row + 0.04, width: 0.9, height: 0.9, class: "cell out" }, svg);
    one.addEventListener("pointerenter", () => { now = row * tapsX.length + column; paint(); });
    return one;
  }));
  at("slide").replaceChildren(svg);
  paint();
}

function paint() {
  if (!shown) return;
  const [tapsY, tapsX] = shown.taps, total = tapsY.length * tapsX.length;
  now = (now + total) % total;
  const row = Math.floor(now / tapsX.length), column = now % tapsX.length;
  at("slide").querySelectorAll(".read, .made").forEach((cell) => cell.classList.remove("read", "made"));
  for (const y of tapsY[row]) for (const x of tapsX[column]) cells.get(`${y},${x}`)?.classList.add("read");
  outs[row][column].classList.add("made");
  const along = (axis, taps) => axis ? `${axis} ${taps.join(", ")}` : "";
  at("slide-text").textContent = `Output ${shown.axes[0] ? `(${row}, ${column})` : column} reads ${[along(shown.axes[0], tapsY[row]), along(shown.axes[1], tapsX[column])].filter(Boolean).join(" and ")}; positions outside are padding.`;
}

function play(on) {
  clearInterval(timer);
  timer = on ? setInterval(() => { now++; paint(); }, 350) : null;
}
