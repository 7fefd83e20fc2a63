// Numbers and names as text, and elements that are made of text alone: nothing that a file holds is read as markup.

const PREFIXES = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
const SMALL = [[1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]];
const SYMBOLS = { bytes: "B", cycles: "cycles", microjoules: "µJ" };
const TIMES = { milliseconds: 1e-3, ms: 1e-3 }; // in seconds
const WHOLE = new Intl.NumberFormat("en-US");
const FRACTION = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 6 });
const THIN = "\u202f"; // a narrow space that does not break
const MINUS = "\u2212";

const get = (id) => document.getElementById(id);

// Makes an element with attributes; a child is an element, or a text that stays one.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// Some digits that count, and an SI prefix: 12.3 k, 65.5 µs.
function compact(value, unit = "", digits = 3) {
  if (value === null || value === undefined) return "–";
  if (unit in TIMES) return scaled(value * TIMES[unit], "s", value ? SMALL : [], digits);
  return scaled(value, SYMBOLS[unit] ?? "", PREFIXES, digits);
}

function scaled(value, symbol, prefixes, digits) {
  const [factor, prefix] = prefixes.find(([least]) => Math.abs(value) >= least * 0.9995) ?? [1, ""];
  const text = String(Number((value / factor).toPrecision(digits))).replace("-", MINUS);
  return prefix || symbol ? `${text}${THIN}${prefix}${symbol}` : text;
}

// How many digits tell different values from each other: three to six.
function digitsFor(values) {
  const different = new Set(values.filter((value) => value !== null));
  const enough = (digits) => new Set([...different].map((value) => compact(value, "", digits))).size === different.size;
  return [3, 4, 5].find(enough) ?? 6;
}

// All digits of a whole number, six of another one.
function exact(value) {
  if (value === null || value === undefined) return "–";
  return (Number.isInteger(value) ? WHOLE : FRACTION).format(value).replace("-", MINUS);
}

const percent = (part, digits = 1) => `${(100 * part).toFixed(digits).replace("-", MINUS)} %`;

// How much more or less than something: −38.2 %.
function change(value, base) {
  if (!base || value === null || base === null) return "";
  const part = (value - base) / Math.abs(base);
  return part === 0 ? "" : `${part > 0 ? "+" : ""}${percent(part)}`;
}

// A metric with its unit in brackets, as axes and columns name it.
const titled = ({ name, unit }) => (unit ? `${name} [${unit}]` : name);

// A name of at most so many characters, its middle left out.
function shortened(name, length = 26) {
  if (name.length <= length) return name;
  const half = Math.floor((length - 1) / 2);
  return `${name.slice(0, half)}…${name.slice(-half)}`;
}

// A text for plotly.js, which would take <b> and entities for markup.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
