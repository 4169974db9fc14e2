// Devices side by side: a table whose rows carry a bar with its interval, sorted by the quantity that the bars show.

import { latest, predictRows } from "./api.js";
import { announce, byId, h, replace, svg } from "./dom.js";
import { shown, text } from "./format.js";
import { COLUMNS, axisOf } from "./quantities.js";
import { deviceRow } from "./question.js";
import { question, set, state } from "./state.js";

const LOG_FROM = 20; // from this ratio of largest to smallest on, bars are dots on a logarithmic scale
const SHORT = { tpot_s: "Next tokens" };
const run = latest();
let rows = []; // [{id, row}]
let fetched = "";

const metricNow = () => {
  const offered = offeredMetrics();
  return offered.includes(state.sort) ? state.sort : "latency_s";
};
const offeredMetrics = () => COLUMNS.filter((field) => field === "latency_s" || rows.some(({ row }) => row[field]));

export function buildCompare() {
  replace(byId("compare"),
    h("div", { class: "headrow" },
      h("div", null, h("h2", { id: "compare-title" }, "Devices side by side"),
        h("p", { class: "lead", id: "compare-lead" })),
      h("div", { class: "controls" }, h("div", { class: "field" }, h("label", { for: "compare-by" }, "Sorted by"),
        h("select", { id: "compare-by", onchange: (event) => sortBy(event.target.value, undefined) })))),
    h("div", { id: "compare-table" }));
}

export async function refreshCompare({ force = false } = {}) {
  const rowsAsked = state.on.map((on) => question(on));
  const key = JSON.stringify(rowsAsked);
  if (key === fetched && !force) return draw();
  byId("compare").setAttribute("aria-busy", "true");
  byId("compare-lead").textContent = `Asking for ${state.on.length} ${state.on.length === 1 ? "device" : "devices"} …`;
  try {
    const ids = [...state.on];
    const answers = await run((signal) => predictRows(rowsAsked, signal));
    if (!answers) return undefined;
    rows = ids.map((id, at) => ({ id, row: answers[at] }));
    fetched = key;
    draw();
    announce(said());
  } finally {
    byId("compare").removeAttribute("aria-busy");
  }
  return undefined;
}

function said() {
  const metric = metricNow();
  const [best] = sorted(metric, true).filter(({ row }) => row.verdict === "feasible" && row[metric]);
  if (!best) return "None of the devices can answer";
  return `${rows.length} devices; least ${axisOf(metric).label.toLowerCase()}: ${best.id} with ${text(best.row[metric].value, axisOf(metric).kind)}`;
}

// Rows by a quantity; those without it come last, in either direction.
function sorted(field, up) {
  const key = ({ id, row }) => (field === "device" ? id : row[field] && row.verdict === "feasible" ? row[field].value : null);
  return [...rows].sort((a, b) => {
    const [p, q] = [key(a), key(b)];
    if (p === null || q === null) return (p === null) - (q === null);
    const order = typeof p === "string" ? p.localeCompare(q) : p - q;
    return up ? order : -order;
  });
}

function sortBy(field, up = true) {
  set({ sort: field === "latency_s" ? undefined : field, up: up ? undefined : "no" });
  draw();
  announce(`Sorted by ${field === "device" ? "name" : axisOf(field).label}, ${up ? "ascending" : "descending"}`);
}

function barScale(values) {
  const most = Math.max(...values.map((each) => each.hi)) * 1.03;
  const least = Math.min(...values.map((each) => each.lo).filter((value) => value > 0));
  const log = most / least > LOG_FROM;
  const [a, b] = log ? [Math.log(least / 1.25), Math.log(most)] : [0, most];
  return { log, at: (value) => 100 * Math.min(1, Math.max(0, ((log ? Math.log(Math.max(value, least / 2)) : value) - a) / (b - a || 1))) };
}

function bar(quantity, scale, best) {
  const [lo, mid, hi] = [quantity.lo, quantity.value, quantity.hi].map(scale.at);
  const fill = scale.log ? null : svg("rect", { class: `fillbar${best ? " best" : ""}`, y: 5, height: 12, width: `${mid}%`, rx: 3 });
  return svg("svg", { class: "range comparebar", height: 22, "aria-hidden": "true" },
    svg("rect", { class: "track", y: 10, width: "100%", height: 2 }), fill,
    svg("rect", { class: "span", x: `${lo}%`, y: 7, width: `${Math.max(hi - lo, 0.4)}%`, height: 8, rx: 4 }),
    svg("rect", { class: `value${best ? " best" : ""}`, x: `${mid}%`, transform: "translate(-1.5 0)", y: 3, width: 3, height: 16, rx: 1.5 }));
}

function head(field, label, metric, up) {
  const isNow = field === (state.sort === "device" ? "device" : metric);
  return h("th", { scope: "col", class: `${field === "device" ? "" : "n"} ${field === metric ? "now" : "then"}`, "aria-sort": isNow ? (up ? "ascending" : "descending") : null },
    h("button", { type: "button", "data-field": field, onclick: () => { sortBy(field, isNow ? !up : true); byId("compare").querySelector(`button[data-field="${field}"]`).focus(); } }, label));
}

function cell(row, axis, metric) {
  const quantity = row[axis.field];
  const known = quantity && (row.verdict === "feasible" || axis.field === "memory_bytes");
  const words = known ? shown(quantity, axis.kind) : null;
  return h("td", { class: `n ${axis.field === metric ? "now" : "then"}`, "data-field": axis.field },
    words ? [words.value, h("small", null, words.ends)] : "-");
}

function line({ id, row }, metric, scale, best, axes) {
  const about = deviceRow(id);
  const fits = row.verdict === "feasible";
  const open = () => set({ on: [id, ...state.on.filter((each) => each !== id)], view: "predict" }, { push: true });
  const name = h("th", { scope: "row" },
    h("button", { type: "button", class: "device", title: "Predict on this device", onclick: open }, h("span", null, id), h("small", null, about ? about.name : "")));
  const drawn = fits && row[metric]
    ? h("td", { class: "barcell" }, bar(row[metric], scale, best))
    : h("td", { class: "barcell why" }, row.reason || (fits ? "no figure for this" : "does not fit"));
  return h("tr", { class: fits ? null : "nofit", "data-device": id }, name, drawn, axes.map((axis) => cell(row, axis, metric)));
}

function draw() {
  const metric = metricNow();
  const byName = state.sort === "device";
  const up = state.up !== "no";
  const axes = offeredMetrics().map(axisOf);
  const order = sorted(byName ? "device" : metric, up);
  const drawn = rows.map(({ row }) => row).filter((row) => row.verdict === "feasible" && row[metric]);
  const scale = drawn.length ? barScale(drawn.map((row) => row[metric])) : null;
  const least = Math.min(...drawn.map((row) => row[metric].value));
  const select = byId("compare-by");
  replace(select, axes.map((axis) => h("option", { value: axis.field }, axis.label)), h("option", { value: "device" }, "Name"));
  select.value = byName ? "device" : metric;
  const fit = rows.filter(({ row }) => row.verdict === "feasible").length;
  const alone = rows.length < 2 ? " Add devices above to compare them." : "";
  byId("compare-lead").textContent = `${state.workload}: ${fit} of ${rows.length} can answer. Marks are values, the bars around them intervals` +
    `${scale && scale.log ? "; the scale is logarithmic" : ""}. A heading sorts; a name opens the prediction.${alone}`;
  replace(byId("compare-table"),
    h("table", { class: "compare" },
      h("thead", null, h("tr", null, head("device", "Device", metric, up), h("th", { scope: "col", class: "barcell" }, `${axisOf(metric).label}${scale && scale.log ? " (log)" : ""}`),
        axes.map((axis) => head(axis.field, SHORT[axis.field] || axis.label, metric, up)))),
      h("tbody", null, order.map((each) => line(each, metric, scale, each.row[metric] && each.row[metric].value === least, axes)))));
}
