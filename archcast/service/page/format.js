// Numbers as people read them: three significant digits in the unit that fits, the same one for an interval.
// The same rules, digit for digit, as archcast/render/human.py (tests/browser_page/test_prediction.py holds both against each other).

const PREFIXES = [
  [1e-15, "f"], [1e-12, "p"], [1e-9, "n"], [1e-6, "µ"], [1e-3, "m"], [1, ""],
  [1e3, "k"], [1e6, "M"], [1e9, "G"], [1e12, "T"], [1e15, "P"], [1e18, "E"],
];
const si = (unit, low = 1e-15) => PREFIXES.filter(([size]) => size >= low).map(([size, prefix]) => [size, prefix + unit]);

export const LADDERS = {
  s: [...si("s").slice(0, 6), [60, "min"], [3600, "h"], [86400, "days"]],
  j: si("J"),
  w: si("W"),
  bytes: ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].map((unit, i) => [1024 ** i, unit]),
  flop_per_s: si("FLOP/s", 1),
  bytes_per_s: si("B/s", 1),
  per_s: [[1, "/s"], [1e6, "M/s"], [1e9, "G/s"]],
  usd: [[1, "$"]],
  usd_per_hour: [[1, "$/h"]],
  hz: si("Hz"),
  mm2: [[1, "mm²"]],
  count: [[1, ""], [1e3, "thousand"], [1e6, "million"], [1e9, "billion"], [1e12, "trillion"]],
  "": [[1, ""]],
};
const AT_LEAST = { min: 600, h: 7200, days: 172800 };

// Exact decimals of a double, cut where an exact half would round up: Python rounds halves to even, JavaScript away.
function evenTie(exact, kept) {
  const [mantissa] = exact.split("e");
  const tail = mantissa.slice(kept + 1);
  const last = Number(mantissa[kept] === "." ? mantissa[kept - 1] : mantissa[kept]);
  return /^\.?50*$/.test(tail.replace(".", "")) && last % 2 === 0;
}

function significant(value, places) {
  const exact = value.toExponential(60);
  const negative = value < 0 ? 1 : 0;
  if (!evenTie(exact, places + negative)) return value.toExponential(places - 1);
  const [mantissa, power] = exact.split("e");
  return `${mantissa.slice(0, places + 1 + negative)}e${power}`;
}

function fixed(value, places) {
  const exact = value.toFixed(60);
  const kept = exact.indexOf(".") + places;
  const tie = evenTie(exact, places ? kept : kept - 1);
  const text = tie ? exact.slice(0, places ? kept + 1 : kept) : value.toFixed(places);
  const [whole, rest] = text.split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return rest === undefined ? grouped : `${grouped}.${rest}`;
}

// [size in SI, name] of the unit in which `value` has one to three digits before the point
export function unitOf(value, kind) {
  const ladder = LADDERS[kind];
  const size = Number.isFinite(value) ? Math.abs(Number(significant(value, 3))) : 0;
  let best = size > 0 ? ladder[0] : ladder.find(([step]) => step === 1) || ladder[0];
  for (const [step, unit] of ladder) {
    if (size >= (AT_LEAST[unit] || step * (1 - 1e-9))) best = [step, unit];
  }
  return best;
}

// three significant digits (whole above 100, with commas)
export function digits(number) {
  if (!Number.isFinite(number)) return Number.isNaN(number) ? "nan" : number > 0 ? "inf" : "-inf";
  if (number === 0) return "0";
  const kept = Math.abs(number) < 1000 ? Number(significant(number, 3)) : number;
  const exponent = Math.floor(Math.log10(Math.abs(kept)));
  if (exponent < -4 || exponent > 8) {
    const [mantissa, power] = significant(kept, 3).split("e");
    return `${mantissa}e${power[0]}${power.slice(1).padStart(2, "0")}`;
  }
  return fixed(kept, Math.max(0, 2 - exponent));
}

export function withUnit(number, unit) {
  if (unit === "$") return number.startsWith("-") ? `-$${number.slice(1)}` : `$${number}`;
  return `${number}${unit.startsWith("/") ? "" : " "}${unit}`.trim();
}

export function text(value, kind) {
  const [size, unit] = unitOf(value, kind);
  return withUnit(digits(value / size), unit);
}

// {value, lo, hi} -> words in one unit, ready to show
export function shown(quantity, kind) {
  const [size, unit] = unitOf(quantity.value, kind);
  const [number, lo, hi] = [quantity.value, quantity.lo, quantity.hi].map((each) => digits(each / size));
  return { number, lo, hi, unit, value: withUnit(number, unit), ends: `${lo} to ${hi}` };
}

export function percent(share) {
  if (share > 0 && share < 0.0005) return "< 0.1 %";
  return share < 0.9995 ? `${fixed(100 * share, 1)} %` : `${fixed(100 * share, 0)} %`;
}

export const whole = (number) => fixed(Math.round(number), 0);
