// What can be completed: PromQL's words (from the program's own tables) and the names and values
// that this node holds. Everything is asked for when it is first needed, and kept for a while.

import * as api from "./api.js";
import { quoted } from "./format.js";

/// How long a list of names is believed, and how many of a kind are fetched.
const KEPT_MS = 60_000;
const NAMES_MAX = 20_000;
const VALUES_MAX = 1_000;
/// Lists that are kept at a time.
const LISTS_MAX = 50;
/// Choices that are offered at a time.
const CHOICES_MAX = 40;

const lists = new Map();
let words = null;
let families = null;

/// A list of the API by its path; an empty one where there is none.
async function list(path, params) {
  const key = `${path}?${new URLSearchParams(params)}`;
  const kept = lists.get(key);
  if (kept && performance.now() - kept.at < KEPT_MS) return kept.list;
  const fresh = api.get(path, params).then((body) => body.data, () => []);
  lists.delete(key);
  lists.set(key, { at: performance.now(), list: fresh });
  if (lists.size > LISTS_MAX) lists.delete(lists.keys().next().value);
  return fresh;
}

/// Functions, aggregations and keywords.
async function promql() {
  words ??= fetch(new URL("words.json", import.meta.url)).then((response) => response.json()).then((all) => [
    ...all.aggregations.map((name) => ({ text: name, hint: "aggregation", call: true })),
    ...all.functions.map(({ name, args, doc }) => ({ text: name, hint: "function", call: true, doc: `${name}${args}: ${doc}` })),
    ...all.keywords.map((name) => ({ text: name, hint: "keyword" })),
  ]);
  try {
    return await words;
  } catch {
    words = null;
    return [];
  }
}

/// Asks for the long lists before the first letter is typed.
export function warm() {
  promql();
  list("label/__name__/values", { limit: NAMES_MAX });
}

/// What fits a context, best first.
export async function choices(context) {
  switch (context.kind) {
    case "name": {
      const [known, names] = await Promise.all([promql(), list("label/__name__/values", { limit: NAMES_MAX })]);
      return ranked([...names.map((text) => ({ text, hint: "metric" })), ...known], context.word);
    }
    case "label": {
      const names = await list("labels", { ...selector(context.metric), limit: VALUES_MAX });
      return ranked(names.filter((name) => name !== "__name__").map((text) => ({ text, hint: "label" })), context.word);
    }
    case "value": {
      const path = `label/${encodeURIComponent(context.label)}/values`;
      const values = await list(path, { ...selector(context.metric), limit: VALUES_MAX });
      return ranked(values.map((text) => ({ text: quoted(text).slice(1, -1), hint: "value" })), context.word);
    }
    default:
      return [];
  }
}

const selector = (metric) => (metric ? { "match[]": metric } : {});

/// Where a word stands in a text: at its start, at the start of a part, anywhere; lower is better.
function rank(text, word) {
  const at = text.toLowerCase().indexOf(word);
  if (at < 0) return null;
  if (at === 0) return 0;
  return /[^a-z0-9]/i.test(text[at - 1]) ? 1 : 2;
}

function ranked(all, word) {
  const small = word.toLowerCase();
  const found = [];
  for (const choice of all) {
    const place = rank(choice.text, small);
    if (place !== null && choice.text !== word) found.push({ ...choice, place });
  }
  found.sort((a, b) => a.place - b.place || a.text.length - b.text.length || (a.text < b.text ? -1 : 1));
  return found.slice(0, CHOICES_MAX);
}

const SUFFIXES = /_(total|bucket|sum|count|info|created)$/;

/// What is known of a choice, for the line under the list.
export async function about(choice) {
  if (choice.doc || choice.hint !== "metric") return choice.doc ?? "";
  families ??= api.get("metadata", { limit_per_metric: 1, limit: NAMES_MAX }).then((body) => body.data, () => {
    families = null;
    return {};
  });
  const known = await families;
  const one = (known[choice.text] ?? known[choice.text.replace(SUFFIXES, "")])?.[0];
  if (!one) return "";
  return one.type === "unknown" ? one.help : `${one.type}: ${one.help}`;
}
