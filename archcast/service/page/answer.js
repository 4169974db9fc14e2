// The answer: the sentence, the verdict, and one card a number with its interval; below, where the numbers come from.

import { byId, h, replace, svg } from "./dom.js";
import { percent, shown, text, whole } from "./format.js";
import { ALL_ANSWERED, AXES, SOURCE_MEANING, intervalMeaning } from "./quantities.js";

// An interval on a line from zero to a little more than `end`, with the value as a dot.
export function intervalBar(quantity, words, end = 0) {
  const most = Math.max(quantity.hi, quantity.value, end / 1.06) * 1.06;
  if (!(most > 0)) return null;
  const [lo, mid, hi] = [quantity.lo, quantity.value, quantity.hi].map((each) => (100 * Math.max(0, each)) / most);
  const about = `${words.value}, between ${words.lo} and ${words.hi} ${words.unit}`.trim();
  return svg("svg", { class: "range", height: 14, role: "img", "aria-label": about },
    svg("rect", { class: "track", y: 6, width: "100%", height: 2 }),
    svg("rect", { class: "span", x: `${lo}%`, y: 4, width: `${Math.max(hi - lo, 0.3)}%`, height: 6, rx: 3 }),
    svg("circle", { class: "mid", cx: `${mid}%`, cy: 7, r: 4.5 }));
}

// Memory against what the device offers: filled, the limit, and what is missing in the colour of a refusal.
function memoryBar(quantity, capacity) {
  const extent = Math.max(capacity, quantity.value) * 1.02 || 1;
  const at = (bytes) => `${(100 * bytes) / extent}%`;
  const over = Math.max(0, quantity.value - capacity);
  const about = `${text(quantity.value, "bytes")} of ${text(capacity, "bytes")} usable`;
  return svg("svg", { class: "memory", height: 14, role: "img", "aria-label": about },
    svg("rect", { class: "track", width: "100%", height: 8, y: 3, rx: 4 }),
    svg("rect", { class: "used", width: at(Math.min(quantity.value, capacity)), height: 8, y: 3, rx: 4 }),
    over ? svg("rect", { class: "missing", x: at(capacity), width: at(over), height: 8, y: 3 }) : null,
    svg("rect", { class: "limit", x: at(capacity), width: 2, height: 14 }));
}

function card(label, number, unit, drawing, ends, about, name) {
  const big = unit === "$"
    ? h("span", { class: "big" }, `$${number}`)
    : h("span", { class: "big" }, number, unit ? h("u", null, unit) : null);
  return h("div", { class: "stat", "data-quantity": name }, h("h3", { class: "name" }, label), big, drawing,
    ends ? h("div", { class: "ends" }, ends) : null, h("p", { class: "about" }, about));
}

function cards(answer) {
  const found = [];
  for (const axis of AXES) {
    const quantity = answer[axis.field];
    if (!quantity) continue;
    const words = shown(quantity, axis.kind);
    let about = axis.field === "latency_s" && "concurrency" in answer.request ? ALL_ANSWERED : axis.meaning;
    let drawing = intervalBar(quantity, words);
    if (axis.field === "cost_usd" && answer.price_date) about += `, price of ${answer.price_date}`;
    if (axis.field === "memory_bytes" && answer.capacity_bytes > 0) {
      const share = quantity.value / answer.capacity_bytes;
      drawing = memoryBar(quantity, answer.capacity_bytes);
      about = `${percent(share)} of ${text(answer.capacity_bytes, "bytes")}, ${axis.meaning}`;
    }
    found.push(card(axis.label, words.number, words.unit, drawing, words.ends, about, axis.field));
  }
  if (answer.largest_batch !== undefined && answer.largest_batch !== null) {
    const how = "concurrency" in answer.request ? "in service" : "started together";
    found.push(card("Largest batch", whole(answer.largest_batch), "", null, "", `requests whose caches fit, ${how}`, "largest_batch"));
  }
  return found;
}

function verdict(answer) {
  if (answer.verdict === "feasible") {
    const share = answer.capacity_bytes > 0 ? `${percent(answer.memory_bytes.value / answer.capacity_bytes)} of ${text(answer.capacity_bytes, "bytes")}` : "";
    return h("p", { class: "verdict", id: "verdict" }, h("b", null, "Feasible. "), share ? `It fills ${share} on the fullest device.` : "");
  }
  return h("div", { class: "verdict no", id: "verdict" }, h("b", null, "Infeasible. "), `${answer.reason || "It does not fit"}.`);
}

// A thin bar of where the time comes from, with its words beside: colour is never the only sign.
function sources(answer) {
  const shares = Object.entries(answer.source || {}).filter(([, share]) => share > 0);
  if (!shares.length) return null;
  let before = 0;
  const parts = shares.map(([name, share]) => {
    const part = svg("rect", { class: `seg s-${name}`, x: `${100 * before}%`, width: `${100 * share}%`, height: 10 });
    before += share;
    return part;
  });
  const kind = answer.interval_kind;
  const meaning = intervalMeaning(answer);
  return h("div", { class: "origin" },
    h("h3", null, "Where the time comes from"),
    svg("svg", { class: "bar", height: 10, "aria-hidden": "true" }, parts),
    h("ul", { class: "legend inline" }, shares.map(([name, share]) =>
      h("li", null, h("i", { class: `key s-${name}` }), h("span", { title: SOURCE_MEANING[name] || null }, `${name} ${percent(share)}`)))),
    kind ? h("p", { class: "note" }, "Intervals are ", h("b", null, kind), meaning ? `: ${meaning}.` : ".") : null);
}

export function drawAnswer(answer) {
  const several = answer.devices > 1 ? [["devices", answer.devices], ["divided", answer.mapping]] : [];
  const chips = several.map(([name, value]) => h("li", null, h("i", null, name), String(value)));
  replace(byId("answer"),
    h("h1", { id: "answer-title" }, answer.workload, h("span", null, " on "), answer.device),
    h("p", { class: "answer", id: "sentence" }),
    verdict(answer),
    chips.length ? h("ul", { class: "chips", "aria-label": "How it is divided" }, chips) : null,
    h("div", { class: "stats" }, cards(answer)),
    sources(answer),
    (answer.notes || []).map((note) => h("p", { class: "note" }, note)));
  byId("versions").textContent = `archcast ${answer.versions.archcast}, cost model ${answer.versions.cost_model}`;
  document.title = `${answer.workload} on ${answer.device} - archcast`;
}

// What a screen reader hears when an answer has come.
export function spoken(answer) {
  if (answer.verdict !== "feasible") return `${answer.workload} on ${answer.device} is infeasible: ${answer.reason}`;
  const words = shown(answer.latency_s, "s");
  return `${answer.workload} on ${answer.device}: ${words.value}, between ${words.lo} and ${words.hi} ${words.unit}`;
}
