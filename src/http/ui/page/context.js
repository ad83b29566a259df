// What the cursor stands in: the part of a query that can be completed there. No parser, only as
// much reading as that takes; where it is not sure, it says nothing.

const WORD = /[A-Za-z_:][A-Za-z0-9_:]*/y;
const NUMBER = /[0-9.][A-Za-z0-9_.]*/y;
const QUOTES = "\"'`";
const GROUPING = new Set(["by", "without", "on", "ignoring", "group_left", "group_right"]);
const CLOSES = { ")": "(", "}": "{", "]": "[" };

/// The context at a position: `kind` is `name` (metric, function, keyword), `label`, `value`, or
/// `none`; `from` is where the word begins that would be replaced, `word` what is there so far.
export function contextAt(text, position) {
  const open = [];
  let before = "";
  let at = 0;
  while (at < position) {
    const char = text[at];
    const inside = open[open.length - 1];
    if (char === "#") {
      const end = text.indexOf("\n", at);
      if (end < 0 || end >= position) return { kind: "none" };
      at = end + 1;
      continue;
    }
    if (QUOTES.includes(char)) {
      const end = endOfQuote(text, at);
      if (end < 0 || end > position) return inQuote(text, at, position, inside);
      before = "";
      at = end;
      continue;
    }
    const number = match(NUMBER, text, at);
    if (number) {
      if (at + number.length >= position) return { kind: "none" };
      at += number.length;
      before = "";
      continue;
    }
    const word = match(WORD, text, at);
    if (word) {
      if (at + word.length >= position) return atWord(text, at, position, inside);
      if (inside?.bracket === "{") inside.label = word;
      before = word;
      at += word.length;
      continue;
    }
    if (char === "{" || char === "(" || char === "[") {
      open.push({ bracket: char, before: before.toLowerCase(), metric: before, label: "" });
      before = "";
    } else if (CLOSES[char]) {
      if (inside?.bracket === CLOSES[char]) open.pop();
      before = "";
    } else if (char.trim() !== "") {
      before = "";
    }
    at += 1;
  }
  return atWord(text, position, position, open[open.length - 1]);
}

function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0];
}

function atWord(text, from, position, inside) {
  const word = text.slice(from, position);
  if (inside?.bracket === "[") return { kind: "none" };
  if (inside?.bracket === "{") {
    // After an operator comes a quoted value, not a name.
    if (/[=~]\s*$/.test(text.slice(0, from))) return { kind: "none" };
    return { kind: "label", from, word, metric: inside.metric };
  }
  if (inside?.bracket === "(" && GROUPING.has(inside.before)) return { kind: "label", from, word, metric: "" };
  return { kind: "name", from, word };
}

function inQuote(text, quote, position, inside) {
  const isValue = /[=~]\s*$/.test(text.slice(0, quote));
  if (inside?.bracket !== "{" || !isValue || inside.label === "") return { kind: "none" };
  const from = quote + 1;
  return { kind: "value", from, word: text.slice(from, position), metric: inside.metric, label: inside.label };
}

/// Where a quoted text ends, behind its quote; −1 if it does not.
function endOfQuote(text, at) {
  const quote = text[at];
  for (let next = at + 1; next < text.length; next += 1) {
    if (text[next] === "\\" && quote !== "`") next += 1;
    else if (text[next] === quote) return next + 1;
    else if (text[next] === "\n" && quote !== "`") return -1;
  }
  return -1;
}
