// How to point others at this node: settings to copy, with the address that this browser uses.

import { byId, el, say } from "./dom.js";

const BASE = new URL("./", document.baseURI).href.replace(/\/$/, "");
const WRITE = `${BASE}/api/v1/write`;

const SNIPPETS = [
  { title: "Prometheus", where: "prometheus.yml", text: `remote_write:\n  - url: ${WRITE}\n    protobuf_message: io.prometheus.write.v2.Request   # Prometheus 3; leave it out before` },
  { title: "OpenTelemetry Collector", where: "its configuration", text: `exporters:\n  prometheusremotewrite:\n    endpoint: ${WRITE}` },
  { title: "vmagent", where: "command line", text: `vmagent -promscrape.config=scrape.yml -remoteWrite.url=${WRITE}` },
  { title: "Grafana", where: "a data source of the type Prometheus", text: BASE },
];

/// Fills the list.
export function prepare() {
  byId("snippets").replaceChildren(...SNIPPETS.map(({ title, where, text }, at) =>
    el("details", { class: "snippets", open: at === 0 },
      el("summary", {}, title, " ", el("span", {}, `· ${where}`)),
      el("div", { class: "snippet" }, el("pre", { tabindex: "0" }, text), copyButton(title, text)))));
}

/// Says whether anybody sends yet.
export function told(requests) {
  const hint = byId("connect-hint");
  const empty = !(requests > 0);
  hint.toggleAttribute("data-empty", empty);
  say(hint, empty
    ? "Nobody but the node itself sends samples here now. Point a sender at it:"
    : "Senders and readers use these addresses.");
}

function copyButton(title, text) {
  const button = el("button", { type: "button", class: "copy", "aria-label": `Copy the settings for ${title}` }, "Copy");
  button.addEventListener("click", async () => {
    say(button, (await copied(text)) ? "Copied" : "Press Ctrl C");
    setTimeout(() => say(button, "Copy"), 2000);
  });
  return button;
}

async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  // Without TLS browsers have no clipboard but the old way.
  const area = el("textarea", { class: "visually-hidden", "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
