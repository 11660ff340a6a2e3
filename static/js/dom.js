/** Small helpers for building and finding elements. Text is only ever set as text. */

/**
 * The element marked `data-part="name"`.
 * @template {Element} [T=HTMLElement]
 * @param {string} name
 * @param {new (...args: never[]) => T} [kind]
 * @returns {T}
 */
export function part(name, kind) {
  const found = document.querySelector(`[data-part="${name}"]`);
  const wanted = kind ?? HTMLElement;
  if (!(found instanceof wanted)) throw new Error(`The page lacks its part ${name}`);
  return /** @type {T} */ (found);
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} className
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/**
 * Sets text only where it changes: a live region repeats what is written again.
 * @param {Element} element
 * @param {string} words
 */
export function write(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

/**
 * An icon of the page's sprite.
 * @param {string} name
 */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/**
 * Keeps a list's children in step with items: one element per key, made once, updated in place, in order.
 * @template T
 * @param {Element} parent
 * @param {readonly T[]} items
 * @param {(item: T) => string} key
 * @param {(item: T) => Element} build
 * @param {(element: Element, item: T) => void} update
 */
export function keep(parent, items, key, build, update) {
  /** @type {Map<string, Element>} */
  const old = new Map();
  for (const child of parent.children) old.set(child.getAttribute("data-key") ?? "", child);
  /** @type {Element | null} */
  let before = null;
  for (const item of items) {
    const name = key(item);
    let element = old.get(name);
    if (element) old.delete(name);
    else {
      element = build(item);
      element.setAttribute("data-key", name);
    }
    update(element, item);
    /** @type {Element | null} */
    const place = before ? before.nextElementSibling : parent.firstElementChild;
    if (place !== element) parent.insertBefore(element, place);
    before = element;
  }
  for (const gone of old.values()) gone.remove();
}
