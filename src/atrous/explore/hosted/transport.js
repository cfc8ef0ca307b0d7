// How the page reaches what answers it: here the same Python, in two workers of the browser. One
// answers edits, so that they wait for nothing; the other all that takes longer.
import { at, say } from "./dom.js";

export const LINK = "The link holds this stack, and opens wherever this page does";

const STARTING = "Python is starting in this page; what you change is shown when it is there.";
const reply = (found, status = 200) => new Response(JSON.stringify(found), { status });

class Answering {
  constructor() { this.asked = new Map(); this.turn = 0; }
  start() {
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.ready = new Promise((resolve, reject) => {
      this.worker.onmessage = ({ data }) => {
        if (data.ready) { resolve(); return; }
        if (data.failed) { reject(new Error(data.failed)); return; }
        this.asked.get(data.turn)(data.text);
        this.asked.delete(data.turn);
      };
      this.worker.onerror = (event) => reject(new Error(event.message || "the worker did not load"));
    });
    return this.ready;
  }
  async ask(path, body) {
    await this.ready;
    return new Promise((done) => {
      this.asked.set(++this.turn, done);
      this.worker.postMessage({ turn: this.turn, path, body });
    });
  }
}

const edits = new Answering(), later = new Answering();
edits.start().then(() => { say("said"); document.body.dataset.python = "yes"; return later.start(); }).catch((error) => {
  say("said");
  say("gone", `Python did not start in this page, so nothing can be changed: ${error.message}. It needs WebAssembly, and a web host (it does not open from a file).`);
});
delete document.body.dataset.unstarted;
say("said", STARTING);
document.querySelector("#drop p").textContent = "Known networks are read in this page. An .onnx file is read by the installed package: atrous explore, or atrous inspect FILE --html report.html.";
at("file").closest(".steps").hidden = true;

export async function begun(first) {
  return location.search ? JSON.parse(await edits.ask("/begin", JSON.stringify({ query: location.search.slice(1) }))) : first;
}

// Of what follows from edits the last one counts.
let busy = null, next = null;
async function following(body) {
  if (busy) {
    next?.(false);
    if (!await new Promise((go) => { next = go; })) return reply({}, 409);
    next = null;
  }
  busy = true;
  try {
    await edits.ready;
    while (!later.ready) await new Promise((go) => setTimeout(go, 20));
    return new Response(await later.ask("/rest", body));
  } finally {
    busy = null;
    next?.(true);
  }
}

export async function reach(path, options) {
  if (path === "/alive") return new Response();
  if (path === "/file") return reply({ problem: "An .onnx file is read by the installed package: atrous inspect FILE --html report.html." });
  if (path === "/rest") return following(options.body);
  return new Response(await edits.ask(path, options.body));
}
