// The page: wires query box, ranges and address to the answer below them, and starts the rest.

import * as address from "./address.js";
import { Completion } from "./completion.js";
import * as connect from "./connect.js";
import { byId, el } from "./dom.js";
import * as node from "./node.js";
import { Answer } from "./query.js";

const box = byId("query");
const form = byId("form");

/// As high as its text; browsers that can do it by themselves need no help.
function grow() {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

function goTo(from, to) {
  box.focus();
  box.setSelectionRange(from, to);
}

function rangeButtons() {
  byId("ranges").append(...address.RANGES.map(({ name, text }) =>
    el("label", {}, el("input", { type: "radio", name: "range", value: name, "aria-label": text }), el("span", { "aria-hidden": "true" }, name))));
}

/// What the boxes say.
const chosen = () => ({ query: box.value.trim(), range: address.rangeOf(form.elements.range.value), live: form.elements.live.checked });

rangeButtons();
connect.prepare();
const completion = new Completion(box);
const answer = new Answer(goTo);

/// Shows what the address says.
function show() {
  const state = address.read();
  box.value = state.query;
  form.elements.range.value = state.range.name;
  form.elements.live.checked = state.live;
  grow();
  return answer.run(state);
}

function submit() {
  completion.close();
  const state = chosen();
  address.write(state);
  answer.run(state);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
byId("ranges").addEventListener("change", submit);
byId("live").addEventListener("change", submit);
box.addEventListener("input", grow);
box.addEventListener("keydown", (event) => {
  // While an input method composes, keys are its own.
  if (event.isComposing) return;
  if (completion.key(event)) {
    event.preventDefault();
  } else if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    submit();
  }
});
addEventListener("popstate", show);

// What stands below the answer is shown once its place is known: nothing jumps.
document.body.dataset.asking = "";
const looked = node.watch(() => {
  if (answer.waits) answer.run(address.read());
});
Promise.allSettled([show(), looked]).then(() => delete document.body.dataset.asking);
