// Making elements. Text is always set as text: nothing that a series or an answer says is ever
// read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/// An element with attributes and children; `false` leaves an attribute out.
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/// The same for SVG.
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/// The element of an id.
export const byId = (id) => document.getElementById(id);

/// Sets a text, unless it is there already: screen readers announce every change.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
