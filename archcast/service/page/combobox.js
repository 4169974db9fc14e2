// A searchable combobox after the ARIA pattern: an input that controls a list, moved through without leaving the input.

import { freshId, h, replace } from "./dom.js";

const SHOWN = 60; // options drawn; the rest is one line that says to type more

const plain = (words) => words.toLowerCase().replace(/[^a-z0-9]+/g, " ").trim();

// Lower is better; Infinity where a word of the query is nowhere.
function rank(option, words) {
  const name = option.search;
  let score = 0;
  for (const word of words) {
    const at = name.indexOf(word);
    if (at < 0) {
      const joined = option.joined.indexOf(word); // resnet50 finds resnet-50
      if (joined < 0 && !option.more.includes(word)) return Infinity;
      score += joined < 0 ? 60 : joined === 0 ? 5 : 30;
    } else score += at === 0 ? 0 : name[at - 1] === " " ? 10 : 25;
  }
  return score + name.length / 100;
}

export function matches(options, query) {
  const words = plain(query).split(" ").filter(Boolean);
  if (!words.length) return options;
  const scored = options.map((option) => [rank(option, words), option]).filter(([score]) => score < Infinity);
  return scored.sort((a, b) => a[0] - b[0]).map(([, option]) => option);
}

// options: [{value, name, about}]; pick(value) is called on a choice. `clears` empties the input after it.
export function combobox({ label, hint, pick, clears = false }) {
  const ids = { input: freshId("combo"), list: freshId("list"), hint: freshId("hint") };
  let options = [];
  let found = [];
  let active = -1;
  let current = "";

  const input = h("input", {
    id: ids.input, type: "text", role: "combobox", "aria-expanded": "false", "aria-controls": ids.list,
    "aria-autocomplete": "list", "aria-describedby": ids.hint, autocomplete: "off", autocapitalize: "none",
    spellcheck: "false", enterkeyhint: "done",
  });
  const list = h("ul", { id: ids.list, role: "listbox", "aria-label": label, class: "options", hidden: true });
  const note = h("small", { id: ids.hint, class: "hint" }, hint);
  const box = h("div", { class: "combo" }, h("label", { for: ids.input }, label), h("div", { class: "combobox" }, input, list), note);

  const isOpen = () => !list.hidden;

  function mark(next) {
    const rows = [...list.querySelectorAll('[role="option"]')];
    rows.forEach((row, at) => row.setAttribute("aria-selected", at === next ? "true" : "false"));
    active = rows[next] ? next : -1;
    if (active < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", rows[active].id);
      rows[active].scrollIntoView({ block: "nearest" });
    }
  }

  function draw(query) {
    found = matches(options, query);
    if (!query) { // the whole list opens where the choice stands
      const from = Math.max(0, found.findIndex((option) => option.value === current) - 3);
      found = [...found.slice(from), ...found.slice(0, from)];
    }
    const rows = found.slice(0, SHOWN).map((option, at) =>
      h("li", { role: "option", id: `${ids.list}-${at}`, "aria-selected": "false", "data-value": option.value },
        h("span", null, option.name), h("small", null, option.about)));
    const left = found.length - rows.length;
    const end = left > 0 ? `${left.toLocaleString("en")} more: type to narrow` : found.length ? "" : "Nothing of that name";
    replace(list, rows, end ? h("li", { role: "presentation", class: "more" }, end) : null);
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(query ? 0 : found.findIndex((option) => option.value === current));
  }

  function close() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function choose(value) {
    close();
    if (clears) input.value = "";
    else input.value = current = value;
    pick(value);
  }

  input.addEventListener("focus", () => input.select());
  input.addEventListener("click", () => { if (!isOpen()) draw(""); });
  input.addEventListener("input", () => draw(input.value));
  input.addEventListener("blur", () => { close(); input.value = clears ? "" : current; });
  list.addEventListener("pointerdown", (event) => event.preventDefault()); // the focus stays in the input
  list.addEventListener("click", (event) => {
    const row = event.target.closest('[role="option"]');
    if (row) choose(row.dataset.value);
  });
  input.addEventListener("keydown", (event) => {
    const last = Math.min(found.length, SHOWN) - 1;
    const moves = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + 8, PageUp: active - 8 };
    if (event.key in moves) {
      event.preventDefault();
      if (!isOpen()) draw("");
      else if (event.key.startsWith("Arrow")) mark(moves[event.key] < 0 ? last : moves[event.key] % (last + 1));
      else mark(Math.min(last, Math.max(0, moves[event.key])));
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (isOpen() && active >= 0) choose(found[active].value);
    } else if (event.key === "Escape" && isOpen()) {
      event.preventDefault();
      close();
      input.value = clears ? "" : current;
    } else if (event.key === "Tab") close();
  });

  return {
    box,
    input,
    setOptions(next) {
      options = next.map((option) => {
        const search = plain(option.value);
        return { ...option, search, joined: search.replaceAll(" ", ""), more: plain(`${option.name} ${option.about}`) };
      });
      note.textContent = hint.replace("#", options.length.toLocaleString("en"));
    },
    setValue(value) {
      current = value;
      if (document.activeElement !== input) input.value = clears ? "" : value;
    },
  };
}
