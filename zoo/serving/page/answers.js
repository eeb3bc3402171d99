// The answer of each task, as it is shown.

import { chart, seriesOf, table } from "./chart.js";
import { element } from "./dom.js";
import { current, percent, text } from "./texts.js";

const SHOWN = 6; // labels with a bar

/** Return the view of an answer. `onlabel(label)` asks why this label, `onword(n)` why this word. */
export function view(model, state, handlers) {
  const { answer } = state;
  if (answer === null) return element("p", { class: "waiting" }, state.busy ? text("busy") : text(`waiting.${known(model)}`));
  const views = { classify: labels, tag: tags, translate: written, generate: continued, forecast: future };
  return (views[model.task] ?? raw)(model, state, handlers);
}

const known = ({ task }) => (["classify", "tag", "translate", "generate", "forecast"].includes(task) ? task : "other");

const raw = (model, { answer }) => element("pre", { class: "raw", "data-answer": true }, JSON.stringify(answer, null, 2));

/** Return the label, and the likeliest labels with their probabilities as bars. */
function labels(model, state, { onlabel }) {
  const { answer } = state;
  const several = Array.isArray(answer.labels);
  const chosen = several ? answer.labels : [answer.label];
  const named = languageNames(model.labels);
  const ranked = Object.entries(answer.probabilities ?? {}).sort((a, b) => b[1] - a[1]).slice(0, SHOWN);
  const target = state.target ?? chosen[0];
  const bars = ranked.map(([label, share]) =>
    element(
      "li",
      {},
      element(
        "button",
        {
          type: "button",
          class: "label-bar",
          "aria-pressed": String(label === target),
          title: text("why.label", { label }),
          onclick: (event) => {
            for (const each of event.currentTarget.closest("ol").querySelectorAll("button")) each.setAttribute("aria-pressed", String(each === event.currentTarget));
            onlabel(label);
          },
        },
        element("span", { class: "label", dir: "auto" }, label, named(label) ? element("small", {}, named(label)) : null),
        element("span", { class: "bar", "aria-hidden": "true" }, element("span", { class: "fill", style: { "--size": share.toFixed(4) } })),
        element("span", { class: "value" }, percent(share)),
      ),
    ),
  );
  const title = chosen.length ? chosen.join(", ") : text("answer.none");
  return element(
    "div",
    {},
    element("p", { class: "big", dir: "auto", "data-answer": true }, title, named(title) ? element("small", {}, named(title)) : null),
    element("ol", { class: "label-bars", "aria-label": text("answer.bars") }, bars),
  );
}

/** Return a function from a label to the language's name, if the labels are codes of languages. */
function languageNames(all) {
  const none = () => null;
  if (!all || all.length < 10) return none;
  const names = new Intl.DisplayNames([current()], { type: "language", fallback: "none" });
  const name = (label) => {
    try {
      return names.of(label.replaceAll("_", "-")) ?? null;
    } catch {
      return null;
    }
  };
  return all.filter(name).length > all.length * 0.7 ? name : none;
}

/** Return the words with their tags above; words of one span stand together. */
function tags(model, state, { onword }) {
  const { words, labels: found, probabilities } = state.answer;
  const line = element("p", { class: "tags", dir: "auto", "data-answer": true });
  const kinds = [...new Set((model.labels ?? found).map(kind))].sort();
  let span = null;
  words.forEach((word, n) => {
    const label = found[n];
    const goes = label.startsWith("I-") && span !== null && span.dataset.kind === kind(label);
    if (!goes) {
      span = element("span", { class: label === "O" ? "tag none" : "tag", "data-kind": kind(label), style: { "--hue": String(hue(kinds, kind(label))) } });
      span.append(element("span", { class: "words-of" }), element("span", { class: "tag-name" }, label === "O" ? "" : kind(label)));
      line.append(span, " ");
    }
    const share = probabilities?.[n];
    span.firstChild.append(
      element("button", { type: "button", class: "tagged", "data-word": n, title: share === undefined ? label : `${label} ${percent(share)}`, "aria-label": `${word}: ${label}`, onclick: () => onword(n) }, word),
      " ",
    );
  });
  return line;
}

const kind = (label) => label.replace(/^[BI]-/, "");
const hue = (kinds, name) => Math.round((kinds.indexOf(name) * 360 * 0.381966 + 40) % 360);

const written = (model, { answer }) => element("p", { class: "big text", dir: "auto", "data-answer": true }, answer.text);

/** Return the prompt, and the text that was written behind it. */
function continued(model, { answer }) {
  const { prompt, text: whole } = answer;
  const begins = whole.startsWith(prompt);
  return element(
    "p",
    { class: "continued", dir: "auto", "data-answer": true, tabindex: 0, "aria-label": text("answer.generate") },
    element("span", { class: "prompt" }, begins ? prompt : ""),
    element("span", { class: "new" }, begins ? whole.slice(prompt.length) : whole),
  );
}

/** Return the forecast as a drawing, and as a table. */
function future(model, state) {
  const series = seriesOf(state.past, state.answer, state.shown);
  const label = text("chart.label", { past: series.past.length, steps: series.forecast.length });
  const levels = series.levels
    ? text("chart.levels", { low: percent(series.levels[0]), high: percent(series.levels[1]) })
    : null;
  return element(
    "div",
    { "data-answer": true },
    chart(series, { label }),
    levels ? element("p", { class: "key" }, element("span", { class: "key-part" }, element("span", { class: "swatch band" }), levels)) : null,
    table(series),
  );
}

