// What is said about an answer: warnings and infos under the graph, an error or an empty answer in
// place of the graph. Both in frames that keep their size.

import { byId, el } from "./dom.js";
import { Failure } from "./api.js";

/// Shows warnings and infos.
export function show(warnings = [], infos = []) {
  const item = (kind, word) => (text) =>
    el("li", { "data-kind": kind }, /^PromQL (warning|info): /.test(text) ? text : `${word}: ${text}`);
  byId("remarks").replaceChildren(...warnings.map(item("warning", "Warning")), ...infos.map(item("info", "Note")));
}

/// Takes away what lies over the graph.
export function clear() {
  byId("over").hidden = true;
  byId("over").replaceChildren();
}

/// Lays a text over the graph.
export function over(title, ...children) {
  const frame = byId("over");
  delete frame.dataset.kind;
  frame.removeAttribute("role");
  frame.replaceChildren(el("h3", {}, title), ...children);
  frame.hidden = false;
}

const TITLES = {
  bad_data: "The query cannot be read",
  execution: "The query cannot be answered",
  timeout: "The query took too long",
  canceled: "The query was cancelled",
  unavailable: "The node is not ready for queries",
  unauthorized: "This node serves several tenants",
  network: "No answer",
};

/// Lays an error over the graph, and shows in the query where it is.
export function error(failure, query, goTo) {
  if (!(failure instanceof Failure)) {
    // A fault of this page: say it, and leave the rest for the browser's console.
    console.error(failure);
  }
  const found = position(failure.message, query);
  const parts = [el("p", {}, failure.message)];
  if (found) {
    const button = el("button", { type: "button", class: "plain" }, "Go to the position");
    button.addEventListener("click", () => goTo(found.from, found.to));
    parts.push(marked(query, found), button);
  }
  if (failure.kind === "unauthorized") parts.push(tenantForm());
  over(TITLES[failure.kind] ?? "The query failed", ...parts);
  const frame = byId("over");
  frame.dataset.kind = "error";
  frame.setAttribute("role", "alert");
}

/// Asks which tenant; the answer goes into the address, and the page is loaded with it.
function tenantForm() {
  const name = el("input", { id: "tenant", required: true, autocomplete: "username", class: "plain" });
  const form = el("form", {}, el("label", { for: "tenant" }, "Tenant "), name, " ",
    el("button", { type: "submit", class: "plain" }, "Open"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const params = new URLSearchParams(location.search);
    params.set("tenant", name.value);
    location.search = params;
  });
  return form;
}

/// Where in the query an error is: messages have `line:column`, counted from 1, columns in bytes.
export function position(message, query) {
  const found = /\b(\d+):(\d+): parse error/.exec(message);
  if (!found) return null;
  const lines = query.split("\n");
  const line = lines[Number(found[1]) - 1];
  if (line === undefined) return null;
  const bytes = new TextEncoder().encode(line).slice(0, Number(found[2]) - 1);
  const column = new TextDecoder().decode(bytes).length;
  const from = lines.slice(0, Number(found[1]) - 1).reduce((sum, one) => sum + one.length + 1, column);
  const word = /^[\w:]+/.exec(query.slice(from));
  return { from, to: Math.min(query.length, from + (word ? word[0].length : 1)) };
}

function marked(query, { from, to }) {
  // Behind the last character the mark needs something to stand on.
  const at = query.slice(from, to) || " ";
  return el("pre", {}, query.slice(0, from), el("mark", {}, at), query.slice(to));
}
