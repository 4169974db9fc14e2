// What the page shows, kept in the hash of its address so that a link shows the same; one event when it changes.

export const NUMBERS = ["batch", "concurrency", "prompt", "generate", "count"];
export const WORDS = ["dtype", "kv_dtype", "software"];
export const VIEWS = ["predict", "compare", "jobs"];

const START = { view: "predict", workload: "llama-3.1-8b", on: ["h100-sxm"] };
const PLAIN = ["knob", "at", "metric", "scale", "sort", "up", "job"];
const MOST_DEVICES = 256;

export const state = { ...START };
const listeners = [];

export const changed = (listener) => listeners.push(listener);

const tell = (names) => listeners.forEach((listener) => listener(names));

export function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  const before = JSON.stringify(state);
  for (const name of Object.keys(state)) delete state[name];
  Object.assign(state, { ...START, on: [...START.on] });
  if (VIEWS.includes(given.get("view"))) state.view = given.get("view");
  if (given.get("workload")) state.workload = given.get("workload");
  if (given.get("on")) state.on = [...new Set(given.get("on").split(",").filter(Boolean))].slice(0, MOST_DEVICES);
  for (const name of NUMBERS) {
    const value = Number(given.get(name));
    if (given.has(name) && Number.isSafeInteger(value) && value > 0) state[name] = value;
  }
  for (const name of [...WORDS, ...PLAIN]) if (given.get(name)) state[name] = given.get(name);
  return JSON.stringify(state) !== before;
}

// The address of the view that the page would show with these changes.
export function hashOf(changes = {}) {
  const next = { ...state, ...changes };
  const words = new URLSearchParams();
  for (const name of ["view", "workload", "on", ...NUMBERS, ...WORDS, ...PLAIN]) {
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
  history[push ? "pushState" : "replaceState"](null, "", hashOf());
  tell(names);
}

window.addEventListener("popstate", () => {
  if (readHash()) tell(Object.keys(START));
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
