// The cluster, where there is more than one node: who is there and what each holds, what moves,
// which partitions lack a replica, and what is wrong in words. And deletes, on any node.

import * as api from "./api.js";
import { byId, el } from "./dom.js";
import * as format from "./format.js";

/// So many moves or partitions are listed; the rest is counted.
const LINES_MAX = 20;

/// The most that each move had left, so that its bar has a length.
const most = new Map();
let shown = "";

/// Asks and shows. Gives a short line on the nodes, and what deserves to stand at the top of the
/// page; empty for a node that is alone.
export async function refresh(signal) {
  const { data: cluster } = await api.get("status/cluster", {}, signal);
  byId("deletes-card").hidden = cluster.deletes.length === 0;
  list("deletes", "Deletes", cluster.deletes, deleteItem);
  const several = cluster.nodes.length > 1;
  byId("cluster").hidden = !several;
  // A node that only looks at a bucket has no nodes around it, and may have trouble all the same.
  if (!several) return { name: "", line: "", alarm: cluster.nodes.length === 0 ? cluster.trouble[0] ?? "" : "" };
  const text = JSON.stringify(cluster);
  if (text !== shown) show(cluster);
  shown = text;
  const live = cluster.nodes.filter((node) => node.health === "live").length;
  const whole = live === cluster.nodes.length && cluster.unavailable === 0 && cluster.leader;
  const name = cluster.nodes.find((node) => node.incarnation === cluster.incarnation)?.name ?? "";
  return { name, line: `${live} of ${cluster.nodes.length} nodes`, alarm: whole ? "" : cluster.trouble[0] ?? "" };
}

function show(cluster) {
  byId("cluster-line").replaceChildren(...summary(cluster));
  byId("cluster-trouble").replaceChildren(...cluster.trouble.map((text) => el("li", {}, text)));
  const nodes = [...cluster.nodes].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  byId("nodes").replaceChildren(...nodes.map((node) => nodeItem(node, cluster)));
  list("moves", "Moves", cluster.moves, moveItem);
  const wanted = Math.min(cluster.replicationFactor, cluster.nodes.length);
  list("short", "Short of replicas", cluster.partitions.filter((one) => one.live < wanted || !one.available), (one) => partitionItem(one, wanted));
}

function summary({ leader, partitions, replicationFactor, nodes, unavailable }) {
  const replicas = Math.min(replicationFactor, nodes.length);
  const parts = [
    leader ? `${leader} leads` : "nobody leads",
    `${partitions.length} partitions, ${replicas} ${replicas === 1 ? "replica" : "replicas"} each`,
    unavailable > 0 && `${unavailable} out of service`,
  ];
  return [parts.filter(Boolean).join(" · ")];
}

function nodeItem(node, cluster) {
  const here = node.incarnation === cluster.incarnation;
  const marks = [
    here && "this node",
    node.name === cluster.leader && "leads",
    node.voter && node.name !== cluster.leader && "votes",
    node.draining && "draining",
  ].filter(Boolean);
  const versions = new Set(cluster.nodes.map((one) => one.version));
  return el("li", { "data-health": node.health },
    el("p", { class: "who" }, el("b", {}, node.name), " ", el("span", { class: "health" }, node.health)),
    el("p", {}, replicas(node), ` · zone ${node.zone}`),
    el("p", { class: "aside" }, [node.address, versions.size > 1 && `version ${node.version}`].filter(Boolean).join(" · ")),
    el("p", { class: "marks" }, ...marks.map((mark) => el("span", {}, mark))));
}

function replicas({ holds, willHold }) {
  const word = holds === 1 ? "replica" : "replicas";
  return holds === willHold ? `${holds} ${word}` : `${holds} → ${willHold} replicas`;
}

/// A heading with lines below it; nothing if there are none.
function list(id, title, items, line) {
  const frame = byId(id);
  frame.hidden = items.length === 0;
  if (items.length === 0) return frame.replaceChildren();
  const rest = items.length - LINES_MAX;
  frame.replaceChildren(
    el("h3", {}, `${title} (${items.length})`),
    el("ul", {}, ...items.slice(0, LINES_MAX).map(line), rest > 0 ? el("li", {}, `and ${rest} more`) : undefined));
}

function moveItem(move) {
  const { arc, join, leave, begun, missingBytes: missing } = move;
  const way = join && leave ? `${leave} → ${join}` : join ? `to ${join}` : `off ${leave}`;
  const key = `${arc} ${way}`;
  const state = begun ? "changing over" : "copying blocks";
  const parts = [el("span", {}, `partition ${arc}: ${way}, ${state}`)];
  if (missing !== undefined) {
    const all = Math.max(most.get(key) ?? 0, missing);
    most.set(key, all);
    const left = `${format.bytes(missing).join(" ")} left`;
    parts.push(el("progress", { max: Math.max(1, all), value: all - missing, "aria-label": `${key}: ${left}` }), el("span", { class: "aside" }, left));
  }
  return el("li", {}, ...parts);
}

function deleteItem({ selector, begun, undoUntil, partitions, partitionsDone }) {
  const undo = new Date(Number(undoUntil)).toISOString().slice(0, 16).replace("T", " ");
  const state = begun ? `being removed: ${partitionsDone} of ${partitions} partitions done` : `hidden, and can be undone until ${undo} UTC`;
  return el("li", {}, `${selector}: ${state}`);
}

function partitionItem({ arc, members, live, available }, wanted) {
  const state = available ? `${live} of ${wanted} live` : `${live} of ${wanted} live, out of service`;
  return el("li", { "data-bad": !available }, `partition ${arc}: ${state} · ${members.join(", ")}`);
}
