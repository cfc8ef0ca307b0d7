// What is asked of the server: one edit at a time, in order; of one control the last value counts.
import { reach as sent } from "./transport.js";

const waiting = [];
let busy = false, whenGone = () => {}, whenBack = () => {}, gone = false;

export function onReach(lost, back) { whenGone = lost; whenBack = back; }

async function reach(path, options) {
  try {
    const answer = await sent(path, options);
    if (gone) { gone = false; whenBack(); }
    return answer;
  } catch {
    if (!gone) { gone = true; whenGone(); }
    return null;
  }
}

export async function ask(path, asked) {
  const answer = await reach(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked),
  });
  return answer && answer.ok ? answer.json() : null;
}

export async function sendFile(file, leave) {
  const headers = { "X-File-Name": encodeURIComponent(file.name), "X-Leave": leave };
  const answer = await reach("/file", { method: "POST", headers, body: file });
  if (answer && answer.status === 413) return { problem: `${file.name} is too large for this page: ${await answer.text()}` };
  return answer && answer.ok ? answer.json() : null;
}

// `what` is made into a request when its turn comes: from the stack that is then shown.
export function queue(key, make, take) {
  const last = waiting[waiting.length - 1];
  if (last && key && last.key === key) waiting.pop();
  waiting.push({ key, make, take });
  next();
}

export function isQuiet() { return !busy && !waiting.length; }

async function next() {
  if (busy || !waiting.length) return;
  busy = true;
  const one = waiting.shift();
  try {
    const found = await ask("/edit", one.make());
    if (found) one.take(found);
  } finally {
    busy = false;
    next();
  }
}

setInterval(() => { if (!document.hidden && !busy) reach("/alive", { cache: "no-store" }); }, 4000);
