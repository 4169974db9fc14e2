// The drawn part of the answer: cards that the service renders (roofline, waterfall, where time and energy go).

import { byId, replace } from "./dom.js";
import { sortable } from "./sorting.js";

const LEFT_OUT = new Set(["header"]);

// Fragments come as text whose content is escaped by the service. Inline styles would break the page's policy: they are
// renamed before parsing and set through the object model.
function parse(html) {
  const inert = new DOMParser().parseFromString(html.replaceAll(' style="', ' data-style="'), "text/html");
  for (const element of inert.body.querySelectorAll("[data-style]")) {
    const styles = element.dataset.style.split(";").map((each) => each.split(":"));
    for (const [name, value] of styles) if (value) element.style.setProperty(name.trim(), value.trim());
    element.removeAttribute("data-style");
  }
  for (const unsafe of inert.body.querySelectorAll("script,iframe,object,embed,link,meta,form")) unsafe.remove();
  return inert.body;
}

export function drawReport(html) {
  const fragments = typeof html === "string" ? { all: html } : html;
  const opened = new Set([...byId("report").querySelectorAll("details[open]")].map((each) => each.closest("section").id));
  const parts = [];
  for (const [name, fragment] of Object.entries(fragments)) {
    if (!LEFT_OUT.has(name)) parts.push(...parse(fragment).children);
  }
  replace(byId("report"), parts.map((part) => document.importNode(part, true)));
  for (const section of byId("report").querySelectorAll("section[id]")) {
    const details = section.querySelector("details");
    if (details && opened.has(section.id)) details.open = true;
    section.id = `card-${section.id}`;
  }
  byId("report").querySelectorAll("table.sortable").forEach(sortable);
  for (const box of byId("report").querySelectorAll(".scroll")) box.tabIndex = 0; // scrolls by keys
  if (fragments.header) drawSentence(parse(fragments.header));
}

// The sentence and what would help come in the words that every report of archcast has.
function drawSentence(header) {
  const sentence = header.querySelector(".answer");
  if (sentence && byId("sentence")) replace(byId("sentence"), ...document.importNode(sentence, true).childNodes);
  const verdict = header.querySelector(".verdict");
  const here = byId("verdict");
  if (verdict && here) {
    const now = document.importNode(verdict, true);
    now.id = "verdict";
    here.replaceWith(now);
  }
}

export function clearReport() {
  replace(byId("report"));
}
