// Why this answer: the inputs, coloured by how much they mattered.

import { chart, seriesOf } from "./chart.js";
import { choice, element } from "./dom.js";
import { coloured, key, paint, strongest } from "./words.js";
import { has, number, percent, text } from "./texts.js";

/** Return the card of an explanation. What is chosen in it is kept in `state`. */
export function why(model, state) {
  const { explanation } = state;
  const card = element("section", { class: "card why-card", id: "why", "aria-labelledby": "why-title" });
  card.append(element("h2", { id: "why-title" }, text("why.title")));
  if (!explanation) {
    card.append(element("p", { class: "waiting" }, state.unexplained || text(state.busy ? "why.busy" : "why.waiting")));
    return card;
  }
  const methods = ["occlusion", "gradient"];
  if (explanation.written.some((each) => each.attention)) methods.unshift("attention");
  if (!methods.includes(state.method)) state.method = methods[0];
  const body = element("div", {});
  const update = () => body.replaceChildren(...parts(model, state));
  card.append(
    choice(
      text("why.methods"),
      methods.map((name) => [name, text(`why.${name}`), { title: text(`why.${name}.what`) }]),
      state.method,
      (method) => {
        state.method = method;
        update();
      },
    ),
    body,
  );
  update();
  card.select = (n) => {
    state.word = n;
    update();
  };
  return card;
}

function parts(model, state) {
  const { explanation, method } = state;
  const own = `why.${method}.what.${model.task}`;
  const what = element("p", { class: "what" }, text(has(own) ? own : `why.${method}.what`));
  const agreement =
    method !== "attention" && explanation.agreement !== null
      ? element("p", { class: "agreement" }, text("why.agreement", { value: number(explanation.agreement) }))
      : null;
  const content = model.task === "forecast" ? past(state) : explanation.written.length ? perWord(state) : whole(state);
  return [what, ...content, agreement].filter(Boolean);
}

/** Colour the tokens by what mattered for the answer as a whole. */
function whole(state) {
  const { explanation, method } = state;
  const weights = explanation[method];
  return [heading(explanation.target, explanation.probability), coloured(explanation.tokens, weights), strongest(explanation.tokens, weights), key(false)];
}

const heading = (target, probability) =>
  element("p", { class: "target" }, text("why.of"), " ", element("strong", { dir: "auto" }, String(target ?? "")), probability === null || probability === undefined ? "" : ` · ${percent(probability)}`);

/** Let the reader choose a written word; colour the tokens by what mattered for it. */
function perWord(state) {
  const { explanation, method } = state;
  const { written, tokens } = explanation;
  const shares = method === "attention";
  const weightsOf = (n) => (n === null ? explanation[method] ?? mean(written, method) : written[n][method] ?? explanation[method]);
  const first = Math.max(0, written.findIndex(({ token }) => /[\p{L}\p{N}]/u.test(token)));
  const chosen = state.word !== null && state.word < written.length ? state.word : first;
  const read = coloured(tokens, weightsOf(chosen), { shares });
  read.id = "read-words";
  const most = element("div", {});
  const head = element("div", {});
  const labels = explanation.answer?.labels;
  const name = (n) => [written[n].token.trim() || "␣", labels?.[n]].filter(Boolean).join(" → ");
  const show = (n) => {
    state.word = n;
    for (const each of line.querySelectorAll("button")) {
      const own = Number(each.dataset.word) === n;
      each.setAttribute("aria-pressed", String(own));
    }
    paint(read, weightsOf(n), { shares });
    most.replaceChildren(strongest(tokens, weightsOf(n), { shares }));
    head.replaceChildren(heading(name(n), written[n].probability));
  };
  const line = element("p", { class: "written", dir: "auto", role: "group", "aria-label": text("why.written") });
  const apart = !written.slice(1).some((each) => /^\s|\s$/.test(each.token));
  written.forEach((each, n) => {
    const [, before, word, after] = /^(\s*)([^]*?)(\s*)$/.exec(each.token);
    if (before || (apart && n)) line.append(before || " ");
    const button = element(
      "button",
      { type: "button", class: "written-word", "data-word": n, "aria-pressed": "false", style: { "--sure": (each.probability ?? 1).toFixed(3) } },
      word || (/\n/.test(each.token) ? "↵" : "␣"),
    );
    for (const kind of ["pointerenter", "focus", "click"]) button.addEventListener(kind, () => show(n));
    line.append(button);
    if (after) line.append(after);
  });
  show(chosen);
  return [
    element("p", { class: "row-title" }, text("why.written.hint")),
    line,
    element("p", { class: "row-title" }, text(shares ? "why.read.attention" : "why.read")),
    read,
    head,
    most,
    key(shares),
  ];
}

function mean(written, method) {
  const rows = written.map((each) => each[method]).filter(Boolean);
  return rows[0].map((_, n) => rows.reduce((sum, row) => sum + row[n], 0) / rows.length);
}

/** Draw the past with a column behind each value, for the whole forecast or for one step of it. */
function past(state) {
  const { explanation, method } = state;
  const series = seriesOf(state.past, explanation.answer, state.shown);
  const of = (step) => (step === null ? explanation[method] : explanation.written[step]?.[method]) ?? explanation[method];
  const figure = chart(series, {
    weights: of(null),
    label: text("why.chart"),
    onstep: (step) => {
      if (step !== figure.step) figure.colour(of(step));
      figure.step = step;
    },
  });
  figure.step = null;
  return [element("p", { class: "row-title" }, text("why.forecast.hint")), figure, key(false, true)];
}
