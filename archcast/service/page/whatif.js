// What if: one request fetches a knob's whole curve, and dragging the slider only looks its points up.

import { columnar, latest, predictRows } from "./api.js";
import { announce, byId, debounced, freshId, h, replace } from "./dom.js";
import { EDGES, drawCurve } from "./curve.js";
import { digits, shown, text, whole } from "./format.js";
import { say, sentence } from "./number.js";
import { axisOf } from "./quantities.js";
import { MOST, appliesTo, question, set, state } from "./state.js";

const EXACT_MS = 250;
const POINTS = 49;
const FEW = 13; // points where columns cannot ask: each is a search for the best division, or a service in balance
const WIDE = 10000; // steps of the slider; it rests on points only
const KNOBS = {
  batch: { label: "Batch", from: 1, to: 512 },
  concurrency: { label: "Users in service", from: 1, to: 256 },
  prompt: { label: "Prompt tokens", from: 16, to: 16384 },
  generate: { label: "Generated tokens", from: 1, to: 4096 },
  count: { label: "Devices", from: 1, to: 64, powers: true },
};
// What follows from a row and its question; an interval of a rate has its ends exchanged.
const over = (quantity, top) => ({ value: top / quantity.value, lo: top / quantity.hi, hi: top / quantity.lo });
// Chips that work on several inputs at once finish more than batch over latency: only a whole answer knows their rate.
const DERIVED = {
  rate_hz: (row, asked) => row.rate_hz || (derives && row.latency_s && over(row.latency_s, asked.batch)),
  tokens_per_s: (row, asked) => row.tokens_per_s || (derives && row.latency_s && asked.generate && over(row.latency_s, asked.batch * asked.generate)),
};
const METRICS = ["latency_s", "ttft_s", "tpot_s", "rate_hz", "tokens_per_s", "energy_j", "memory_bytes", "cost_usd"];

const run = latest();
let parts;
let points = []; // [{x, row}]
let at = 0;
let moves = 0; // of the handle, so that an answer that comes during a drag leaves it where it is
let picture = null;
let fetched = "";
let derives = false;
let fitsNow = true; // where the question does not fit, more devices are the first thing to try

const knobNow = () => {
  const offered = offeredKnobs();
  return offered.includes(state.knob) ? state.knob : fitsNow ? offered[0] : "count";
};
function metricNow() {
  if (offeredMetrics().includes(state.metric)) return state.metric;
  return points.length && points.every((point) => point.row.verdict !== "feasible") ? "memory_bytes" : "latency_s";
}

function offeredKnobs() {
  const known = appliesTo(state.workload);
  const names = state.concurrency && (!known || known.generate) ? ["concurrency"] : ["batch"];
  if (!known || known.prompt) names.push("prompt");
  if (!known || known.generate) names.push("generate");
  if ((!known || known.generate) && names[0] === "batch") names.push("concurrency");
  return [...names, "count"];
}

const quantityOf = (point, field) => (DERIVED[field] ? DERIVED[field](point.row, point.asked) : point.row[field]);
const offeredMetrics = () => METRICS.filter((field) => field === "latency_s" || points.some((point) => quantityOf(point, field)));

function valueNow(knob) {
  const known = appliesTo(state.workload);
  return state[knob] ?? (known && known.defaults[knob]) ?? 1;
}

function grid(knob, log) {
  const { from, to, powers } = KNOBS[knob];
  const count = knob !== "concurrency" && columnar([question()]) ? POINTS : FEW;
  const now = Math.max(valueNow(knob), Number(state.at) || 0);
  const most = Math.max(to, 2 ** Math.ceil(Math.log2(Math.max(now, 1))));
  const values = new Set([valueNow(knob)]);
  for (let value = 1; powers && value <= most; value *= 2) values.add(value);
  for (let i = 0; !powers && i < count; i += 1) {
    const share = i / (count - 1);
    values.add(Math.round(log ? from * (most / from) ** share : from + share * (most - from)));
  }
  if (Number(state.at) > 0 && Number.isSafeInteger(Number(state.at))) values.add(Number(state.at));
  return [...values].filter((value) => value >= 1).sort((a, b) => a - b);
}

export function buildWhatif() {
  const ids = ["knob", "metric", "slide", "exact"].map(freshId);
  parts = {
    knob: h("select", { id: ids[0], onchange: (event) => set({ knob: event.target.value, at: undefined }) }),
    metric: h("select", { id: ids[1], onchange: (event) => { set({ metric: event.target.value }); draw(); } }),
    log: h("input", { type: "checkbox", onchange: (event) => set({ scale: event.target.checked ? undefined : "linear" }) }),
    slide: h("input", {
      id: ids[2], type: "range", min: 0, max: WIDE, step: 1, class: "slide", onkeydown: byKey,
      oninput: (event) => { if (picture) moveTo(picture.nearest(Number(event.target.value) / WIDE)); },
    }),
    slideLabel: h("label", { for: ids[2], class: "unseen" }),
    exact: h("input", { id: ids[3], type: "number", inputmode: "numeric", min: 1, step: 1, "aria-describedby": `${ids[3]}-fault`, oninput: typedExact }),
    fault: h("small", { class: "fault", id: `${ids[3]}-fault`, "aria-live": "polite" }),
    use: h("button", { type: "button", onclick: () => set({ [knobNow()]: points[at].x }) }, "Ask"),
    chart: h("div", { class: "chart" }),
    readout: h("div", { class: "readout" }),
    wait: h("p", { class: "note", hidden: true }, "Asking …"),
  };
  replace(byId("whatif"),
    h("div", { class: "headrow" },
      h("div", null, h("h2", { id: "whatif-title" }, "What if"),
        h("p", { class: "lead" }, "Drag, or use the arrow keys: every point is an answer of its own, with its interval. The dashed line is the question above.")),
      h("div", { class: "controls" },
        h("div", { class: "field" }, h("label", { for: ids[0] }, "Knob"), parts.knob),
        h("div", { class: "field" }, h("label", { for: ids[1] }, "Shows"), parts.metric),
        h("label", { class: "check" }, parts.log, "Log scale"))),
    parts.readout, parts.chart, parts.wait,
    h("div", { class: "slider" }, parts.slideLabel, parts.slide),
    h("div", { class: "exactly" }, h("label", { for: ids[3] }, "Exactly"), parts.exact, parts.use, parts.fault));
  parts.slide.style.setProperty("--left", `${EDGES.left}px`);
  parts.slide.style.setProperty("--right", `${EDGES.right}px`);
  new ResizeObserver(debounced(() => { if (points.length) draw(); }, 120)).observe(parts.chart);
}

// Keys go from point to point, whose places on the slider are those of the drawing.
function byKey(event) {
  const steps = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, PageUp: at + 5, PageDown: at - 5, Home: 0, End: points.length - 1 };
  if (!(event.key in steps) || !points.length) return;
  event.preventDefault();
  moveTo(steps[event.key]);
}

const typedExact = debounced(() => {
  const value = Number(parts.exact.value);
  const most = MOST[knobNow()];
  const good = Number.isSafeInteger(value) && value >= 1 && value <= most;
  const empty = parts.exact.value === "" && !parts.exact.validity.badInput;
  say(parts.exact, parts.fault, good || empty ? "" : sentence(most));
  if (!good) return;
  const known = points.findIndex((point) => point.x === value);
  if (known >= 0) moveTo(known);
  else {
    keepAt.cancel(); // of a place that the handle has left
    set({ at: String(value) });
  }
}, EXACT_MS);

// Fetches the curve where the question is another one; `force` asks again (a new token).
export async function refreshWhatif({ force = false, answer = null, handleOnly = false } = {}) {
  if (answer) {
    fitsNow = answer.verdict === "feasible";
    derives = fitsNow && !answer.request.concurrency && Math.abs((answer.rate_hz.value * answer.latency_s.value) / answer.request.batch - 1) < 1e-6;
  }
  const knob = knobNow();
  const log = state.scale !== "linear";
  const values = grid(knob, log);
  const rows = values.map((value) => question(state.on[0], { [knob]: value, ...(knob === "concurrency" ? { batch: undefined } : {}) }));
  const key = JSON.stringify(rows);
  if (key === fetched && !force) {
    if (handleOnly) return undefined; // a drag goes on over the same drawing
    at = placeOf(Number(state.at) || valueNow(knob));
    return draw();
  }
  const before = moves;
  parts.wait.hidden = false;
  byId("whatif").setAttribute("aria-busy", "true");
  try {
    const answers = await run((signal) => predictRows(rows, signal));
    if (!answers) return undefined;
    const known = appliesTo(state.workload);
    const here = points.length ? points[at].x : 0;
    points = values.map((value, i) => ({ x: value, row: answers[i], asked: asked(rows[i], known) }));
    fetched = key;
    at = placeOf(moves === before ? Number(state.at) || valueNow(knob) : here); // not where a drag has left it
    draw();
  } finally {
    parts.wait.hidden = true;
    byId("whatif").removeAttribute("aria-busy");
  }
  return undefined;
}

const asked = (row, known) => ({ batch: row.concurrency || row.batch || 1, generate: row.generate ?? (known && known.defaults.generate) ?? 0 });

function options(select, names, label, chosen) {
  replace(select, names.map((name) => h("option", { value: name }, label(name))));
  select.value = chosen;
}

function draw() {
  const knob = knobNow();
  const axis = axisOf(metricNow());
  options(parts.knob, offeredKnobs(), (name) => KNOBS[name].label, knob);
  options(parts.metric, offeredMetrics(), (name) => axisOf(name).label, axis.field);
  parts.log.checked = state.scale !== "linear";
  parts.slideLabel.textContent = `What if: ${KNOBS[knob].label.toLowerCase()}`;
  const shownPoints = points.map((point) => {
    const quantity = quantityOf(point, axis.field);
    const fits = Boolean(quantity) && (point.row.verdict === "feasible" || axis.field === "memory_bytes");
    return { x: point.x, fits, value: fits ? quantity.value : 0, lo: fits ? quantity.lo : 0, hi: fits ? quantity.hi : 0 };
  });
  picture = drawCurve(parts.chart, {
    points: shownPoints, apart: Boolean(KNOBS[knob].powers), kind: axis.kind, log: state.scale !== "linear", label: KNOBS[knob].label, now: valueNow(knob),
    name: `${axis.label} against ${KNOBS[knob].label.toLowerCase()}, ${points.length} points; the slider below reads them`,
    pick: (next) => { moveTo(next); parts.slide.focus({ preventScroll: true }); },
  });
  show();
}

function placeOf(value) {
  const distances = points.map((point) => Math.abs(point.x - value));
  return distances.indexOf(Math.min(...distances));
}

function moveTo(next) {
  moves += 1;
  at = Math.min(points.length - 1, Math.max(0, next));
  show();
  keepAt(String(points[at].x));
}
const keepAt = debounced((value) => set({ at: value }), 2 * EXACT_MS);

function show() {
  const point = points[at];
  const knob = knobNow();
  const axis = axisOf(metricNow());
  picture.move(at);
  parts.slide.value = Math.round(WIDE * picture.place(at));
  parts.slide.setAttribute("aria-valuetext", spoken(point, axis, knob));
  if (document.activeElement !== parts.exact) {
    parts.exact.value = point.x;
    say(parts.exact, parts.fault, "");
  }
  parts.use.textContent = `Ask with ${whole(point.x)}`;
  parts.use.disabled = point.x === valueNow(knob);
  drawReadout(point, axis, knob);
}

function spoken(point, axis, knob) {
  const quantity = quantityOf(point, axis.field);
  if (!quantity || (point.row.verdict !== "feasible" && axis.field !== "memory_bytes")) return `${KNOBS[knob].label} ${point.x}: ${point.row.reason || "does not fit"}`;
  const words = shown(quantity, axis.kind);
  return `${KNOBS[knob].label} ${point.x}: ${axis.label} ${words.value}, between ${words.lo} and ${words.hi}`;
}

// The chosen quantity large, the others beside it; all of one point.
function drawReadout(point, axis, knob) {
  const feasible = point.row.verdict === "feasible";
  const fits = feasible || axis.field === "memory_bytes";
  const others = METRICS.filter((field) => field !== axis.field && offeredMetrics().includes(field));
  const quantity = quantityOf(point, axis.field);
  const base = points.find((each) => each.x === valueNow(knob));
  const before = base && quantityOf(base, axis.field);
  const factor = fits && quantity && before && base !== point ? `${digits(quantity.value / before.value)} × that at ${whole(base.x)}` : "";
  const words = fits && quantity ? shown(quantity, axis.kind) : null;
  replace(parts.readout,
    h("div", { class: "chief", "data-metric": axis.field },
      h("span", { class: "name" }, `${axis.label} at ${KNOBS[knob].label.toLowerCase()} ${whole(point.x)}`),
      words ? h("span", { class: "big" }, words.value) : h("span", { class: "big bad" }, "does not fit"),
      h("span", { class: "ends" }, [words ? words.ends : "", factor, feasible ? "" : point.row.reason].filter(Boolean).join(" · "))),
    h("div", { class: "others" }, others.map((field) => {
      const each = quantityOf(point, field);
      return h("div", { "data-metric": field }, h("span", { class: "name" }, axisOf(field).label),
        h("b", null, each && (feasible || field === "memory_bytes") ? text(each.value, axisOf(field).kind) : "-"));
    })));
}

export const sayPoint = () => announce(spoken(points[at], axisOf(metricNow()), knobNow()));
