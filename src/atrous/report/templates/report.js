"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const SVG = "http://www.w3.org/2000/svg";

  // Theme: what the system prefers, until the button says otherwise.
  const button = document.getElementById("theme");
  const prefers = matchMedia("(prefers-color-scheme: dark)");

  // Colours are the sheet's, by name: a chart is drawn once for light, dark and paper.
  async function draw() {
    const config = {
      background: null, font: "system-ui, sans-serif",
      legend: { layout: { top: { direction: "vertical", anchor: "start", margin: 2 } } },
    };
    for (const place of document.querySelectorAll("[data-chart]")) {
      const spec = data.charts[Number(place.dataset.chart)];
      const room = place.clientWidth - 60;
      const fitted = JSON.parse(JSON.stringify(spec), (key, value) => {
        // As many names in a row as the place has room for, and a title that fits.
        const names = value?.legend && (value.scale?.domain ?? value.sort);
        if (Array.isArray(names)) {
          const longest = Math.max(...names.map((name) => String(name).length));
          value.legend.columns = Math.max(1, Math.min(names.length, Math.floor(room / (longest * 7 + 44))));
        }
        if (key === "title" && value?.fontSize && room < 420) Object.assign(value, { fontSize: 15, frame: "bounds" });
        return value;
      });
      await window.vegaEmbed(place, fitted, { config, renderer: "svg", actions: false });
    }
    root.dataset.drawn = "yes";
  }

  function wear(theme) {
    if (root.dataset.theme !== theme) root.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
  }
  button.addEventListener("click", () => wear(root.dataset.theme === "dark" ? "light" : "dark"));
  prefers.addEventListener("change", () => wear(prefers.matches ? "dark" : "light"));
  wear(prefers.matches ? "dark" : "light");

  function element(name, attributes) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function text(words, x, y, anchor = "middle", kind = "") {
    const made = element("text", { x, y, "text-anchor": anchor, class: kind });
    made.textContent = words;
    return made;
  }
  const line = (x1, y1, x2, y2, kind) => element("line", { x1, y1, x2, y2, class: kind });

  // Steps of 1, 2 or 5 times a power of ten, about so many.
  function ticks(from, to, count, whole = true) {
    const rough = (to - from) / Math.max(count, 1), power = 10 ** Math.floor(Math.log10(rough));
    const factor = [1, 2, 5, 10].find((one) => one * power >= rough * 0.999);
    const step = whole ? Math.max(1, Math.round(factor * power)) : factor * power;
    const found = [];
    for (let at = Math.ceil(from / step - 1e-9); at * step <= to + 1e-9 * step; at++) found.push(at * step || 0);
    return found;
  }
  // Pixels between two ticks: long numbers need more, and both axes of a figure have the same steps.
  const apart = (to) => to < 1000 ? 60 : 80;
  const short = (value) => Number(value.toPrecision(6)).toLocaleString("en");

  // The positions of an axis under a figure, and under them what they come to in its unit.
  function across(svg, name, scale, from, to, x0, x1, y, brief = false, room = 0) {
    const at = (position) => x0 + (position + 0.5 - from) / (to - from) * (x1 - x0);
    // The picture ends 6 behind the axis: a number there stands a little to the left of its tick.
    const number = (words, x, base) => text(words, Math.min(x, x1 + 6 - 4 * words.length), base);
    svg.append(line(x0, y, x1, y, "axis"));
    for (const position of ticks(from, to - 1, (x1 - x0) / (room || 80))) {
      svg.append(line(at(position), y, at(position), y + 4, "tick"), number(position.toLocaleString("en"), at(position), y + 17));
    }
    svg.append(text(brief ? name : `${name}, input positions`, x1, y + 34, "end", "unit"));
    if (!scale) return 42;
    const base = y + 44;
    svg.append(line(x0, base, x1, base, "axis"));
    for (const value of ticks(from * scale.step, (to - 1) * scale.step, (x1 - x0) / 90, false)) {
      const place = at(value / scale.step);
      svg.append(line(place, base, place, base + 4, "tick"), number(short(value), place, base + 17));
    }
    svg.append(text(`${name}, ${scale.unit} from the start of the input`, x1, base + 34, "end", "unit"));
    return 86;
  }

  function named(svg, words) {
    const title = document.createElementNS(SVG, "title");
    title.textContent = words;
    svg.prepend(title);
    return svg;
  }

  // Two axes: a pixel for each position, hatched where nothing is read.
  function plate(cut, side, whole, width, tallest, span) {
    const [top, left] = cut.origin, [tall, wide] = cut.size, photo = side.image;
    const pad = whole ? 0 : Math.max(1, Math.round(0.05 * Math.max(tall, wide)));
    const aside = (room, size) => Math.floor((room - size) / 2);
    const [y0, x0, high, broad] = span ? [top - aside(span[0], tall), left - aside(span[1], wide), ...span] : whole ? [0, 0, ...cut.shape] : [top - pad, left - pad, tall + 2 * pad, wide + 2 * pad];
    const edge = span ? 40 : 54, above = 18, room = apart(Math.max(y0 + high, x0 + broad));
    const unit = Math.min((width - edge - 6) / broad, tallest / high);
    const right = edge + broad * unit, bottom = above + high * unit;
    const svg = element("svg", { role: "img" });
    const placed = (y, x, h, w) => ({ x: edge + (x - x0) * unit, y: above + (y - y0) * unit, width: w * unit, height: h * unit });
    if (photo && whole) svg.append(element("image", { href: photo, ...placed(0, 0, ...cut.shape), preserveAspectRatio: "none", class: "photo" }));
    if (photo && whole) {
      const [a, b] = [placed(0, 0, ...cut.shape), placed(top, left, tall, wide)];
      const box = (r) => `M${r.x},${r.y}h${r.width}v${r.height}h${-r.width}Z`;
      svg.append(element("path", { d: box(a) + box(b), fill: "#000000", "fill-opacity": 0.75, "fill-rule": "evenodd" }));
    }
    if (photo && !whole) {
      const id = `clip-${Math.random().toString(36).slice(2)}`;
      const clip = element("clipPath", { id });
      clip.append(element("rect", placed(top, left, tall, wide)));
      svg.append(clip, element("image", { href: photo, ...placed(0, 0, ...cut.shape), preserveAspectRatio: "none", class: "photo", "clip-path": `url(#${id})` }));
    }
    if (!photo && cut.holes) svg.append(element("rect", { ...placed(top, left, tall, wide), fill: "url(#hatch)" }));
    svg.append(element("image", { href: cut.url, ...placed(top, left, tall, wide), preserveAspectRatio: "none", class: photo ? "cut" : "cut levels" }));
    svg.append(element("rect", { ...placed(0, 0, ...cut.shape), class: whole ? "edge" : "off" }));
    svg.append(element("rect", { ...placed(...cut.box), class: "frame-under" }), element("rect", { ...placed(...cut.box), class: "frame" }));
    const scaled = side.scales[cut.axes[0]];
    svg.append(text(span ? cut.axes[0] : `${cut.axes[0]}, input positions${scaled ? `, ${short(scaled.step)} ${scaled.unit} each` : ""}`, 0, 11, "start", "unit"));
    svg.append(line(edge, above, edge, bottom, "axis"));
    for (const position of ticks(y0, y0 + high - 1, high * unit / room)) {
      const y = above + (position + 0.5 - y0) * unit;
      svg.append(line(edge - 4, y, edge, y, "tick"), text(position.toLocaleString("en"), edge - 8, y + 4, "end"));
    }
    const under = across(svg, cut.axes[1], side.scales[cut.axes[1]], x0, x0 + broad, edge, right, bottom, Boolean(span), room);
    svg.setAttribute("viewBox", `0 0 ${Math.max(right + 6, span ? 0 : 180)} ${bottom + under}`);
    svg.setAttribute("width", Math.max(right + 6, span ? 0 : 180));
    return named(svg, `Footprint over ${cut.axes.join(" and ")}${cut.through ? `, cut at ${cut.through}` : ""}`);
  }

  async function pixels(url) {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.width, 1];
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    return pen.getImageData(0, 0, image.width, 1).data;
  }

  // One axis: a bar for each position, as high as the logarithm of its paths, and a band below
  // that is filled where positions are read and hatched where they are not.
  async function bars(cut, side, whole, width, span) {
    const bytes = await pixels(cut.url);
    const left = cut.origin[1], wide = cut.size[1], levels = new Int16Array(wide).fill(-1);
    for (let at = 0; at < wide; at++) if (bytes[4 * at + 3]) levels[at] = bytes[4 * at];
    const pad = whole ? 0 : Math.max(1, Math.round(0.02 * wide));
    const first = span ? left - Math.floor((span[1] - wide) / 2) : 0;
    const [from, to] = span ? [first, first + span[1]] : whole ? [0, cut.shape[1]] : [left - pad, left + wide + pad];
    const narrow = width < 500, edge = narrow ? 44 : 64, right = width - 8, above = 26, high = narrow ? 130 : 190, band = 22;
    const floor = above + high, base = floor + 8 + band;
    const svg = element("svg", { role: "img", width });
    const [low, most] = cut.logs, same = most - low < 1e-9;
    const height = (log) => same ? 0.85 * high : high * (0.08 + 0.92 * (log - low) / (most - low));
    const x = (position) => edge + (position - from) / (to - from) * (right - edge);
    svg.append(text(same ? "paths to each position" : "paths to each position, log scale", 0, 12, "start", "unit"));
    const powers = same ? [] : ticks(low, most, 4).filter((log) => log <= most + 1e-9);
    const marks = powers.length > 1 ? powers.map((log) => [log, log < 6 ? (10 ** log).toLocaleString("en") : `1e${log}`])
      : same ? [[low, cut.paths[0]]] : [[low, cut.paths[0]], [most, cut.paths[1]]];
    for (const [log, words] of marks) {
      const y = floor - height(log);
      svg.append(line(edge, y, right, y, "line"), text(words, edge - 8, y + 4, "end"));
    }
    // No finer than the screen: a bar then stands for several positions and shows the highest.
    const per = Math.max(1, Math.ceil((to - from) / (right - edge))), gap = (right - edge) / (to - from) >= 4 ? 0.14 : 0;
    let tops = "", filled = "", holes = "";
    for (let at = 0; at < wide; at += per) {
      let top = -1, read = 0;
      const end = Math.min(at + per, wide);
      for (let one = at; one < end; one++) { top = Math.max(top, levels[one]); read += levels[one] >= 0; }
      const a = x(left + at + gap / 2), w = x(left + end - gap / 2) - a;
      if (read) {
        const tall = height(low + (same ? 0 : top / 255 * (most - low))), share = band * read / (end - at);
        tops += `M${a.toFixed(2)},${floor}h${w.toFixed(2)}v${-tall.toFixed(2)}h${-w.toFixed(2)}z`;
        filled += `M${a.toFixed(2)},${floor + 8 + band}h${w.toFixed(2)}v${-share.toFixed(2)}h${-w.toFixed(2)}z`;
      }
    }
    holes = `M${x(left)},${floor + 8}H${x(left + wide)}v${band}H${x(left)}z`;
    if (cut.holes) svg.append(element("path", { d: holes, fill: "url(#hatch)", class: "holes" }));
    svg.append(element("path", { d: filled, class: "read" }), element("path", { d: tops, class: "read tops" }));
    svg.append(text("read", edge - 8, floor + 8 + band / 2 + 4, "end"));
    const [, start, , size] = cut.box;
    const frame = { x: x(start), y: above - 6, width: x(start + size) - x(start), height: floor - above + 6 };
    svg.append(element("rect", { ...frame, class: "frame" }));
    const under = across(svg, cut.axes[1], side.scales[cut.axes[1]], from, to, edge, right, base + 6);
    svg.setAttribute("viewBox", `0 0 ${width} ${base + 6 + under}`);
    svg.dataset.per = per;
    return named(svg, `Footprint along ${cut.axes[1]}`);
  }

  async function picture(cut, side, whole, width, tallest, span, name = "") {
    const figure = document.createElement("figure");
    if (cut.through || name) {
      const caption = document.createElement("figcaption");
      caption.textContent = name ? name + (cut.through ? `, cut at ${cut.through}` : "") : `Cut at ${cut.through}: ${cut.axes[0]} downwards, ${cut.axes[1]} across`;
      figure.append(caption);
    }
    figure.append(cut.flat ? await bars(cut, side, whole, width, span) : plate(cut, side, whole, width, tallest, span));
    return figure;
  }

  function item(kind, words, inside = "") {
    const made = document.createElement("li"), mark = document.createElement("span");
    mark.className = kind;
    mark.textContent = inside;
    made.append(mark, words);
    return made;
  }
  const paths = (count) => count === "1" ? "one path" : `${count} paths`;
  function keys(found, photo, several = false) {
    const [cut] = found.cuts, [low, most] = cut ? cut.paths : ["", ""], made = [];
    // Each figure has colours of its own: what they stand for differs where its paths do.
    several ||= found.cuts.some((one) => String(one.paths) !== String(cut.paths));
    if (!cut) return made;
    if (cut.flat) made.push(item("swatch seen", low === most ? `read, over ${paths(low)} each` : "read; a bar is as high as the logarithm of its paths"));
    else if (photo) made.push(item("swatch", "the clearer, the more paths; dark is not read"));
    else if (several) made.push(item("swatch once", "read, over the fewest paths"), item("swatch ramp", "to the most, in each figure by itself, log scale"));
    else if (low === most) made.push(item("swatch ramp", `read, over ${paths(low)} each`));
    else {
      made.push(item("swatch once", low === "1" ? "read once" : `read over ${paths(low)}, the fewest`), item("swatch ramp", `to ${most} paths, log scale: equal steps of colour are equal factors`));
    }
    if (several && cut.flat) made[0] = item("swatch seen", "read; bars by the number of paths, log scale in each figure by itself");
    if (found.cuts.some((one) => one.holes) && !photo) made.push(item("swatch hole", "hole: inside the field, not read"));
    made.push(item("swatch frame", "holds 95% of all paths"));
    return made;
  }

  // Schemes of a comparison: the same number of positions in each, so that they compare.
  for (const home of document.querySelectorAll("[data-schemes]")) {
    const shown = data.schemes.map((scheme) => [scheme, scheme.cuts[0]]);
    const most = (axis) => Math.ceil(1.1 * Math.max(...shown.map(([, cut]) => cut.size[axis]))) + 2;
    const span = [most(0), most(1)];
    const show = async () => {
      const inner = home.clientWidth - 2 * parseFloat(getComputedStyle(home).paddingLeft);
      if (inner <= 0) return; // not laid out yet
      const several = inner > 700 ? Math.min(4, shown.length) : 2;
      const width = shown[0][1].flat ? inner : Math.floor((inner - 16 * (several - 1)) / several);
      home.replaceChildren(...await Promise.all(shown.map(([scheme, cut]) => picture(cut, scheme, false, width, width, span, scheme.name))));
      home.dataset.shown = "yes";
    };
    const legend = home.parentElement.querySelector("[data-legend]");
    legend.replaceChildren(...(shown[0][1].flat ? [] : [item("", "axes: input positions")]), ...keys({ cuts: shown.map(([, cut]) => ({ ...cut, paths: ["few", "many"] })) }, "", true));
    let before = -1;
    new ResizeObserver(() => { if (home.clientWidth !== before) { before = home.clientWidth; show(); } }).observe(home);
  }

  const showers = [];
  for (const home of document.querySelectorAll(".footprint")) {
    const side = data.sides[Number(home.dataset.side)];
    const layer = home.querySelector("[data-layer]"), view = home.querySelector("[data-view]");
    if (!layer) { showers.push(() => undefined); continue; }
    const plot = home.querySelector("[data-pictures]");
    let last = 0;
    const show = async () => {
      const found = side.footprints[Number(layer.value)], turn = ++last;
      const inner = plot.clientWidth - 2 * parseFloat(getComputedStyle(plot).paddingLeft);
      if (inner <= 0) return; // not laid out yet
      const several = found.cuts.length > 1 && inner > 700;
      const width = several ? Math.floor((inner - 16 * (found.cuts.length - 1)) / found.cuts.length) : inner;
      const tallest = several ? 340 : Math.min(560, Math.max(280, inner));
      const name = document.createElement("b");
      name.textContent = layer.selectedOptions[0].textContent;
      home.querySelector("[data-text]").replaceChildren(name, ": ", found.text);
      home.querySelector("[data-legend]").replaceChildren(...keys(found, side.image));
      const made = await Promise.all(found.cuts.map((cut) => picture(cut, side, view.value === "input", width, tallest)));
      if (turn !== last) return;
      plot.replaceChildren(...made);
      plot.dataset.shown = layer.selectedOptions[0].textContent;
    };
    // Its first call draws, when the page is laid out anyway.
    let before = -1;
    new ResizeObserver(() => {
      if (plot.clientWidth !== before) { before = plot.clientWidth; show(); }
    }).observe(plot);
    layer.addEventListener("change", show);
    view.addEventListener("change", show);
    showers.push((name) => {
      const option = [...layer.options].find((one) => one.textContent === name);
      if (option) { option.selected = true; show(); home.scrollIntoView({ block: "start" }); layer.focus({ preventScroll: true }); }
    });
  }

  // Findings lead to the footprint of their layer, and mark its row.
  for (const link of document.querySelectorAll("[data-go]")) {
    link.addEventListener("click", () => {
      const side = Number(link.dataset.side);
      mark(side, link.dataset.go);
      showers[side](link.dataset.go);
    });
  }
  function mark(side, name) {
    for (const row of document.querySelectorAll(`.table[data-side="${side}"] tbody tr`)) {
      row.classList.toggle("chosen", row.cells[0].textContent === name);
    }
  }

  // Graphs.
  const KEYS = {
    coverage: [["bar-mark", "how much of its field is read"], ["tint-mark", "violet: it has holes"]],
    cost: [["bar-mark", "its share of all MACs"], ["tint-mark", "redder: costs more"]],
    resolution: [["bar-mark reach", "resolution: full at stride 1, empty at 64, log scale"], ["tint-mark", "bluer: finer"]],
  };
  const MARKS = [
    ["box-mark opens", "thick frame: a module, opens"], ["box-mark", "a layer"],
    ["box-mark end", "input or output"], ["count-mark", "how many findings inside", "n"],
  ];
  for (const home of document.querySelectorAll(".network")) {
    const side = data.sides[Number(home.dataset.side)];
    const open = home.querySelector("[data-open]"), colour = home.querySelector("[data-colour]");
    const drawing = home.querySelector("[data-drawing]"), key = home.querySelector("[data-key]");
    for (const option of open.options) option.disabled = !(option.value in side.graphs);
    const paint = () => {
      const way = colour.value;
      drawing.dataset.way = way;
      for (const box of drawing.querySelectorAll(".box")) {
        const bar = box.querySelector(".bar"), share = Number(box.dataset[way] ?? 0);
        if (!bar) continue;
        const track = box.querySelector(".track").getAttribute("d");
        bar.setAttribute("d", track.replace(/h(-?[\d.]+)/g, (_, wide) => `h${wide * share}`));
        box.style.setProperty("--much", !(way in box.dataset) ? 0 : way === "coverage" ? 1 - share : share);
      }
      key.style.setProperty("--tint", { coverage: "var(--hole)", cost: "var(--seen)", resolution: "var(--reach)" }[way]);
      key.replaceChildren(...[...KEYS[way], ...MARKS].map((one) => item(...one)));
    };
    const show = () => {
      drawing.innerHTML = side.graphs[open.value] ?? "<p>Too many edges cross here to be drawn; open a module.</p>";
      for (const box of drawing.querySelectorAll("[data-module]")) {
        if (!(box.dataset.module in side.graphs)) continue;
        box.setAttribute("tabindex", "0");
        box.setAttribute("role", "button");
        box.setAttribute("aria-label", "Open " + box.querySelector("title").textContent);
        const into = () => { open.value = box.dataset.module; show(); drawing.focus(); };
        box.addEventListener("click", into);
        box.addEventListener("keydown", (event) => {
          if (event.key === "Enter" || event.key === " ") { event.preventDefault(); into(); }
        });
      }
      if (drawing.scrollTop) drawing.scrollTop = 0;
      paint();
    };
    // Back out of a module, to its box.
    drawing.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !open.value) return;
      const left = open.value, parts = left.split(".");
      do parts.pop(); while (parts.length && !(parts.join(".") in side.graphs));
      open.value = parts.join(".");
      show();
      (drawing.querySelector(`[data-module="${CSS.escape(left)}"]`) ?? drawing).focus();
    });
    open.addEventListener("change", show);
    colour.addEventListener("change", paint);
    show();
  }

  // Tables.
  for (const home of document.querySelectorAll(".table")) {
    const body = home.querySelector("tbody"), rows = [...body.rows];
    const filter = home.querySelector("[data-filter]"), every = home.querySelector("[data-every]");
    const count = home.querySelector("[data-count]");
    const heads = [...home.querySelectorAll("thead th")];
    const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    const sift = () => {
      const words = filter.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = texts.get(row);
        row.hidden = (!every.checked && "quiet" in row.dataset) || !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      count.textContent = `${shown} of ${rows.length} layers`;
    };
    heads.forEach((head, at) => {
      head.querySelector("button").addEventListener("click", () => {
        const falling = head.getAttribute("aria-sort") !== "descending" && at !== 0
          || at === 0 && head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        const of = (row) => row.cells[at].dataset.key ?? row.cells[at].textContent;
        const sign = falling ? -1 : 1;
        const number = (text) => text === "-inf" ? -Infinity : Number(text);
        rows.sort((one, two) => {
          const a = of(one), b = of(two);
          return sign * ("key" in one.cells[at].dataset ? number(a) - number(b) || 0 : a.localeCompare(b));
        });
        body.append(...rows);
      });
    });
    filter.addEventListener("input", sift);
    every.addEventListener("change", sift);
    sift();
  }

  root.dataset.ready = "yes";
  setTimeout(draw); // controls answer before charts are laid out
})();
