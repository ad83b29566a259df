// The list under the query box. Follows the ARIA pattern of a combobox whose cursor stays in the
// text: arrows move in the list, Tab takes the first or the chosen one, Escape closes. Enter runs
// the query unless something was chosen in the list.

import { contextAt } from "./context.js";
import { byId, el, say } from "./dom.js";
import { about, choices, warm } from "./vocabulary.js";

export class Completion {
  constructor(box) {
    this.box = box;
    this.frame = byId("choices-frame");
    this.list = byId("choices");
    this.text = byId("choice-text");
    this.found = [];
    this.chosen = -1;
    box.addEventListener("focus", () => warm(), { once: true });
    box.addEventListener("input", (event) => this.typed(event));
    box.addEventListener("click", () => this.close());
    box.addEventListener("blur", () => this.close());
    // A press in the list must not take the cursor out of the box.
    this.frame.addEventListener("mousedown", (event) => event.preventDefault());
    this.list.addEventListener("click", (event) => {
      const item = event.target.closest("li");
      if (item) this.take([...this.list.children].indexOf(item));
    });
  }

  get open() {
    return !this.frame.hidden;
  }

  /// A key in the box; true if it was for the list.
  key(event) {
    if (event.key === " " && event.ctrlKey) {
      this.offer(true);
      return true;
    }
    if (!this.open) return false;
    switch (event.key) {
      case "ArrowDown":
        this.choose((this.chosen + 1) % this.found.length);
        return true;
      case "ArrowUp":
        this.choose(this.chosen <= 0 ? this.found.length - 1 : this.chosen - 1);
        return true;
      case "Tab":
        if (event.shiftKey) return false;
        this.take(Math.max(0, this.chosen));
        return true;
      case "Enter":
        if (this.chosen < 0 || event.shiftKey) return false;
        this.take(this.chosen);
        return true;
      case "Escape":
        this.close();
        return true;
      default:
        return false;
    }
  }

  typed(event) {
    if (event.inputType?.startsWith("delete") && !this.open) return;
    this.offer(false);
  }

  /// Offers what fits the cursor's place; with nothing typed yet only where asked.
  async offer(asked) {
    const [text, at] = [this.box.value, this.box.selectionStart];
    const context = contextAt(text, at);
    // Between words a list would only be in the way; inside braces it is what one wants.
    const wanted = asked || context.word !== "" || context.kind === "label" || context.kind === "value";
    const found = context.kind !== "none" && wanted ? await choices(context) : [];
    // The answer may come when the text is another.
    if (this.box.value !== text || this.box.selectionStart !== at) return;
    if (document.activeElement !== this.box || found.length === 0) {
      this.close();
      return;
    }
    this.context = context;
    this.found = found;
    this.list.replaceChildren(...found.map((choice, place) => item(choice, place, context.word)));
    this.frame.hidden = false;
    this.box.setAttribute("aria-expanded", "true");
    this.choose(-1);
    this.list.scrollTop = 0;
  }

  choose(place) {
    this.chosen = place;
    [...this.list.children].forEach((child, at) => child.setAttribute("aria-selected", String(at === place)));
    const item = this.list.children[place];
    if (item) {
      this.box.setAttribute("aria-activedescendant", item.id);
      item.scrollIntoView({ block: "nearest" });
    } else {
      this.box.removeAttribute("aria-activedescendant");
    }
    this.explain(this.found[place]);
  }

  async explain(choice) {
    const text = choice ? await about(choice) : "";
    if (this.found[this.chosen] === choice || !choice) say(this.text, text);
  }

  /// Puts a choice into the text, and the cursor where one goes on.
  take(place) {
    const choice = this.found[place];
    const { from, kind } = this.context;
    const rest = this.box.value.slice(this.box.selectionStart);
    const [after, back] = ending(choice, kind, rest);
    this.box.setSelectionRange(from, this.box.selectionStart);
    // This way the browser can undo it; not all still have it.
    const text = choice.text + after;
    if (!document.execCommand("insertText", false, text)) this.box.setRangeText(text, from, this.box.selectionEnd, "end");
    const at = from + text.length - back;
    this.box.setSelectionRange(at, at);
    this.close();
  }

  close() {
    this.frame.hidden = true;
    this.chosen = -1;
    this.found = [];
    this.box.setAttribute("aria-expanded", "false");
    this.box.removeAttribute("aria-activedescendant");
  }
}

/// What follows a taken choice, and how far the cursor goes back into it.
function ending(choice, kind, rest) {
  if (choice.call && !rest.startsWith("(")) return ["()", 1];
  if (kind === "value" && !/^["'`]/.test(rest)) return ['"', 0];
  return ["", 0];
}

function item(choice, place, word) {
  const at = choice.text.toLowerCase().indexOf(word.toLowerCase());
  const end = at + word.length;
  return el("li", { id: `choice-${place}`, role: "option", "aria-selected": "false" },
    el("span", {}, choice.text.slice(0, at), el("mark", {}, choice.text.slice(at, end)), choice.text.slice(end)),
    el("small", {}, choice.hint));
}
