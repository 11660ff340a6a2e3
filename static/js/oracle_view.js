/** The oracle lane: candidates as they come, newest first. */

import { keep, make, part, write } from "./dom.js";
import { ANSWERS_PARTIAL, ANSWERS_TURN, candidateCount, CANDIDATE_STATES, NO_ANSWER, NO_WORDS_YET } from "./strings.js";

/** @typedef {import("./types").Candidate} Candidate */

export class OracleView {
  #list = part("candidates");
  #count = part("candidates-count");
  #empty = part("candidates-empty");

  /** @param {readonly Candidate[]} candidates oldest first */
  render(candidates) {
    write(this.#count, candidates.length ? candidateCount(candidates.length) : "");
    this.#empty.hidden = candidates.length > 0;
    keep(this.#list, candidates.toReversed(), (one) => one.id, build, update);
  }
}

/** @param {Candidate} candidate */
function build(candidate) {
  const answers = make("q", "", candidate.partial);
  const question = make(
    "p",
    "candidate__question",
    make("span", "", candidate.complete ? ANSWERS_TURN : ANSWERS_PARTIAL),
    " ",
    answers,
  );
  const head = make("div", "candidate__head", question, make("span", "chip"));
  const element = make("li", "candidate", head, make("p", "candidate__text"), make("p", "candidate__note"));
  element.dataset.testid = "candidate";
  return element;
}

/**
 * @param {Element} element
 * @param {Candidate} candidate
 */
function update(element, candidate) {
  element.setAttribute("data-state", candidate.state);
  const [head, words, note] = /** @type {[Element, Element, HTMLElement]} */ (/** @type {unknown} */ (element.children));
  write(/** @type {Element} */ (head.lastElementChild), CANDIDATE_STATES[candidate.state]);
  const over = candidate.finished || candidate.state === "failed" || candidate.state === "dropped";
  write(words, candidate.text.trim() || (over ? NO_ANSWER : NO_WORDS_YET));
  words.classList.toggle("candidate__text--none", candidate.text.trim() === "");
  write(note, candidate.note);
  note.hidden = candidate.note === "";
}
