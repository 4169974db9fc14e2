// Boxes for whole numbers: what is none is never sent, a sentence at the box says what is taken, and the answer that
// stands below is greyed, with the value that it was asked with.

import { byId, debounced, freshId, h } from "./dom.js";
import { whole } from "./format.js";
import { MOST, appliesTo, set, state } from "./state.js";

const TYPING_MS = 250;
const UNASKED = { batch: 1, count: 1, concurrency: "none" };

const faults = new Map(); // name -> {label, value of the state while the box is wrong, clear()}

export const sentence = (most) => `Not sent: give a whole number from 1 to ${whole(most)}.`;

// What the question has in place of an empty box.
export function unasked(name) {
  const known = appliesTo(state.workload);
  return UNASKED[name] ?? (known && known.defaults[name]) ?? "";
}

// Says at the box what it takes (no words: it is right). The place of the words is a live region.
export function say(input, place, words) {
  input.setAttribute("aria-invalid", words ? "true" : "false");
  if (place.textContent !== words) place.textContent = words;
}

export function numberField(name, label, hint) {
  const id = freshId(name);
  const later = debounced((value) => set({ [name]: value }), TYPING_MS);
  const fault = h("small", { class: "fault", id: `${id}-fault`, "aria-live": "polite" });
  const input = h("input", {
    id, type: "number", inputmode: "numeric", min: 1, max: MOST[name], step: 1, "aria-describedby": `${id}-hint ${id}-fault`, name,
    oninput: () => {
      const good = input.validity.valid;
      say(input, fault, good ? "" : sentence(MOST[name]));
      if (good) {
        faults.delete(name);
        later(input.value === "" ? undefined : Number(input.value));
      } else {
        later.cancel();
        faults.set(name, { label, value: state[name], clear: () => say(input, fault, "") });
      }
      drawStale();
    },
  });
  const box = h("div", { class: name === "count" ? "field rare" : "field", "data-knob": name },
    h("label", { for: id }, label), input, h("small", { class: "hint", id: `${id}-hint` }, hint), fault);
  return { box, input };
}

// Shows the state in a box; what is being typed, and a wrong number that waits to be mended, are left alone.
export function drawNumber(name, input, shows) {
  input.closest(".field").hidden = !shows;
  input.placeholder = String(unasked(name));
  const fault = faults.get(name);
  if (fault && shows && fault.value === state[name]) return;
  if (fault) {
    fault.clear();
    faults.delete(name);
  }
  if (fault || document.activeElement !== input) input.value = state[name] ?? "";
}

export function drawStale() {
  const wrong = [...faults].map(([name, { label }]) => `${label.toLowerCase()} ${state[name] ? whole(state[name]) : unasked(name)}`);
  byId("main").classList.toggle("stale", wrong.length > 0);
  byId("stale").hidden = !wrong.length;
  byId("stale").textContent = wrong.length ? `What stands below was asked with ${wrong.join(" and ")}.` : "";
}
