/** The oracle lane: the last turn's candidates in the order they came, and the word at which the voice began to know. */

import { keep, make, part, write } from "./dom.js";
import { spokenLength } from "./oracle.js";
import { counted, duration, fill, texts } from "./strings.js";

/** @typedef {import("./types").Candidate} Candidate */

/** A spoken beginning longer than this is cut to about the other, in characters. */
const READ_MAX = 64;
const READ_SHOWN = 36;
/** Nearer to the end than this counts as "at the end". */
const AT_END_PX = 60;

export class OracleView {
  #list = part("candidates");
  #line = part("oracle-line");
  #empty = part("oracle-empty");
  #last = "";
  /** The newest is in sight, and stays so: until the person scrolls back. */
  #atEnd = true;
  #width = 0;

  constructor() {
    const list = this.#list;
    list.addEventListener("scroll", () => {
      list.classList.toggle("is-scrolled", list.scrollLeft > 4); // what has scrolled out at the left fades out there
      if (list.clientWidth !== this.#width) return; // not the person: the window has changed
      this.#atEnd = list.scrollWidth - list.scrollLeft - list.clientWidth < AT_END_PX;
    });
    new ResizeObserver(() => this.#follow()).observe(list);
  }

  /**
   * @param {readonly Candidate[]} candidates of the last turn, oldest first
   * @param {string} firstWord at which the voice began to know; empty: not yet
   * @param {number | null} knowing_ms when that was, after the end of speech; null: not told yet
   * @param {boolean} typed the turn was not spoken: its message was sent then
   */
  render(candidates, firstWord, knowing_ms, typed) {
    write(this.#line, line(candidates, firstWord, knowing_ms, typed));
    this.#empty.hidden = candidates.length > 0;
    this.#list.hidden = candidates.length === 0;
    const before = new Map(candidates.map((one, index) => [one.id, candidates[index - 1]?.partial ?? ""]));
    keep(
      this.#list,
      candidates,
      (one) => one.id,
      (one) => build(one, before.get(one.id) ?? ""),
      update,
    );
    const last = candidates.at(-1)?.id ?? "";
    if (last === this.#last) return;
    this.#last = last;
    this.#atEnd = true;
    this.#follow();
  }

  #follow() {
    this.#width = this.#list.clientWidth;
    if (this.#atEnd) this.#list.scrollLeft = this.#list.scrollWidth;
  }
}

/**
 * @param {readonly Candidate[]} candidates
 * @param {string} firstWord
 * @param {number | null} knowing_ms
 * @param {boolean} typed
 */
function line(candidates, firstWord, knowing_ms, typed) {
  if (candidates.length === 0) return "";
  const count = counted(texts.candidates.count, candidates.length);
  if (!firstWord) return count;
  const knows = fill(texts.candidates.knows, { word: firstWord });
  if (knowing_ms === null) return `${knows} · ${count}`;
  const { before, after, after_typed } = texts.candidates;
  const template = knowing_ms < 0 ? before : typed ? after_typed : after;
  return `${knows}, ${fill(template, { time: duration(Math.abs(knowing_ms)) })} · ${count}`;
}

/**
 * @param {Candidate} candidate
 * @param {string} before the partial of the candidate before it
 */
function build({ partial, complete, greeting }, before) {
  const same = commonWords(before, partial);
  const question = make("p", "candidate__question");
  if (partial) {
    const { turn, partial: heard } = texts.candidates;
    question.append(
      make("span", "visually-hidden", complete ? turn : heard),
      make("q", "", same, make("span", "candidate__new", partial.slice(same.length))),
    );
  } else question.append(greeting ? texts.candidates.greeting : texts.candidates.unasked);
  const element = make(
    "li",
    "candidate",
    make("p", "candidate__state"),
    question,
    make("p", "candidate__text"),
    make("p", "candidate__note"),
  );
  element.dataset.testid = "candidate";
  return element;
}

/**
 * @param {Element} element
 * @param {Candidate} candidate
 */
function update(element, candidate) {
  element.setAttribute("data-state", candidate.state);
  const [state, , words, note] = /** @type {[Element, Element, Element, HTMLElement]} */ (
    /** @type {unknown} */ (element.children)
  );
  write(state, texts.candidates[candidate.state]);
  const over = candidate.finished || candidate.state === "failed" || candidate.state === "dropped";
  const text = candidate.text.trim();
  const read = spokenLength(text, candidate.spoken);
  const shown = `${read}|${text}`;
  if (words.getAttribute("data-shown") !== shown || !text) {
    words.setAttribute("data-shown", shown);
    const rest = text || (over ? texts.candidates.no_answer : texts.candidates.no_words);
    const from = readingWindow(text, read);
    const spoken = (from > 0 ? "… " : "") + text.slice(from, read);
    words.replaceChildren(...(read > 0 ? [make("mark", "", spoken)] : []), text ? text.slice(read) : rest);
    words.classList.toggle("candidate__text--none", !text);
  }
  write(note, candidate.note);
  note.hidden = candidate.note === "";
}

/**
 * Where to begin to show a text that is being spoken, so that the place stays in sight.
 * @param {string} text
 * @param {number} read how far it has been spoken
 * @returns {number} an index of `text`, at the beginning of a word
 */
export function readingWindow(text, read) {
  return read < READ_MAX || read >= text.length ? 0 : text.indexOf(" ", read - READ_SHOWN) + 1;
}

/**
 * The words both begin with, with the space after them.
 * @param {string} one
 * @param {string} other
 */
export function commonWords(one, other) {
  const [mine, theirs] = [one.split(" "), other.split(" ")];
  let n = 0;
  while (n < theirs.length && mine[n] === theirs[n]) n += 1;
  const same = theirs.slice(0, n).join(" ");
  return n > 0 && n < theirs.length ? `${same} ` : same;
}
