// Elements from plain calls. Text is always set as text, never parsed, and styles go through the object model, so that a
// content security policy without inline styles holds.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false && child !== "") element.append(child);
  }
  return element;
}

// h("p", {class: "note", onclick: act}, "words", h("b", null, "more"))
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function replace(parent, ...children) {
  parent.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

// Says something to a screen reader; calls in quick succession are said once.
let waiting = 0;
export function announce(words) {
  clearTimeout(waiting);
  waiting = setTimeout(() => { byId("live").textContent = words; }, 250);
}

// What is typed or dragged runs once it rests.
export function debounced(run, rest_ms) {
  let timer = 0;
  const later = (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...values), rest_ms);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

let serial = 0;
export const freshId = (stem) => `${stem}-${(serial += 1)}`;
