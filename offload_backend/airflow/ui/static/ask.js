// Questions to the server. All of them only read.

import { el } from "./dom.js";
import { setServerTime } from "./format.js";

/** What went wrong, in words for people, and what mends it. */
export class Trouble extends Error {
  constructor(status, { kind = "", problem = "", hint = "", location = "" }) {
    super(problem);
    Object.assign(this, { status, kind, hint, location });
  }
}

const STATUS = {
  401: ["You are not logged in any more.", "Reload this page to log in again."],
  403: ["You may not see this.", "Who gives rights in Airflow can allow it: to read task instances of a DAG, or assets."],
  404: ["This row is no longer there.", "Refresh the page."],
  422: ["Airflow did not understand the question.", "Reload this page."],
};

/** The URL of a question; what is `null`, undefined or empty is left out. */
export function url(path, query = {}) {
  const asked = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return `api/${path}?${new URLSearchParams(asked)}`;
}

async function answered(asked, options) {
  let response;
  try {
    response = await fetch(asked, options);
  } catch {
    throw new Trouble(0, { problem: "Airflow's API server does not answer.", hint: "Try again in a moment." });
  }
  setServerTime(response.headers.get("Date"));
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const [problem, hint] = STATUS[response.status] ?? ["Airflow's API server failed.", "Its log says why."];
  throw new Trouble(response.status, body.problem ? body : { problem, hint });
}

export async function ask(path, query) {
  return (await answered(url(path, query))).json();
}

/** Download a file. A browser would save an error as one, so whether there is one is asked first. */
export async function begin(file) {
  const first = new AbortController();
  await answered(file, { signal: first.signal });
  first.abort();
  el("a", { href: file, download: "" }).click();
}

/** Where one row's value is asked for, and how. */
export function place(row, what) {
  return row.asset_id === undefined
    ? [`tasks/${what}`, { dag_id: row.dag_id, id: row.id }]
    : [`assets/${row.asset_id}/${what}`, { key: row.key }];
}
