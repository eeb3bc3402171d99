// The explorer: the LSTM or GRU unrolled over the text, one cell per step, layer and direction.

import { element, prose } from "./dom.js";
import { has, number, text } from "./texts.js";

const GATES = { lstm: ["i", "f", "o", "g"], gru: ["r", "z", "n"] };
const FIRST = 3; // the step that is shown at first: near enough to be in sight on a phone
/** Return whether an explanation is that of a GRU: it has no cell, so no c_n. */
const isGru = (lstm) => lstm.cell === "gru";
const gatesOf = (cell) => GATES["z" in cell ? "gru" : "lstm"];
const signed = (gate) => gate === "g" || gate === "n"; // the candidate is from -1 to 1
const WALK = { longest: 6000, slowest: 420 }; // milliseconds of a walk, and of one step of it

/** Return what the task takes of the LSTM's result; `also`: attention looks at output beside it. */
function takes({ reads, lstm, written, task }) {
  const words = reads.split(/[\s,;:]+/);
  const attends = (written ?? []).some((each) => each.attention);
  return {
    output: words.includes("output"),
    h: words.includes("h_n"),
    c: words.includes("c_n"),
    also: !words.includes("output") && (attends || task === "translate"),
    both: lstm.bidirectional,
  };
}

/** Return the line of code whose parts light up by what is read. */
export function codeLine(reads, also = false, gru = false) {
  const words = reads.split(/[\s,;:]+/);
  const part = (name) =>
    element("span", { class: words.includes(name) ? "part lit" : also && name === "output" ? "part also" : "part" }, name);
  if (gru) return element("code", { class: "line" }, part("output"), ", ", part("h_n"), " = gru(x)");
  return element("code", { class: "line" }, part("output"), ", (", part("h_n"), ", ", part("c_n"), ") = lstm(x)");
}

/**
 * Return the explorer of an explanation.
 *
 * Hover, focus or touch a cell to see what it has read, its gates and its states.
 */
export function explorer(explanation) {
  const { cells } = explanation.lstm;
  if (!cells.length) return empty(text("explorer.none"));
  const steps = cells[0].output.length;
  const shown = explanation.lstm.steps ?? explanation.tokens;
  const model = {
    explanation,
    steps,
    names: Array.from({ length: steps }, (_, n) => nameOf((shown[n] ?? "").trim(), explanation.task)),
    takes: takes(explanation),
    layers: explanation.lstm.layers,
    cellOf: (layer, direction) => cells.find((each) => each.layer === layer && each.direction === direction),
    rows: [...cells].sort((a, b) => b.layer - a.layer || (a.direction === "forward" ? -1 : 1)),
  };
  const root = element("section", { class: "explorer card", id: "explorer", "aria-labelledby": "explorer-title" });
  const grid = drawn(model);
  const details = element("div", { class: "details", id: "details", "aria-live": "polite" });
  const lesson = element("div", { class: "lesson" });
  const show = (at) => select(model, grid, details, at);
  root.append(
    element("h2", { id: "explorer-title" }, text("explorer.title")),
    element("p", { class: "hint" }, ...prose(text(isGru(explanation.lstm) ? "explorer.hint.gru" : "explorer.hint"))),
    controls(model, grid, lesson, show),
    element("div", { class: "unrolled scroll", tabindex: -1 }, grid),
    details,
    lesson,
  );
  listen(grid, model, show);
  readLights(model, grid, "own");
  tell(model, lesson, "own");
  const top = model.rows[0];
  show({ layer: top.layer, direction: top.direction, step: Math.min(FIRST, steps - 1), quiet: true });
  return root;
}

/** Return the name of a step: its token; of a step of several numbers the first and the last. */
function nameOf(token, task) {
  const numbers = token.split(/\s+/);
  if (task === "forecast" && numbers.length > 2) return `${numbers[0]} … ${numbers.at(-1)}`;
  return token || "␣";
}

/** Return the card without a drawing, with a sentence that says why. */
export const empty = (sentence) =>
  element("section", { class: "explorer card" }, element("h2", {}, text("explorer.title")), element("p", { class: "waiting" }, sentence));

/** Draw the grid: a row of outputs, two rows for each layer and direction, and the tokens. */
function drawn(model) {
  const { steps, names, rows } = model;
  const grid = element("div", {
    class: "grid",
    role: "group",
    "aria-label": text("explorer.grid", { steps }),
    style: { "--steps": String(steps) },
  });
  const put = (row, column, node) => {
    node.style.setProperty("grid-row", String(row));
    node.style.setProperty("grid-column", String(column));
    grid.append(node);
  };
  let row = 1;
  const most = Math.max(...rows.filter((each) => each.layer === model.layers - 1).flatMap((each) => each.output), 1e-9);
  put(row, 1, element("div", { class: "row-name" }, element("code", {}, "output")));
  for (let step = 0; step < steps; step += 1) {
    const bars = rows
      .filter((each) => each.layer === model.layers - 1)
      .map((each) => element("span", { class: `norm ${each.direction}`, style: { "--size": (each.output[step] / most).toFixed(3) } }));
    put(row, step + 3, element("div", { class: "output", "data-step": step }, bars));
  }
  for (const cell of rows) {
    row += 1;
    const name = text(cell.direction === "forward" ? "explorer.forward" : "explorer.backward");
    const layer = model.layers > 1 ? element("small", {}, text("explorer.layer", { layer: cell.layer + 1 })) : null;
    put(row, 1, element("div", { class: `row-name ${cell.direction}` }, element("span", {}, name), layer));
    for (let step = 0; step < steps; step += 1) put(row, step + 3, cellButton(cell, step, names[step]));
    put(row, cell.direction === "forward" ? steps + 3 : 2, finals(cell));
  }
  row += 1;
  put(row, 1, element("div", { class: "row-name" }, element("code", {}, "x")));
  names.forEach((name, step) => {
    put(row, step + 3, element("div", { class: "token", "data-step": step, title: name }, name));
  });
  return grid;
}

function cellButton(cell, step, name) {
  const bars = gatesOf(cell).map((gate) => {
    const value = cell[gate][step];
    const size = signed(gate) ? Math.abs(value) : value;
    return element("span", { class: `gate ${gate}${value < 0 ? " below" : ""}`, style: { "--size": Math.min(1, size).toFixed(3) } });
  });
  const label = text("explorer.cell", { step: step + 1, name, direction: text(`explorer.${cell.direction}`), norm: number(cell.output[step]) });
  return element(
    "button",
    {
      type: "button",
      class: `cell ${cell.direction}`,
      tabindex: -1,
      "data-layer": cell.layer,
      "data-direction": cell.direction,
      "data-step": step,
      "aria-label": label,
      "aria-describedby": "details",
    },
    bars,
  );
}

/** Return the two final states, where they are taken. */
function finals(cell) {
  return element(
    "div",
    { class: `finals ${cell.direction}`, "data-layer": cell.layer, "data-direction": cell.direction },
    element("span", { class: "final h" }, element("code", {}, "h_n")),
    cell.c_n ? element("span", { class: "final c" }, element("code", {}, "c_n")) : null,
  );
}

/** Return the buttons above the drawing: a walk through time, and two readings to compare. */
function controls(model, grid, lesson, show) {
  const bar = element("div", { class: "controls" });
  const play = element("button", { type: "button", class: "plain", id: "walk" }, `▶ ${text("explorer.walk")}`);
  play.addEventListener("click", () => walk(model, grid, play, show));
  bar.append(play);
  for (const cell of model.rows.filter((each) => each.layer === model.layers - 1)) {
    const name = text(`explorer.to.${cell.direction}`);
    const go = () => {
      show({ layer: cell.layer, direction: cell.direction, step: cell.h_n.step, scroll: true });
    };
    bar.append(element("button", { type: "button", class: `plain ${cell.direction}`, onclick: go }, ...prose(name)));
  }
  if (model.takes.both && model.takes.h && !model.takes.output && !model.takes.c) {
    const wrong = element("button", { type: "button", class: "plain", id: "wrong", "aria-pressed": "false" }, ...prose(text("explorer.compare")));
    wrong.addEventListener("click", () => {
      const way = wrong.getAttribute("aria-pressed") === "true" ? "own" : "last";
      wrong.setAttribute("aria-pressed", String(way === "last"));
      readLights(model, grid, way);
      tell(model, lesson, way);
      const top = model.layers - 1;
      show({ layer: top, direction: "backward", step: way === "last" ? model.steps - 1 : 0, scroll: true });
    });
    bar.append(wrong);
  }
  return bar;
}

/** Light up what is read: `own` is what the task takes, `last` is output[-1]. */
function readLights(model, grid, way) {
  const { takes: taken, layers, steps, cellOf } = model;
  const own = way === "own";
  for (const each of grid.querySelectorAll(".finals")) {
    const cell = cellOf(Number(each.dataset.layer), each.dataset.direction);
    const counted = cell.layer === layers - 1 || taken.c;
    each.querySelector(".h").classList.toggle("lit", own && taken.h && (cell.h_n.read ?? counted));
    each.querySelector(".c")?.classList.toggle("lit", own && taken.c && (cell.c_n?.read ?? counted));
  }
  const read = (model.explanation.lstm.output_read ?? []).map((found) => new Set(found)); // per direction
  for (const each of grid.querySelectorAll(".output")) {
    const step = Number(each.dataset.step);
    const known = !read.length || read.some((found) => found.has(step));
    each.classList.toggle("lit", own && taken.output && known);
    each.classList.toggle("also", own && taken.also && known);
    each.classList.toggle("wrong", !own && step === steps - 1);
    [...each.children].forEach((norm, n) => norm.classList.toggle("unread", taken.output && read.length > n && !read[n].has(step)));
  }
}

/** Say below the drawing what is read and why, or what goes wrong with output[-1]. */
function tell(model, lesson, way) {
  const { explanation, steps, takes: taken } = model;
  const lines = [element("p", { class: "why" }, codeLine(explanation.reads, taken.also, isGru(explanation.lstm)), element("span", {}, ...prose(reason(explanation))))];
  const pitfall = taken.both && taken.h && !taken.output && !taken.c;
  if (pitfall) {
    const share = text("explorer.wrong", { steps });
    lines.push(element("p", { class: way === "last" ? "pitfall strong" : "pitfall", id: "pitfall" }, ...prose(share)));
  }
  lesson.replaceChildren(...lines);
}

/** Return why a task reads what it reads, in the reader's language where it is known. */
function reason({ task, reads, why, lstm }) {
  const both = task === "generate" && lstm.bidirectional ? ".both" : "";
  const name = `reason.${task}.${reads.replace(/,\s*/g, "+")}${both}`;
  return has(name) && !(isGru(lstm) && /^(translate|forecast)$/.test(task)) ? text(name) : `${why}.`;
}

function listen(grid, model, show) {
  const at = (target) => {
    const cell = target.closest?.(".cell");
    return cell && { layer: Number(cell.dataset.layer), direction: cell.dataset.direction, step: Number(cell.dataset.step) };
  };
  for (const kind of ["pointerover", "focusin", "click"]) {
    grid.addEventListener(kind, (event) => {
      const found = at(event.target);
      if (found) show(found);
    });
  }
  grid.addEventListener("keydown", (event) => {
    const found = at(event.target);
    if (!found) return;
    const row = model.rows.findIndex((each) => each.layer === found.layer && each.direction === found.direction);
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -model.steps], End: [0, model.steps] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const to = model.rows[Math.min(Math.max(row + move[0], 0), model.rows.length - 1)];
    const step = Math.min(Math.max(found.step + move[1], 0), model.steps - 1);
    grid.querySelector(selector(to.layer, to.direction, step)).focus();
  });
}

const selector = (layer, direction, step) => `.cell[data-layer="${layer}"][data-direction="${direction}"][data-step="${step}"]`;

/** Return the first and the last step that a cell has read, both included. */
function hasRead(model, { layer, direction, step }) {
  if (layer > 0 && model.takes.both) return [0, model.steps - 1];
  return direction === "forward" ? [0, step] : [step, model.steps - 1];
}

/** Mark a cell and what it has read; tell its numbers. */
function select(model, grid, details, at) {
  const [from, to] = hasRead(model, at);
  const cell = model.cellOf(at.layer, at.direction);
  for (const each of grid.querySelectorAll(".cell")) {
    const step = Number(each.dataset.step);
    const own = Number(each.dataset.layer) === at.layer && each.dataset.direction === at.direction;
    const before = at.direction === "forward" ? step <= at.step : step >= at.step;
    each.classList.toggle("path", own && before);
    const chosen = own && step === at.step;
    each.classList.toggle("chosen", chosen);
    each.tabIndex = chosen ? 0 : -1;
    if (chosen && at.scroll) centre(grid.parentElement, each);
  }
  for (const each of grid.querySelectorAll(".token")) {
    const step = Number(each.dataset.step);
    each.classList.toggle("read", step >= from && step <= to);
    each.classList.toggle("here", step === at.step);
  }
  grid.dataset.direction = at.direction;
  details.setAttribute("aria-live", at.quiet ? "off" : "polite");
  details.replaceChildren(...told(model, cell, at, to - from + 1));
}

/** Scroll a box, and nothing but the box, until a cell stands in its middle. */
function centre(box, cell) {
  const left = cell.getBoundingClientRect().left - box.getBoundingClientRect().left;
  box.scrollTo({ left: box.scrollLeft + left - box.clientWidth / 2, behavior: "auto" });
}

function told(model, cell, { step, direction }, read) {
  const { steps, names, layers } = model;
  const values = { step: step + 1, steps, name: names[step], layer: cell.layer + 1, read };
  const head = element(
    "div",
    { class: `where ${direction}` },
    element("p", { class: "step" }, text(layers > 1 ? "explorer.at.layer" : "explorer.at", { ...values, direction: text(`explorer.${direction}`) })),
    element("p", { class: "token-name" }, text("explorer.token", { name: names[step] })),
    element("p", { class: "has-read" }, text("explorer.read", values)),
    element("progress", { max: steps, value: read, "aria-hidden": "true" }),
    step === cell.h_n.step ? element("p", { class: "taken" }, ...prose(text(cell.c_n ? "explorer.taken" : "explorer.taken.gru"))) : null,
  );
  const gates = element("dl", { class: "gates" }, gatesOf(cell).map((gate) => gateLine(gate, cell[gate][step])));
  return [head, gates, norms(cell, step)];
}

function gateLine(gate, value) {
  const centred = signed(gate);
  const bar = element(
    "span",
    { class: centred ? "bar centred" : "bar", "aria-hidden": "true" },
    element("span", { class: `fill ${gate}${value < 0 ? " below" : ""}`, style: { "--size": Math.min(1, Math.abs(value)).toFixed(4) } }),
  );
  return element(
    "div",
    {},
    element("dt", {}, element("code", {}, gate), element("span", {}, text(`explorer.gate.${gate}`))),
    element("dd", {}, bar, element("span", { class: "value" }, number(value))),
  );
}

/** Return the sizes of output and cell at a step, among all steps of the row. */
function norms(cell, step) {
  const line = (name, meaning, values) => {
    const most = Math.max(...values, 1e-9);
    const marks = values.map((value, n) => element("span", { class: n === step ? "mark here" : "mark", style: { "--size": (value / most).toFixed(3) } }));
    return element(
      "div",
      {},
      element("dt", {}, element("code", {}, name), element("span", {}, text(meaning))),
      element("dd", {}, element("span", { class: "marks", "aria-hidden": "true" }, marks), element("span", { class: "value" }, number(values[step]))),
    );
  };
  const parts = [line("‖output‖", "explorer.norm.output", cell.output)];
  if (cell.c) parts.push(line("‖c‖", "explorer.norm.c", cell.c)); // a GRU has no cell
  if (cell.h) parts.push(units(cell.h[step]));
  return element("dl", { class: "norms" }, parts);
}

/** Return the units of h at a step, one square each. */
function units(values) {
  const squares = values.map((value) => element("span", { class: value < 0 ? "unit below" : "unit", style: { "--size": Math.min(1, Math.abs(value)).toFixed(3) } }));
  return element("div", {}, element("dt", {}, element("code", {}, "h"), element("span", {}, text("explorer.units"))), element("dd", {}, element("span", { class: "units", "aria-hidden": "true" }, squares)));
}

/** Walk through time: both directions at once, each from its own end. */
function walk(model, grid, button, show) {
  if (button.timer) return stop(grid, button);
  const pause = Math.min(WALK.slowest, WALK.longest / model.steps);
  const top = model.layers - 1;
  let time = 0;
  button.textContent = `■ ${text("stop")}`;
  grid.classList.add("walking");
  const step = () => {
    if (!grid.isConnected || time >= model.steps) return stop(grid, button);
    for (const each of grid.querySelectorAll(".cell")) {
      const own = Number(each.dataset.step);
      const age = each.dataset.direction === "forward" ? own : model.steps - 1 - own;
      each.classList.toggle("done", age <= time);
      each.classList.toggle("now", age === time);
    }
    show({ layer: top, direction: "forward", step: time, quiet: true, scroll: true });
    time += 1;
    button.timer = setTimeout(step, pause);
  };
  step();
}

function stop(grid, button) {
  clearTimeout(button.timer);
  button.timer = null;
  button.textContent = `▶ ${text("explorer.walk")}`;
  grid.classList.remove("walking");
  for (const each of grid.querySelectorAll(".done, .now")) each.classList.remove("done", "now");
}

