// The figures at the top: what the node holds and receives now, and small curves of the last
// quarter of an hour. They come from the node's own metrics by one query; `OWN` in it stands for the
// labels of its own target: others may send metrics of the same names, of this node or of another.

import * as api from "./api.js";
import { byId, el, say, svg } from "./dom.js";
import * as format from "./format.js";

const SPAN = 900;
const STEP = 15;

const bytes = (number) => format.bytes(number);
/// When a card that endures 10 TB has taken them, with so many bytes a second.
const years = (written) => {
  const lasts = 10e12 / (Math.max(written, 1) * 86400 * 365);
  return lasts > 100 ? "100+ years" : `${lasts.toFixed(lasts < 10 ? 1 : 0)} years`;
};
const rate = ([figure, unit]) => [figure, `${unit}/s`];

/// `query` gives one series; `show` gives figure and unit; `aside` a line below, from all figures.
const FIGURES = [
  {
    id: "receives",
    title: "Receives",
    query: 'sum(rate(cairn_ingest_stored_total{OWN, kind=~"sample|histogram"}[1m]))',
    show: (number) => { const [figure, prefix] = format.scaled(number); return [figure, `${prefix} samples/s`.trim()]; },
    aside: ({ requests }) => (requests > 0 ? `${format.scaled(requests).join("")} writes/s` : "nobody sends now"),
  },
  {
    id: "series",
    title: "Series in memory",
    query: "sum(cairn_head_series{OWN})",
    show: (number) => (number < 1e5 ? [format.value(number), ""] : format.scaled(number)),
    aside: ({ unsealed }) => (unsealed === undefined ? "" : `with ${format.scaled(unsealed).join(" ")} samples`),
  },
  {
    id: "blocks",
    title: "Blocks",
    query: "sum(cairn_block_bytes{OWN})",
    show: bytes,
    aside: ({ count, free }) => [
      count === undefined ? "" : count === 0 ? "first after 2 hours" : `${format.value(count)} blocks`,
      free > 0 ? `${bytes(free).join(" ")} free` : "",
    ].filter(Boolean).join(", "),
  },
  {
    id: "written",
    title: "Written to disk",
    query: 'sum(rate(cairn_device_written_bytes_total{OWN}[1m]))',
    show: (number) => rate(bytes(number)),
    aside: ({ commits, wear, rarer }) => [
      commits === undefined ? "" : `${format.scaled(commits).join("")} commits/s`,
      wear > 0 ? `10 TB in ${years(wear)}` : "",
      // Only where it would be worth a thought.
      wear > 0 && rarer < 0.9 * wear ? `with a commit every 5 s ${years(rarer)}` : "",
    ].filter(Boolean).join(", "),
  },
  {
    id: "memory",
    title: "Memory",
    query: 'sum(process_resident_memory_bytes{OWN})',
    show: bytes,
    aside: ({ head }) => (head === undefined ? "" : `${bytes(head).join(" ")} for samples`),
  },
  {
    id: "processor",
    title: "Processor",
    query: 'sum(rate(process_cpu_seconds_total{OWN}[1m]))',
    show: (number) => [format.percent(number), "% of a core"],
    aside: ({ queries }) => (queries === undefined ? "" : `${format.scaled(queries).join(" ")} queries/s`),
  },
];

/// What stands in the small lines.
const ASIDES = {
  requests: "sum(rate(cairn_ingest_requests_total{OWN}[1m]))",
  unsealed: "sum(cairn_unsealed_samples{OWN})",
  count: "sum(cairn_blocks{OWN})",
  commits: "sum(rate(cairn_log_syncs_total{OWN}[1m]))",
  wear: "sum(rate(cairn_device_written_bytes_total{OWN}[1h]))",
  // Each commit writes at least one page of the log anew.
  rarer: "clamp_min(sum(rate(cairn_device_written_bytes_total{OWN}[1h])) - 4096 * clamp_min(sum(rate(cairn_log_syncs_total{OWN}[1h])) - 1 / 5, 0), 0)",
  free: "min(cairn_disk_free_bytes{OWN})",
  head: "sum(cairn_unsealed_bytes{OWN})",
  queries: "sum(rate(cairn_query_queries_total{OWN}[1m]))",
};

/// One query for all: each part carries its name as a label.
const QUERY = [
  ...FIGURES.map(({ id, query }) => [id, query]),
  ...Object.entries(ASIDES),
].map(([id, query]) => `label_replace(${query}, "figure", "${id}", "", "")`).join(" or ");

let labels = "";

/// The labels by which the node stores its own metrics, as a selector has them.
async function own(signal) {
  if (labels === "") {
    const { data } = await api.get("targets", { state: "active", scrapePool: "cairn" }, signal);
    const found = Object.entries(data.activeTargets[0]?.labels ?? { job: "cairn" });
    labels = found.map(([name, text]) => `${format.labelName(name)}=${format.quoted(text)}`).join(", ");
  }
  return labels;
}

/// Lays out the frames, at their final size, before anything is known.
export function prepare() {
  byId("figures").replaceChildren(...FIGURES.map(({ id, title }) =>
    el("div", { class: "figure", id: `figure-${id}` },
      el("dt", {}, title),
      el("dd", { class: "value" }, "–"),
      el("dd", { class: "aside" }),
      svg("svg", { viewBox: "0 0 100 34", preserveAspectRatio: "none", "aria-hidden": "true" }))));
}

/// Asks for the figures and shows them. Gives what other parts of the page want to know.
export async function refresh(signal) {
  const end = api.now();
  const grid = { start: end - SPAN, end, step: STEP };
  const [tsdb, answer] = await Promise.all([
    api.get("status/tsdb", { limit: 1 }, signal),
    own(signal).then((labels) => api.post("query_range", { query: QUERY.replaceAll("OWN", labels), ...grid }, signal)),
  ]);
  const curves = new Map(answer.data.result.map((one) => [one.metric.figure, one.values.map(([time, text]) => [time, Number(text)])]));
  const now = {};
  for (const [id, points] of curves) {
    const [time, value] = points[points.length - 1];
    // A curve that has ended is not what is now.
    if (end - time <= 2 * STEP) now[id] = value;
  }
  // Asked of the head itself, so that it is there from the first moment.
  now.series = tsdb.data.headStats.numSeries;
  for (const figure of FIGURES) show(figure, now, curves.get(figure.id) ?? [], grid);
  return now;
}

function show({ id, show: read, aside }, now, points, grid) {
  const frame = byId(`figure-${id}`);
  const [value, line] = frame.querySelectorAll("dd");
  if (now[id] === undefined || Number.isNaN(now[id])) {
    value.replaceChildren("–");
    say(line, "after some seconds");
  } else {
    const [figure, unit] = read(now[id]);
    value.replaceChildren(figure, " ", el("span", { class: "unit" }, unit));
    say(line, aside(now));
  }
  frame.querySelector("svg").replaceChildren(...curve(points, grid));
}

/// A curve over the whole width, from zero to its highest point.
function curve(points, { start }) {
  if (points.length < 2) return [];
  const most = Math.max(...points.map((point) => point[1]), 1e-12);
  const places = points.map(([time, value]) =>
    `${(((time - start) / SPAN) * 100).toFixed(2)},${(32 - (Math.max(0, value) / most) * 28).toFixed(2)}`);
  const [first, last] = [places[0].split(",")[0], places[places.length - 1].split(",")[0]];
  return [
    svg("polygon", { class: "ground", points: `${first},34 ${places.join(" ")} ${last},34` }),
    svg("polyline", { class: "curve", points: places.join(" ") }),
  ];
}
