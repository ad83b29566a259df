// Asking a query and showing its answer: graph, table, remarks, or what is wrong.

import * as api from "./api.js";
import { byId, el, say } from "./dom.js";
import { Graph, LINES_MAX, linesOf } from "./graph.js";
import * as remarks from "./remarks.js";
import { seriesOf } from "./series.js";
import { mark, sorted, table } from "./table.js";

/// Series that are fetched and listed. A browser on a phone shall not choke on a query for all.
const SERIES_MAX = 200;

/// What the API adds when it cut the answer to our limit; said in our own words.
const TRUNCATED = "results truncated due to limit";

let graph;
let running = null;
let shown = null;
let order = { key: "name", down: false };
let picked = null;
let failed = null;

/// Prepares the frames. `goTo` puts the cursor to a place in the query.
export function prepare(goTo) {
  graph = new Graph(byId("plot"), (one) => mark(byId("answer"), one));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => present());
  return { run: (state) => run(state, goTo) };
}

/// Asks, and shows what comes. A newer query takes the place of one under way.
async function run({ query, range }, goTo) {
  running?.abort();
  if (query.trim() === "") {
    forget();
    remarks.over("Nothing is asked yet", el("p", {}, "Type a query, such as up, and press Enter."));
    return;
  }
  const mine = new AbortController();
  running = mine;
  failed = null;
  byId("chart").dataset.busy = "";
  const from = performance.now();
  try {
    const answer = await ask(query, range, mine.signal);
    if (running !== mine) return;
    picked = null;
    shown = { ...answer, took: performance.now() - from };
    present();
  } catch (failure) {
    if (running !== mine || failure.name === "AbortError") return;
    forget();
    failed = failure;
    remarks.error(failure, query, goTo);
  } finally {
    if (running === mine) delete byId("chart").dataset.busy;
  }
}

/// Whether the last query failed because the node could not serve: worth asking again.
export const waits = () => failed !== null && ["network", "unavailable"].includes(failed.kind);

async function ask(query, { seconds, step }, signal) {
  const end = Math.round(api.now() * 1000) / 1000;
  const grid = { start: end - seconds, end, step };
  try {
    const body = await api.post("query_range", { query, ...grid, limit: SERIES_MAX }, signal);
    return { ...body, grid };
  } catch (failure) {
    // Texts and range vectors have no value at each step; they are answered for now alone.
    if (!(failure.kind === "bad_data" && /for range query, must be/.test(failure.message))) throw failure;
    return api.post("query", { query, limit: SERIES_MAX }, signal);
  }
}

function forget() {
  shown = null;
  graph.clear();
  remarks.show();
  say(byId("summary"), "");
  byId("answer").replaceChildren();
}

/// Shows the answer at hand; again when order, choice or colours change.
function present() {
  if (!shown) return;
  remarks.clear();
  const { data, warnings = [], infos = [], grid, took } = shown;
  const cut = warnings.includes(TRUNCATED);
  remarks.show(warnings.filter((text) => text !== TRUNCATED), infos);
  if (data.resultType === "string") {
    graph.clear();
    byId("answer").replaceChildren();
    remarks.over("The answer is a text", el("pre", {}, data.result[1]));
    say(byId("summary"), `${Math.round(took)} ms`);
    return;
  }
  shown.series ??= seriesOf(data);
  const series = sorted(shown.series, order);
  if (series.length === 0) return nothing();
  const lines = linesOf(picked ? [picked] : series);
  const drawn = [...lines.keys()];
  if (drawn.some((one) => one.values.some(Number.isFinite))) {
    graph.draw(drawn, lines, grid);
  } else {
    graph.clear();
    remarks.over("Nothing can be drawn", el("p", {}, "All values are NaN or infinite: the table lists them."));
  }
  const onSort = (key) => {
    order = { key, down: order.key === key ? !order.down : key !== "name" };
    present();
  };
  const onPick = (one) => {
    picked = one;
    present();
  };
  byId("answer").replaceChildren(table({ series, lines, picked, order, onSort, onPick }));
  say(byId("summary"), summary(series.length, drawn.length, cut, took));
}

function nothing() {
  forget();
  remarks.over("No series answers this query",
    el("p", {}, "Look at the name and the labels: the box completes them as you type. Or choose a longer range."));
}

function summary(count, drawn, cut, took) {
  const parts = [];
  if (cut) parts.push(`More than ${SERIES_MAX} series: the first ${count} are listed. Narrow it with labels, or ask for topk(20, …)`);
  else parts.push(count === 1 ? "1 series" : `${count} series`);
  if (picked) parts.push("one is shown alone");
  else if (drawn < count) parts.push(`the first ${LINES_MAX} of the table are drawn`);
  parts.push(`${Math.round(took)} ms`);
  return parts.join(" · ");
}
