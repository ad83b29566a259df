// Which node this is, whether it can serve, and its figures: asked for every few seconds while
// somebody looks.

import * as api from "./api.js";
import * as cluster from "./cluster.js";
import * as connect from "./connect.js";
import { byId, el, say } from "./dom.js";
import * as figures from "./figures.js";
import * as format from "./format.js";

const EVERY_MS = 5000;
/// An answer that takes longer is none.
const PATIENCE_MS = 10_000;

let timer = 0;
let build = null;

let onReady = () => {};
let wasReady = true;

/// Begins; pauses while the page is hidden. Calls back when the node can serve again.
export function watch(back) {
  onReady = back;
  figures.prepare();
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) again();
  });
  return again();
}

async function again() {
  clearTimeout(timer);
  await look();
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(again, EVERY_MS);
}

async function look() {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  try {
    const { ready, reason } = await api.ready(signal);
    if (!ready) return waiting(reason, await replay(signal));
    const [runtime, around, now] = await Promise.all([
      api.get("status/runtimeinfo", {}, signal),
      cluster.refresh(signal),
      figures.refresh(signal),
      build ?? api.get("status/buildinfo", {}, signal).then((body) => { build = body.data; }),
    ]);
    identify(runtime.data, around);
    connect.told(now.requests);
    state("ready", "ready", around.alarm);
    if (!wasReady) onReady();
    wasReady = true;
  } catch (failure) {
    trouble(failure);
  }
}

function trouble(failure) {
  if (failure.name === "TimeoutError") return state("silent", "no answer", "The node has not answered in time.");
  if (!(failure instanceof api.Failure)) {
    // A fault of this page, not of the node.
    console.error(failure);
    return state("waiting", "unknown", `This page failed: ${failure.message}`);
  }
  if (failure.kind === "network") return state("silent", "no answer", failure.message);
  // The form that asks which tenant stands over the graph.
  if (failure.kind === "unauthorized") return state("waiting", "which tenant?", "");
  return state("waiting", "in trouble", `The node answers with an error: ${failure.message}`);
}

/// How far the log is read, if it is being read.
async function replay(signal) {
  const { data } = await api.get("status/walreplay", {}, signal).catch(() => ({ data: { state: "done" } }));
  if (data.state === "done" || data.max <= data.min) return "";
  return ` (log: segment ${data.current - data.min + 1} of ${data.max - data.min + 1})`;
}

function waiting(reason, progress) {
  state("waiting", "not ready", `Not ready: ${reason}${progress}`);
}

function state(name, text, reason) {
  byId("state").dataset.state = name;
  byId("figures").toggleAttribute("data-stale", name !== "ready");
  if (name !== "ready") wasReady = false;
  say(byId("state"), text);
  const notice = byId("reason");
  notice.hidden = reason === "";
  say(notice, reason);
}

/// What a node that only looks at a bucket says of itself, and how old what it shows is.
function readOnly({ readOnly: shown }) {
  byId("connect").hidden = Boolean(shown);
  return shown && `read-only: ${shown.blocks} blocks in ${shown.place}, catalog read ${format.lasting(shown.catalogAgeSeconds)} ago`;
}

function identify(runtime, { name, line, alarm }) {
  const called = name || runtime.hostname;
  const up = (Date.parse(runtime.serverTime) - Date.parse(runtime.startTime)) / 1000;
  const rest = [
    build && `version ${build.cairnVersion}`,
    Number.isFinite(up) && `up ${format.lasting(Math.max(0, up))}`,
    runtime.storageRetention && `keeps ${runtime.storageRetention}`,
    readOnly(runtime),
  ].filter(Boolean);
  const nodes = line ? [" · ", el("a", { href: "#cluster", "data-alarm": alarm !== "" }, line)] : [];
  byId("identity").replaceChildren(el("b", {}, called), ...nodes, ` · ${rest.join(" · ")}`);
  document.title = `${called} – Cairn`;
}
