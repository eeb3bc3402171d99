// The page: a tab for each model; what is typed, its answer, why, and the explorer.

import { view } from "./answers.js";
import { choice, element, prose } from "./dom.js";
import { codeLine, empty, explorer } from "./explorer.js";
import { inputOf, parse, places, rolesOf, tableOf } from "./series.js";
import * as server from "./server.js";
import { choose, count, current, has, languages, load, number, text } from "./texts.js";
import { why } from "./why.js";

const TOP = 6; // labels that are asked for
const MOST_TOKENS = 120; // of a text that is generated

const tabs = document.getElementById("tabs");
const panel = document.getElementById("panel");
const states = new Map(); // model name -> what was typed and answered there
let models = [];
let open = null; // the model whose tab is open
let parts = {}; // what of the open tab is replaced as answers arrive

/** Write every string of the page in the language that is chosen. */
function write() {
  for (const node of document.querySelectorAll("[data-text]")) node.replaceChildren(...prose(text(node.dataset.text)));
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", text(node.dataset.label));
  const switchTo = (tag) => {
    choose(tag);
    write();
    document.querySelector(`#languages [data-value="${tag}"]`).focus();
  };
  const named = languages().map(([tag, name]) => [tag, name, { lang: tag }]);
  document.getElementById("languages").replaceChildren(...choice(text("language"), named, current(), switchTo).children);
  writeTabs();
  if (open) writePanel();
}

function writeTabs() {
  tabs.replaceChildren(
    ...models.map((model, n) =>
      element(
        "button",
        {
          type: "button",
          role: "tab",
          id: `tab-${n}`,
          "aria-controls": "panel",
          "aria-selected": String(model === open),
          tabindex: model === open ? 0 : -1,
          "data-model": model.name,
          onclick: () => choosing(model),
          onkeydown: (event) => moveTab(event, n),
        },
        element("span", { class: "task" }, nameOf("task", model.task)),
        element("span", { class: "model" }, model.name.split("/").at(-1)),
      ),
    ),
  );
}

/** Return the string of a task, or the task's own name where there is none. */
function nameOf(kind, task) {
  return has(`${kind}.${task}`) ? text(`${kind}.${task}`) : task;
}

function moveTab(event, n) {
  const to = { ArrowLeft: n - 1, ArrowRight: n + 1, Home: 0, End: models.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const model = models[(to + models.length) % models.length];
  choosing(model);
  const tab = tabs.querySelector('[aria-selected="true"]');
  tab.focus({ preventScroll: true });
}

function choosing(model) {
  open = model;
  history.replaceState(null, "", `#${model.name}`);
  for (const tab of tabs.children) {
    const own = tab.dataset.model === model.name;
    tab.setAttribute("aria-selected", String(own));
    tab.tabIndex = own ? 0 : -1;
    if (own) tabs.scrollTo({ left: tab.offsetLeft - tabs.offsetLeft - (tabs.clientWidth - tab.clientWidth) / 2 });
  }
  writePanel();
  const state = stateOf(model);
  if (!state.answer && !state.busy && !state.error && model.example) ask(model);
}

function stateOf(model) {
  if (!states.has(model.name)) {
    states.set(model.name, {
      input: Array.isArray(model.example) ? model.example.join("\n") : model.example ?? "",
      column: null,
      chosen: {}, // columns of the table by those that the model reads
      shown: 0, // the target that is drawn
      temperature: 0.7,
      answer: null,
      explanation: null,
      error: "", // why there is no answer
      unexplained: "", // why there is no explanation
      busy: false,
      method: null,
      target: null,
      word: null,
      values: null, // the numbers that are read from the input, or a row of several columns
      past: null, // those that were answered
      abort: null,
      stop: null,
    });
  }
  return states.get(model.name);
}

/** Write the open tab anew: what it is, the input, the answer, why, the explorer. */
function writePanel() {
  const model = open;
  const state = stateOf(model);
  panel.setAttribute("aria-labelledby", `tab-${models.indexOf(model)}`);
  panel.dataset.task = model.task;
  parts = {
    answer: element("div", { class: "answer-body", "aria-live": "polite", id: "answer" }),
    why: element("div", { class: "slot why-slot" }),
    explorer: element("div", { class: "slot explorer-slot" }),
    error: element("p", { class: "error", role: "alert", id: "error" }),
  };
  panel.replaceChildren(
    about(model),
    element(
      "div",
      { class: "pair" },
      form(model, state),
      element("section", { class: "card answer", "aria-labelledby": "answer-title" }, element("h2", { id: "answer-title" }, text("answer.title")), parts.answer),
    ),
    parts.why,
    parts.explorer,
  );
  update(model);
}

function about(model) {
  const facts = [
    element("span", {}, text("fact.parameters", { number: count(model.parameters) })),
    model.score === null || model.score === undefined ? null : element("span", {}, `${String(model.metric).replaceAll("_", " ")} ${number(model.score, model.score > 10 ? 1 : 3)}`),
  ];
  return element(
    "section",
    { class: "about" },
    element("div", {}, element("h2", {}, nameOf("lead", model.task)), element("p", { class: "facts" }, element("code", {}, shortName(model.name)), facts)),
    element("p", { class: "reads" }, codeLine(model.reads, model.task === "translate", model.cell === "gru")),
  );
}

/** Return the end of a name: a folder may be anywhere. */
const shortName = (name) => name.split("/").filter(Boolean).slice(-2).join("/");

/** Return the form: what is typed, and how it is answered. */
function form(model, state) {
  const numbers = model.task === "forecast";
  const box = element("textarea", {
    id: "input",
    dir: "auto", // Arabic and Hebrew are read from the right
    rows: numbers ? 6 : 4,
    spellcheck: "false",
    autocomplete: "off",
    oninput: (event) => {
      state.input = event.target.value;
      state.column = null;
      if (numbers) columns(model, state);
    },
    onkeydown: (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        ask(model);
      }
    },
  });
  box.value = state.input;
  parts.box = box;
  parts.button = element("button", { type: "submit", class: "primary", id: "ask" }, text(`ask.${has(`ask.${model.task}`) ? model.task : "other"}`));
  parts.stop = element("button", { type: "button", class: "plain", id: "stop", disabled: true, onclick: () => state.stop?.abort() }, text("stop"));
  parts.columns = element("div", { class: "columns" });
  const filled = element("form", { class: "card asks", onsubmit: (event) => {
    event.preventDefault();
    ask(model);
  } });
  filled.append(
    element("label", { for: "input" }, inputName(model)),
    box,
    ...(numbers ? [parts.columns, file(model, state)] : []),
    ...(model.task === "generate" ? [temperature(state)] : []),
    element(
      "div",
      { class: "buttons" },
      parts.button,
      model.task === "generate" ? parts.stop : null,
      model.example ? element("button", { type: "button", class: "plain", id: "example", onclick: () => example(model, state) }, text("example")) : null,
      element("span", { class: "keys" }, text("keys")),
    ),
    parts.error,
  );
  if (numbers) columns(model, state);
  return filled;
}

function example(model, state) {
  states.delete(model.name);
  state.abort?.abort();
  writePanel();
  ask(model);
}

/** Return whether a forecast reads more than one column of numbers. */
const readsTable = (model) => model.columns !== null && rolesOf(model.columns).length > 1;

function inputName(model) {
  if (model.task !== "forecast") return text("input.text");
  if (!readsTable(model)) return text("input.numbers");
  return text("input.table", { names: rolesOf(model.columns).map(([name]) => name).join(", ") });
}

/** Return the slider of the temperature: 0 is the likeliest token, always. */
function temperature(state) {
  const shown = element("output", { for: "temperature" });
  const told = () => {
    shown.textContent = state.temperature === 0 ? text("temperature.zero") : number(state.temperature, 1);
  };
  const slider = element("input", {
    id: "temperature",
    type: "range",
    min: 0,
    max: 1.5,
    step: 0.1,
    oninput: (event) => {
      state.temperature = Number(event.target.value);
      told();
    },
  });
  slider.value = state.temperature;
  told();
  return element("div", { class: "slider" }, element("label", { for: "temperature" }, text("temperature")), slider, shown);
}

/** Return the button that reads a csv here in the browser; only its numbers are sent. It may be dropped, too. */
function file(model, state) {
  const named = element("span", { class: "file-name" });
  const read = async ([chosen]) => {
    if (!chosen) return;
    named.textContent = chosen.name;
    parts.box.value = await chosen.text();
    state.input = parts.box.value;
    state.column = null;
    columns(model, state);
  };
  const change = (event) => read(event.target.files);
  const input = element("input", { id: "file", type: "file", accept: ".csv,.tsv,.txt,text/csv,text/plain", onchange: change });
  parts.box.addEventListener("dragover", (event) => event.preventDefault());
  parts.box.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    read(event.dataTransfer.files);
  });
  return element("div", { class: "file" }, input, element("label", { for: "file", class: "plain" }, text("input.file")), named);
}

/** Say how many numbers are read, and of which column. */
function columns(model, state) {
  if (readsTable(model)) {
    tableColumns(model, state);
    return;
  }
  const found = parse(state.input);
  state.values = null;
  if (found.wrong) {
    parts.columns.replaceChildren(element("p", { class: "error" }, text("error.number", found.wrong)));
    return;
  }
  const names = Object.keys(found.columns);
  const name = state.column ?? names.at(-1);
  state.column = name;
  state.values = found.columns[name] ?? [];
  const said = element("p", { class: "counted" }, text("input.count", { number: count(state.values.length) }));
  const choose = element("select", { id: "column", onchange: (event) => {
    state.column = event.target.value;
    columns(model, state);
  } }, names.map((each) => element("option", { value: each, selected: each === name }, each)));
  parts.columns.replaceChildren(...(names.length > 1 ? [element("label", { for: "column" }, text("input.column")), choose] : []), said);
}

/** Let the columns of a table be chosen, and say what of it is read. */
function tableColumns(model, state) {
  const table = tableOf(state.input);
  state.values = null;
  const shown = [];
  const say = (kind, name, values) => shown.push(element("p", { class: kind }, text(name, values)));
  if (table === null) {
    if (state.input.trim()) say("error", "input.none", {});
    parts.columns.replaceChildren(...shown);
    return;
  }
  const found = places(table, model.columns, state.chosen);
  rolesOf(model.columns).forEach(([name, role], n) => {
    const id = `column-${n}`;
    const options = [element("option", { value: "", selected: found[name] === null }, "–")];
    options.push(...table.names.map((each) => element("option", { value: each, selected: each === found[name] }, each)));
    const change = (event) => {
      state.chosen[name] = event.target.value;
      columns(model, state);
    };
    const label = element("label", { for: id }, `${name} (${text(`role.${role}`)})`);
    shown.push(element("span", { class: "chosen" }, label, element("select", { id, onchange: change }, options)));
  });
  const missing = Object.keys(found).find((name) => found[name] === null);
  if (missing !== undefined) say("error", "input.choose", { name: missing });
  else {
    const read = inputOf(table, model.columns, state.chosen);
    if (read.wrong) say("error", "error.number", read.wrong);
    else {
      state.values = read.input;
      say("counted", "input.count", { number: count(read.input.past.length) });
      if (read.input.future) say("counted", "input.ahead", { number: count(read.input.future.length) });
    }
  }
  if (model.columns.target.length > 1) shown.push(targets(model, state));
  parts.columns.replaceChildren(...shown);
}

/** Return the choice of the target that is drawn. */
function targets(model, state) {
  const change = (event) => {
    state.shown = Number(event.target.value);
    update(model);
  };
  const options = model.columns.target.map((name, n) => element("option", { value: n, selected: n === state.shown }, name));
  const label = element("label", { for: "shown" }, text("input.shown"));
  return element("span", { class: "chosen" }, label, element("select", { id: "shown", onchange: change }, options));
}

/** Ask for the answer, then for why; show each as it arrives. What was asked before is dropped. */
async function ask(model, target = null) {
  const state = stateOf(model);
  if (model.task === "forecast" && state.values === null) {
    if (model === open) columns(model, state);
    if (state.values === null) return;
  }
  const input = model.task === "forecast" ? state.values : state.input;
  state.abort?.abort();
  const abort = new AbortController();
  const again = target !== null;
  Object.assign(state, { abort, busy: true, error: "", unexplained: "", target, word: null });
  if (!again) Object.assign(state, { explanation: null, answer: model.task === "generate" ? { prompt: state.input, text: "" } : state.answer });
  update(model, again);
  try {
    if (model.task === "generate") {
      await generate(model, state, abort.signal);
    } else if (!again) {
      state.answer = await server.predict({ model: model.name, input, ...(model.task === "classify" ? { top: TOP } : {}) }, abort.signal);
      state.past = model.task === "forecast" ? (input.past ?? input) : null;
      update(model);
    }
    try {
      const what = model.task === "generate" ? continuation(state) : target;
      state.explanation = await server.explain({ model: model.name, input, ...(what === null ? {} : { target: what }) }, abort.signal);
    } catch (error) {
      if (!(error instanceof server.ServerError)) throw error;
      state.unexplained = error.message;
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      state.error = error.message;
      if (!(error instanceof server.ServerError)) throw error;
    }
  } finally {
    if (state.abort === abort) {
      state.busy = false;
      update(model, again);
    }
  }
}

/** Return what was written behind the prompt, or null: that is what is to be explained. */
function continuation({ answer: { prompt, text: whole } }) {
  return (whole.startsWith(prompt) ? whole.slice(prompt.length) : whole) || null;
}

/** Show a text while it is written. Stopping it keeps what was written. */
async function generate(model, state, signal) {
  const { temperature: heat } = state;
  const generation = heat === 0 ? { beam_size: 1, max_length: MOST_TOKENS } : { sample: true, temperature: heat, max_length: MOST_TOKENS };
  const stop = new AbortController();
  state.stop = stop;
  update(model, true);
  try {
    await server.stream({ model: model.name, input: state.input, generation }, AbortSignal.any([signal, stop.signal]), (piece) => {
      state.answer.text += piece;
      if (model !== open) return;
      writeAnswer(model, state);
      const box = parts.answer.firstChild;
      box.scrollTop = box.scrollHeight; // the newest line stays in sight
    });
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    state.stop = null;
    update(model, true);
  }
}

function writeAnswer(model, state) {
  const handlers = {
    onlabel: (label) => ask(model, label),
    onword: (n) => {
      state.word = n;
      parts.why.firstChild?.select?.(n);
    },
  };
  parts.answer.replaceChildren(view(model, state, handlers));
}

/** Show what is known of the open tab; `again`: only the explanation has changed. */
function update(model, again = false) {
  if (model !== open) return;
  const state = stateOf(model);
  parts.error.textContent = state.error;
  panel.setAttribute("aria-busy", String(state.busy));
  parts.stop.disabled = state.stop === null;
  if (!again) writeAnswer(model, state);
  parts.why.replaceChildren(why(model, state));
  parts.explorer.classList.toggle("old", state.busy && !state.explanation); // it shows the text before
  if (!state.explanation) {
    parts.drawn = null;
    if (!parts.explorer.querySelector("#explorer") || state.error || state.unexplained) parts.explorer.replaceChildren(empty(state.unexplained || text("explorer.waiting")));
    return;
  }
  if (parts.drawn !== state.explanation) parts.explorer.replaceChildren(explorer(state.explanation));
  parts.drawn = state.explanation;
}

// All is defined: start.
await load();
try {
  models = await server.models();
} catch (error) {
  document.getElementById("notice").textContent = error.message;
}
open = models.find(({ name }) => `#${name}` === decodeURIComponent(location.hash)) ?? models[0] ?? null;
write();
document.body.hidden = false;
if (open?.example) ask(open);
