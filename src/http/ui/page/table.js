// The table under the graph: which line is which series, and its figures in the range.

import { el, svg } from "./dom.js";
import * as format from "./format.js";

const COLUMNS = [
  { key: "name", text: "Series" },
  { key: "min", text: "min" },
  { key: "avg", text: "avg" },
  { key: "max", text: "max" },
  { key: "last", text: "last" },
];

/// Series in the order that was chosen; by name is the order of the answer.
export function sorted(series, { key, down }) {
  if (key === "name") return down ? [...series].reverse() : [...series];
  const rank = (one) => (one[key] === null || Number.isNaN(one[key]) ? null : one[key]);
  return [...series].sort((a, b) => {
    const [x, y] = [rank(a), rank(b)];
    // What has no value comes last, whichever way.
    if (x === null || y === null) return (x === null) - (y === null);
    return down ? y - x : x - y;
  });
}

/// Builds the table. `lines` maps a drawn series to its line; `picked` is the one shown alone.
export function table({ series, lines, picked, order, onSort, onPick }) {
  const rows = series.map((one) => row(one, lines.get(one), picked, onPick));
  return el("table", { class: "answer", role: "table" },
    el("caption", { class: "visually-hidden" }, "Result of the query"),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...COLUMNS.map((column) => heading(column, order, onSort)))),
    el("tbody", { role: "rowgroup" }, ...rows));
}

function heading({ key, text }, order, onSort) {
  const now = order.key === key && (order.down || key !== "name");
  const button = el("button", { type: "button", class: "sort", "data-order": now && (order.down ? "down" : "up") }, text);
  button.addEventListener("click", () => onSort(key));
  const sort = now ? (order.down ? "descending" : "ascending") : "none";
  return el("th", { role: "columnheader", scope: "col", "aria-sort": sort }, button);
}

function row(one, line, picked, onPick) {
  const { name, pairs } = format.series(one.labels);
  // A pair is not torn: the line breaks between pairs where it can.
  const spans = pairs.flatMap((pair, at) => (at === 0 ? [el("span", {}, pair)] : [", ", el("span", {}, pair)]));
  const label = el("span", {}, el("b", {}, name), ...(pairs.length > 0 || name === "" ? ["{", ...spans, "}"] : []));
  const cells = COLUMNS.slice(1).map(({ key }) =>
    el("td", { role: "cell", class: key, "data-name": key !== "last" && key, title: String(one[key] ?? "") }, format.value(one[key])));
  const tr = el("tr", { role: "row" },
    el("td", { role: "cell", class: "name" }, el("div", { class: "series" }, pick(one, line, picked, onPick), label)), ...cells);
  tr.series = one;
  return tr;
}

/// The coloured square that shows a series alone, or all again.
function pick(one, line, picked, onPick) {
  const square = svg("rect", { x: 1, y: 1, width: 12, height: 12, rx: 3, fill: line ? line.color : "none", stroke: line ? line.color : "currentColor", "stroke-opacity": line ? 1 : 0.35 });
  const alone = picked === one;
  const text = alone ? "Show all lines again" : "Show this line alone";
  const button = el("button", { type: "button", class: "pick", "aria-pressed": String(alone), "aria-label": text, title: text },
    svg("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, square));
  button.addEventListener("click", () => onPick(alone ? null : one));
  return button;
}

/// Marks the row of a series, and no other.
export function mark(frame, one) {
  for (const row of frame.querySelectorAll("tbody tr")) row.toggleAttribute("data-near", row.series === one);
}
