// The result of a job: what was found in a sentence and cards, its tables, its other numbers, and the whole document.

import { h, replace } from "./dom.js";
import { intervalBar } from "./answer.js";
import { digits, shown, text, whole } from "./format.js";

const MOST_FACTS = 40;
const MOST_ROWS = 12;
const MOST_COLUMNS = 8;
const MOST_TABLES = 4;
const MOST_CHARACTERS = 200000;
// Ending of a name -> kind of quantity; the first that fits counts.
const KINDS = [
  ["_bits_per_s", ""], ["_bytes_per_s", "bytes_per_s"], ["_flop_per_s", "flop_per_s"], ["_bytes", "bytes"], ["rate_hz", "per_s"], ["_hz", "hz"],
  ["_j_s", ""], ["_j", "j"], ["_w", "w"], ["usd_per_hour", "usd_per_hour"], ["usd_per_million_tokens", "usd"], ["_usd", "usd"], ["_mm2", "mm2"], ["_s", "s"],
];
const UNITS = ["_bits_per_s", "_j_s", "rate_hz", "usd_per_hour", "usd_per_million_tokens"]; // these endings are words of the name too
const UNSHOWN = new Set(["kind", "file", "summary", "verdict", "versions", "notes", "seed", "shard", "space", "fixed", "asked", "infeasible", "best", "listed", "knee", "constants"]);
const isHash = (name) => name === "digest" || name === "hash" || name.includes("trace_hash");

const kindOf = (name) => (KINDS.find(([ending]) => name.endsWith(ending)) || ["", ""])[1];
const isQuantity = (value) => value !== null && typeof value === "object" && Number.isFinite(value.value);
const isPlain = (value) => value !== null && ["number", "string", "boolean"].includes(typeof value) && value !== "";
const isRows = (value) => Array.isArray(value) && value.length > 0 && value.every((each) => each && typeof each === "object" && !Array.isArray(each));
const withEnds = (quantity) => (Number.isFinite(quantity.lo) ? quantity : { value: quantity.value, lo: quantity.value, hi: quantity.value });

// latency_s -> latency; the unit stands with the number
function plain(name) {
  const [ending] = KINDS.find(([each]) => name.endsWith(each)) || [""];
  const stem = UNITS.includes(ending) ? name.replace(/_hz$/, "") : name.slice(0, name.length - ending.length);
  return stem.replaceAll("_", " ").replaceAll(".", " ");
}

function written(name, value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string") return value.length > 90 ? `${value.slice(0, 89)}…` : value;
  const kind = kindOf(name);
  if (kind) return text(value, kind);
  return Number.isInteger(value) ? whole(value) : digits(value);
}

// [path, words, ends] of the numbers and words of a document, two levels deep.
export function facts(document, before = "", depth = 0) {
  const found = [];
  for (const [name, value] of Object.entries(document)) {
    const path = before ? `${before} › ${plain(name)}` : plain(name);
    if (UNSHOWN.has(name) || isHash(name)) continue;
    if (isPlain(value)) found.push([path, written(name, value), ""]);
    else if (isQuantity(value)) {
      if (depth === 0) continue; // a card of its own
      const words = shown(withEnds(value), kindOf(name));
      found.push([path, words.value, words.ends]);
    } else if (value && typeof value === "object" && !Array.isArray(value) && depth < 1) found.push(...facts(value, path, depth + 1));
  }
  return found;
}

function cards(document) {
  const given = Object.entries(document).filter(([, value]) => isQuantity(value) && Number.isFinite(value.lo));
  return given.map(([name, quantity]) => {
    const words = shown(quantity, kindOf(name));
    const spread = ["p50", "p90", "p99"].filter((each) => quantity[each] !== undefined);
    const point = (value) => text(isQuantity(value) ? value.value : value, kindOf(name));
    return h("div", { class: "stat" }, h("h3", { class: "name" }, plain(name)), h("span", { class: "big" }, words.value), intervalBar(quantity, words),
      h("div", { class: "ends" }, words.ends), spread.length ? h("p", { class: "about" }, spread.map((each) => `${each} ${point(quantity[each])}`).join(", ")) : null);
  });
}

function cell(name, value) {
  if (isQuantity(value)) {
    const words = shown(withEnds(value), kindOf(name));
    return h("td", { class: "n" }, words.value, Number.isFinite(value.lo) ? h("small", null, words.ends) : null);
  }
  if (isPlain(value)) return h("td", { class: typeof value === "number" ? "n" : null }, written(name, value));
  const inside = value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value).filter(([, each]) => isPlain(each)) : [];
  return h("td", { class: "why" }, inside.map(([key, each]) => `${plain(key)} ${written(key, each)}`).join(", ") || "-");
}

// A list of objects as a table; where the document says which of the list are worth reading, those.
function table(name, list, listed) {
  const rows = (name === "front" && Array.isArray(listed) ? listed.map((at) => list[at]).filter(Boolean) : list).slice(0, MOST_ROWS);
  const names = Object.keys(rows[0]).filter((key) => !isHash(key) && (isPlain(rows[0][key]) || isQuantity(rows[0][key]) || (rows[0][key] && !Array.isArray(rows[0][key]))));
  const differs = (key) => rows.some((row) => JSON.stringify(row[key]) !== JSON.stringify(rows[0][key]));
  const columns = (rows.length > 1 ? names.filter(differs) : names).slice(0, MOST_COLUMNS);
  if (!columns.length) return null;
  const right = (key) => typeof rows[0][key] === "number" || isQuantity(rows[0][key]);
  return [h("h3", null, plain(name), list.length > rows.length ? ` (${rows.length} of ${whole(list.length)})` : ""),
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": plain(name) }, h("table", { class: "found" },
      h("thead", null, h("tr", null, columns.map((key) => h("th", { scope: "col", class: right(key) ? "n" : null }, plain(key))))),
      h("tbody", null, rows.map((row) => h("tr", null, columns.map((key) => cell(key, row[key]))))))) ];
}

export function drawResult(box, job, answer) {
  const found = answer.result && typeof answer.result === "object" ? answer.result : answer;
  const json = JSON.stringify(found, null, 2);
  const keep = h("button", { type: "button", class: "main", onclick: () => download(`${job.kind}-${job.id.slice(0, 12)}.json`, json) }, "Download JSON");
  const lists = Object.entries(found).filter(([name, value]) => isRows(value) && !UNSHOWN.has(name)).slice(0, MOST_TABLES);
  const lines = facts(found);
  const feasible = found.verdict === "feasible";
  replace(box,
    h("div", { class: "headrow" }, h("div", null, h("h2", null, `Result: ${job.kind}`), h("p", { class: "lead" }, [job.name || job.about, `Job ${job.id}`].filter(Boolean).join(" · "))), h("div", null, keep)),
    found.summary ? h("p", { class: "answer" }, found.summary) : null,
    found.verdict ? h("p", { class: feasible ? "verdict" : "verdict no" }, h("b", null, `${found.verdict[0].toUpperCase()}${found.verdict.slice(1)}.`), found.reason ? ` ${found.reason}` : "") : null,
    h("div", { class: "stats" }, cards(found)),
    lists.map(([name, list]) => table(name, list, found.listed)),
    h("h3", null, "In numbers"),
    h("dl", { class: "facts results" }, lines.slice(0, MOST_FACTS).map(([path, words, ends]) => [h("dt", null, path), h("dd", null, words, ends ? h("small", null, ` ${ends}`) : null)])),
    lines.length > MOST_FACTS ? h("p", { class: "note" }, `${whole(lines.length - MOST_FACTS)} more are in the document.`) : null,
    (Array.isArray(found.notes) ? found.notes : []).map((note) => h("p", { class: "note" }, String(note))),
    h("details", null, h("summary", null, "The whole document"), h("pre", { tabindex: "0" }, json.length > MOST_CHARACTERS ? `${json.slice(0, MOST_CHARACTERS)}\n… the rest is in the download` : json)));
}

function download(name, words) {
  const address = URL.createObjectURL(new Blob([words], { type: "application/json" }));
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
