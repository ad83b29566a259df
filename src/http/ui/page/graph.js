// The graph: a bounded number of lines, drawn by uPlot, and what lies under the pointer.

import uPlot from "./uplot/uPlot.esm.js";
import { el } from "./dom.js";
import * as format from "./format.js";
import { onGrid, scattered } from "./series.js";

/// More lines than this cannot be told apart; drawing them would only take time.
export const LINES_MAX = 20;
const COLORS = 10;

/// Distances of the marks of time, in seconds: the library's own have nothing between one minute
/// and five, too far apart for a phone.
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];

/// The lines of the first series: colours in order, and dashes once all colours are used.
/// Called with the whole table's series, so that a line shown alone keeps its colour.
export function linesOf(series) {
  const style = getComputedStyle(document.documentElement);
  return new Map(series.slice(0, LINES_MAX).map((one, at) => [one, {
    color: style.getPropertyValue(`--line-${at % COLORS}`).trim(),
    dash: at >= COLORS ? [6, 4] : undefined,
  }]));
}

/// One graph in its frame. `onNear` is told which series is closest to the pointer, if any.
export class Graph {
  constructor(frame, onNear) {
    this.plot = null;
    this.frame = frame;
    this.onNear = onNear;
    this.tip = el("div", { class: "tip", "aria-hidden": "true", hidden: true });
    this.whole = el("button", { type: "button", class: "plain whole", hidden: true }, "Whole range");
    this.whole.addEventListener("click", () => this.reset());
    new ResizeObserver(() => this.fit()).observe(frame);
  }

  /// Draws series with their lines: on a grid of steps, or (without one) where their samples lie.
  draw(series, lines, grid) {
    this.clear();
    this.series = series;
    this.lines = lines;
    const data = grid ? onGrid(series, grid) : scattered(series);
    this.span = [data[0][0], data[0][data[0].length - 1]];
    this.plot = new uPlot(this.options(series, lines), data, this.frame);
    this.plot.over.append(this.tip);
    this.plot.over.addEventListener("mouseleave", () => this.point(null));
    this.frame.append(this.whole);
    const canvas = this.plot.ctx.canvas;
    canvas.setAttribute("role", "img");
    const count = series.length === 1 ? "one line" : `${series.length} lines`;
    canvas.setAttribute("aria-label", `Graph of ${count}; the table below has their values`);
  }

  clear() {
    this.plot?.destroy();
    this.plot = null;
    this.whole.hidden = true;
    this.point(null);
    this.frame.replaceChildren();
  }

  fit() {
    if (this.plot) this.plot.setSize(size(this.frame));
  }

  /// Whether somebody looks closely: then it is not to be drawn anew under their hands.
  get held() {
    return this.plot !== null && (!this.tip.hidden || !this.whole.hidden);
  }

  reset() {
    const [min, max] = this.span;
    this.plot.setScale("x", { min, max });
  }

  options(series, lines) {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const font = "12px system-ui, sans-serif";
    const axis = { stroke: color("--soft"), font, grid: { stroke: color("--grid"), width: 1 }, ticks: { show: false } };
    const one = series.length === 1;
    return {
      ...size(this.frame),
      padding: [10, 10, 0, 0],
      legend: { show: false },
      focus: { alpha: 0.25 },
      cursor: { y: false, focus: { prox: 1e6 }, points: { one: true }, drag: { x: true, y: false, dist: 8 } },
      scales: { y: { range: (_, min, max) => heights(min, max) } },
      axes: [
        { ...axis, values: (_, splits, __, ___, step) => times(splits, step), incrs: STEPS, size: 28, gap: 8, space: 60 },
        { ...axis, values: (_, splits) => format.axis(splits), size: widest, gap: 6, space: 36 },
      ],
      series: [{}, ...series.map((item) => ({
        label: format.seriesText(item.labels),
        stroke: lines.get(item).color,
        dash: lines.get(item).dash,
        width: one ? 2 : 1.5,
        fill: one ? tint : undefined,
        points: { show: false, filter: lonely, size: 5, fill: lines.get(item).color },
      }))],
      hooks: {
        setSeries: [(_, at) => { this.near = at; }],
        setCursor: [(plot) => this.point(plot)],
        setScale: [(plot, key) => { if (key === "x") this.zoomed(plot); }],
      },
    };
  }

  zoomed({ scales: { x } }) {
    const [min, max] = this.span;
    this.whole.hidden = x.min <= min && x.max >= max;
  }

  /// Shows what is closest to the pointer, or nothing.
  point(plot) {
    const at = plot?.cursor.idx;
    const item = at === null || at === undefined || plot.cursor.left < 0 ? undefined : this.series[this.near - 1];
    const value = item && plot.data[this.near][at];
    this.tip.hidden = value === undefined || value === null;
    this.onNear(this.tip.hidden ? null : item);
    if (this.tip.hidden) return;
    const time = plot.data[0][at];
    this.tip.replaceChildren(
      el("time", {}, `${format.day(time)} ${format.clock(time, true)}`), " ", el("b", {}, format.value(value)),
      el("div", {}, format.seriesText(item.labels)));
    const [left, top] = [plot.valToPos(time, "x"), plot.valToPos(value, "y")];
    const [width, height] = [this.tip.offsetWidth, this.tip.offsetHeight];
    const space = plot.over.getBoundingClientRect();
    // To the right of the point, to its left where there is no room; never outside.
    const x = left + 14 + width <= space.width ? left + 14 : Math.max(0, left - 14 - width);
    const y = Math.min(Math.max(0, top - height / 2), Math.max(0, space.height - height));
    this.tip.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
  }
}

const size = (frame) => ({ width: frame.clientWidth, height: frame.clientHeight });

/// Heights that show zero where it is near, and leave some air.
function heights(min, max) {
  if (min === null || max === null) return [0, 1];
  if (min === max) {
    if (min === 0) return [0, 1];
    return min > 0 ? [0, min * 1.25] : [min * 1.25, 0];
  }
  const air = (max - min) * 0.1;
  if (min >= 0 && min <= max * 0.6) return [0, max + air];
  if (max <= 0 && max >= min * 0.6) return [min - air, 0];
  return [min - air, max + air];
}

/// Times of the axis; the day where it changes or where steps are days.
function times(splits, step) {
  let last = "";
  return splits.map((time) => {
    const day = format.day(time);
    const changed = last !== "" && day !== last;
    last = day;
    return step >= 86400 || changed ? day : format.clock(time, step < 60);
  });
}

/// The axis is as wide as its widest figure.
function widest(plot, values, at) {
  const axis = plot.axes[at];
  if (!values) return axis._size ?? 40;
  plot.ctx.font = axis.font[0];
  const width = Math.max(...values.map((text) => plot.ctx.measureText(text).width));
  return Math.ceil(width / devicePixelRatio) + axis.gap + 4;
}

/// A light ground under a single line.
function tint(plot, at) {
  const { top, height } = plot.bbox;
  const fall = plot.ctx.createLinearGradient(0, top, 0, top + height);
  const color = plot.series[at].stroke(plot, at);
  fall.addColorStop(0, `${color}38`);
  fall.addColorStop(1, `${color}05`);
  return fall;
}

/// Samples between two gaps have no line: they get a point.
function lonely(plot, at) {
  const column = plot.data[at];
  const none = (value) => value === null || value === undefined;
  const found = [];
  for (let place = 0; place < column.length; place += 1) {
    if (!none(column[place]) && none(column[place - 1]) && none(column[place + 1])) found.push(place);
  }
  return found.length > 0 ? found : null;
}
