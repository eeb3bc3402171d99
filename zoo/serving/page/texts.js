// The visible strings, in the language of the reader.

const KEY = "sequence-zoo.language";
const NAMES = { en: "English", ja: "日本語", "zh-TW": "繁體中文" };

let texts = {};
let language = "en";

/** Load every string; choose the language that was remembered, or else the browser's. */
export async function load() {
  const response = await fetch(new URL("texts.json", import.meta.url));
  texts = await response.json();
  language = remembered() ?? preferred(navigator.languages ?? []);
  document.documentElement.lang = language;
}

/** Return the languages as [tag, name] pairs. */
export const languages = () => Object.keys(texts).map((tag) => [tag, NAMES[tag] ?? tag]);

export const current = () => language;

/** Change the language, and remember it. */
export function choose(tag) {
  language = tag;
  document.documentElement.lang = tag;
  try {
    localStorage.setItem(KEY, tag);
  } catch {
    // A browser that keeps nothing still switches.
  }
}

/** Return whether there is a string of this name. */
export const has = (name) => name in texts[language];

/** Return a string; `{name}` in it is replaced by a value. */
export function text(name, values = {}) {
  const found = texts[language][name] ?? texts.en[name] ?? name;
  return found.replace(/\{(\w+)\}/g, (whole, key) => String(values[key] ?? whole));
}

/** Return a number as the language writes it. */
export function number(value, digits = 2) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);
}

/** Return a share from 0 to 1 in percent. */
export function percent(share) {
  if (share > 0 && share < 0.0005) return `< ${percent(0.001)}`;
  const digits = share > 0.1 && share < 0.995 ? 0 : 1;
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: digits }).format(share);
}

/** Return a whole number with its thousands apart. */
export const count = (value) => new Intl.NumberFormat(language).format(value);

function remembered() {
  try {
    const tag = localStorage.getItem(KEY);
    return tag in texts ? tag : null;
  } catch {
    return null;
  }
}

function preferred(tags) {
  for (const tag of tags) {
    if (tag in texts) return tag;
    const main = tag.split("-")[0];
    if (main === "zh") return "zh-TW";
    if (main in texts) return main;
  }
  return "en";
}
