// Elements. Whatever comes from rows, refs and values is text here, never markup.

/** A new element; `props` are attributes, or with a function an event's listener. */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...real(children));
  return element;
}

/** Put the children into an element, in the place of what it has. */
export const fill = (element, ...children) => element.replaceChildren(...real(children));

const real = (children) => children.flat(Infinity).filter((child) => child || child === 0);

export const byId = (id) => document.getElementById(id);
