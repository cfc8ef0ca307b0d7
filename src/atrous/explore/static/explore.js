// The page: its state is a stack, which the server edits and the address holds.
import { at, enable, fill, made, say } from "./dom.js";
import * as dots from "./dots.js";
import * as footprint from "./footprint.js";
import { openReport, setUpOpening } from "./opening.js";
import { ask, isQuiet, onReach, queue } from "./server.js";
import * as slide from "./slide.js";
import { begun, LINK } from "./transport.js";

const first = await begun(JSON.parse(at("first").textContent));
let now = first.state, beside = first.beside, filling = false, have = {};
const step = { n: 0, last: 0, key: "", time: 0, live: false };
const PROBLEMS = ["stack-problem", "shape-problem", "layer-problem", "convert-problem"];

// Edits.

// `where` is the place for what keeps an edit from being made; `key` joins edits of one control.
function edit(make, { where = "layer-problem", field = null, key = "", focus = null, after = null, live = false } = {}) {
  queue(key, () => ({ stack: now.stack, input: now.input, place: now.place, have, ...make() }), (found) => {
    if (found.problem) { refuse(found, where, field); return; }
    take(found, { key, live });
    focus?.();
    after?.(found);
  });
}

function refuse(found, where, field) {
  say(where, found.problem);
  field?.setAttribute("aria-invalid", "true");
  if (found.branches) offer(at(where), { stack: at("stack").value, input: now.input });
  document.body.dataset.stale = "yes";
  say("stale", `Still the picture of the last stack that can be: ${now.stack.length > 60 ? `${now.stack.slice(0, 57)}...` : now.stack}`);
}

// Nothing is refused any more: what the fields say is what is shown.
function unrefuse() {
  for (const id of PROBLEMS) say(id);
  document.querySelectorAll("[aria-invalid]").forEach((one) => one.removeAttribute("aria-invalid"));
  delete document.body.dataset.stale;
  say("stale");
}

// What is shown, back into a field whose text was refused.
function giveBack(field) {
  if (field.dataset.part) field.value = now.parts.layers[now.place][field.dataset.part];
  else field.value = field.id === "stack" ? now.stack : now.input;
  unrefuse();
}

// A stack that is not edited here is looked at as a report.
function offer(place, asked) {
  const button = made("button", { type: "button" }, "Show it as a report");
  button.addEventListener("click", () => openReport(asked));
  place.append(" ", button);
}

function take(found, { key = "", live = false, move = true } = {}) {
  const changed = found.stack !== now.stack || found.input !== now.input;
  now = { ...found, parts: { ...now.parts, ...found.parts } };
  have = found.have;
  unrefuse();
  if (found.verdict) beside = found.beside;
  if (changed) { forgetBetter(); say("link-problem"); at("convert-text").textContent = ""; }
  show(found.parts, changed);
  if (found.verdict) {
    at("convert-text").textContent = `${found.verdict}: the old stack is beside it, further up.`;
    at("beside").value = beside;
  }
  if (move) remember(key, live, changed);
  if (changed) rest();
}

// Showing: what came is drawn before anything else is asked for.

function show(parts, fresh) {
  const all = now.parts, layer = all.layers[now.place];
  filling = true;
  for (const [id, text] of [["stack", now.stack], ["shape", now.input]]) {
    const field = at(id);
    // What is being typed is not rewritten under the hands.
    if (document.activeElement !== field && field.value !== text) field.value = text;
  }
  for (const field of document.querySelectorAll("[data-part]")) {
    const part = field.dataset.part, text = layer[part];
    if ((document.activeElement !== field || fresh === "all") && field.value.replaceAll(" ", "") !== text) field.value = text;
    if (document.activeElement === field && field.value.replaceAll(" ", "") !== text && field.dataset.of !== String(now.place)) field.value = text;
    field.dataset.of = String(now.place);
    field.disabled = (layer.kind === "up" && ["kernel", "dilation", "padding"].includes(part))
      || (part === "channels" && ["max", "avg", "up"].includes(layer.kind));
  }
  filling = false;
  at("layer-name").textContent = layer.name;
  enable(at("remove"), all.layers.length > 1);
  enable(at("up"), now.place < all.layers.length - 1);
  enable(at("down"), now.place > 0);
  dots.show(parts.dots, all.layers, now.place, fresh === "all");
  if (parts.footprint) footprint.show(parts.footprint);
  if (parts.slide) slide.show(parts.slide);
  if (parts.numbers) fill(at("numbers"), "Layers", first.heads.layers, parts.numbers);
  if (parts.headline) headline(parts.headline);
  const preset = first.presets.findIndex((one) => one.stack === now.stack && one.input === now.input);
  at("preset").value = preset < 0 ? "" : String(preset);
  at("lesson").textContent = preset < 0 ? "" : first.presets[preset].lesson;
}

function headline(said) {
  const number = (text) => made("b", {}, (text.includes("x") ? text.split("x") : said.axes.map(() => text)).join(" × "));
  at("headline").replaceChildren(
    "One output sees ", number(said.field), said.axes.length === 1 && said.field === "1" ? " position" : " positions",
    ...(said.all ? [" and reads all of them."] : [" and reads only ", number(said.read), "."]));
  at("totals").textContent = said.totals;
}

// Findings, schemes and code come when edits rest.
let asked = 0;
async function rest() {
  const turn = ++asked;
  await new Promise((ready) => setTimeout(ready, 60));
  for (let tries = 0; turn === asked && tries < 40; tries++) {
    if (!isQuiet() || step.live) { await new Promise((ready) => setTimeout(ready, 60)); continue; }
    const language = document.querySelector("[name=language]:checked").value;
    const found = await ask("/rest", { stack: now.stack, input: now.input, beside, code: language });
    if (turn !== asked || !found || found.problem) return;
    if (!found.whole) { await new Promise((ready) => setTimeout(ready, 60)); continue; }
    findings(found.findings);
    fill(at("schemes"), "Schemes", first.heads.schemes, found.schemes);
    say("beside-problem", found.besideProblem);
    say("code-problem", found.codeProblem || "");
    at("code").textContent = found.code || "";
    at("code").hidden = !found.code;
    document.body.dataset.rest = now.query;
    return;
  }
}

function findings(list) {
  at("findings").replaceChildren(...(list.length ? list.map((one) => {
    const home = made("div", { class: `finding ${one.severity}` },
      made("p", { class: "title" }, `${one.severity}: ${one.code}, ${one.layer}`),
      made("p", {}, one.message), made("p", { class: "quiet" }, one.fix));
    if (one.mend) {
      const button = made("button", { type: "button", class: "mend" }, `Apply: ${one.mend.what}`);
      button.addEventListener("click", () => set(one.mend.stack, one.mend.input));
      home.append(button);
    }
    return home;
  }) : [made("p", { class: "fine" }, "Nothing needs attention.")]));
}

// Schedules that see as far for no more, when they are asked for.
async function better() {
  const stack = now.stack, input = now.input, place = at("better-found");
  forgetBetter();
  place.hidden = false;
  place.replaceChildren(made("p", { class: "quiet" }, "Searching..."));
  const found = await ask("/better", { stack, input });
  if (stack !== now.stack || input !== now.input) return;
  if (!found || found.problem) { forgetBetter(); say("better-problem", found ? found.problem : ""); return; }
  place.replaceChildren(
    made("p", { class: found.offers.length ? "quiet" : "fine" }, found.said),
    ...found.offers.map((one) => {
      const button = made("button", { type: "button", class: "mend" }, `Apply: ${one.stack}`);
      button.addEventListener("click", () => set(one.stack, one.input));
      return made("p", { class: "offer" }, button, ` ${one.what}`);
    }));
}

function forgetBetter() {
  at("better-found").hidden = true;
  at("better-found").replaceChildren();
  say("better-problem");
}

// The address and the way back.

function remember(key, live, changed) {
  const state = { stack: now.stack, input: now.input, place: now.place, beside };
  const soon = key && key === step.key && performance.now() - step.time < 1000;
  if (!changed || soon || (live && step.live)) history.replaceState({ ...state, n: step.n }, "", ...(key === "beside" ? [] : [`?${now.query}`]));
  else {
    step.n += 1;
    step.last = step.n;
    history.pushState({ ...state, n: step.n }, "", `?${now.query}`);
  }
  if (changed) { step.key = key; step.time = performance.now(); step.live = live; }
  steps();
}

function steps() {
  enable(at("undo"), step.n > 0);
  enable(at("redo"), step.n < step.last);
  sessionStorage.setItem("atrous-last", String(step.last));
}

addEventListener("popstate", (event) => {
  const to = event.state;
  if (!to) return;
  step.n = to.n;
  step.key = "";
  beside = to.beside;
  at("beside").value = beside;
  queue("", () => ({ stack: to.stack, input: to.input, place: to.place, have, do: { what: "show" } }), (found) => {
    if (found.problem) return;
    take(found, { move: false });
    show(found.parts, "all");
  });
  steps();
});

// A whole stack at once, from a preset or a fix.
function set(stack, input, after = null) {
  queue("", () => ({ stack, input, place: 400, have, do: { what: "show" } }), (found) => {
    if (found.problem) { refuse(found, "stack-problem", null); return; }
    take(found);
    show({}, "all");
    after?.();
  });
}

// Controls.

function setUp() {
  at("preset").append(made("option", { value: "" }, "your own stack"), ...first.presets.map((one, place) => made("option", { value: place }, one.title)));
  at("preset").addEventListener("change", (event) => {
    const preset = first.presets[event.target.value];
    if (!preset) return;
    beside = preset.beside;
    at("beside").value = beside;
    if (preset.outputStride) at("output-stride").value = preset.outputStride;
    set(preset.stack, preset.input);
  });
  document.querySelector("[data-part=kind]").append(...Object.entries(first.kinds).map(([kind, name]) => made("option", { value: kind }, name)));
  at("stack").addEventListener("input", (event) => edit(() => ({ do: { what: "stack", text: event.target.value } }), { where: "stack-problem", field: event.target, key: "stack" }));
  at("shape").addEventListener("input", (event) => edit(() => ({ do: { what: "input", text: event.target.value } }), { where: "shape-problem", field: event.target, key: "shape" }));
  for (const field of document.querySelectorAll("[data-part]")) {
    field.addEventListener(field.tagName === "SELECT" ? "change" : "input", () => {
      if (!filling) part(now.place, field.dataset.part, field.value, false, field);
    });
  }
  at("better").addEventListener("click", better);
  at("add").addEventListener("click", () => edit(() => ({ do: { what: "add" } })));
  at("remove").addEventListener("click", () => edit(() => ({ do: { what: "remove" } })));
  at("up").addEventListener("click", () => move(now.place, now.place + 1));
  at("down").addEventListener("click", () => move(now.place, now.place - 1));
  at("convert").addEventListener("click", () => edit(() => ({ do: { what: "convert", outputStride: Number(at("output-stride").value) } }), { where: "convert-problem" }));
  at("beside").value = beside;
  at("beside").addEventListener("input", (event) => { beside = event.target.value; remember("beside", false, false); rest(); });
  at("languages").append(...first.codes.map((name, place) => {
    const radio = made("input", { type: "radio", name: "language", value: name, ...(place ? {} : { checked: "" }) });
    radio.addEventListener("change", rest);
    return made("label", {}, radio, ` ${name}`);
  }));
  at("undo").addEventListener("click", () => history.back());
  at("redo").addEventListener("click", () => history.forward());
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.matches("[aria-invalid]")) giveBack(event.target);
    if (!(event.ctrlKey || event.metaKey) || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const key = event.key.toLowerCase(), back = key === "z" && !event.shiftKey, on = key === "y" || (key === "z" && event.shiftKey);
    if (!back && !on) return;
    event.preventDefault();
    if (back && step.n > 0) history.back();
    if (on && step.n < step.last) history.forward();
  });
  at("copy-link").addEventListener("click", () => copy(location.href, LINK));
  at("copy-command").addEventListener("click", () => copy(`atrous explore "${now.stack}" --input ${now.input}`, "The command opens this stack wherever atrous is installed"));
  at("theme").addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    theme(dark ? "light" : "dark");
    localStorage.setItem("atrous-theme", dark ? "light" : "dark");
  });
}

function theme(name) {
  document.documentElement.dataset.theme = name;
}

async function copy(text, said) {
  let done = true;
  try { await navigator.clipboard.writeText(text); } catch { done = false; }
  say("said", done ? `Copied. ${said}.` : `${said}: ${text}`);
}

function part(place, name, text, live, field = null) {
  edit(() => ({ place, do: { what: "part", part: name, text } }), { key: `${place} ${name}${live ? " live" : ""}`, field, live });
}
function move(place, to) {
  edit(() => ({ place, do: { what: "move", to } }), {
    focus: () => document.activeElement?.dataset?.place !== undefined && document.querySelector(`[data-place="${to}"]`)?.focus(),
  });
}

dots.setUp({
  part,
  move,
  choose: (place) => edit(() => ({ place, do: { what: "show" } }), { key: "choose" }),
  settled: () => { step.live = false; step.key = ""; },
});
slide.setUp();
setUp();
setUpOpening(first.known);
onReach(
  () => say("gone", "The server has stopped, so nothing is answered any more. Run `atrous explore` again: this page goes on where it was."),
  () => { say("gone"); rest(); },
);
const kept = localStorage.getItem("atrous-theme");
if (kept) theme(kept);
say("link-problem", first.problem && `${first.problem} The first lesson is shown instead.`);
if (first.branches) {
  const given = new URLSearchParams(first.branches);
  offer(at("link-problem"), { stack: given.get("stack"), input: given.get("input") });
}
have = now.have;
const was = history.state;
if (was && was.stack === now.stack) {
  step.n = was.n;
  step.last = Math.max(Number(sessionStorage.getItem("atrous-last") || 0), was.n);
  beside = was.beside;
  at("beside").value = beside;
} else history.replaceState({ stack: now.stack, input: now.input, place: now.place, beside, n: 0 }, "");
steps();
show(now.parts, "all");
rest();
window.atrous = { where: dots.where, state: dots.state, rings: dots.rings };
