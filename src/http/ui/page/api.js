// Asking this node. Paths are relative to the page, so that it also works behind a proxy that
// serves it below a path of its own.

const BASE = new URL("api/v1/", document.baseURI);

/// Why there is no answer. `kind` is the API's errorType, `network` if nothing answered at all.
export class Failure extends Error {
  constructor(kind, message, status = 0) {
    super(message);
    this.kind = kind;
    this.status = status;
  }
}

/// Below this difference a clock counts as right: the `Date` header knows whole seconds only.
const CLOCK_SLACK_MS = 2000;
/// A text that is longer is no sentence.
const WORDS_MAX = 300;
let skew = 0;

/// The node's time in seconds: a phone's clock may be minutes off, and a graph that ends there
/// would be empty or cut.
export const now = () => (Date.now() + skew) / 1000;

function learnTime(response) {
  const date = Date.parse(response.headers.get("date") ?? "");
  if (Number.isNaN(date)) return;
  const found = date + 500 - Date.now();
  skew = Math.abs(found) < CLOCK_SLACK_MS ? 0 : found;
}

/// Whose series are asked for, where a node serves several tenants: `/?tenant=team-a`.
const tenant = new URLSearchParams(location.search).get("tenant");
const headers = tenant ? { "X-Scope-OrgID": tenant } : {};

async function fetchFrom(url, options) {
  try {
    const response = await fetch(url, { cache: "no-store", headers, ...options });
    learnTime(response);
    return response;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("network", "The node does not answer: is it running, and can this browser reach it?");
  }
}

async function answerOf(response) {
  const { status } = response;
  const text = await response.text();
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    // A node that is starting, or a proxy, answers with a few words.
    const words = text.length <= WORDS_MAX && !text.trimStart().startsWith("<") ? text.trim() : "";
    throw new Failure(status === 503 ? "unavailable" : "unknown", words || `the answer is not the API's (HTTP ${status})`, status);
  }
  if (body.status === "success") return body;
  throw new Failure(body.errorType ?? "unknown", body.error ?? `HTTP ${response.status}`, response.status);
}

/// Asks by GET and gives the whole envelope: data, warnings, infos.
export async function get(path, params = {}, signal) {
  const url = new URL(path, BASE);
  url.search = new URLSearchParams(params);
  return answerOf(await fetchFrom(url, { signal }));
}

/// Asks by a form: queries may be longer than an address.
export async function post(path, params, signal) {
  const body = new URLSearchParams(params);
  return answerOf(await fetchFrom(new URL(path, BASE), { method: "POST", body, signal }));
}

/// Whether the node can serve; if not, its reason.
export async function ready(signal) {
  const response = await fetchFrom(new URL("-/ready", document.baseURI), { signal });
  return { ready: response.ok, reason: (await response.text()).trim() };
}
