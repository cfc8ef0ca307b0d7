"use strict";
// Pictures of the page: dots and lines, and the sliding kernel. What they show comes from Python.
const atrous = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const MOST_LINES = 4000;

  function element(name, attributes, home) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    home?.append(made);
    return made;
  }

  // Dots: one row a map, the input at the bottom.
  let data = null, drawn = null, lit = null;

  function dots(given) {
    data = given;
    const home = document.getElementById("dots");
    const rows = data.rows, wide = 900, gap = rows.length > 40 ? 14 : rows.length > 12 ? 26 : 44;
    const left = 76, tall = gap * (rows.length - 1) + 28;
    const x = (row, at) => left + (at + 0.5) / row.length * (wide - left - 8);
    const y = (place) => tall - 14 - place * gap;
    const svg = element("svg", { viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": "Which output reads which inputs, layer by layer; the text below says it for the output that is lit" });
    let count = 0;
    for (const row of rows) for (const reads of row.reads) count += reads.length;
    const lines = element("path", { class: "lines" }, svg), bright = element("g", { class: "bright" }, svg);
    if (count <= MOST_LINES) {
      const path = [];
      rows.forEach((row, place) => row.reads.forEach((reads, at) => reads.forEach((from) => {
        path.push(`M${x(row, at).toFixed(1)},${y(place)}L${x(rows[place - 1], from).toFixed(1)},${y(place - 1)}`);
      })));
      lines.setAttribute("d", path.join(""));
    }
    // All dots are one path of points with round ends; those that are lit lie on top of it.
    const radius = (row) => Math.max(1.6, Math.min(6, gap / 4, (wide - left) / row.length / 2.6));
    rows.forEach((row, place) => {
      const label = element("text", { x: left - 10, y: y(place) + 4, "text-anchor": "end" }, svg);
      label.textContent = row.name;
      const path = Array.from({ length: row.length }, (_, at) => `M${x(row, at).toFixed(1)},${y(place)}h0`);
      element("path", { class: "dots", d: path.join(""), "stroke-width": 2 * radius(row) }, svg);
    });
    const lights = element("g", {}, svg);
    svg.append(bright, lights);
    svg.addEventListener("pointermove", (event) => {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const place = Math.round((tall - 14 - point.y) / gap);
      if (place < 0 || place >= rows.length || point.x < left) return;
      const length = rows[place].length;
      const at = Math.min(Math.max(Math.floor((point.x - left) / (wide - left - 8) * length), 0), length - 1);
      if (Math.abs(point.y - y(place)) < gap * 0.45 && !(lit && lit[0] === place && lit[1] === at)) light(place, at);
    });
    drawn = { svg, bright, lights, x, y, radius };
    home.replaceChildren(svg);
    const last = rows.length - 1;
    light(last, Math.floor(rows[last].length / 2));
    home.dataset.version = String(Number(home.dataset.version || 0) + 1);
  }

  // Where a dot is on the screen.
  function where(place, at) {
    const { svg, x, y } = drawn;
    const point = new DOMPoint(x(data.rows[place], at), y(place)).matrixTransform(svg.getScreenCTM());
    return [point.x, point.y];
  }

  function light(place, at) {
    const rows = data.rows;
    if (place >= rows.length || at >= rows[place].length) return;
    lit = [place, at];
    const down = rows.map(() => new Set()), up = rows.map(() => new Set()), pairs = [];
    down[place].add(at);
    up[place].add(at);
    for (let row = place; row > 0; row--) {
      for (const one of down[row]) for (const from of rows[row].reads[one]) {
        down[row - 1].add(from);
        pairs.push([row, one, from, "down"]);
      }
    }
    for (let row = place + 1; row < rows.length; row++) {
      rows[row].reads.forEach((reads, one) => {
        for (const from of reads) if (up[row - 1].has(from)) { up[row].add(one); pairs.push([row, one, from, "up"]); }
      });
    }
    const { bright, lights, x, y, radius } = drawn;
    const dots = [];
    rows.forEach((row, level) => {
      const add = (one, way) => dots.push(element("circle", {
        cx: x(row, one), cy: y(level), r: radius(row) * (way === "chosen" ? 1.3 : 1), class: way, "data-row": level, "data-at": one,
      }));
      if (level > place) for (const one of up[level]) add(one, "up");
      if (level <= place) for (const one of down[level]) add(one, level === place ? "chosen" : "down");
    });
    lights.replaceChildren(...dots);
    bright.replaceChildren(...pairs.slice(0, MOST_LINES).map(([row, one, from, way]) => element("line", {
      x1: x(rows[row], one), y1: y(row), x2: x(rows[row - 1], from), y2: y(row - 1), class: way,
    })));
    const read = [...down[0]].sort((a, b) => a - b), seen = [...up[rows.length - 1]].sort((a, b) => a - b);
    const span = read.length ? read[read.length - 1] - read[0] + 1 : 0;
    const list = (all) => all.length > 24 ? `${all.slice(0, 24).join(", ")} and ${all.length - 24} more` : all.join(", ");
    let text = place ? `Position ${at} of ${rows[place].name} reads ${read.length} of ${span} positions of the input: ${list(read) || "none"}.` : `Position ${at} of the input.`;
    if (place < rows.length - 1) text += ` It is read by ${seen.length} of ${rows[rows.length - 1].length} outputs: ${list(seen) || "none"}.`;
    document.getElementById("dots-text").textContent = text;
  }

  function step(by) {
    if (!lit) return;
    const length = data.rows[lit[0]].length;
    light(lit[0], (lit[1] + by + length) % length);
  }
  function climb(by) {
    if (!lit) return;
    const place = Math.min(Math.max(lit[0] + by, 0), data.rows.length - 1);
    const share = (lit[1] + 0.5) / data.rows[lit[0]].length;
    light(place, Math.min(Math.floor(share * data.rows[place].length), data.rows[place].length - 1));
  }

  // The sliding kernel.
  let shown = null, at = 0, timer = null;

  function slide(given) {
    shown = given;
    at = 0;
    const home = document.getElementById("slide");
    const [tapsY, tapsX] = shown.taps;
    const flat = (taps, length) => {
      const all = taps.flat();
      return [Math.min(0, ...all), Math.max(length - 1, ...all)];
    };
    const [top, bottom] = flat(tapsY, shown.length[0]), [first, last] = flat(tapsX, shown.length[1]);
    const rows = bottom - top + 1, columns = last - first + 1;
    const gap = 3, wide = columns + gap + tapsX.length, tall = Math.max(rows, tapsY.length);
    const svg = element("svg", { viewBox: `-0.2 -0.9 ${wide + 0.4} ${tall + 1.2}`, role: "img", "aria-label": `The kernel of ${shown.name} slides over its input, on the left; the output that it makes is on the right` });
    const name = (text, x) => { element("text", { x, y: -0.25, "font-size": 0.62 }, svg).textContent = text; };
    name(`input, ${shown.length[0] > 1 ? shown.length.join("x") : shown.length[1]}`, 0);
    name(`output, ${tapsY.length > 1 || shown.length[0] > 1 ? `${tapsY.length}x` : ""}${tapsX.length}`, columns + gap);
    const cells = new Map();
    for (let row = top; row <= bottom; row++) for (let column = first; column <= last; column++) {
      const inside = row >= 0 && column >= 0 && row < shown.length[0] && column < shown.length[1];
      cells.set(`${row},${column}`, element("rect", { x: column - first, y: row - top, width: 0.92, height: 0.92, class: inside ? "cell" : "cell pad" }, svg));
    }
    const outs = tapsY.map((_, row) => tapsX.map((_, column) => element("rect", { x: columns + gap + column, y: row, width: 0.92, height: 0.92, class: "cell" }, svg)));
    home.replaceChildren(svg);
    home.cells = cells;
    home.outs = outs;
    paint();
    home.dataset.version = String(Number(home.dataset.version || 0) + 1);
  }

  function paint() {
    const home = document.getElementById("slide"), [tapsY, tapsX] = shown.taps;
    const total = tapsY.length * tapsX.length;
    at = (at + total) % total;
    const row = Math.floor(at / tapsX.length), column = at % tapsX.length;
    home.querySelectorAll(".read, .made").forEach((cell) => cell.classList.remove("read", "made"));
    for (const y of tapsY[row]) for (const x of tapsX[column]) home.cells.get(`${y},${x}`)?.classList.add("read");
    home.outs[row][column].classList.add("made");
    const along = (axis, taps) => axis ? `${axis} ${taps.join(", ")}` : "";
    document.getElementById("slide-text").textContent = `Output ${shown.axes[0] ? `(${row}, ${column})` : column} reads ${[along(shown.axes[0], tapsY[row]), along(shown.axes[1], tapsX[column])].filter(Boolean).join(" and ")}; positions outside are padding.`;
  }

  function play(on) {
    clearInterval(timer);
    timer = on ? setInterval(() => { at++; paint(); }, 350) : null;
  }
  function turn(by) { at += by; paint(); }

  return { dots, light, where, step, climb, slide, play, turn };
})();
