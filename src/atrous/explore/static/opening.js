// Known networks and .onnx files, as reports in a frame of their own.
import { at, fill, made, say } from "./dom.js";
import { ask, sendFile } from "./server.js";

let shown = "";

export function setUpOpening(known) {
  at("known").append(...known.map((name) => made("option", {}, name)));
  at("known").value = "resnet50";
  at("open").addEventListener("click", () => openReport({ name: at("known").value }));
  at("file").addEventListener("change", () => { if (at("file").files.length) openFile(at("file").files[0]); at("file").value = ""; });
  const drop = at("drop");
  for (const one of [drop, document.body]) {
    one.addEventListener("dragover", (event) => { if (event.dataTransfer?.types.includes("Files")) { event.preventDefault(); drop.classList.add("over"); } });
  }
  document.body.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.body.addEventListener("drop", (event) => {
    drop.classList.remove("over");
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    openFile(event.dataTransfer.files[0]);
  });
}

export const openReport = (asked) => open(asked.name || "the stack", () => ask("/open", { ...asked, leave: shown }));

function openFile(file) {
  if (!file.name.toLowerCase().endsWith(".onnx")) { say("open-problem", `${file.name} is no .onnx file; export the model to ONNX and open that.`); return; }
  open(file.name, () => sendFile(file, shown));
}

async function open(name, made_) {
  say("open-problem");
  at("open-text").textContent = `Reading ${name} ...`;
  const found = await made_();
  at("open-text").textContent = "";
  if (!found || found.problem) {
    say("open-problem", found ? found.problem : "The server did not answer.");
    at("open-problem").scrollIntoView({ block: "nearest" });
    return;
  }
  if (found.summary) { summary(found.summary); return; }
  shown = found.report;
  at("frame").replaceChildren(made("iframe", { title: "Report of the opened network", sandbox: "allow-scripts", src: `/atrous-report/${shown}` }));
  at("opened").hidden = false;
  at("opened").scrollIntoView();
}

// Where no report can be made, its numbers.
function summary({ name, totals, head, rows, findings }) {
  const table = made("table", { "aria-label": `Layers of ${name}` });
  fill(table, "", head, rows);
  at("frame").replaceChildren(
    made("p", {}, `${name}. ${totals} The report with charts: atrous inspect "${name}" --html report.html, where atrous is installed.`),
    ...findings.map((one) => made("p", {}, one)),
    made("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": `Numbers of ${name}` }, table));
  at("opened").hidden = false;
  at("opened").scrollIntoView();
}
