// Elements without markup: text is only ever set as text, so nothing that is typed becomes HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Create an element: `class`, `on…` handlers, `style` custom properties, other attributes, children. */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Create an SVG element in the same way. */
export function shape(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style") {
      for (const [name, set] of Object.entries(value)) node.style.setProperty(name, set);
    } else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Return a text as nodes; what stands between backticks becomes code. */
export function prose(text) {
  return text.split("`").map((part, n) => (n % 2 ? element("code", {}, part) : part));
}

/** Return a row of buttons of which one is pressed: `choices` are [value, label] pairs. */
export function choice(label, choices, chosen, onchoice) {
  const buttons = choices.map(([value, text, attributes]) =>
    element(
      "button",
      {
        type: "button",
        "aria-pressed": String(value === chosen),
        "data-value": value,
        ...attributes,
        onclick: () => {
          for (const each of buttons) each.setAttribute("aria-pressed", String(each.dataset.value === value));
          onchoice(value);
        },
      },
      ...prose(text),
    ),
  );
  return element("div", { class: "switch", role: "group", "aria-label": label }, buttons);
}
