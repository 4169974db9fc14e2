// Jobs: what runs and what has run, with progress; a form that sends one; what came out, and its document to keep.

import { call, latest } from "./api.js";
import { announce, byId, freshId, h, replace } from "./dom.js";
import { percent, text, whole } from "./format.js";
import { drawResult } from "./results.js";
import { set, state } from "./state.js";

const EXAMPLES = [
  ["simulate", "simulate-edge", "Simulate: users, edges and a cloud"],
  ["simulate", "simulate-serving", "Simulate: two engines serve a chat"],
  ["search", "search-npu", "Search: an NPU for ResNet-50"],
  ["plan", "plan-chat", "Plan: a fleet for a chat service"],
  ["allocate", "allocate-thinking", "Allocate: thinking under a budget"],
];
const KINDS = ["simulate", "search", "plan", "allocate"];
const BUSY_MS = 700;
const IDLE_MS = 5000;
const ENDED = new Set(["done", "failed", "cancelled"]);

const run = latest();
let form;
let jobs = [];
let timer = 0;
let shownJob = "";
let doomed = ""; // the job whose deletion waits for a second word
const lastState = new Map();
const MOST_NAME = 80;

export function buildJobs() {
  const ids = ["kind", "example", "text", "name"].map(freshId);
  form = {
    kind: h("select", { id: ids[0] }, KINDS.map((kind) => h("option", { value: kind }, kind))),
    example: h("select", { id: ids[1], onchange: (event) => fillExample(event.target.value) },
      h("option", { value: "" }, "Start from an example …"), EXAMPLES.map(([, name, label]) => h("option", { value: name }, label))),
    text: h("textarea", { id: ids[2], rows: 12, spellcheck: "false", autocapitalize: "none", wrap: "off", "aria-describedby": "job-trouble" }),
    name: h("input", { id: ids[3], maxlength: MOST_NAME, autocomplete: "off", spellcheck: "false", "aria-describedby": `${ids[3]}-hint` }),
    send: h("button", { type: "submit", class: "main" }, "Send the job"),
    trouble: h("p", { id: "job-trouble", class: "verdict no", role: "alert", hidden: true }),
  };
  replace(byId("jobs"),
    h("div", null, h("h1", { id: "jobs-title", class: "second" }, "Jobs"),
      h("p", { class: "lead" }, "What takes longer than an answer runs as a job: it survives a restart of the service, and its result stays.")),
    h("section", { class: "card", "aria-labelledby": "send-title" },
      h("h2", { id: "send-title" }, "Send a job"),
      h("p", { class: "lead" }, "The file that the command line takes, as YAML or JSON. Names are those of the catalogue; no path of the server can be used."),
      h("form", { onsubmit: submit },
        h("div", { class: "knobs" },
          h("div", { class: "field" }, h("label", { for: ids[1] }, "Example"), form.example),
          h("div", { class: "field" }, h("label", { for: ids[0] }, "Kind"), form.kind),
          h("div", { class: "field" }, h("label", { for: ids[3] }, "Name"), form.name, h("small", { class: "hint", id: `${ids[3]}-hint` }, "shown in the list; may be left out"))),
        h("div", { class: "field" }, h("label", { for: ids[2] }, "File"), form.text),
        form.trouble, h("div", { class: "buttons" }, form.send))),
    h("section", { class: "card", id: "job-card", tabindex: "-1", "aria-labelledby": "list-title" },
      h("h2", { id: "list-title" }, "Sent jobs"),
      h("div", { id: "job-list" }, h("p", { class: "note" }, "Asking …"))),
    h("section", { class: "card", id: "job-result", hidden: true, tabindex: "-1", "aria-label": "Result" }));
}

async function fillExample(name) {
  const found = EXAMPLES.find(([, each]) => each === name);
  if (!found) return;
  form.kind.value = found[0];
  form.text.value = await (await fetch(`/static/examples/${name}.yaml`)).text();
  form.trouble.hidden = true;
}

// The form starts with an example, so that there is something to change.
export async function offerExample() {
  if (form.text.value) return;
  const [, name] = EXAMPLES[0];
  form.example.value = name;
  await fillExample(name).catch(() => null);
}

// The service reads YAML, as strictly as files; one without that route takes JSON only.
async function parsed(text) {
  try {
    return (await call("/v1/yaml", { method: "POST", body: { text } })).document;
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("This service takes the file as JSON only, and this is none.");
  }
}

async function submit(event) {
  event.preventDefault();
  form.trouble.hidden = true;
  form.send.disabled = true;
  try {
    const file = await parsed(form.text.value);
    const { id } = await call("/v1/jobs", { method: "POST", body: { kind: form.kind.value, request: { file }, name: form.name.value } });
    announce(`Job sent: ${form.name.value.trim() || form.kind.value}`);
    form.name.value = "";
    set({ job: id });
    await refreshJobs();
    byId("job-card").scrollIntoView({ block: "nearest" });
  } catch (error) {
    form.trouble.textContent = error.message;
    form.trouble.hidden = false;
  } finally {
    form.send.disabled = false;
  }
}

// Asks for the list, soon again while something runs; stops where the view is left.
export async function refreshJobs() {
  clearTimeout(timer);
  if (state.view !== "jobs") return;
  try {
    const answer = await run((signal) => call("/v1/jobs", { signal }));
    if (!answer) return;
    jobs = answer.jobs || answer;
    draw();
    tellChanges();
  } catch (error) {
    replace(byId("job-list"), h("p", { class: "verdict no", role: "alert" }, error.message));
  }
  const busy = jobs.some((job) => !ENDED.has(job.state));
  if (!document.hidden) timer = setTimeout(refreshJobs, busy ? BUSY_MS : IDLE_MS);
}

export const leaveJobs = () => clearTimeout(timer);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refreshJobs(); });

function tellChanges() {
  for (const job of jobs) {
    const before = lastState.get(job.id);
    if (before && before !== job.state && ENDED.has(job.state)) announce(`Job ${job.kind} is ${job.state}`);
    lastState.set(job.id, job.state);
  }
  const chosen = jobs.find((job) => job.id === state.job);
  if (chosen && chosen.state === "done" && shownJob !== chosen.id) showResult(chosen);
  if (!state.job) {
    shownJob = "";
    byId("job-result").hidden = true;
  }
}

// "1,200 of 3,000 designs" where the job counts things; a share where it only knows how far it is.
function counted(job) {
  if (!(job.whole > 1) || !job.note) return [job.whole > 0 ? percent(Math.min(1, job.done / job.whole)) : "", job.note];
  if (job.state === "done") return [`${whole(job.done)} ${job.note}`];
  return [percent(Math.min(1, job.done / job.whole)), `${whole(job.done)} of ${whole(job.whole)} ${job.note}`];
}

function progress(job) {
  const share = job.whole > 0 ? Math.min(1, job.done / job.whole) : null;
  if (job.state === "failed") return h("span", { class: "why" }, job.error || "It failed.");
  if (job.state !== "running" && job.state !== "queued") return h("span", { class: "soft" }, job.note ? counted(job).filter(Boolean).join(" · ") : "");
  if (job.state === "queued") return h("small", null, [job.note, "waits for its turn"].filter(Boolean).join(" · "));
  const label = `${job.kind}: ${share === null ? "running" : percent(share)}`;
  const since = share === null && job.started_s ? `running since ${clock(job.started_s)}` : "";
  return [h("progress", { "aria-label": label, max: 1, value: share === null ? undefined : share }),
    h("small", null, [since, ...counted(job), job.cancelling ? "stopping" : ""].filter(Boolean).join(" · "))];
}

// What people call the job: its sender's name, else what its request is about.
export const nameOf = (job) => job.name || (job.about === job.kind ? "" : job.about) || "";

// The time of day; the day too where it is not today.
function clock(time_s) {
  const then = new Date(1000 * time_s);
  const time = then.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (then.toDateString() === new Date().toDateString()) return time;
  return `${then.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}

const about = (job) => [job.kind, job.name && job.about !== job.name && job.about !== job.kind ? job.about : "", clock(job.created_s)].filter(Boolean).join(", ");
const lasted = (job) => (job.started_s ? text((job.ended_s || Date.now() / 1000) - job.started_s, "s") : "-");

function actions(job) {
  const found = [];
  if (!ENDED.has(job.state)) found.push(h("button", { type: "button", "data-act": `cancel-${job.id}`, "aria-label": `Cancel ${job.kind} ${job.id}`, disabled: job.cancelling || null, onclick: () => cancel(job) }, "Cancel"));
  if (job.state === "done") found.push(h("button", { type: "button", "data-act": `show-${job.id}`, "aria-label": `Show the result of ${job.kind} ${job.id}`, onclick: () => { shownJob = ""; set({ job: job.id }, { push: true }); showResult(job, true); } }, "Result"));
  if (!ENDED.has(job.state)) return found;
  const what = `${job.kind} ${nameOf(job) || `of ${clock(job.created_s)}`}`;
  if (doomed !== job.id) return [...found, h("button", { type: "button", class: "quiet", "data-act": `forget-${job.id}`, "aria-label": `Delete ${what}`, onclick: () => doom(job.id) }, "Delete")];
  return [h("button", { type: "button", class: "danger", "data-act": `forget-${job.id}`, "aria-label": `Delete ${what} and its result for good`, onclick: () => forget(job) }, "Delete for good"),
    h("button", { type: "button", class: "quiet", "data-act": `keep-${job.id}`, onclick: () => doom("") }, "Keep")];
}

// Deleting is asked once: the button becomes the question, and keeps the focus.
function doom(id) {
  doomed = id;
  if (id) announce("Delete the job and its result for good? Press again to delete.");
  draw();
}

async function forget(job) {
  doomed = "";
  try {
    await call(`/v1/jobs/${encodeURIComponent(job.id)}?forget=true`, { method: "DELETE" });
    announce(`Job ${job.kind} is deleted`);
    if (state.job === job.id) set({ job: undefined });
  } catch (error) {
    announce(error.message);
  }
  await refreshJobs();
  if (document.activeElement === document.body) byId("job-card").focus();
}

// The list is drawn anew with each answer; the focus stays where it was.
function draw() {
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.act : "";
  const rows = jobs.map((job) => h("tr", { "data-job": job.id, title: `Job ${job.id}`, "data-state": job.state },
    h("th", { scope: "row" }, nameOf(job) ? [nameOf(job), h("small", null, about(job))] : [job.kind, h("small", null, `sent ${clock(job.created_s)}`)]),
    h("td", null, h("span", { class: `state ${job.state}` }, job.state)),
    h("td", { class: "progress" }, progress(job)), h("td", { class: "n" }, lasted(job)), h("td", { class: "n acts" }, actions(job))));
  const heads = ["Job", "State", "Progress"].map((name) => h("th", { scope: "col" }, name));
  replace(byId("job-list"), jobs.length
    ? h("table", { class: "jobs" }, h("thead", null, h("tr", null, heads, h("th", { scope: "col", class: "n" }, "Took"), h("th", { scope: "col", class: "n" }, h("span", { class: "unseen" }, "Actions")))), h("tbody", null, rows))
    : h("p", { class: "note" }, "There are no jobs yet; the form above sends one."));
  if (focused) {
    const again = [...byId("job-list").querySelectorAll("[data-act]")].find((each) => each.dataset.act === focused || each.dataset.act.endsWith(focused.slice(focused.indexOf("-"))));
    if (again) again.focus();
  }
}

async function cancel(job) {
  try {
    await call(`/v1/jobs/${encodeURIComponent(job.id)}`, { method: "DELETE" });
    announce(`Job ${job.kind} is being cancelled`);
  } catch (error) {
    announce(error.message);
  }
  await refreshJobs();
}

async function showResult(job, focus = false) {
  shownJob = job.id;
  try {
    const answer = await call(`/v1/jobs/${encodeURIComponent(job.id)}/result`);
    drawResult(byId("job-result"), job, answer);
  } catch (error) {
    replace(byId("job-result"), h("p", { class: "verdict no", role: "alert" }, error.message));
  }
  byId("job-result").hidden = false;
  if (focus) byId("job-result").focus();
}
