// A series and its forecast as a drawing that fits the width it has.

import { element, shape } from "./dom.js";
import { number, text } from "./texts.js";

const HEIGHT = 260;
const MARGIN = { top: 14, right: 12, bottom: 30, left: 56 };

/**
 * Return a figure of past values, the forecast and its band.
 *
 * `series`: {past, forecast, low, high, times}; `weights`: one per past value, drawn behind the
 * line; `onstep(step)` is called with the step of the forecast under the pointer, or null.
 */
export function chart(series, { weights = null, label, onstep = () => {} }) {
  const figure = element("figure", { class: "chart" });
  const readout = element("figcaption", { class: "readout", "aria-live": "off" }, text("chart.hint"));
  const place = element("div", { class: "drawing" });
  figure.append(place, readout);
  let drawn = 0;
  const state = { weights };
  const draw = () => {
    const width = Math.round(place.clientWidth);
    if (!width) return;
    drawn = width;
    place.replaceChildren(picture(series, state.weights, width, label, (step) => {
      readout.textContent = step === null ? text("chart.hint") : told(series, step);
      onstep(step);
    }));
  };
  new ResizeObserver(() => {
    if (Math.round(place.clientWidth) !== drawn) draw();
  }).observe(place);
  figure.colour = (found) => {
    state.weights = found;
    draw();
  };
  return figure;
}

/** Return a column of values that may be lists. */
const columnOf = (values, n) => values.map((value) => (Array.isArray(value) ? value[n] : value));

/** Return the drawing's series of an answer's target: the middle, and the band of its outer quantiles. */
export function seriesOf(all, answer, target = 0) {
  const past = columnOf(all, target);
  const levels = Object.keys(answer.quantiles ?? {}).sort((a, b) => Number(a) - Number(b));
  const forecast = columnOf(answer.forecast, target);
  const shown = Math.max(4 * forecast.length, 60);
  return {
    past: past.slice(-shown),
    hidden: Math.max(0, past.length - shown),
    forecast,
    low: levels.length > 1 ? columnOf(answer.quantiles[levels[0]], target) : null,
    high: levels.length > 1 ? columnOf(answer.quantiles[levels.at(-1)], target) : null,
    levels: levels.length > 1 ? [Number(levels[0]), Number(levels.at(-1))] : null,
    times: answer.times ?? null,
  };
}

const digitsFor = (values) => {
  const span = Math.max(...values) - Math.min(...values) || Math.abs(values[0]) || 1;
  return Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(span))));
};

/** Return a step of the forecast in words. */
function told(series, step) {
  const digits = digitsFor(series.forecast);
  const values = {
    step: series.times?.[step] ?? `+${step + 1}`,
    value: number(series.forecast[step], digits),
    low: series.low && number(series.low[step], digits),
    high: series.high && number(series.high[step], digits),
  };
  return text(series.low ? "chart.band" : "chart.value", values);
}

function picture(series, weights, width, label, onstep) {
  const { past, forecast, low, high } = series;
  const total = past.length + forecast.length;
  const all = [...past, ...forecast, ...(low ?? []), ...(high ?? [])].filter(Number.isFinite);
  const ticks = niceTicks(Math.min(...all), Math.max(...all), 4);
  const [bottom, top] = [Math.min(ticks[0], ...all), Math.max(ticks.at(-1), ...all)];
  const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
  const x = (n) => MARGIN.left + (n / Math.max(1, total - 1)) * inner.width;
  const y = (v) => MARGIN.top + (1 - (v - bottom) / (top - bottom || 1)) * inner.height;
  const path = (values, start) => values.map((v, n) => `${n ? "L" : "M"}${x(start + n).toFixed(1)} ${y(v).toFixed(1)}`).join("");
  const last = past.length - 1;
  const svg = shape("svg", { class: "plot", width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label });
  const digits = digitsFor(ticks);
  for (const tick of ticks) {
    svg.append(shape("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(tick), y2: y(tick) }));
    svg.append(shape("text", { class: "tick", x: MARGIN.left - 8, y: y(tick) + 4, "text-anchor": "end" }, number(tick, Math.max(0, digits - 1))));
  }
  if (weights) svg.append(...columns(past, weights, x, inner));
  if (low) {
    const edge = [past[last], ...high].map((v, n) => `${n ? "L" : "M"}${x(last + n).toFixed(1)} ${y(v).toFixed(1)}`).join("");
    const back = [past[last], ...low].map((v, n) => [x(last + n), y(v)]).reverse();
    svg.append(shape("path", { class: "band", d: `${edge}${back.map(([a, b]) => `L${a.toFixed(1)} ${b.toFixed(1)}`).join("")}Z` }));
  }
  svg.append(shape("path", { class: "past", d: path(past, 0) }));
  svg.append(shape("path", { class: "forecast", d: path([past[last], ...forecast], last) }));
  svg.append(shape("line", { class: "now", x1: x(last), x2: x(last), y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }));
  const names = [["chart.past", x(last) - 6, "end"], ["chart.future", x(last) + 6, "start"]];
  for (const [name, at, anchor] of names) {
    svg.append(shape("text", { class: "tick", x: at, y: HEIGHT - 10, "text-anchor": anchor }, text(name)));
  }
  const dot = shape("circle", { class: "dot", r: 4.5, cx: -20, cy: -20 });
  svg.append(dot);
  svg.addEventListener("pointermove", (event) => {
    const at = ((event.clientX - svg.getBoundingClientRect().left - MARGIN.left) / inner.width) * (total - 1);
    const step = Math.round(at) - past.length;
    const inside = step >= 0 && step < forecast.length;
    dot.setAttribute("cx", inside ? x(past.length + step) : -20);
    dot.setAttribute("cy", inside ? y(forecast[step]) : -20);
    onstep(inside ? step : null);
  });
  svg.addEventListener("pointerleave", () => {
    dot.setAttribute("cx", -20);
    onstep(null);
  });
  return svg;
}

/** Return a column behind each past value, the stronger the more it mattered. */
function columns(past, weights, x, inner) {
  const own = weights.slice(-past.length);
  const start = past.length - own.length;
  const most = Math.max(...own.map(Math.abs), 1e-9);
  const step = x(1) - x(0);
  return own.map((weight, n) =>
    shape("rect", {
      class: weight < 0 ? "column against" : "column for",
      x: x(start + n) - step / 2,
      y: MARGIN.top,
      width: Math.max(step, 0.8),
      height: inner.height,
      opacity: ((Math.abs(weight) / most) * 0.75).toFixed(3),
    }),
  );
}

/** Return about `wanted` round numbers that cover a range. */
function niceTicks(low, high, wanted) {
  const raw = (high - low || Math.abs(high) || 1) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const ticks = [];
  for (let n = Math.floor(low / step); n <= Math.ceil(high / step); n += 1) ticks.push(n * step);
  return ticks;
}

/** Return the forecast as a table, for those who cannot see the drawing. */
export function table(series) {
  const digits = digitsFor(series.forecast);
  const heads = ["chart.step", "chart.future", ...(series.low ? ["chart.low", "chart.high"] : [])];
  const rows = series.forecast.map((value, n) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, series.times?.[n] ?? `+${n + 1}`),
      [value, series.low?.[n], series.high?.[n]].filter((v) => v !== undefined).map((v) => element("td", {}, number(v, digits))),
    ),
  );
  const head = element("tr", {}, heads.map((name) => element("th", { scope: "col" }, text(name))));
  return element(
    "details",
    { class: "numbers" },
    element("summary", {}, text("chart.table")),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": text("chart.table") }, element("table", {}, element("thead", {}, head), element("tbody", {}, rows))),
  );
}
