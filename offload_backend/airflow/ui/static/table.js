// The table: its columns, and what stands in each row.

import { address, open } from "./airflow.js";
import { el } from "./dom.js";
import { bytes, exactly, isPast, time } from "./format.js";

const KEPT = { inline: "in the row", peer: "common-io", unreadable: "unreadable" };
const CODECS = { json: "JSON", tree: "tree", pickle: "pickle" };
export const SEEN = {
  there: ["there", "good", "The blob is there, and ends as it was written."],
  gone: ["gone", "bad", "A dangling ref: the row names a blob that is gone."],
  damaged: ["damaged", "bad", "The blob is not the one that was written."],
  refused: ["not read", "warn", ""],
  unseen: ["cannot see", "warn", ""],
};

export function badge(text, kind = "", title = null) {
  return el("span", { class: `badge ${kind}`, title }, text);
}

/** A link into Airflow's UI. */
export function link(text, where, title = null) {
  return el("a", { href: address(where), click: open, title }, text);
}

export function sizes(row) {
  if (row.stored === null) return el("span", { class: "muted" }, "not told");
  const stored = el("span", { title: `${exactly(row.stored)} ${row.kept === "inline" ? "in the row" : "in the store"}` });
  stored.append(bytes(row.stored));
  if (row.raw === null) return stored;
  return [stored, el("small", { class: "muted", title: exactly(row.raw) }, `of ${bytes(row.raw)}`)];
}

export function kinds(row) {
  const found = [];
  if (row.kept === "offloaded") found.push(badge(CODECS[row.codec] ?? row.codec));
  else found.push(badge(KEPT[row.kept], row.kept === "unreadable" ? "bad" : ""));
  if (row.encrypted) found.push(badge("encrypted", "brand", `with the key ${row.encrypted}`));
  if (row.signer) found.push(badge("signed", "brand", `by ${row.signer}`));
  return found;
}

export function seen(trouble) {
  if (!trouble) return el("span", { class: "muted", title: "Nobody has asked the store" }, "–");
  const [text, kind, title] = SEEN[trouble.kind] ?? ["?", "warn", ""];
  return badge(text, kind, title || trouble.problem);
}

function task(row, scope) {
  const name = row.index >= 0 ? `${row.task_id} [${row.index}]` : row.task_id;
  const first = [];
  if (!scope.dag_id) first.push(link(row.dag_id, { dag_id: row.dag_id }), el("span", { class: "muted" }, " / "));
  first.push(link(name, row));
  const run = scope.run_id ? null : link(row.run_id, { dag_id: row.dag_id, run_id: row.run_id });
  return [el("span", { class: "one-line" }, first), run && el("small", { class: "one-line" }, run)];
}

function asset(row) {
  const same = row.name === row.uri;
  return [link(row.name, { asset_id: row.asset_id }), same ? null : el("small", { class: "muted one-line" }, row.uri)];
}

/** Who wrote an asset's row, as far as Airflow has written it down. */
export function writer(row) {
  const { kind, dag_id, run_id, task_id, map_index, try_number } = row.writer;
  if (!dag_id) return el("span", { class: "muted" }, kind ? `by ${kind}` : "not told");
  const index = map_index >= 0 ? ` [${map_index}]` : "";
  const which = try_number === null ? "" : `, try ${try_number}`;
  return [
    link(`${dag_id} / ${task_id}${index}`, { dag_id, run_id, task_id, index: map_index ?? -1 }),
    el("small", { class: "muted one-line" }, `${run_id}${which}`),
  ];
}

const expires = (row) => {
  if (row.expires === null) return el("span", { class: "muted" }, "never");
  const when = time(row.expires);
  if (isPast(row.expires)) when.className = "late";
  return when;
};

/** Columns: name, what the server orders by (`null`: nothing), cell, class. */
export function columns(kind, scope) {
  const whose = scope.task_id && scope.run_id ? [] : [["Task", "place", (row) => task(row, scope), "place"]];
  const places = {
    tasks: [...whose],
    assets: [...(scope.asset_id ? [] : [["Asset", "place", asset, "place"]]), ["Written by", null, writer, "place"]],
  };
  return [
    ["Key", "key", null, "key"],
    ...places[kind],
    ["Size", "stored", sizes, "number"],
    ["Written", "written", (row) => time(row.written), ""],
    ...(kind === "tasks" ? [["Expires", "expires", expires, ""]] : []),
    ["Kind", null, kinds, "kinds"],
    ["Blob", null, (row) => (row.kept === "offloaded" ? seen(row.seen) : ""), "seen"],
  ];
}

function key(row, onOpen) {
  const button = el("button", { type: "button", class: "key-link", click: () => onOpen(row) }, row.key);
  return [button, row.about ? el("small", { class: "muted about" }, row.about) : null];
}

export function line(row, kind, scope, onOpen) {
  const cells = columns(kind, scope).map(([, , cell, style]) =>
    el("td", { class: style }, cell === null ? key(row, onOpen) : cell(row)),
  );
  return el("tr", {}, cells);
}

export function heads(kind, scope, order, descending, onOrder) {
  return columns(kind, scope).map(([name, by, , style]) => {
    if (by === null) return el("th", { scope: "col", class: style }, name);
    const sorted = by === order ? (descending ? "descending" : "ascending") : "none";
    const arrow = el("span", { class: "arrow", "aria-hidden": "true" }, { descending: "↓", ascending: "↑" }[sorted] ?? "");
    return el("th", { scope: "col", class: style, "aria-sort": sorted },
      el("button", { type: "button", class: "sort", click: () => onOrder(by) }, name, arrow));
  });
}

export function waiting(kind, scope) {
  const bars = () => columns(kind, scope).map(() => el("td", {}, el("span", { class: "bar" })));
  return Array.from({ length: 6 }, () => el("tr", { class: "waiting" }, bars()));
}
