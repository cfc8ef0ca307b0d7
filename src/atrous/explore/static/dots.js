// The picture: one row of dots a map, the input at the bottom, and below it how often each position
// is read. Its taps, its second window and its names are the controls.
import { at, drawn, made, numbers, say } from "./dom.js";
import { cone, windows } from "./reads.js";

const MOST_LINES = 4000;
const coarse = matchMedia("(pointer: coarse)");

let data = null, layers = [], chosen = 0, edit = null, frame = null;
let pinned = { row: -1, share: 0.5 }, lit = null, held = null, dragged = null;

// `edit` has `part(place, part, text, whole)`, `move(place, to)` and `choose(place)`.
export function setUp(given) {
  edit = given;
  const box = at("dots"), svg = at("lines");
  svg.addEventListener("pointermove", hover);
  svg.addEventListener("pointerleave", () => { if (!held) light(...pin()); });
  svg.addEventListener("pointerdown", press);
  for (const id of ["rate-handle", "stride-handle"]) {
    at(id).addEventListener("keydown", turnKey);
  }
  box.addEventListener("pointermove", pull);
  box.addEventListener("pointerup", release);
  box.addEventListener("pointercancel", release);
  box.addEventListener("keydown", (event) => {
    if (event.target !== box) return;
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (by[0]) step(by[0]); else climb(by[1]);
  });
  for (const one of document.querySelectorAll("[data-step]")) one.addEventListener("click", () => step(Number(one.dataset.step)));
  for (const one of document.querySelectorAll("[data-climb]")) one.addEventListener("click", () => climb(Number(one.dataset.climb)));
  setUpTags(at("tags"));
  new ResizeObserver(() => { if (data && frame && Math.abs(at("canvas").clientWidth - frame.wide) > 1) { frame = null; draw(); } }).observe(box);
}

// Another stack, or only another layer that is chosen.
export function show(found, list, place, fresh) {
  layers = list;
  chosen = place;
  if (found) {
    say("dots-problem", found.problem || "");
    at("canvas").hidden = Boolean(found.problem);
    if (found.problem) {
      // What was drawn before is of another stack.
      data = frame = lit = null;
      at("dots-text").textContent = "";
      at("dots-note").textContent = "";
      tags();
      bump();
      return;
    }
    data = { ...found, rows: found.rows.map((row) => ({ ...row, reads: found.reads[row.reads] })) };
    const last = data.rows.length - 1;
    if (fresh || pinned.row < 0 || pinned.row > last || pinned.top) pinned = { row: last, share: 0.5, top: true };
    const length = data.rows[0].length;
    at("dots-note").textContent = length < data.whole ? `Drawn on ${length} of the ${data.whole} positions along ${data.axis}.` : `All ${length} positions along ${data.axis}.`;
  }
  if (!data) { tags(); return; }
  if (pinned.row < place + 1) pinned = { row: place + 1, share: pinned.share, top: place + 2 === data.rows.length };
  draw();
  bump();
}

function bump() {
  const home = at("dots");
  home.dataset.version = String(Number(home.dataset.version || 0) + 1);
}

// Measures of the picture in pixels: rows by their number, columns by the width there is.
function measured() {
  // The width of before, which is watched: to ask for it would lay the page out once more.
  const wide = frame?.wide || at("canvas").clientWidth, count = data.rows.length;
  const small = wide < 560;
  const gap = count <= 4 ? (small ? 64 : 104) : count <= 6 ? (small ? 54 : 84) : count <= 10 ? (small ? 46 : 54) : count <= 14 ? 38 : count <= 44 ? 26 : 20;
  const left = small ? 74 : 142, right = small ? 10 : 22, top = 26, paths = small ? 64 : count <= 6 ? 104 : 76;
  const bottom = top + gap * (count - 1);
  const across = wide - left - right;
  return {
    wide, gap, left, small, paths, bottom,
    tall: bottom + 20 + paths + 40,
    x: (row, one) => left + (one + 0.5) / data.rows[row].length * across,
    y: (row) => bottom - row * gap,
    back: (row, x) => (x - left) / across * data.rows[row].length - 0.5,
    radius: (row) => Math.max(1.4, Math.min(7, gap / 4.2, across / data.rows[row].length / 2.5)),
  };
}

function draw() {
  frame = measured();
  const { wide, tall, left, x, y, radius } = frame, rows = data.rows;
  const svg = at("lines");
  at("canvas").style.height = `${tall}px`;
  svg.setAttribute("viewBox", `0 0 ${wide} ${tall}`);
  svg.setAttribute("width", wide);
  svg.setAttribute("height", tall);
  const all = [hatching()];
  let count = 0;
  for (const row of rows.slice(1)) for (const reads of row.reads) count += reads.length;
  if (count <= MOST_LINES) {
    const path = [];
    rows.forEach((row, place) => row.reads?.forEach((reads, one) => reads.forEach((from) => {
      path.push(`M${x(place, one).toFixed(1)},${y(place)}L${x(place - 1, from).toFixed(1)},${y(place - 1)}`);
    })));
    all.push(drawn("path", { class: "hairs", d: path.join("") }));
  }
  // All dots of a row are one path of points with round ends; those that are lit lie on top of it.
  rows.forEach((row, place) => {
    const path = Array.from({ length: row.length }, (_, one) => `M${x(place, one).toFixed(1)},${y(place)}h0`);
    all.push(drawn("path", { class: "dots", d: path.join(""), "stroke-width": 2 * radius(place) }));
  });
  frame.lights = drawn("g", {});
  all.push(axis(), frame.lights);
  svg.replaceChildren(...all);
  tags();
  light(...pin());
}

function hatching() {
  const defs = drawn("defs", {});
  const pattern = drawn("pattern", { id: "holes", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(-45)" }, defs);
  drawn("path", { class: "hatching", d: "M0,0H5" }, pattern);
  return defs;
}

// Ticks below the input, and what its scale is.
function axis() {
  const { x, bottom, paths, tall, left, wide, small } = frame, length = data.rows[0].length;
  const group = drawn("g", { class: "axis" });
  const base = bottom + 20 + paths;
  const apart = [1, 2, 4, 5, 8, 10, 16, 20, 32, 50].find((by) => x(0, by) - x(0, 0) > (small ? 34 : 40)) || 100;
  const step = length > 12 && apart < 2 ? 2 : apart;
  drawn("path", { class: "base", d: `M${left},${base + .5}H${wide - (small ? 10 : 22)}` }, group);
  for (let one = 0; one < length; one += step) {
    drawn("path", { class: "tick", d: `M${x(0, one)},${base}v5` }, group);
    drawn("text", { x: x(0, one), y: base + 18, "text-anchor": "middle" }, group).textContent = one;
  }
  const title = drawn("text", { class: "title", x: left, y: tall - 5 }, group);
  title.textContent = small ? `position along ${data.axis} of the input` : `position along ${data.axis} of the input; bars: paths from the lit dot, linear from 0`;
  return group;
}

// The names of the layers, which are buttons: chosen by a click, moved by dragging or Alt with arrows.
function tags() {
  const home = at("tags"), shown = frame && data;
  const list = [];
  for (let place = layers.length - 1; place >= 0; place--) {
    const layer = layers[place];
    let one = home.querySelector(`[data-place="${place}"]`);
    if (!one) {
      one = made("button", { type: "button", "data-place": place, class: "tag" }, made("span", { class: "name" }), made("span", { class: "notation" }));
    }
    const label = `${layer.name}: ${layer.text}`;
    if (one.getAttribute("aria-label") !== label) {
      one.setAttribute("aria-label", label);
      one.title = `${label}. Drag to move it, or Alt with an arrow key.`;
      one.firstChild.textContent = layer.name;
      one.lastChild.textContent = layer.text;
    }
    one.setAttribute("aria-pressed", String(place === chosen));
    one.style.top = shown ? `${frame.y(place + 1)}px` : `${(layers.length - place) * 30}px`;
    one.style.height = shown ? `${Math.min(frame.gap - 2, 44)}px` : "28px";
    one.classList.toggle("tight", Boolean(shown) && frame.gap < 40);
    if (!one.parentNode) home.append(one);
    list.push(one);
  }
  for (const one of [...home.children]) if (one.dataset.place !== undefined && Number(one.dataset.place) >= layers.length) one.remove();
  // In the order in which they are read from the top.
  if (list.some((one, place) => home.children[place] !== one)) home.prepend(...list);
  let below = home.querySelector(".source");
  if (!below) home.append(below = made("span", { class: "source" }));
  below.textContent = data ? data.rows[0].name : "";
  below.hidden = !shown;
  if (shown) below.style.top = `${frame.y(0)}px`;
}

function setUpTags(home) {
  let moving = null;
  home.addEventListener("click", (event) => {
    const one = event.target.closest("[data-place]");
    if (one && !home.dataset.moved) edit.choose(Number(one.dataset.place));
    delete home.dataset.moved;
  });
  home.addEventListener("keydown", (event) => {
    const one = event.target.closest("[data-place]"), by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!one || !by) return;
    event.preventDefault();
    const place = Number(one.dataset.place), to = place + by;
    if (to < 0 || to >= layers.length) return;
    if (event.altKey) edit.move(place, to); else edit.choose(to);
    home.querySelector(`[data-place="${to}"]`)?.focus();
  });
  home.addEventListener("pointerdown", (event) => {
    const one = event.target.closest("[data-place]");
    if (!one || event.button) return;
    delete home.dataset.moved;
    moving = { one, from: event.clientY, place: Number(one.dataset.place), to: Number(one.dataset.place) };
    one.setPointerCapture(event.pointerId);
  });
  home.addEventListener("pointermove", (event) => {
    if (!moving || !frame) return;
    const by = event.clientY - moving.from;
    if (Math.abs(by) < 5 && !moving.live) return;
    moving.live = true;
    moving.one.classList.add("moving");
    moving.one.style.translate = `0 ${by}px`;
    moving.to = Math.min(Math.max(moving.place - Math.round(by / frame.gap), 0), layers.length - 1);
    home.querySelectorAll("[data-place]").forEach((one) => one.classList.toggle("over", moving.to !== moving.place && Number(one.dataset.place) === moving.to));
  });
  const end = (event) => {
    if (!moving) return;
    const { one, place, to, live } = moving;
    moving = null;
    one.classList.remove("moving");
    one.style.translate = "";
    home.querySelectorAll(".over").forEach((other) => other.classList.remove("over"));
    if (!live) return;
    home.dataset.moved = "yes";
    setTimeout(() => delete home.dataset.moved, 50);
    if (event.type === "pointerup" && to !== place) edit.move(place, to);
  };
  home.addEventListener("pointerup", end);
  home.addEventListener("pointercancel", end);
}

function pin() {
  const row = pinned.row, length = data.rows[row].length;
  return [row, Math.min(Math.floor(pinned.share * length), length - 1)];
}

// Where a dot is on the screen.
export function where(row, one) {
  const box = at("lines").getBoundingClientRect();
  return [box.left + frame.x(row, one), box.top + frame.y(row)];
}
export const state = () => lit && { row: lit[0], at: lit[1], read: lit[2], reached: lit[3] };
export const rings = () => frame.rings.map(({ row, part, x, y }) => ({ row, part, x: x + at("lines").getBoundingClientRect().left, y: y + at("lines").getBoundingClientRect().top }));

function light(place, from) {
  const rows = data.rows, { x, y, radius, lights } = frame;
  const found = cone(rows, place, from), { down, up } = found, marks = [];
  const line = ([row, one, read]) => `M${x(row, one).toFixed(1)},${y(row)}L${x(row - 1, read).toFixed(1)},${y(row - 1)}`;
  marks.push(drawn("path", { class: "reaching", d: found.ups.slice(0, MOST_LINES).map(line).join("") }));
  marks.push(drawn("path", { class: "seeing", d: found.pairs.slice(0, MOST_LINES).map(line).join("") }));
  rows.forEach((_, row) => {
    if (row > place && up[row].size) {
      const size = radius(row) * 1.25, ones = [...up[row]];
      const d = ones.map((one) => { const cx = x(row, one), cy = y(row); return `M${(cx).toFixed(1)},${cy - size}l${size},${size}l${-size},${size}l${-size},${-size}Z`; });
      marks.push(drawn("path", { class: "up", d: d.join(""), "data-row": row, "data-at": ones.join(" ") }));
    }
    if (row < place && down[row].size) {
      const ones = [...down[row].keys()].sort((a, b) => a - b);
      marks.push(drawn("path", { class: "down", d: ones.map((one) => `M${x(row, one).toFixed(1)},${y(row)}h0`).join(""), "stroke-width": 2 * radius(row) + 1, "data-row": row, "data-at": ones.join(" ") }));
    }
  });
  marks.push(drawn("circle", { class: "chosen", cx: x(place, from), cy: y(place), r: radius(place) * 1.35 + 1, "data-row": place, "data-at": from }));
  const read = [...down[0].keys()].sort((a, b) => a - b), seen = [...up[rows.length - 1]].sort((a, b) => a - b);
  marks.push(...bars(down[0], read, place));
  const home = pin();
  if (home[0] === place && home[1] === from) marks.push(...controls());
  lights.replaceChildren(...marks);
  lit = [place, from, read, seen];
  at("dots-text").textContent = told(place, from, read, seen);
}

function told(place, from, read, seen) {
  const rows = data.rows, span = read.length ? read[read.length - 1] - read[0] + 1 : 0;
  let text = place ? `Position ${from} of ${rows[place].name} reads ${read.length} of ${span} positions of the input: ${numbers(read) || "none"}.` : `Position ${from} of the input.`;
  if (place < rows.length - 1) text += ` It is read by ${seen.length} of ${rows[rows.length - 1].length} outputs: ${numbers(seen) || "none"}.`;
  return text;
}

// How many paths lead from the lit dot to each position, and where there are none in its field.
function bars(counts, read, place) {
  if (!place || !read.length) return [];
  const { x, bottom, paths } = frame, base = bottom + 20 + paths, most = Math.max(...counts.values());
  const pitch = x(0, 1) - x(0, 0) || 40, wide = Math.max(1.2, pitch * 0.66);
  const path = [], holes = [];
  for (let one = read[0]; one <= read[read.length - 1]; one++) {
    const paths_ = counts.get(one);
    const left = (x(0, one) - wide / 2).toFixed(1);
    if (paths_) path.push(`M${left},${base}v${-Math.max(1.5, paths_ / most * (paths - 8)).toFixed(1)}h${wide.toFixed(1)}V${base}Z`);
    else holes.push(drawn("rect", { class: "gap", fill: "url(#holes)", x: left, y: base - 11, width: wide, height: 11 }));
  }
  const words = most === 1 ? "1 path" : `at most ${most < 1e6 ? most : most.toExponential(1)} paths`;
  // Beside the bars where there is room, else at the edge.
  const end = x(0, read[read.length - 1]) + 12, fits = end + 7 * words.length < frame.wide;
  const top = drawn("text", { class: "title", x: fits ? end : frame.wide - 8, y: base - paths + (fits ? 18 : 6), "text-anchor": fits ? "start" : "end" });
  top.textContent = words;
  return [...holes, drawn("path", { class: "bars", d: path.join("") }), top];
}

// Rings on the outermost taps, and the second window of the layer that is chosen.
function controls() {
  const rows = data.rows, { x, y, radius, gap } = frame, marks = [];
  const found = windows(rows, layers, ...pin());
  frame.rings = [];
  const many = rows.length > 45;
  found.forEach((one) => {
    if (!one || one.taps.length < 2 || layers[one.row - 1].kind === "up") return;
    const mine = one.row - 1 === chosen;
    if (!mine && (many || one.on === one.row)) return;
    for (const tap of [one.taps[0], one.taps[one.taps.length - 1]]) {
      const cx = x(one.on, tap), cy = y(one.on);
      marks.push(drawn("circle", { class: mine ? "ring mine" : "ring", cx, cy, r: radius(one.on) + (mine ? 4.5 : 3) }));
      frame.rings.push({ row: one.row, part: "dilation", x: cx, y: cy });
    }
  });
  const mine = found[chosen + 1];
  place(at("rate-handle"), mine && mine.taps.length > 1 && layers[chosen].kind !== "up" && {
    x: x(mine.on, mine.taps[mine.taps.length - 1]), y: y(mine.on), label: `Rate (dilation) of ${layers[chosen].name}`, now: along("dilation"),
  });
  if (mine && mine.taps.length) {
    const flip = mine.on === mine.row ? -1 : 1;
    const bracket = (taps, off) => {
      const low = x(mine.on, taps[0]) - 5, high = x(mine.on, taps[taps.length - 1]) + 5, from = y(mine.on) + flip * (off - 5);
      return `M${low.toFixed(1)},${from}v${flip * 5}H${high.toFixed(1)}v${-flip * 5}`;
    };
    const off = Math.min(gap * 0.3, 16);
    marks.push(drawn("path", { class: "first", d: bracket(mine.taps, off) }));
    if (mine.second.length) {
      const lower = Math.min(gap * 0.55, off + 9);
      marks.push(drawn("path", { class: "second", d: bracket(mine.second, lower) }));
      const spot_ = { x: x(mine.on, (mine.second[0] + mine.second[mine.second.length - 1]) / 2), y: y(mine.on) + flip * lower };
      frame.rings.push({ row: mine.row, part: "stride", ...spot_ });
      place(at("stride-handle"), {
        ...spot_, label: `Stride of ${layers[chosen].name}`, now: along("stride"),
      });
    } else place(at("stride-handle"), null);
  } else place(at("stride-handle"), null);
  return marks;
}

function place(handle, given) {
  handle.hidden = !given;
  if (!given) return;
  handle.style.left = `${given.x}px`;
  handle.style.top = `${given.y}px`;
  handle.setAttribute("aria-label", given.label);
  handle.setAttribute("aria-valuemin", 1);
  handle.setAttribute("aria-valuemax", 1024);
  handle.setAttribute("aria-valuenow", given.now);
}

// One number of the chosen layer along the axis that is drawn, and its text with another one.
function along(part, layer = layers[chosen]) {
  const values = layer[part].split(",").map(Number);
  return values.length > 1 ? values[data.along] : values[0];
}
function withNumber(part, number, layer) {
  const values = layer[part].split(",");
  values[values.length > 1 ? data.along : 0] = number;
  return values.join(",");
}

function turnKey(event) {
  const part = event.currentTarget.id === "rate-handle" ? "dilation" : "stride", now = along(part);
  const to = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, PageUp: now * 2, PageDown: Math.floor(now / 2), Home: 1 }[event.key];
  if (to === undefined || event.altKey) return;
  event.preventDefault();
  if (to !== now) edit.part(chosen, part, withNumber(part, Math.max(to, 1), layers[chosen]), false);
}

// Pointing, pressing, pulling.
function spot(event) {
  const box = at("lines").getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function ringAt(x, y) {
  const reach = coarse.matches ? 22 : 11;
  let best = null;
  for (const ring of frame.rings || []) {
    const far = Math.hypot(ring.x - x, ring.y - y);
    if (far < reach && (!best || far < best.far || (far === best.far && ring.row === chosen + 1))) best = { ...ring, far };
  }
  return best;
}

function dotAt(x, y) {
  const row = Math.round((frame.bottom - y) / frame.gap);
  if (row < 0 || row >= data.rows.length || x < frame.left - 8) return null;
  if (Math.abs(y - frame.y(row)) > frame.gap * 0.46) return null;
  const one = Math.round(frame.back(row, x));
  return [row, Math.min(Math.max(one, 0), data.rows[row].length - 1)];
}

function hover(event) {
  if (held || !frame || event.pointerType === "touch") return;
  const [x, y] = spot(event), ring = ringAt(x, y);
  at("lines").style.cursor = ring ? "ew-resize" : "";
  const dot = ring ? pin() : dotAt(x, y);
  if (dot && !(lit && lit[0] === dot[0] && lit[1] === dot[1])) light(...dot);
}

function press(event) {
  if (!frame || event.button) return;
  const [x, y] = spot(event), ring = ringAt(x, y);
  if (ring) { hold(event, ring.part, ring.row); return; }
  const dot = dotAt(x, y);
  if (!dot) return;
  pinned = { row: dot[0], share: (dot[1] + 0.5) / data.rows[dot[0]].length, top: false };
  light(...dot);
  if (dot[0] && dot[0] - 1 !== chosen) edit.choose(dot[0] - 1);
}

function hold(event, part, row) {
  if (event.button) return;
  event.preventDefault();
  const layer = layers[row - 1], window_ = windows(data.rows, layers, ...pin())[row];
  if (!window_) return;
  if (row - 1 === chosen) at(part === "stride" ? "stride-handle" : "rate-handle").focus({ preventScroll: true, focusVisible: false });
  at("dots").setPointerCapture(event.pointerId);
  const pitch = frame.x(window_.on, 1) - frame.x(window_.on, 0) || 40;
  const kernel = along("kernel", layer), now = along(part, layer);
  const spread = part === "dilation" ? Math.max((kernel - 1) / 2, 0.5) : 1;
  held = { part, place: row - 1, pitch, spread, now, sent: now, from: event.clientX, side: 1, id: event.pointerId };
  if (part === "dilation") held.side = spot(event)[0] < frame.x(window_.on, window_.middle) ? -1 : 1;
  at("dots").classList.add("pulling");
  if (held.place !== chosen) edit.choose(held.place);
}

function pull(event) {
  if (!held || event.pointerId !== held.id) return;
  const by = (event.clientX - held.from) / held.pitch * held.side / held.spread;
  const to = Math.min(Math.max(Math.round(held.now + by), 1), 512);
  if (to === held.sent) return;
  held.sent = to;
  edit.part(held.place, held.part, withNumber(held.part, to, layers[held.place]), true);
}

function release(event) {
  if (!held || event.pointerId !== held.id) return;
  const changed = held.sent !== held.now;
  held = null;
  at("dots").classList.remove("pulling");
  if (changed) edit.settled();
}

function step(by) {
  if (!lit) return;
  const length = data.rows[lit[0]].length, one = (lit[1] + by + length) % length;
  keep(lit[0], one);
}
function climb(by) {
  if (!lit) return;
  const row = Math.min(Math.max(lit[0] + by, 0), data.rows.length - 1);
  const share = (lit[1] + 0.5) / data.rows[lit[0]].length;
  keep(row, Math.min(Math.floor(share * data.rows[row].length), data.rows[row].length - 1));
}
function keep(row, one) {
  pinned = { row, share: (one + 0.5) / data.rows[row].length, top: false };
  light(row, one);
  if (row && row - 1 !== chosen) edit.choose(row - 1);
}
