// What the page shows: whose state, which rows, in which order. Its address remembers it.

import { followTheme } from "./airflow.js";
import { ask, place } from "./ask.js";
import { show, told } from "./details.js";
import { byId, el, fill } from "./dom.js";
import { bytes, exactly, many, time } from "./format.js";
import { heads, line, waiting } from "./table.js";

const LIMIT = 50;
const TOGETHER = 4;
const NOT_TOLD = {
  problem: "it is not told where blobs are.",
  hint: "Set [offload_backend] path where the API server runs, as it is set on workers, with rights to read.",
};
const asked = new URLSearchParams(location.search);
const given = (name, form) => (form.test(asked.get(name) ?? "") ? asked.get(name) : undefined);

/** Whose state: of everybody, or of the DAG, run, task or asset on whose page this is a tab. */
const scope = {
  dag_id: given("dag_id", /^(?!\{)./),
  run_id: given("run_id", /^(?!\{)./),
  task_id: given("task_id", /^(?!\{)./),
  index: given("index", /^-?\d+$/),
  asset_id: given("asset_id", /^\d+$/),
};

const view = {
  kind: scope.asset_id || (!scope.dag_id && asked.get("kind") === "assets") ? "assets" : "tasks",
  kept: given("kept", /^(offloaded|inline|all)$/) ?? "offloaded",
  text: asked.get("text") ?? "",
  order: given("order", /^(key|place|stored|written|expires)$/) ?? "written",
  descending: asked.get("descending") !== "false",
  offset: Number(given("offset", /^\d{1,9}$/) ?? 0),
};

let rows = [];
let loading = 0;

function remember() {
  const kept = { ...scope, ...view, offset: view.offset || undefined, text: view.text || undefined };
  const said = Object.entries(kept).filter(([, value]) => value !== undefined);
  history.replaceState(null, "", `?${new URLSearchParams(said)}`);
}

/** Show another part of the rows. */
function change(part) {
  Object.assign(view, { offset: 0 }, part);
  remember();
  load();
}

async function load() {
  const mine = ++loading;
  const timer = setTimeout(() => mine === loading && drawWaiting(), 150);
  byId("frame").setAttribute("aria-busy", "true");
  byId("check").disabled = true;
  drawTools();
  try {
    const { kind, ...wanted } = view;
    const found = await ask(kind, { ...scope, ...wanted, limit: LIMIT });
    if (mine === loading) draw(found);
  } catch (trouble) {
    if (mine === loading) drawTrouble(trouble);
  } finally {
    clearTimeout(timer);
    if (mine === loading) byId("frame").removeAttribute("aria-busy");
  }
}

const order = (by) => change({ order: by, descending: by === view.order ? !view.descending : by === "stored" || by === "written" });

function drawHeads() {
  fill(byId("heads"), heads(view.kind, scope, view.order, view.descending, order));
}

function drawWaiting() {
  drawHeads();
  byId("empty").hidden = true;
  fill(byId("rows"), waiting(view.kind, scope));
}

function draw(found) {
  rows = found.rows;
  drawHeads();
  drawRows();
  const [first, last] = [Math.min(view.offset + 1, found.count), view.offset + rows.length];
  byId("count").textContent = rows.length ? `${first.toLocaleString("en")}–${last.toLocaleString("en")} of ${many(found.count, "row")}` : "";
  byId("previous").disabled = view.offset === 0;
  byId("next").disabled = last >= found.count;
  byId("check").disabled = !rows.some((row) => row.kept === "offloaded");
  byId("empty").hidden = rows.length > 0;
  if (!rows.length) fill(byId("empty"), nothing());
}

function drawRows() {
  fill(byId("rows"), rows.map((row) => line(row, view.kind, scope, (each) => show(each, remark))));
}

function nothing() {
  if (view.text) return [el("strong", {}, "No row matches the filter."), el("p", {}, "It looks into keys and into the names of DAGs, runs, tasks and assets.")];
  if (view.offset) return [el("strong", {}, "There are no more rows."), el("p", {}, "Some have gone since this page was opened.")];
  if (view.kept === "offloaded") return [el("strong", {}, "Nothing is offloaded here."), el("p", {}, "Values that are small stay in their rows: choose “all” to see them.")];
  return [el("strong", {}, "There is no state here."), el("p", {}, "A task that sets a key has its row here, at once.")];
}

function drawTrouble(trouble) {
  rows = [];
  byId("heads").replaceChildren();
  byId("rows").replaceChildren();
  byId("count").textContent = "";
  for (const id of ["previous", "next", "check"]) byId(id).disabled = true;
  byId("empty").hidden = false;
  const again = el("button", { type: "button", class: "button", click: load }, "Try again");
  fill(byId("empty"), told(trouble), trouble.status !== 403 && again);
}

/** What the store answered about a row's blob. */
function remark(row, found) {
  row.seen = found;
  drawRows();
}

/** Ask for the blobs of all rows on the page, a few at a time. */
async function check() {
  byId("check").disabled = true;
  const wanted = rows.filter((row) => row.kept === "offloaded");
  const worker = async () => {
    for (let row = wanted.shift(); row; row = wanted.shift()) {
      const found = await ask(...place(row, "check")).catch((trouble) => ({ kind: trouble.kind || "unseen", problem: trouble.message }));
      remark(row, found);
    }
  };
  await Promise.all(Array.from({ length: TOGETHER }, worker));
  byId("check").disabled = false;
}

function card(name, ...content) {
  return el("div", { class: "card" }, el("h2", {}, name), el("div", { class: "card-value" }, content));
}

const small = (...content) => el("small", { class: "muted" }, content);

function largest(found) {
  const most = Math.max(...found.largest.map((each) => each.stored), 1);
  return el("ol", { class: "largest" }, found.largest.map((each) =>
    el("li", { title: `${exactly(each.stored)} in ${many(each.offloaded, "value")}` },
      el("span", { class: "one-line" }, each.name),
      el("meter", { min: 0, max: most, value: each.stored, "aria-label": each.name }),
      el("span", { class: "amount" }, bytes(each.stored)))));
}

function drawCards(tasks, assets, about) {
  const found = [tasks, assets].filter(Boolean);
  const sum = (name) => found.reduce((total, each) => total + each[name], 0);
  const [offloaded, count] = [sum("offloaded"), sum("rows")];
  const cards = [
    card("Offloaded", offloaded.toLocaleString("en"), small(`of ${many(count, "row")}`)),
    card("In the store", el("span", { title: exactly(sum("stored")) }, bytes(sum("stored"))), small("as the refs state it")),
  ];
  if (tasks)
    cards.push(card("Past their expiry", tasks.expired.toLocaleString("en"), small("removed by ", el("code", {}, "offload expire"))));
  const run = about?.collector;
  if (about && !about.trouble)
    cards.push(card("Collector", run ? [`run ${run.runs.toLocaleString("en")}`, small(time(run.at))]
      : ["never ran", small("dead blobs stay: ", el("code", {}, "offload gc run"))]));
  if (tasks?.largest.length && !scope.dag_id)
    cards.push(el("div", { class: "card wide" }, el("h2", {}, "Largest DAGs"), largest(tasks)));
  fill(byId("cards"), cards);
}

function drawAbout(about) {
  const trouble = about?.trouble ?? (about && !about.location && NOT_TOLD);
  byId("notice").hidden = !trouble;
  if (trouble)
    fill(byId("notice"), el("strong", {}, "This server can list values, but not open them: "), trouble.problem,
      el("small", {}, trouble.hint));
  if (about?.location) byId("where").textContent = `Deployment ${about.deployment} · blobs below ${about.location}`;
}

function drawTools() {
  const fixed = scope.asset_id || scope.dag_id;
  const tabs = [["tasks", "Tasks"], ["assets", "Assets"]].map(([kind, name]) =>
    el("button", { type: "button", "aria-pressed": String(kind === view.kind), click: () => change({ kind, order: "written", descending: true }) }, name));
  byId("tabs").hidden = Boolean(fixed);
  if (!fixed) fill(byId("tabs"), tabs);
  byId("kept").value = view.kept;
  byId("filter").placeholder = `Filter by key, ${view.kind === "tasks" ? "DAG, run or task" : "asset or URI"}`;
}

/** Everything but the rows. What may not be seen is left out. */
async function loadTotals() {
  const unseen = () => null;
  const [tasks, assets, about] = await Promise.all([
    scope.asset_id ? null : ask("tasks/totals", scope).catch(unseen),
    scope.dag_id ? null : ask("assets/totals", scope).catch(unseen),
    ask("about", { dag_id: scope.dag_id }).catch(unseen),
  ]);
  if (tasks || assets) drawCards(tasks, assets, about);
  drawAbout(about);
}

function begin() {
  followTheme();
  document.body.classList.toggle("tab", Boolean(scope.dag_id || scope.asset_id));
  let typing;
  byId("filter").value = view.text;
  byId("filter").addEventListener("input", (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => change({ text: event.target.value.trim() }), 250);
  });
  byId("kept").addEventListener("change", (event) => change({ kept: event.target.value }));
  byId("previous").addEventListener("click", () => change({ offset: Math.max(0, view.offset - LIMIT) }));
  byId("next").addEventListener("click", () => change({ offset: view.offset + LIMIT }));
  byId("check").addEventListener("click", check);
  byId("refresh").addEventListener("click", () => { load(); loadTotals(); });
  load();
  loadTotals();
}

begin();
