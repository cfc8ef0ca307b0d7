"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const SVG = "http://www.w3.org/2000/svg";

  // Theme: what the system prefers, until the button says otherwise.
  const button = document.getElementById("theme");
  const prefers = matchMedia("(prefers-color-scheme: dark)");
  let views = [];

  function ink() {
    const style = getComputedStyle(root);
    const of = (name) => style.getPropertyValue(name).trim();
    const axis = {
      labelColor: of("--ink"), titleColor: of("--ink"), domainColor: of("--faint"),
      tickColor: of("--faint"), gridColor: of("--line"),
    };
    return {
      background: null, axis, view: { stroke: of("--line") },
      title: { color: of("--ink"), anchor: "start" },
      legend: { labelColor: of("--ink"), titleColor: of("--ink") },
      font: "system-ui, sans-serif",
    };
  }

  async function draw() {
    const config = ink();
    views.forEach((view) => view.finalize());
    views = [];
    for (const place of document.querySelectorAll("[data-chart]")) {
      const spec = data.charts[Number(place.dataset.chart)];
      const options = { config, renderer: "svg", actions: false, tooltip: { theme: root.dataset.theme } };
      views.push(await window.vegaEmbed(place, spec, options));
    }
    root.dataset.drawn = "yes";
  }

  function wear(theme) {
    root.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
  }
  button.addEventListener("click", () => {
    wear(root.dataset.theme === "dark" ? "light" : "dark");
    draw();
  });
  prefers.addEventListener("change", () => { wear(prefers.matches ? "dark" : "light"); draw(); });
  wear(prefers.matches ? "dark" : "light");

  // Paper is white: charts are drawn for it, and again for the screen.
  let before = "";
  addEventListener("beforeprint", () => { before = root.dataset.theme; if (before === "dark") { wear("light"); draw(); } });
  addEventListener("afterprint", () => { if (before === "dark") { wear("dark"); draw(); } });

  function element(name, attributes) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  // Footprints.
  function picture(cut, whole, photo) {
    const [top, left] = cut.origin, [tall, wide] = cut.size;
    const pad = whole ? 0 : Math.max(1, Math.round(0.04 * Math.max(tall, wide)));
    const view = whole ? [0, 0, cut.shape[1], cut.shape[0]]
      : [left - pad, top - pad, wide + 2 * pad, tall + 2 * pad];
    const svg = element("svg", { viewBox: view.join(" "), role: "img", preserveAspectRatio: cut.shape[0] === 1 ? "none" : "xMidYMid meet" });
    if (cut.shape[0] === 1) svg.style.height = "3.2rem";
    const named = document.createElementNS(SVG, "title");
    named.textContent = "Footprint over " + cut.axes.filter(Boolean).join(" and ");
    svg.append(named);
    const box = { x: left, y: top, width: wide, height: tall, preserveAspectRatio: "none" };
    if (photo) {
      svg.append(element("image", { href: photo, x: 0, y: 0, width: cut.shape[1], height: cut.shape[0], preserveAspectRatio: "none", class: "photo" }));
      const all = `M0,0H${cut.shape[1]}V${cut.shape[0]}H0ZM${left},${top}V${top + tall}H${left + wide}V${top}Z`;
      svg.append(element("path", { d: all, fill: "#000000", "fill-opacity": 0.75 }));
      svg.append(element("image", { ...box, href: cut.url }));
    } else {
      svg.append(element("image", { ...box, href: cut.url }));
    }
    const [y, x, high, across] = cut.box;
    svg.append(element("rect", { x, y, width: across, height: high, class: "frame" }));
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const along = (axis, start, length) => axis ? `${axis} ${start} to ${start + length - 1}` : "";
    caption.textContent = [along(cut.axes[0], top, tall), along(cut.axes[1], left, wide), cut.through].filter(Boolean).join(", ");
    figure.append(svg, caption);
    return figure;
  }

  const showers = [];
  for (const home of document.querySelectorAll(".footprint")) {
    const side = data.sides[Number(home.dataset.side)];
    const layer = home.querySelector("[data-layer]"), view = home.querySelector("[data-view]");
    if (!layer) { showers.push(() => undefined); continue; }
    const show = () => {
      const found = side.footprints[Number(layer.value)];
      const whole = view.value === "input";
      home.querySelector("[data-pictures]").replaceChildren(...found.cuts.map((cut) => picture(cut, whole, side.image)));
      home.querySelector("[data-text]").textContent = found.text;
    };
    layer.addEventListener("change", show);
    view.addEventListener("change", show);
    showers.push((name) => {
      const option = [...layer.options].find((one) => one.textContent === name);
      if (option) { option.selected = true; show(); home.scrollIntoView({ block: "start" }); }
    });
    show();
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
    coverage: ["none of the field read", "all of it"],
    cost: ["no MACs", "all of them"],
    resolution: ["stride 64", "stride 1"],
  };
  for (const home of document.querySelectorAll(".network")) {
    const side = data.sides[Number(home.dataset.side)];
    const open = home.querySelector("[data-open]"), colour = home.querySelector("[data-colour]");
    const drawing = home.querySelector("[data-drawing]"), key = home.querySelector("[data-key]");
    for (const option of open.options) option.disabled = !(option.value in side.graphs);
    const paint = () => {
      for (const box of drawing.querySelectorAll(".box")) {
        const fill = box.dataset[colour.value];
        if (!fill) continue;
        box.querySelector("rect").setAttribute("fill", fill);
        for (const text of box.querySelectorAll(":scope > text")) text.setAttribute("fill", box.dataset[colour.value + "Ink"]);
      }
      const bar = document.createElement("span");
      bar.style.background = "linear-gradient(to right, rgb(0 32 76), rgb(108 109 114), rgb(255 233 69))";
      key.replaceChildren(KEYS[colour.value][0], bar, KEYS[colour.value][1]);
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
      drawing.scrollTop = 0;
      paint();
    };
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
  draw();
})();
