// The result of a job: its numbers as a table in their units, the rest as a document to open or to keep.

import { h, replace } from "./dom.js";
import { shown, text, whole } from "./format.js";

const MOST_ROWS = 60;
const KINDS = [["_bytes_per_s", "bytes_per_s"], ["_flop_per_s", "flop_per_s"], ["_bytes", "bytes"], ["_hz", "per_s"], ["_j", "j"], ["_w", "w"], ["_usd", "usd"], ["_s", "s"]];
const UNSHOWN = new Set(["versions", "digest", "notes"]);

const kindOf = (name) => (KINDS.find(([ending]) => name.endsWith(ending)) || ["", ""])[1];
const isQuantity = (value) => value && typeof value === "object" && Number.isFinite(value.value) && Number.isFinite(value.lo);

// latency_s -> latency; the unit stands with the number
function plain(name) {
  const ending = (KINDS.find(([each]) => name.endsWith(each)) || [""])[0];
  return name.slice(0, name.length - ending.length).replaceAll("_", " ");
}

// Numbers, words and quantities of a document, two levels deep: [path, value, interval].
export function numbers(document, before = [], depth = 0) {
  const found = [];
  for (const [name, value] of Object.entries(document)) {
    const path = [...before, plain(name)];
    if (UNSHOWN.has(name) || value === null) continue;
    if (isQuantity(value)) {
      const words = shown(value, kindOf(name));
      found.push([path, words.value, words.ends]);
    } else if (typeof value === "number") found.push([path, kindOf(name) ? text(value, kindOf(name)) : Number.isInteger(value) ? whole(value) : text(value, ""), ""]);
    else if (typeof value === "string" && value && value.length <= 120) found.push([path, value, ""]);
    else if (typeof value === "boolean") found.push([path, value ? "yes" : "no", ""]);
    else if (Array.isArray(value)) {
      if (value.length && value.every((each) => typeof each !== "object")) found.push([path, value.slice(0, 8).join(", ") + (value.length > 8 ? ", …" : ""), ""]);
      else if (value.length) found.push([path, `${whole(value.length)} entries`, ""]);
    } else if (typeof value === "object" && depth < 2) found.push(...numbers(value, path, depth + 1));
  }
  return found;
}

export function drawResult(box, job, answer) {
  const document_ = answer.result && typeof answer.result === "object" ? answer.result : answer;
  const rows = numbers(document_);
  const whole_ = JSON.stringify(document_, null, 2);
  const keep = h("button", { type: "button", class: "main", onclick: () => download(`${job.kind}-${job.id.slice(0, 12)}.json`, whole_) }, "Download JSON");
  const notes = Array.isArray(document_.notes) ? document_.notes : [];
  replace(box,
    h("div", { class: "headrow" }, h("div", null, h("h2", null, `Result: ${job.kind}`), h("p", { class: "lead" }, `Job ${job.id}`)), h("div", { class: "controls" }, keep)),
    h("dl", { class: "facts results" }, rows.slice(0, MOST_ROWS).map(([path, value, ends]) =>
      [h("dt", null, path.join(" › ")), h("dd", null, value, ends ? h("small", null, ` ${ends}`) : null)])),
    rows.length > MOST_ROWS ? h("p", { class: "note" }, `${whole(rows.length - MOST_ROWS)} more are in the document.`) : null,
    notes.map((note) => h("p", { class: "note" }, String(note))),
    h("details", null, h("summary", null, "The whole document"), h("pre", { tabindex: "0" }, whole_.length > 200000 ? `${whole_.slice(0, 200000)}\n… the rest is in the download` : whole_)));
}

function download(name, words) {
  const address = URL.createObjectURL(new Blob([words], { type: "application/json" }));
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
