// The footprint: every position that one output reads, the darker the more paths lead there.
import { at, drawn } from "./dom.js";

let turn = 0;

export function show({ cuts, text }) {
  at("footprint").replaceChildren(...cuts.map((cut) => cut.bars ? bars(cut) : image(cut)));
  at("footprint-text").textContent = text;
}

const words = (cut) => cut.axes.filter(Boolean).join(" and ");
const through = (cut) => cut.through ? `, at ${cut.through[0]} ${cut.through[1]}` : "";

function ticks(first, count, most) {
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((by) => count / by <= most) || Math.ceil(count / most);
  const found = [];
  for (let one = Math.ceil(first / step) * step; one < first + count; one += step) found.push(one);
  return found;
}

// One axis: a bar for each position, the holes hatched.
function bars(cut) {
  const wide = 420, tall = 200, left = 34, base = tall - 44, [, first] = cut.origin, count = cut.bars.length;
  const x = (one) => left + (one - first) / count * (wide - left - 8), pitch = (wide - left - 8) / count;
  const svg = drawn("svg", { class: "flat", viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": `Footprint over ${words(cut)}` });
  hatch(svg, 7);
  cut.bars.forEach((share, one) => {
    const high = share ? Math.max(2, share * (base - 16)) : base - 16;
    drawn("rect", { class: share ? "bar" : "hole", x: x(first + one) + pitch * 0.1, y: base - high, width: pitch * 0.8, height: high, ...(share ? {} : { fill: `url(#hatch${turn})` }) }, svg);
  });
  drawn("path", { class: "base", d: `M${left},${base}H${wide - 8}` }, svg);
  for (const one of ticks(first, count, 10)) drawn("text", { x: x(one) + pitch / 2, y: base + 17, "text-anchor": "middle" }, svg).textContent = one;
  drawn("text", { x: left - 6, y: 22, "text-anchor": "end" }, svg).textContent = cut.most;
  drawn("text", { x: left - 6, y: base, "text-anchor": "end" }, svg).textContent = 0;
  drawn("text", { class: "title", x: left, y: tall - 6 }, svg).textContent = `position along ${words(cut)}; height: paths, linear; hatched: unread`;
  return svg;
}

function hatch(svg, apart) {
  turn += 1;
  const pattern = drawn("pattern", { id: `hatch${turn}`, width: apart, height: apart, patternUnits: "userSpaceOnUse", patternTransform: "rotate(-45)" }, drawn("defs", {}, svg));
  drawn("path", { class: "hatching", d: `M0,0H${apart}`, "stroke-width": apart * 0.36 }, pattern);
}

// Two axes: ink as thick as the logarithm of the paths, over the hatched box of the field.
function image(cut) {
  const [top, left] = cut.origin, [tall, wide] = cut.shape;
  const size = Math.max(tall, wide), unit = size / 100, pad = 9 * unit;
  const svg = drawn("svg", { viewBox: `${left - pad} ${top - pad * 0.4} ${wide + pad * 1.4} ${tall + pad * 2.3}`, role: "img", "aria-label": `Footprint over ${words(cut)}` });
  hatch(svg, Math.max(1.6 * unit, Math.min(0.24, 3 * unit)));
  const box = { x: left, y: top, width: wide, height: tall };
  masks(svg.firstChild, cut.image, box);
  drawn("rect", { ...box, class: "ground" }, svg);
  drawn("rect", { ...box, fill: `url(#hatch${turn})` }, svg);
  drawn("g", {}, svg).append(inked(box));
  const [y, x, high, across] = cut.frame;
  drawn("rect", { class: "frame", x, y, width: across, height: high }, svg);
  const text = (x_, y_, said, anchor = "middle") => {
    drawn("text", { x: x_, y: y_, "text-anchor": anchor, "font-size": 3.6 * unit }, svg).textContent = said;
  };
  for (const one of ticks(left, wide, 8)) text(one + 0.5, top + tall + 5 * unit, one);
  for (const one of ticks(top, tall, 8)) text(left - 1.5 * unit, one + 0.5 + 1.2 * unit, one, "end");
  const most = cut.most === 1 ? "ink: read, by one path each" : `ink: paths, log scale, at most ${cut.most}`;
  const [down, along] = cut.axes;
  text(left, top + tall + 10.5 * unit, `${down ? `${down} down, ` : ""}${along} across, input positions${through(cut)}`, "start");
  text(left, top + tall + 15.5 * unit, `${most}; hatched: unread`, "start");
  return svg;
}

// One mask lets ink through by its paths, the other all of whatever is read at all: there the paper
// under thin ink covers the hatching, which is for holes alone.
function masks(defs, href, box) {
  const lit = drawn("feComponentTransfer", {}, drawn("filter", { id: `lit${turn}`, "color-interpolation-filters": "sRGB" }, defs));
  for (const part of ["R", "G", "B"]) drawn(`feFunc${part}`, { type: "linear", slope: 255 }, lit);
  for (const [id, how] of [["ink", {}], ["read", { filter: `url(#lit${turn})` }]]) {
    const mask = drawn("mask", { id: `${id}${turn}`, maskUnits: "userSpaceOnUse", ...box }, defs);
    drawn("image", { href, ...box, preserveAspectRatio: "none", ...how }, mask);
  }
}

const inked = (box) => {
  const group = drawn("g", {});
  drawn("rect", { ...box, class: "paper-under", mask: `url(#read${turn})` }, group);
  drawn("rect", { ...box, class: "ink", mask: `url(#ink${turn})` }, group);
  return group;
};
