// The explorer's answers, by the library's own Python.
import { loadPyodide } from "../pyodide/pyodide.mjs";

let answer = null;

async function start() {
  const here = new URL("..", import.meta.url).href;
  const [python, code] = await Promise.all([
    loadPyodide({ indexURL: `${here}pyodide/` }),
    fetch(`${here}atrous.zip`).then((found) => { if (!found.ok) throw new Error(`atrous.zip: ${found.status}`); return found.arrayBuffer(); }),
  ]);
  python.unpackArchive(code, "zip", { extractDir: "/atrous" });
  python.runPython("import sys; sys.path.insert(0, '/atrous')");
  answer = python.pyimport("atrous.explore.hosted").replied;
  answer("/edit", JSON.stringify({ stack: "k3d2 k3", input: "1,8,16,16", do: { what: "show" } }));
  python.pyimport("atrous.explore.pauses").quiet_collector();
}

const started = start().then(() => postMessage({ ready: true }), (error) => postMessage({ failed: String(error.message || error).split("\n").at(-2) || String(error) }));

onmessage = async ({ data }) => {
  await started;
  postMessage({ turn: data.turn, text: answer(data.path, data.body) });
};
