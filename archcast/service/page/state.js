// What the page shows, kept in the hash of its address so that a link shows the same; one event when it changes.

import { whole } from "./format.js";

export const MOST = { batch: 1e7, concurrency: 1e7, prompt: 1e9, generate: 1e9, count: 65536 };
export const NUMBERS = Object.keys(MOST);
export const WORDS = ["dtype", "kv_dtype", "software", "model"];
export const VIEWS = ["predict", "compare", "jobs"];

const START = { view: "predict", workload: "llama-3.1-8b", on: ["h100-sxm"] };
const PLAIN = ["knob", "at", "metric", "scale", "sort", "up", "job"];
const KNOWN = ["view", "workload", "on", ...NUMBERS, ...WORDS, ...PLAIN];
const MOST_DEVICES = 256;
const MOST_SHOWN = 40;

export const state = { ...START };
export const ignored = []; // what the address says and the page cannot use, each with what would be taken
const listeners = [];

export const changed = (listener) => listeners.push(listener);

const tell = (names) => listeners.forEach((listener) => listener(names));

export function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  const before = JSON.stringify(state);
  for (const name of Object.keys(state)) delete state[name];
  Object.assign(state, { ...START, on: [...START.on] });
  ignored.length = 0;
  if (location.search.length > 1) ignore(location.search, "write it behind a #");
  for (const name of given.keys()) if (!KNOWN.includes(name)) ignore(`${name}=${given.get(name)}`, "there is no such word");
  if (VIEWS.includes(given.get("view"))) state.view = given.get("view");
  else if (given.get("view")) ignore(`view=${given.get("view")}`, `takes ${VIEWS.join(", ")}`);
  if (given.get("workload")) state.workload = given.get("workload");
  if (given.get("on")) state.on = [...new Set(given.get("on").split(",").filter(Boolean))].slice(0, MOST_DEVICES);
  for (const name of NUMBERS) {
    if (given.get(name) && isWhole(given, name, MOST[name])) state[name] = Number(given.get(name));
  }
  if (given.get("at") && !isWhole(given, "at", MOST[given.get("knob")] || MOST.batch)) given.delete("at");
  for (const name of [...WORDS, ...PLAIN]) if (given.get(name)) state[name] = given.get(name);
  return JSON.stringify(state) !== before;
}

function ignore(words, takes) {
  ignored.push(`${words.length > MOST_SHOWN ? `${words.slice(0, MOST_SHOWN)}…` : words} (${takes})`);
}

// Says whether the address has a whole number within bounds there; what is none is told, and never asked with.
function isWhole(given, name, most) {
  const words = given.get(name);
  const good = /^\d+$/.test(words) && Number(words) >= 1 && Number(words) <= most;
  if (!good) ignore(`${name}=${words}`, `takes a whole number from 1 to ${whole(most)}`);
  return good;
}

// The address of the view that the page would show with these changes.
export function hashOf(changes = {}) {
  const next = { ...state, ...changes };
  const words = new URLSearchParams();
  for (const name of KNOWN) {
    const value = Array.isArray(next[name]) ? next[name].join(",") : next[name];
    if (value !== undefined && value !== "" && value !== null) words.set(name, value);
  }
  return `#${words.toString().replaceAll("%2C", ",")}`;
}

// Changes the state; `push` makes a step that the back button undoes.
export function set(changes, { push = false } = {}) {
  const names = Object.keys(changes).filter((name) => JSON.stringify(state[name]) !== JSON.stringify(changes[name]));
  if (!names.length) return;
  for (const name of names) {
    if (changes[name] === undefined || changes[name] === "" || changes[name] === null) delete state[name];
    else state[name] = changes[name];
  }
  ignored.length = 0; // the new address does not have it
  history[push ? "pushState" : "replaceState"](null, "", hashOf());
  tell(names);
}

window.addEventListener("popstate", () => {
  if (readHash() || ignored.length) tell(Object.keys(START));
});

// Which sizes a workload takes, learned from what its answers repeat of the question.
const applies = new Map();

export function learn(workload, request) {
  const found = { prompt: "prompt" in request, generate: "generate" in request, defaults: { ...request } };
  applies.set(workload, found);
  return found;
}

export const appliesTo = (workload) => applies.get(workload);

// The arguments of one prediction; what does not apply to the workload is left out.
export function question(on = state.on[0], changes = {}) {
  const known = appliesTo(state.workload) || { prompt: true, generate: true };
  const body = { workload: state.workload, on };
  const all = { ...state, ...changes };
  for (const name of [...NUMBERS, ...WORDS]) {
    if (all[name] === undefined || all[name] === "") continue;
    if ((name === "prompt" || name === "generate") && !known[name]) continue;
    if (name === "concurrency" && !known.generate) continue;
    if (name === "batch" && all.concurrency && known.generate) continue;
    if (name === "count" && all[name] === 1) continue;
    body[name] = all[name];
  }
  return body;
}
