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
    else keepPieces(words, pieces(caption));
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
 * Kept from word to word: what is built again comes in again.
 * @param {Element} words
 * @param {readonly Piece[]} shown
 */
function keepPieces(words, shown) {
  keep(
    words,
    shown.map((piece, n) => ({ ...piece, n })),
    ({ kind, n }) => `${n}-${kind}`,
    buildPiece,
    updatePiece,
  );
}

/** @typedef {{ kind: import("./types").Origin | "knows" | "unheard", text: string }} Piece */

/**
 * The agent's words: by where they come from, with a mark where the voice begins to know, and whether they were heard.
 * @param {Caption} caption
 * @returns {Piece[]}
 */
function pieces(caption) {
  let left = heard(caption).length;
  let knows = false;
  /** @type {Piece[]} */
  const found = [];
  for (const { text, origin } of caption.parts) {
    const words = text.slice(0, Math.max(0, left));
    left -= text.length;
    if (!words) continue;
    if (origin === "oracle" && !knows && found.length > 0) found.push({ kind: "knows", text: "" });
    knows ||= origin === "oracle";
    found.push({ kind: origin, text: words });
  }
  if (caption.unheard.trim()) found.push({ kind: "unheard", text: caption.unheard.trim() });
  return found;
}

/** @param {Piece} piece */
function buildPiece({ kind }) {
  if (kind === "unheard") return unheard();
  if (kind !== "knows") return make("span", `words words--${kind}`);
  const mark = make("span", "knows", make("span", "visually-hidden", texts.captions.knows_from_here));
  mark.dataset.testid = "knows"; // it stands before the word at which the voice begins to know
  return mark;
}

function unheard() {
  const cut = make("s", "words words--unheard");
  cut.dataset.testid = "unheard";
  return make("span", "", " ", make("span", "visually-hidden", texts.captions.unheard), cut);
}

/**
 * @param {Element} element
 * @param {Piece} piece
 */
function updatePiece(element, { kind, text }) {
  if (kind === "unheard") write(/** @type {Element} */ (element.lastElementChild), text);
  else if (kind !== "knows") write(element, text);
}
