/** Shows the captions of both sides. */

import { keep, make, part, write } from "./dom.js";
import { texts } from "./strings.js";
import { heard } from "./transcript.js";

/** @typedef {import("./types").Caption} Caption */

/** Nearer to the end than this counts as "at the end". */
const AT_END_PX = 90;

export class CaptionsView {
  #list = part("captions");
  #scroller = part("captions-scroller");
  #agentName;
  /** What is shown of each caption, so that only what changed is built again. @type {WeakMap<Element, string>} */
  #shown = new WeakMap();

  /** The end is in sight, and stays so: until the person scrolls back. */
  #atEnd = true;

  /** @param {string} agentName */
  constructor(agentName) {
    this.#agentName = agentName;
    const scroller = this.#scroller;
    scroller.addEventListener("scroll", () => {
      this.#atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < AT_END_PX;
    });
    new ResizeObserver(() => this.#follow()).observe(scroller); // it gets smaller when something comes below it
  }

  /** @param {readonly Caption[]} captions */
  render(captions) {
    keep(
      this.#list,
      captions,
      (caption) => `${caption.who}-${caption.id}`,
      (caption) => this.#build(caption),
      (element, caption) => this.#update(element, caption),
    );
    this.#follow();
  }

  #follow() {
    if (this.#atEnd) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /** @param {Caption} caption */
  #build(caption) {
    const who = make("span", "caption__who", caption.who === "you" ? texts.captions.you : this.#agentName);
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
    const { kind, text, parts, final, interrupted: cut, unheard } = caption;
    const state = JSON.stringify([kind, text, parts, final, cut, unheard]);
    if (this.#shown.get(element) === state) return;
    this.#shown.set(element, state);
    element.classList.toggle("caption--partial", !caption.final);
    element.classList.toggle("caption--backchannel", caption.kind === "backchannel");
    element.classList.toggle("caption--typed", caption.kind === "typed");
    const [, words, note] = /** @type {[Element, Element, Element]} */ (/** @type {unknown} */ (element.children));
    if (caption.kind === "unintelligible") write(words, texts.captions.not_understood);
    else if (caption.who === "you") words.replaceChildren(...(caption.text ? [caption.text] : dots()));
    else words.replaceChildren(...spoken(caption));
    const { backchannel, typed, interrupted } = texts.captions;
    write(note, caption.interrupted ? interrupted : { backchannel, typed, speech: "", unintelligible: "" }[caption.kind]);
  }
}

/** Somebody speaks, but there are no words yet. */
function dots() {
  const element = make("span", "dots", make("i", ""), make("i", ""), make("i", ""));
  element.setAttribute("aria-hidden", "true");
  return [element];
}

/**
 * The agent's words: by where they come from, with a mark where the voice begins to know, and whether they were heard.
 * @param {Caption} caption
 * @returns {Node[]}
 */
function spoken(caption) {
  let left = heard(caption).length;
  let knows = false;
  /** @type {Node[]} */
  const nodes = [];
  for (const { text, origin } of caption.parts) {
    const words = text.slice(0, Math.max(0, left));
    left -= text.length;
    if (!words) continue;
    if (origin === "oracle" && !knows && nodes.length > 0) nodes.push(knowing());
    knows ||= origin === "oracle";
    nodes.push(make("span", `words words--${origin}`, words));
  }
  if (caption.unheard.trim()) {
    const hidden = make("span", "visually-hidden", texts.captions.unheard);
    const cut = make("s", "words words--unheard", caption.unheard.trim());
    cut.dataset.testid = "unheard";
    nodes.push(document.createTextNode(" "), hidden, cut);
  }
  return nodes;
}

/** Stands before the word at which the voice begins to know. */
function knowing() {
  const mark = make("span", "knows", make("span", "visually-hidden", texts.captions.knows_from_here));
  mark.dataset.testid = "knows";
  return mark;
}
