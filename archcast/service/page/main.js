// The page: what is asked for when the state changes, and what is shown while and after it is answered.

import { call, latest, ownModels, predict, report } from "./api.js";
import { announce, byId } from "./dom.js";
import { drawAnswer, spoken } from "./answer.js";
import { buildCompare, refreshCompare } from "./compare.js";
import { buildJobs, leaveJobs, offerExample, refreshJobs } from "./jobs.js";
import { buildQuestion, drawQuestion, setLists, setModels } from "./question.js";
import { clearReport, drawReport } from "./report.js";
import { NUMBERS, WORDS, appliesTo, changed, hashOf, ignored, learn, question, readHash, set, state } from "./state.js";
import { buildToken } from "./token.js";
import { buildWhatif, refreshWhatif } from "./whatif.js";

const QUESTION = new Set(["workload", "on", "view", ...NUMBERS, ...WORDS]);
const CURVE = new Set(["knob", "at", "scale"]);
const runAnswer = latest();
const runReport = latest();

function trouble(error) {
  const box = byId("trouble");
  box.hidden = !error;
  box.textContent = error ? [error.message, error.hint].filter(Boolean).join(" ") : "";
}

// What the address says and cannot be meant is left out, and said; it is gone with the next change of the address.
function drawIgnored() {
  byId("ignored").hidden = !ignored.length;
  byId("ignored").textContent = ignored.length ? `Left out of the address: ${ignored.join(", ")}.` : "";
}

function showView() {
  drawIgnored();
  const predicting = state.view === "predict";
  for (const id of ["answer", "whatif", "report"]) byId(id).hidden = !predicting;
  byId("compare").hidden = state.view !== "compare";
  byId("jobs").hidden = state.view !== "jobs";
  byId("question").hidden = state.view === "jobs";
  for (const link of document.querySelectorAll("nav a")) {
    link.href = hashOf({ view: link.dataset.view, job: undefined });
    if (link.dataset.view === state.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (state.view !== "predict") document.title = `${state.view === "jobs" ? "Jobs" : `${state.workload} compared`} - archcast`;
}

// Asks for the answer and its drawings; what the form shows follows the answer, which says what applies.
async function refreshPrediction(force) {
  const body = question();
  const busy = setTimeout(() => byId("answer").setAttribute("aria-busy", "true"), 120);
  try {
    const answer = await runAnswer((signal) => predict(body, signal));
    if (!answer) return;
    learn(state.workload, answer.request);
    drawAnswer(answer);
    drawQuestion();
    announce(spoken(answer));
    const drawings = runReport((signal) => report(body, signal)).then((found) => found && drawReport(found.html));
    await Promise.all([drawings, refreshWhatif({ force, answer })]);
  } finally {
    clearTimeout(busy);
    byId("answer").removeAttribute("aria-busy");
  }
}

// The comparison asks once what applies to a workload that no answer was given for yet.
async function learnKnobs() {
  if (appliesTo(state.workload)) return;
  const answer = await runAnswer((signal) => predict(question(), signal)).catch(() => null);
  if (!answer) return;
  learn(state.workload, answer.request);
  drawQuestion();
}

async function refresh({ force = false } = {}) {
  showView();
  trouble(null);
  drawQuestion();
  leaveJobs();
  try {
    if (state.view === "jobs") await Promise.all([refreshJobs(), offerExample()]);
    else if (state.view === "compare") {
      await learnKnobs();
      await refreshCompare({ force });
    }
    else await refreshPrediction(force);
  } catch (error) {
    trouble(error);
    byId("answer").replaceChildren();
    byId("whatif").hidden = true;
    clearReport();
  }
  document.documentElement.dataset.ready = "yes";
}

function onChange(names) {
  delete document.documentElement.dataset.ready;
  if (names.some((name) => QUESTION.has(name))) refresh();
  else {
    showView();
    const done = () => { document.documentElement.dataset.ready = "yes"; };
    if (names.some((name) => CURVE.has(name)) && state.view === "predict") refreshWhatif({ handleOnly: names.every((name) => name === "at") }).catch(trouble).then(done);
    else done();
  }
}

async function start() {
  readHash();
  buildQuestion();
  buildWhatif();
  buildCompare();
  buildJobs();
  buildToken(() => begin());
  byId("skip").addEventListener("click", () => {
    const target = byId({ predict: "answer", compare: "compare", jobs: "jobs" }[state.view]);
    target.focus();
    target.scrollIntoView();
  });
  document.querySelector("nav").addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    set({ view: link.dataset.view, job: undefined }, { push: true });
    window.scrollTo(0, 0);
  });
  changed(onChange);
  await begin();
}

// Lists and answer; again from the start once a token was given.
async function begin() {
  try {
    const [workloads, devices] = await Promise.all([call("/v1/workloads"), call("/v1/devices")]);
    setLists(workloads.workloads, devices.devices);
    ownModels().then(setModels);
  } catch (error) {
    showView();
    trouble(error);
    return;
  }
  await refresh({ force: true });
}

start();
