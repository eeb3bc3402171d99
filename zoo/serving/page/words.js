// A text whose words are coloured by what mattered.

import { element } from "./dom.js";
import { number, text } from "./texts.js";

const SPECIAL = /^<\w+>$/; // a token that stands for no text, such as <eos>
const STRONGEST = 3; // words that are also named in a sentence
const NAMED = 24; // characters of such a word

/**
 * Return a paragraph of tokens, coloured by `weights` (one per token).
 *
 * `shares`: the weights are shares of attention, all of one sign.
 */
export function coloured(tokens, weights, { shares = false } = {}) {
  const line = element("p", { class: shares ? "words shares" : "words", dir: "auto", "data-words": true });
  const apart = !tokens.slice(1).some((token) => /^\s|\s$/.test(token)) && tokens.some((token) => token.length > 1);
  tokens.forEach((token, n) => {
    const [, before, word, after] = /^(\s*)([^]*?)(\s*)$/.exec(token);
    if (before || (apart && n)) line.append(before || " ");
    line.append(element("span", { class: SPECIAL.test(token) ? "word special" : "word" }, word || "␣"));
    if (after) line.append(after);
  });
  paint(line, weights, { shares });
  return line;
}

/** Colour the words of a paragraph again. */
export function paint(line, weights, { shares = false } = {}) {
  const most = Math.max(...weights.map(Math.abs), 1e-9);
  line.classList.toggle("shares", shares);
  [...line.querySelectorAll(".word")].forEach((word, n) => {
    const weight = weights[n] ?? 0;
    const share = Math.abs(weight) / most;
    word.style.setProperty("--share", share.toFixed(3));
    word.classList.toggle("against", weight < 0 && share > 0.04);
    word.title = number(weight, 3);
  });
}

/** Return a sentence that names the tokens that spoke most for and against the answer. */
export function strongest(tokens, weights, { shares = false } = {}) {
  const ranked = tokens
    .map((token, n) => ({ word: token.trim(), weight: weights[n] ?? 0 }))
    .filter(({ word }) => /[\p{L}\p{N}]/u.test(word))
    .sort((a, b) => b.weight - a.weight);
  const listed = (list) => list.map(({ word, weight }) => `${named(word)} ${signed(weight, shares)}`).join(" · ");
  const most = ranked[0]?.weight ?? 0;
  const least = Math.max(most, -(ranked.at(-1)?.weight ?? 0)) * 0.05;
  const forIt = ranked.filter(({ weight }) => weight > least).slice(0, STRONGEST);
  const against = ranked.filter(({ weight }) => weight < -least).slice(-STRONGEST).reverse();
  return element(
    "dl",
    { class: "strongest" },
    forIt.length ? [element("dt", { class: "for" }, text(shares ? "why.looked" : "why.for")), element("dd", {}, listed(forIt))] : [],
    against.length ? [element("dt", { class: "against" }, text("why.against")), element("dd", {}, listed(against))] : [],
  );
}

const named = (word) => (word.length > NAMED ? `${word.slice(0, NAMED - 1)}…` : word);
const signed = (weight, shares) => (shares ? number(weight, 2) : `${weight < 0 ? "−" : "+"}${number(Math.abs(weight), 2)}`);

/** Return the key to the colours. */
export function key(shares, forecast = false) {
  const part = (kind, name) => element("span", { class: "key-part" }, element("span", { class: `swatch ${kind}` }), text(name));
  const found = shares ? [part("look", "why.key.attention")] : [part("for", forecast ? "why.key.raises" : "why.key.for"), part("against", forecast ? "why.key.lowers" : "why.key.against")];
  return element("p", { class: "key" }, found);
}
