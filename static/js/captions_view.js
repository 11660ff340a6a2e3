/** Shows the captions of both sides. */

import { keep, make, part, write } from "./dom.js";
import { BACKCHANNEL, INTERRUPTED, NOT_UNDERSTOOD, UNHEARD, YOU } from "./strings.js";

/** @typedef {import("./types").Caption} Caption */

/** Nearer to the end than this counts as "at the end". */
const AT_END_PX = 90;

export class CaptionsView {
  #list = part("captions");
  #scroller = part("captions-scroller");
  #agentName;
  /** What is shown of each caption, so that only what changed is built again. @type {WeakMap<Element, string>} */
  #shown = new WeakMap();

  /** @param {string} agentName */
  constructor(agentName) {
    this.#agentName = agentName;
  }

  /** @param {readonly Caption[]} captions */
  render(captions) {
    const scroller = this.#scroller;
    const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < AT_END_PX;
    keep(
      this.#list,
      captions,
      (caption) => `${caption.who}-${caption.id}`,
      (caption) => this.#build(caption),
      (element, caption) => this.#update(element, caption),
    );
    if (atEnd) scroller.scrollTop = scroller.scrollHeight;
  }

  /** @param {Caption} caption */
  #build(caption) {
    const who = make("span", "caption__who", caption.who === "you" ? YOU : this.#agentName);
    const words = make("p", "caption__words");
    const note = make("span", "caption__note");
    const element = make("li", `caption caption--${caption.who}`, who, words, note);
    element.dataset.testid = `caption-${caption.who}`;
    return element;
  }

  /**
   * @param {Element} element
   * @param {Caption} caption
   */
  #update(element, caption) {
    const state = JSON.stringify([caption.kind, caption.text, caption.parts, caption.final, caption.interrupted, caption.unheard]);
    if (this.#shown.get(element) === state) return;
    this.#shown.set(element, state);
    element.classList.toggle("caption--partial", !caption.final);
    element.classList.toggle("caption--backchannel", caption.kind === "backchannel");
    element.classList.toggle("caption--typed", caption.kind === "typed");
    const [, words, note] = /** @type {[Element, Element, Element]} */ (/** @type {unknown} */ (element.children));
    if (caption.kind === "unintelligible") write(words, NOT_UNDERSTOOD);
    else if (caption.who === "you") words.replaceChildren(...(caption.text ? [caption.text] : dots()));
    else words.replaceChildren(...spoken(caption));
    const said = caption.kind === "backchannel" ? BACKCHANNEL : caption.interrupted ? INTERRUPTED : "";
    write(note, said);
  }
}

/** Somebody speaks, but there are no words yet. */
function dots() {
  const element = make("span", "dots", make("i", ""), make("i", ""), make("i", ""));
  element.setAttribute("aria-hidden", "true");
  return [element];
}

/**
 * The agent's words: by where they come from, and whether they were heard.
 * @param {Caption} caption
 * @returns {Node[]}
 */
function spoken(caption) {
  let heard = caption.text.length - caption.unheard.length;
  /** @type {Node[]} */
  const nodes = [];
  for (const { text, origin } of caption.parts) {
    const words = text.slice(0, Math.max(0, heard));
    heard -= text.length;
    if (words) nodes.push(make("span", `words words--${origin}`, words));
  }
  if (caption.unheard.trim()) {
    const hidden = make("span", "visually-hidden", UNHEARD);
    const cut = make("s", "words words--unheard", caption.unheard.trim());
    cut.dataset.testid = "unheard";
    nodes.push(document.createTextNode(" "), hidden, cut);
  }
  return nodes;
}
