// Figures, times and series as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });
const large = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// A value of a table: whole numbers in full, others with as many digits as help.
export function value(number) {
  if (number === null || number === undefined) return "–";
  if (Number.isNaN(number)) return "NaN";
  if (!Number.isFinite(number)) return number > 0 ? "+Inf" : "−Inf";
  const size = Math.abs(number);
  if (size !== 0 && (size < 1e-4 || size >= 1e12)) return sign(number.toExponential(4).replace(/\.?0+e/, "e"));
  if (Number.isInteger(number)) return sign(whole.format(number));
  return sign((size >= 1e4 ? large : plain).format(number));
}

/// A figure and its prefix: [“1.23”, “k”].
export function scaled(number) {
  const size = Math.abs(number);
  // 999.9 is shown as 1 k, as its rounding would be.
  const [by, prefix] = PREFIXES.find(([by]) => size >= by * 0.9995) ?? [1, ""];
  return [sign(short.format(number / by)), prefix];
}

/// A share in percent; tenths are enough below ten.
export const percent = (share) => (share < 0.1 ? (share * 100).toFixed(1) : short.format(share * 100));

/// Bytes and their unit: [“1.23”, “MiB”].
export function bytes(number) {
  let at = 0;
  while (Math.abs(number) >= 1023.5 && at < BINARY.length - 1) {
    number /= 1024;
    at += 1;
  }
  return [sign(short.format(number)), BINARY[at]];
}

/// The figures of an axis, all with one prefix and as many digits as their distance asks for.
export function axis(values) {
  const most = Math.max(...values.map(Math.abs));
  if (most === 0) return values.map(() => "0");
  if (most < 1e-3 || most >= 1e15) return values.map((one) => (one === 0 ? "0" : sign(one.toExponential(1))));
  const [by, prefix] = PREFIXES.find(([by]) => most >= by) ?? [1, ""];
  const step = values.length > 1 ? Math.abs(values[1] - values[0]) / by : 1;
  let digits = Math.min(8, Math.max(0, Math.floor(-Math.log10(step))));
  // 0.0025 has one digit more than its size tells.
  while (digits < 8 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6) digits += 1;
  return values.map((one) => (one === 0 ? "0" : sign((one / by).toFixed(digits)) + prefix));
}

/// A length of time in its two widest units.
export function lasting(seconds) {
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = units.findIndex(([length]) => seconds >= length);
  if (at < 0) return "0 s";
  const [wide, name] = units[at];
  const first = `${Math.floor(seconds / wide)} ${name}`;
  const next = units[at + 1];
  const rest = next ? Math.floor((seconds % wide) / next[0]) : 0;
  return rest > 0 ? `${first} ${rest} ${next[1]}` : first;
}

const pad = (number) => String(number).padStart(2, "0");

/// The time of day, local, with seconds where asked.
export function clock(seconds, fine) {
  const at = new Date(seconds * 1000);
  const text = `${pad(at.getHours())}:${pad(at.getMinutes())}`;
  return fine ? `${text}:${pad(at.getSeconds())}` : text;
}

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/// The day, local: “21 Nov”.
export const day = (seconds) => DAY.format(new Date(seconds * 1000));

const CLASSIC_METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const CLASSIC_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/// A text as PromQL quotes it.
export const quoted = (text) => `"${text.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n")}"`;

/// A label name, quoted where PromQL wants it so.
export const labelName = (name) => (CLASSIC_LABEL.test(name) ? name : quoted(name));

/// What a series is called: its name, and its labels as PromQL writes them.
export function series(labels) {
  const { __name__: name = "", ...rest } = labels;
  const pairs = Object.entries(rest).map(([label, text]) => `${labelName(label)}=${quoted(text)}`);
  if (name === "" || CLASSIC_METRIC.test(name)) return { name, pairs };
  return { name: "", pairs: [quoted(name), ...pairs] };
}

/// The same in one line.
export function seriesText(labels) {
  const { name, pairs } = series(labels);
  return pairs.length > 0 || name === "" ? `${name}{${pairs.join(", ")}}` : name;
}

function sign(text) {
  return text.replace("-", "−");
}
