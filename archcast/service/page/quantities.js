// The quantities of an answer: what they are called, how they print, and what follows from others.
// Labels and meanings are those of archcast/render/breakdown.py.

import { text } from "./format.js";

export const AXES = [
  ["latency_s", "Latency", "s", "one whole batch, from start to last output"],
  ["ttft_s", "First token", "s", "TTFT: from start to the first output token"],
  ["tpot_s", "Each further token", "s", "TPOT: mean time between output tokens"],
  ["rate_hz", "Rate", "per_s", "requests finished a second"],
  ["energy_j", "Energy", "j", "of all devices used, idle power included"],
  ["power_w", "Power", "w", "mean over the run, of all devices used"],
  ["memory_bytes", "Memory", "bytes", "peak on the fullest device"],
  ["cost_usd", "Cost", "usd", "price an hour x devices x time"],
  ["tokens_per_s", "Output tokens", "per_s", "generated a second, all requests together"],
  ["energy_per_token_j", "Energy a token", "j", "energy over generated tokens"],
  ["usd_per_million_tokens", "Cost, million tokens", "usd", "cost of a million generated tokens"],
].map(([field, label, kind, meaning]) => ({ field, label, kind, meaning }));

// What columns carry for every row; the first is what a chart shows unless it is told otherwise.
export const COLUMNS = ["latency_s", "ttft_s", "tpot_s", "energy_j", "memory_bytes", "cost_usd"];

export const axisOf = (field) => AXES.find((axis) => axis.field === field);

export const ALL_ANSWERED = "in which each of the users is answered once; energy and cost are of this time";

export const SOURCE_MEANING = {
  measured: "this very case was measured",
  interpolated: "between measured cases",
  learned: "physics corrected by a model trained on measurements",
  physics: "closed form from the device's figures",
  extrapolated: "outside what was measured: physics, with a wider interval",
};

export const INTERVAL_MEANING = {
  conformal: "calibrated on measurements of this device that the model had not seen",
  pseudo_target: "calibrated on other devices, each taken as if it were unknown",
  propagated: "from the ranges of the device's figures; no measurement has tested it",
  uncalibrated: "no interval is known; value, lo and hi are the same",
};
const MIXED = "for learned operators from measurements, for the others from the ranges of the device's figures";

export function intervalMeaning(answer) {
  if (answer.interval_kind === "propagated" && (answer.source || {}).learned > 0) return MIXED;
  return INTERVAL_MEANING[answer.interval_kind] || "";
}

// latency_s -> [latency_s, latency_lo_s, latency_hi_s]; the unit stays last
export function intervalColumns(field) {
  const cut = field.lastIndexOf("_");
  const stem = field.slice(0, cut);
  const unit = field.slice(cut + 1);
  return [field, `${stem}_lo_${unit}`, `${stem}_hi_${unit}`];
}

// The service's reasons say decimal bytes; the page shows binary ones: what is a figure of the answer is said as that.
const DECIMAL = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]];
function decimal(bytes) {
  const [size, unit] = DECIMAL.find(([each]) => bytes >= 0.1 * each) || [1, "B"];
  return `${(bytes / size).toFixed(size > 1 ? 2 : 0)} ${unit}`;
}

export function inBinary(answer) {
  if (!answer.reason) return answer;
  const memory = answer.memory_bytes ? answer.memory_bytes.value : 0;
  const figures = [answer.shortfall_bytes, memory, answer.capacity_bytes].filter((bytes) => bytes > 0);
  const reason = answer.reason.replace(/\d+(\.\d+)? [GMk]?B\b/g, (words) => {
    const found = figures.find((bytes) => decimal(bytes) === words);
    return found ? text(found, "bytes") : words;
  });
  return { ...answer, reason };
}

// Row `at` of columns, in the form of a single answer.
export function rowOf(columns, at) {
  const row = { verdict: columns.verdict[at], reason: columns.reason[at], shortfall_bytes: columns.shortfall_bytes[at] };
  for (const field of COLUMNS) {
    const [value, lo, hi] = intervalColumns(field).map((name) => (columns[name] ? columns[name][at] : null));
    if (value !== null && value !== undefined) row[field] = { value, lo, hi };
  }
  return inBinary(row);
}
