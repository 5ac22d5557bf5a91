// How numbers and times look to people; what a tooltip says is exact.

import { el } from "./dom.js";

const UNITS = [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]];
const SPANS = [["year", 31557600], ["month", 2629800], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const absolute = new Intl.DateTimeFormat("en-GB", {
  year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
  timeZoneName: "short",
});
let behind = 0;

/** Ages are by the server's clock, whatever that of this machine says. */
export function setServerTime(text) {
  const now = Date.parse(text ?? "");
  if (!Number.isNaN(now) && Math.abs(now - Date.now()) > 2000) behind = now - Date.now();
}

export function bytes(count) {
  const [unit, length] = UNITS.find(([, length]) => count >= length) ?? ["B", 1];
  return unit === "B" ? `${Math.round(count)} B` : `${(count / length).toFixed(1)} ${unit}`;
}

export const exactly = (count) => `${Math.round(count).toLocaleString("en")} bytes`;

export const many = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;

export function age(moment) {
  const seconds = (moment - Date.now() - behind) / 1000;
  if (Math.abs(seconds) < 5) return "now";
  const [unit, length] = SPANS.find(([, length]) => Math.abs(seconds) >= length) ?? SPANS.at(-1);
  return relative.format(Math.round(seconds / length), unit);
}

export const isPast = (text) => Date.parse(text) < Date.now() + behind;

/** A time, in words; its tooltip has date and time. */
export function time(text) {
  const moment = new Date(text);
  return el("time", { datetime: text, title: absolute.format(moment) }, age(moment));
}
