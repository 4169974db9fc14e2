// The question: a workload, one or several devices, and the knobs that apply to them.

import { announce, byId, debounced, freshId, h, replace } from "./dom.js";
import { combobox } from "./combobox.js";
import { text, whole } from "./format.js";
import { drawNumber, drawStale, numberField } from "./number.js";
import { NUMBERS, appliesTo, set, state } from "./state.js";

const TYPING_MS = 250;
const KNOBS = [
  ["batch", "Batch", "starts together"],
  ["concurrency", "Users in service", "instead of a batch"],
  ["prompt", "Prompt tokens", "of a request"],
  ["generate", "Generated tokens", "of a request"],
  ["count", "Devices", "best division of it"],
];
const SOFTWARE = {
  gpu: ["vllm", "sglang", "trtllm", "tensorrt", "onnxruntime", "llama.cpp"],
  cpu: ["onnxruntime", "litert", "llama.cpp"],
  npu: ["hailo-dfc", "rknn", "litert", "qnn", "onnxruntime"],
  mcu: ["tflite-micro", "x-cube-ai"],
};

const fields = {};
let devices = new Map();
let chips;
let workloadBox;
let deviceBox;
let otherBox;
let pieces = {};

export const deviceRow = (id) => devices.get(id);

function number(name, label, hint) {
  const { box, input } = numberField(name, label, hint);
  fields[name] = input;
  return box;
}

function format() {
  const id = freshId("dtype");
  fields.dtype = h("select", { id, name: "dtype", onchange: (event) => set({ dtype: event.target.value }) });
  return h("div", { class: "field rare" }, h("label", { for: id }, "Number format"), fields.dtype,
    h("small", { class: "hint" }, "of what it computes"));
}

function software() {
  const id = freshId("software");
  const later = debounced((value) => set({ software: value.trim() }), 2 * TYPING_MS);
  pieces.stacks = h("datalist", { id: `${id}-list` });
  fields.software = h("input", {
    id, name: "software", list: `${id}-list`, spellcheck: "false", autocapitalize: "none", placeholder: "none",
    oninput: (event) => later(event.target.value),
  });
  return h("div", { class: "field rare" }, h("label", { for: id }, "Software"), fields.software, pieces.stacks,
    h("small", { class: "hint" }, "runtime or stack"));
}

function costModel() {
  const id = freshId("model");
  fields.model = h("select", { id, name: "model", onchange: (event) => set({ model: event.target.value }) });
  return h("div", { class: "field rare two", hidden: true }, h("label", { for: id }, "Cost model"), fields.model,
    h("small", { class: "hint" }, "what answers"));
}

let models = [];

// The models of one's own to choose from: those of calibrate jobs that are done.
export function setModels(found) {
  models = found;
  drawModels();
}

function drawModels() {
  const named = [["", "that is served"], ["physics", "closed form"], ...models.map(({ id, name }) => [id, name])];
  if (state.model && !named.some(([value]) => value === state.model)) named.push([state.model, state.model]);
  replace(fields.model, named.map(([value, name]) => h("option", { value }, name)));
  fields.model.value = state.model || "";
  fields.model.parentElement.hidden = !models.length && !state.model; // a service without any has nothing to choose
}

export function buildQuestion() {
  workloadBox = combobox({
    label: "Workload", hint: "# networks: type a name, a family or a domain",
    pick: (value) => { set({ workload: value, at: undefined }, { push: true }); announce(`Workload ${value}`); },
  });
  deviceBox = combobox({
    label: "Device", hint: "# devices: type a name, a vendor's name or a kind",
    pick: (value) => set({ on: [value, ...state.on.slice(1).filter((each) => each !== value)] }, { push: true }),
  });
  otherBox = combobox({
    label: "Compare with", hint: "the choice is added to the devices below", clears: true, pick: (value) => addDevices([value]),
  });
  chips = h("ul", { class: "devices", "aria-label": "Chosen devices" });
  pieces.kinds = h("select", { "aria-label": "Add all devices of a kind", onchange: addKind });
  pieces.more = h("button", { type: "button", class: "quiet more", "aria-expanded": "false", "aria-controls": "knobs", onclick: showMore }, "More knobs");
  const form = byId("question");
  form.addEventListener("submit", (event) => event.preventDefault());
  replace(form,
    h("h2", { class: "unseen" }, "Question"),
    h("div", { class: "asks" }, workloadBox.box, deviceBox.box, otherBox.box),
    h("div", { class: "chosen" }, chips, h("span", { class: "many" }, pieces.kinds,
      h("button", { type: "button", class: "quiet", onclick: () => set({ on: [state.on[0]] }, { push: true }) }, "Keep the first"))),
    h("div", { class: "knobs", id: "knobs" }, KNOBS.map((knob) => number(...knob)), format(), software(), costModel()),
    pieces.more);
}

// On a phone's width the rarer knobs wait behind a button.
function showMore() {
  const open = byId("knobs").classList.toggle("open");
  pieces.more.setAttribute("aria-expanded", String(open));
  pieces.more.textContent = open ? "Fewer knobs" : "More knobs";
}

export function setLists(workloads, rows) {
  devices = new Map(rows.map((row) => [row.id, row]));
  workloadBox.setOptions(workloads.map((row) => ({
    value: row.name, name: row.name,
    about: [row.family, row.domain, row.parameters ? `${text(row.parameters, "count")} parameters` : ""].filter(Boolean).join(" · "),
  })));
  const listed = rows.map((row) => ({
    value: row.id, name: row.id,
    about: [row.name, row.kind, text(row.memory_bytes, "bytes"), text(row.bandwidth_bytes_per_s, "bytes_per_s")].join(" · "),
  }));
  deviceBox.setOptions(listed);
  otherBox.setOptions(listed);
  const counts = new Map();
  for (const row of rows) counts.set(row.kind, (counts.get(row.kind) || 0) + 1);
  replace(pieces.kinds, h("option", { value: "" }, "Add a kind …"),
    [...counts].sort().map(([kind, count]) => h("option", { value: kind }, `all ${count} ${kind}`)),
    h("option", { value: "*" }, `all ${rows.length} devices`));
}

function addKind(event) {
  const kind = event.target.value;
  event.target.value = "";
  if (!kind) return;
  addDevices([...devices.values()].filter((row) => kind === "*" || row.kind === kind).map((row) => row.id));
}

function addDevices(ids) {
  const on = [...new Set([...state.on, ...ids])];
  announce(`${ids.length === 1 ? ids[0] : `${ids.length} devices`} added, ${on.length} chosen`);
  set({ on }, { push: true });
}

function chip(id, at) {
  const row = devices.get(id);
  const first = at === 0;
  const remove = h("button", {
    type: "button", class: "remove", "aria-label": `Remove ${id}`,
    onclick: () => {
      set({ on: state.on.filter((each) => each !== id) }, { push: true });
      (chips.querySelectorAll("button.pick")[Math.max(0, at - 1)] || otherBox.input).focus();
    },
  }, "×");
  return h("li", { class: first ? "first" : null },
    h("button", {
      type: "button", class: "pick", "aria-pressed": String(first), title: row ? row.name : id,
      onclick: () => {
        set({ on: [id, ...state.on.filter((each) => each !== id)] }, { push: true });
        chips.querySelector("button.pick").focus();
      },
    }, id),
    state.on.length > 1 ? remove : null);
}

const CHIPS = 12;

function drawChips() {
  const left = state.on.length - CHIPS;
  replace(chips, state.on.slice(0, CHIPS).map(chip), left > 0 ? h("li", { class: "left" }, `and ${whole(left)} more`) : null);
}

function drawFormats(defaults) {
  const row = devices.get(state.on[0]);
  const names = row ? row.formats : [];
  const known = !state.dtype || names.includes(state.dtype) ? names : [state.dtype, ...names];
  const own = !state.dtype && defaults && defaults.dtype ? `${defaults.dtype} (own)` : "its own";
  replace(fields.dtype, h("option", { value: "" }, own), known.map((name) => h("option", { value: name }, name)));
  fields.dtype.value = state.dtype || "";
  replace(pieces.stacks, (SOFTWARE[row ? row.kind : ""] || []).map((name) => h("option", { value: name })));
}

// Shows the state in the form; fields that are being typed into are left alone.
export function drawQuestion() {
  const known = appliesTo(state.workload);
  const defaults = known ? known.defaults : null;
  const shows = {
    batch: !(state.concurrency && (!known || known.generate)), concurrency: !known || known.generate,
    prompt: !known || known.prompt, generate: !known || known.generate, count: true,
  };
  workloadBox.setValue(state.workload);
  deviceBox.setValue(state.on[0]);
  otherBox.setValue("");
  drawChips();
  const comparing = state.view === "compare";
  otherBox.box.hidden = !comparing;
  chips.parentElement.hidden = !comparing && state.on.length < 2;
  pieces.kinds.hidden = !comparing;
  drawFormats(defaults);
  drawModels();
  for (const name of NUMBERS) drawNumber(name, fields[name], shows[name]);
  drawStale();
  if (document.activeElement !== fields.software) fields.software.value = state.software || "";
  document.querySelector(".many").classList.toggle("several", state.on.length > 1);
}
