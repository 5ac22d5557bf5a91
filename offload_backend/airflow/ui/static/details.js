// One row in full, and what may be done with its value: look, view, download.

import { ask, begin, place, url } from "./ask.js";
import { byId, el, fill } from "./dom.js";
import { bytes, exactly, time } from "./format.js";
import { SEEN, kinds, link, seen, writer } from "./table.js";

const dialog = byId("details");
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

const fact = (name, ...value) => [el("dt", {}, name), el("dd", {}, value)];

function whose(row) {
  if (row.asset_id !== undefined)
    return [fact("Asset", link(row.name, { asset_id: row.asset_id })), fact("URI", row.uri), fact("Written by", writer(row))];
  const index = row.index >= 0 ? ` [${row.index}]` : "";
  return [
    fact("DAG", link(row.dag_id, { dag_id: row.dag_id })),
    fact("Run", link(row.run_id, { dag_id: row.dag_id, run_id: row.run_id })),
    fact("Task", link(row.task_id + index, row)),
    row.region && fact("Region", row.region),
    fact("Written by", el("span", { class: "muted" }, "this task; Airflow does not write down which try, nor edits")),
  ];
}

function facts(row) {
  return el("dl", {},
    whose(row),
    fact("Value", row.about || el("span", { class: "muted" }, "not told")),
    fact("Kind", kinds(row)),
    row.stored !== null && fact("Stored", `${bytes(row.stored)}`, el("span", { class: "muted" }, ` ${exactly(row.stored)}`)),
    row.raw !== null && fact("Uncompressed", bytes(row.raw), el("span", { class: "muted" }, ` ${exactly(row.raw)}`)),
    fact("Written", time(row.written), el("span", { class: "muted" }, ` ${row.written}`)),
    row.asset_id === undefined &&
      fact("Expires", row.expires ? [time(row.expires), el("span", { class: "muted" }, ` ${row.expires}`)] : "never"),
    row.encrypted && fact("Key id", row.encrypted),
    row.signer && fact("Signed by", row.signer),
    row.url && fact("Blob", el("code", {}, row.url)),
  );
}

export function told(trouble) {
  return el("div", { class: "trouble", role: "alert" },
    el("strong", {}, trouble.message),
    trouble.hint && el("p", {}, trouble.hint));
}

function shown({ form, text, cut, size }) {
  const notes = { json: cut ? `The beginning of ${bytes(size)}` : bytes(size), outline: "What it is made of; arrays were not read" };
  const copy = el("button", { type: "button", class: "button small", click: () => navigator.clipboard?.writeText(text) }, "Copy");
  return [
    el("div", { class: "value-head" }, el("span", { class: "muted" }, notes[form]), navigator.clipboard ? copy : null),
    el("pre", { class: "value", tabindex: "0" }, text),
  ];
}

/** Show the row; `onSeen` is told what the store answered. */
export function show(row, onSeen) {
  const answer = el("div", { class: "answer", "aria-live": "polite" });
  const act = async (button, work) => {
    button.disabled = true;
    fill(answer, el("p", { class: "muted" }, "Asking the store …"));
    try {
      fill(answer, await work());
    } catch (trouble) {
      if (trouble.kind) onSeen(row, { kind: trouble.kind, problem: trouble.message });
      fill(answer, told(trouble));
    }
    button.disabled = false;
  };
  const view = el("button", { type: "button", class: "button solid", click: (event) =>
    act(event.currentTarget, async () => shown(await ask(...place(row, "value")))) },
    row.codec === "tree" ? "Outline" : "View");
  const look = el("button", { type: "button", class: "button", click: (event) =>
    act(event.currentTarget, async () => {
      const found = await ask(...place(row, "check"));
      onSeen(row, found);
      return found.kind === "there" ? el("p", {}, seen(found), SEEN.there.at(-1)) : told({ message: found.problem, hint: found.hint });
    }) }, "Look for the blob");
  const download = el("button", { type: "button", class: "button", click: (event) =>
    act(event.currentTarget, async () => {
      await begin(url(...place(row, "download")));
      return el("p", { class: "muted" }, "On its way.");
    }) }, "Download");
  const actions = { offloaded: [view, download, look], inline: [view] }[row.kept] ?? [];
  fill(dialog,
    el("header", { class: "details-head" },
      el("h2", { id: "details-title" }, row.key),
      el("button", { type: "button", class: "button", "aria-label": "Close", click: () => dialog.close() }, "✕")),
    facts(row),
    el("div", { class: "actions" }, actions),
    actions.length ? null : el("p", { class: "muted" }, "A value of another backend, or of a newer version of this one: it is not opened here."),
    answer,
  );
  dialog.showModal();
}
