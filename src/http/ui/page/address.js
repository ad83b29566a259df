// What the page shows stands in its address, so that it can be kept, sent, and gone back to:
// `/?q=up&range=5m`, with `&live=on` for a graph that goes on by itself.

/// The ranges that can be chosen. Steps give 150 to 240 points: about one for each two pixels.
export const RANGES = [
  { name: "5m", text: "5 minutes", seconds: 300, step: 2 },
  { name: "15m", text: "15 minutes", seconds: 900, step: 5 },
  { name: "1h", text: "1 hour", seconds: 3600, step: 15 },
  { name: "6h", text: "6 hours", seconds: 21600, step: 90 },
  { name: "24h", text: "24 hours", seconds: 86400, step: 360 },
  { name: "7d", text: "7 days", seconds: 604800, step: 2520 },
];

const RANGE = "15m";

/// What is shown where the address names no query: something that moves on every node, from the
/// start.
const FIRST_QUERY = "sum by (path) (rate(cairn_http_requests_total[1m]))";

/// The range of a name, the usual one if there is none.
export function rangeOf(name) {
  return RANGES.find((range) => range.name === name) ?? RANGES.find((range) => range.name === RANGE);
}

/// What the address says.
export function read() {
  const params = new URLSearchParams(location.search);
  return { query: params.get("q") ?? FIRST_QUERY, range: rangeOf(params.get("range")), live: params.has("live") };
}

/// Writes it into the address; a step back leads to what was shown before.
export function write({ query, range, live }) {
  const params = new URLSearchParams(location.search);
  params.set("q", query);
  params.set("range", range.name);
  if (live) params.set("live", "on");
  else params.delete("live");
  const search = `?${params}`;
  if (search !== location.search) history.pushState(null, "", search);
}
