// Asking a query and showing its answer: graph, table, remarks, or what is wrong.

import * as api from "./api.js";
import { byId, el, say } from "./dom.js";
import { seriesText } from "./format.js";
import { Graph, LINES_MAX, linesOf } from "./graph.js";
import * as remarks from "./remarks.js";
import { seriesOf } from "./series.js";
import { mark, sorted, table } from "./table.js";

/// Series that are fetched. A browser on a phone shall not choke on a query for all.
const SERIES_MAX = 200;
/// Rows that are listed before somebody asks for the rest.
const ROWS = 40;
/// A live graph is not asked for more often.
const LIVE_MIN_S = 5;

/// What the API adds when it cut the answer to our limit; said in our own words.
const TRUNCATED = "results truncated due to limit";

/// Of the answer that is shown: in which order, which series alone (by its text, so that it is
/// found again in a newer answer), and whether all rows.
const FRESH = { order: { key: "name", down: false }, picked: null, all: false };

export class Answer {
  /// `goTo` puts the cursor to a place in the query.
  constructor(goTo) {
    this.goTo = goTo;
    this.graph = new Graph(byId("plot"), (one) => mark(byId("answer"), one));
    this.running = null;
    this.timer = 0;
    this.forget();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.present());
    document.addEventListener("visibilitychange", () => this.goOn());
  }

  /// Whether the last query failed because the node could not serve: worth asking again.
  get waits() {
    return this.failed !== null && ["network", "unavailable"].includes(this.failed.kind);
  }

  /// Asks, and shows what comes. A newer query takes the place of one under way.
  async run(state) {
    const { query } = state;
    if (query !== this.state?.query) this.view = { ...FRESH };
    this.state = state;
    if (query.trim() === "") {
      this.running?.abort();
      this.forget();
      remarks.over("Nothing is asked yet", el("p", {}, "Type a query, such as up, and press Enter."));
      return;
    }
    byId("chart").dataset.busy = "";
    await this.ask();
    this.goOn();
  }

  /// A live graph is asked for again when its next point is due; not while nobody looks.
  goOn() {
    clearTimeout(this.timer);
    const { live, range } = this.state ?? {};
    if (!live || document.hidden) return;
    this.timer = setTimeout(async () => {
      if (!this.graph.held && this.running === null) await this.ask();
      this.goOn();
    }, Math.max(LIVE_MIN_S, range.step) * 1000);
  }

  async ask() {
    this.running?.abort();
    const mine = new AbortController();
    this.running = mine;
    const from = performance.now();
    try {
      const answer = await fetchAnswer(this.state, mine.signal);
      if (this.running !== mine) return;
      this.failed = null;
      this.shown = { ...answer, series: seriesOf(answer.data), took: Math.round(performance.now() - from) };
      this.present();
    } catch (failure) {
      if (this.running !== mine || failure.name === "AbortError") return;
      this.forget();
      this.failed = failure;
      remarks.error(failure, this.state.query, this.goTo);
    } finally {
      if (this.running === mine) {
        this.running = null;
        delete byId("chart").dataset.busy;
      }
    }
  }

  forget() {
    this.shown = null;
    this.failed = null;
    this.view = { ...FRESH };
    this.graph.clear();
    remarks.show();
    say(byId("summary"), "");
    byId("answer").replaceChildren();
  }

  /// Shows the answer at hand; again when order, choice or colours change.
  present() {
    if (!this.shown) return;
    const { data, warnings = [], infos = [], took } = this.shown;
    remarks.clear();
    remarks.show(warnings.filter((text) => text !== TRUNCATED), infos);
    if (data.resultType === "string") {
      this.frames([], new Map());
      remarks.over("The answer is a text", el("pre", {}, data.result[1]));
      say(byId("summary"), `${took} ms`);
    } else if (this.shown.series.length === 0) {
      this.frames([], new Map());
      remarks.over("No series answers this query",
        el("p", {}, "Look at the name and the labels: the box completes them as you type. Or choose a longer range."));
      say(byId("summary"), `0 series · ${took} ms`);
    } else {
      this.lines();
    }
  }

  lines() {
    const { series: answered, grid } = this.shown;
    const series = sorted(answered, this.view.order);
    let lines = linesOf(series);
    const alone = series.find((one) => seriesText(one.labels) === this.view.picked);
    if (alone) lines = new Map([[alone, lines.get(alone) ?? linesOf([alone]).get(alone)]]);
    const drawn = [...lines.keys()];
    this.frames(series, lines, alone);
    say(byId("summary"), this.summary(series.length, drawn.length, alone));
    if (drawn.some((one) => one.values.some(Number.isFinite))) {
      this.graph.draw(drawn, lines, grid);
    } else if (drawn.some((one) => one.histograms)) {
      remarks.over("These are native histograms",
        el("p", {}, "Ask for a number of them: histogram_quantile(0.9, …), histogram_count(…), histogram_avg(…)."));
    } else {
      remarks.over("Nothing can be drawn", el("p", {}, "All values are NaN or infinite: the table lists them."));
    }
  }

  /// The table, and an empty graph.
  frames(series, lines, alone) {
    this.graph.clear();
    if (series.length === 0) {
      byId("answer").replaceChildren();
      return;
    }
    const { order, all } = this.view;
    const rows = all ? series : series.slice(0, ROWS);
    const parts = [table({
      series: rows,
      lines,
      picked: alone,
      order,
      onSort: (key) => this.change({ order: { key, down: order.key === key ? !order.down : key !== "name" } }),
      onPick: (one) => this.change({ picked: one && seriesText(one.labels) }),
    })];
    if (rows.length < series.length) {
      const more = el("button", { type: "button", class: "plain more" }, `List the other ${series.length - rows.length}`);
      more.addEventListener("click", () => this.change({ all: true }));
      parts.push(more);
    }
    byId("answer").replaceChildren(...parts);
  }

  /// Changes the view, and keeps the keyboard where it was: the table is built anew.
  change(view) {
    this.view = { ...this.view, ...view };
    const buttons = () => [...byId("answer").querySelectorAll("button")];
    const place = buttons().indexOf(document.activeElement);
    this.present();
    buttons()[place]?.focus({ preventScroll: true });
  }

  summary(count, drawn, alone) {
    const cut = this.shown.warnings?.includes(TRUNCATED);
    const parts = [cut
      ? `More than ${count} series: the first ${count} are shown. Narrow it with labels, or ask for topk(20, …)`
      : `${count} series`];
    if (alone) parts.push("one is drawn alone");
    else if (drawn < count) parts.push(`the first ${LINES_MAX} of the table are drawn`);
    parts.push(`${this.shown.took} ms`);
    return parts.join(" · ");
  }
}

async function fetchAnswer({ query, range: { seconds, step } }, signal) {
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
