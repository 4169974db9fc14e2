// The service: one function for every call, its errors as one sentence, and answers that never overtake newer ones.

import { AXES, inBinary, rowOf } from "./quantities.js";

const TOKEN = "archcast-token";

export class ServiceError extends Error {
  constructor(status, error) {
    super(error.message || `The service answered ${status}.`);
    this.status = status;
    this.kind = error.kind || "";
    this.hint = error.hint || "";
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN) || "",
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

// Returns the parsed answer; on 401 the page is told by an event, and asks for the token.
export async function call(path, { method = "GET", body, signal } = {}) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  const sent = token.get();
  if (sent) headers.authorization = `Bearer ${sent}`;
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError(0, { message: "The service does not answer; is archcast serve still running?" });
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const failure = new ServiceError(response.status, answer.error || {});
  if (response.status === 401) refused(failure, sent);
  throw failure;
}

// The service speaks to programs here (of headers); people are told about the token. One that was refused is forgotten.
function refused(failure, sent) {
  failure.message = sent ? "The token was not accepted." : "This service wants its token.";
  failure.hint = "The button Token at the top takes one.";
  if (sent && token.get() === sent) token.set("");
  document.dispatchEvent(new CustomEvent("token-needed", { detail: { wrong: Boolean(sent) } }));
}

// latest() returns a function that runs `work(signal)`: a newer run ends the older one, whose answer is dropped (null).
export function latest() {
  let controller = null;
  return async (work) => {
    if (controller) controller.abort();
    const mine = (controller = new AbortController());
    try {
      const answer = await work(mine.signal);
      return mine === controller ? answer : null;
    } catch (error) {
      if (mine !== controller || error.name === "AbortError") return null;
      throw error;
    }
  };
}

export const predict = (body, signal) => call("/v1/predict", { method: "POST", body, signal }).then(inBinary);
// The calibrate jobs whose models can be asked, the newest first; none where the service has no jobs.
export async function ownModels() {
  const found = [];
  let before = "";
  for (let page = 0; page < 5; page += 1) {
    const { jobs } = await call(`/v1/jobs?state=done&limit=200${before}`).catch(() => ({ jobs: [] }));
    found.push(...jobs.filter((job) => job.kind === "calibrate"));
    if (jobs.length < 200) break;
    before = `&before=${jobs.at(-1).id}`;
  }
  return found.map((job) => ({ id: job.id, name: job.name || job.about || job.id }));
}

export const report = (body, signal) => call("/v1/report", { method: "POST", body, signal });

// Columns know neither users in service nor a count alone (the fastest mapping differs from row to row).
export const columnar = (rows) => rows.every((row) => !row.concurrency && !(row.count > 1));

// Rows of questions -> rows of answers in the same order, by one request: columns, or rows where columns cannot ask.
export async function predictRows(rows, signal) {
  if (!rows.length) return [];
  if (columnar(rows)) {
    const columns = {};
    for (const name of new Set(rows.flatMap(Object.keys))) {
      if (rows.every((row) => row[name] === rows[0][name])) columns[name] = rows[0][name];
      else columns[name] = rows.map((row) => row[name]);
    }
    if (!Array.isArray(columns.on)) columns.on = rows.map((row) => row.on);
    const query = columns.model ? `?model=${encodeURIComponent(columns.model)}` : "";
    delete columns.model; // one for all rows, and no column
    const answer = await call(`/v1/predict_batch${query}`, { method: "POST", body: columns, signal });
    const out = answer.columns || answer;
    return rows.map((_, at) => rowOf(out, at));
  }
  const answer = await call("/v1/predict_rows", { method: "POST", body: { rows }, signal });
  return answer.rows.map(kept);
}

// What a row of columns would have of a whole answer, and the rates that it has beside.
function kept(answer) {
  if (answer.error) return { verdict: "infeasible", reason: answer.error.message, shortfall_bytes: null };
  const found = { verdict: answer.verdict, reason: answer.reason, shortfall_bytes: answer.shortfall_bytes, mapping: answer.mapping };
  for (const { field } of AXES) if (answer[field]) found[field] = answer[field];
  return inBinary(found);
}
