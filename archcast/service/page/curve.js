// A curve with its band over a knob: a line for the values, a band from lo to hi, hatching where nothing fits, and a
// handle that moves from point to point without drawing the rest again.

import { freshId, replace, svg } from "./dom.js";
import { digits, text, unitOf, withUnit } from "./format.js";

const PAD = { left: 66, right: 16, top: 14, bottom: 40 };
const DECADES_FOR_LOG = 0.6; // from so many on, a logarithmic height reads better
export const EDGES = { left: PAD.left, right: PAD.right };

// lo, hi -> position between 0 and 1
function scale(lo, hi, log) {
  if (!(hi > lo)) return () => 0.5;
  const pass = log ? Math.log10 : (value) => value;
  const [a, b] = [pass(lo), pass(hi)];
  return (value) => (pass(value) - a) / (b - a);
}

function niceStep(span, count) {
  const raw = span / count;
  const size = 10 ** Math.floor(Math.log10(raw));
  return size * [1, 2, 5, 10].find((factor) => factor * size >= raw * 0.999);
}

export function ticks(lo, hi, log, count) {
  const found = [];
  if (log && hi / lo > 4) {
    for (const steps of [[1], [1, 3], [1, 2, 5]]) {
      found.length = 0;
      for (let power = Math.floor(Math.log10(lo)); power <= Math.ceil(Math.log10(hi)); power += 1) {
        for (const step of steps) {
          const value = step * 10 ** power;
          if (value >= lo * 0.999 && value <= hi * 1.001) found.push(value);
        }
      }
      if (found.length >= Math.ceil(count / 2)) break;
    }
    const every = Math.ceil(found.length / (count + 1));
    return found.filter((_, at) => at % every === 0);
  }
  const step = niceStep(hi - lo || 1, count);
  for (let value = Math.ceil(lo / step) * step; value <= hi + step / 1e6; value += step) found.push(value);
  return found;
}

function range(points, log) {
  const fit = points.filter((point) => point.fits);
  const most = Math.max(...fit.map((point) => Math.max(point.hi, point.value)));
  const least = Math.min(...fit.map((point) => Math.min(point.lo, point.value)).filter((value) => value > 0));
  const tall = log && most / least > 10 ** DECADES_FOR_LOG;
  return tall ? [least / 1.15, most * 1.15, true] : [0, most * 1.08, false];
}

// A tick needs no more digits than it has: 1 s, not 1.00 s.
const short = (words) => words.replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");

const path = (points) => points.map(([x, y], at) => `${at ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

// Runs of neighbouring points that fit, or do not.
function runs(points, fits) {
  const found = [];
  points.forEach((point, at) => {
    if (point.fits !== fits) return;
    if (at && points[at - 1].fits === fits && found.length) found[found.length - 1].push(at);
    else found.push([at]);
  });
  return found;
}

// points: [{x, value, lo, hi, fits}]; returns {move(at)}; pick(at) is called for the point under the pointer.
// Points that stand apart (a count of devices, divided differently each time) have a bar each in place of line and band.
export function drawCurve(box, { points, apart = false, kind, log, label, name, now, pick }) {
  const width = Math.max(260, box.clientWidth);
  const height = width < 520 ? 250 : 320;
  const [x0, x1, y0, y1] = [PAD.left, width - PAD.right, height - PAD.bottom, PAD.top];
  const across = scale(points[0].x, points[points.length - 1].x, log);
  const x = (value) => x0 + across(value) * (x1 - x0);
  const some = points.some((point) => point.fits);
  const [lo, hi, tall] = some ? range(points, log) : [0, 1, false];
  const up = scale(lo, hi, tall);
  const y = (value) => y0 - Math.min(1, Math.max(0, up(value))) * (y0 - y1);

  const [size, unit] = unitOf(hi, kind);
  const rules = some ? ticks(lo, hi, tall, 5).map((value) => {
    const words = tall ? text(value, kind) : value === 0 ? "0" : withUnit(digits(value / size), unit);
    return [svg("path", { class: "grid", d: `M${x0} ${y(value)}H${x1}` }), svg("text", { x: x0 - 7, y: y(value) + 4, "text-anchor": "end" }, short(words))];
  }) : [];
  const feet = ticks(points[0].x, points[points.length - 1].x, log, width < 520 ? 4 : 8).map((value) =>
    svg("text", { x: x(value), y: y0 + 17, "text-anchor": "middle" }, short(digits(value))));

  const bar = (point) => [
    svg("path", { class: "apart", d: `M${x(point.x)} ${y(point.lo)}V${y(point.hi)}` }),
    svg("circle", { class: "point", cx: x(point.x), cy: y(point.value), r: 4.5 })];
  const band = apart ? points.filter((point) => point.fits).map(bar) : runs(points, true).map((run) => {
    const upper = run.map((at) => [x(points[at].x), y(points[at].hi)]);
    const lower = run.map((at) => [x(points[at].x), y(points[at].lo)]).reverse();
    return [
      svg("path", { class: "band", d: `${path([...upper, ...lower])}Z` }),
      svg("path", { class: "line", d: path(run.map((at) => [x(points[at].x), y(points[at].value)])) }),
      points.length <= 40 ? run.map((at) => svg("circle", { class: "point", cx: x(points[at].x), cy: y(points[at].value), r: 1.8 })) : null,
    ];
  });
  const hatch = freshId("nofit");
  const closed = runs(points, false).map((run) => {
    const last = run[run.length - 1];
    const from = run[0] ? (x(points[run[0] - 1].x) + x(points[run[0]].x)) / 2 : x0;
    const to = last + 1 < points.length ? (x(points[last].x) + x(points[last + 1].x)) / 2 : x1;
    const wide = to - from > 90;
    return [svg("rect", { x: from, y: y1, width: Math.max(1, to - from), height: y0 - y1, fill: `url(#${hatch})` }),
      wide ? svg("text", { class: "nofit", x: (from + to) / 2, y: y1 + 20, "text-anchor": "middle" }, "does not fit") : null];
  });
  const inside = now !== undefined && now >= points[0].x && now <= points[points.length - 1].x;
  const asked = inside ? svg("path", { class: "asked", d: `M${x(now)} ${y1}V${y0}` }) : null;
  const stem = svg("path", { class: "stem" });
  const whisker = svg("path", { class: "whisker" });
  const dot = svg("circle", { class: "handle", r: 7 });

  const drawing = svg("svg", { class: "curve roofline", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": name },
    svg("defs", null, svg("pattern", { id: hatch, width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg("rect", { class: "stripe", width: 2, height: 8 }))),
    rules, feet, svg("text", { class: "axis", x: (x0 + x1) / 2, y: y0 + 35, "text-anchor": "middle" }, label),
    closed, band, asked, svg("path", { class: "axisline", d: `M${x0} ${y1}V${y0}H${x1}` }), stem, whisker, dot);

  const nearest = (event) => {
    const at = ((event.clientX - drawing.getBoundingClientRect().left) / drawing.getBoundingClientRect().width) * width;
    const distances = points.map((point) => Math.abs(x(point.x) - at));
    pick(distances.indexOf(Math.min(...distances)));
  };
  drawing.addEventListener("pointerdown", (event) => {
    drawing.setPointerCapture(event.pointerId);
    nearest(event);
  });
  drawing.addEventListener("pointermove", (event) => { if (event.buttons) nearest(event); });
  replace(box, drawing);

  return {
    place: (at) => across(points[at].x),
    nearest: (share) => {
      const distances = points.map((point) => Math.abs(across(point.x) - share));
      return distances.indexOf(Math.min(...distances));
    },
    move(at) {
      const point = points[at];
      const px = x(point.x);
      stem.setAttribute("d", `M${px} ${y1}V${y0}`);
      whisker.setAttribute("d", point.fits ? `M${px - 5} ${y(point.hi)}h10m-5 0V${y(point.lo)}m-5 0h10` : "");
      dot.setAttribute("cx", px);
      dot.setAttribute("cy", point.fits ? y(point.value) : y0);
      dot.classList.toggle("none", !point.fits);
    },
  };
}
