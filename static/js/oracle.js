/** The oracle stream's candidates, from `kame.candidate.*` events. A pure model: no document, no clock. */

import { number, object, text } from "./wire.js";

/** @typedef {import("./types").Candidate} Candidate */
/** @typedef {import("./types").WireEvent} WireEvent */

const CANDIDATES_MAX = 48;

export class Oracle {
  /** Oldest first. @type {Candidate[]} */
  #candidates = [];
  #turn = 0;
  /** The person has said something since the last candidate was asked for. */
  #asked = false;
  /** Of the latest response with knowing words: its id, its turn and the first such word. */
  #knowing = { response: "", turn: -1, word: "" };

  /** @returns {readonly Candidate[]} oldest first */
  get all() {
    return this.#candidates;
  }

  /** Those of the last turn that had any. @returns {readonly Candidate[]} oldest first */
  get ofLastTurn() {
    const last = this.#candidates.at(-1)?.turn;
    return this.#candidates.filter((one) => one.turn === last);
  }

  clear() {
    this.#candidates = [];
    this.#turn = 0;
    this.#asked = false;
    this.#knowing = { response: "", turn: -1, word: "" };
  }

  /** The word at which the voice began to know in the last turn; empty: not yet. */
  get firstWord() {
    return this.#candidates.at(-1)?.turn === this.#knowing.turn ? this.#knowing.word : "";
  }

  /**
   * The candidates a response was made from; none where it had no knowing words, or is not the latest.
   * @param {string} response its id
   * @returns {readonly Candidate[]} oldest first
   */
  of(response) {
    const { response: latest, turn } = this.#knowing;
    return response === latest ? this.#candidates.filter((one) => one.turn === turn) : [];
  }

  /** The call is over: nothing is written any more. */
  close() {
    for (const candidate of this.#candidates) {
      if (candidate.state === "asked" || candidate.state === "writing") candidate.state = "dropped";
    }
  }

  /**
   * What a response's candidate would have gone on with.
   * @param {string} response its id
   */
  unread(response) {
    const spoken = this.of(response).findLast((one) => one.spoken !== "");
    return spoken ? spoken.text.trimEnd().slice(spokenLength(spoken.text, spoken.spoken)) : "";
  }

  /**
   * @param {WireEvent} event
   * @returns {boolean} whether something shown has changed
   */
  handle(event) {
    switch (event.type) {
      case "kame.spoken":
        return event.origin === "oracle" && this.#speak(text(event.response_id), text(event.delta));
      case "input_audio_buffer.speech_started":
        this.#asked = true;
        return false;
      case "conversation.item.added":
        this.#asked ||= object(event.item).role === "user";
        return false;
      default:
    }
    if (!event.type.startsWith("kame.candidate.")) return false;
    const id = text(event.candidate_id);
    if (event.type === "kame.candidate.started") return this.#start(id, event);
    const candidate = this.#candidates.findLast((one) => one.id === id);
    if (!candidate) return false;
    switch (event.type) {
      case "kame.candidate.delta":
        candidate.text += text(event.delta);
        if (candidate.state === "asked") candidate.state = "writing";
        return true;
      case "kame.candidate.finished":
        candidate.finished = true;
        candidate.ended_ms ??= number(event.at_ms);
        if (typeof event.text === "string") candidate.text = event.text;
        if (candidate.state === "asked" || candidate.state === "writing") candidate.state = "finished";
        return true;
      case "kame.candidate.failed":
        fail(candidate, event);
        candidate.ended_ms ??= number(event.at_ms);
        return true;
      case "kame.candidate.adopted":
        this.#passOver(candidate);
        candidate.state = "adopted";
        candidate.adopted_ms = number(event.at_ms);
        return true;
      case "kame.candidate.superseded":
        // `by` null: nothing takes its place; the one that was spoken stays shown as such.
        if (text(event.by) || candidate.spoken === "") candidate.state = "superseded";
        candidate.ended_ms ??= number(event.at_ms);
        return true;
      default:
        return false;
    }
  }

  /**
   * A newer candidate is adopted: older ones that were ready will not be any more.
   * @param {Candidate} adopted
   */
  #passOver(adopted) {
    for (const one of this.#candidates.slice(0, this.#candidates.indexOf(adopted))) {
      if (one.state === "finished") one.state = "superseded";
    }
  }

  /**
   * Knowing words are spoken: they are the adopted candidate's.
   * @param {string} response
   * @param {string} delta
   */
  #speak(response, delta) {
    const adopted = this.#candidates.findLast((one) => one.state === "adopted");
    if (adopted) adopted.spoken += delta;
    const word = /[\p{L}\p{N}][\p{L}\p{N}\p{M}'’-]*/u.exec(delta)?.[0];
    if (word && adopted && response !== this.#knowing.response) this.#knowing = { response, turn: adopted.turn, word };
    return true;
  }

  /**
   * @param {string} id
   * @param {WireEvent} event
   */
  #start(id, event) {
    // What is asked for after an answer was begun and the person spoke again belongs to the next turn.
    if (this.#asked && this.#candidates.some((one) => one.turn === this.#turn && one.spoken !== "")) this.#turn += 1;
    const greeting = text(event.partial) === "" && !this.#asked && this.#candidates.length === 0;
    this.#asked = false;
    this.#candidates.push({
      id,
      partial: text(event.partial),
      greeting,
      complete: event.complete === true,
      text: "",
      state: "asked",
      finished: false,
      note: "",
      spoken: "",
      turn: this.#turn,
      started_ms: number(event.at_ms),
      adopted_ms: null,
      ended_ms: null,
    });
    if (this.#candidates.length > CANDIDATES_MAX) this.#candidates.shift();
    return true;
  }
}

/**
 * @param {Candidate} candidate
 * @param {WireEvent} event
 */
function fail(candidate, event) {
  const error = object(event.error);
  const note = text(error.message) || text(event.message);
  candidate.note = note;
  candidate.state = note ? "failed" : "dropped";
}

/**
 * How far into a candidate's text it has been spoken; spacing and signs may differ between the two.
 * @param {string} text
 * @param {string} spoken
 * @returns {number} an index of `text`
 */
export function spokenLength(text, spoken) {
  const letters = /[\p{L}\p{N}]/gu;
  const wanted = spoken.match(letters)?.length ?? 0;
  if (wanted === 0) return 0;
  let seen = 0;
  for (const found of text.matchAll(letters)) {
    seen += 1;
    if (seen < wanted) continue;
    const after = found.index + found[0].length;
    return after + (/^\p{P}*/u.exec(text.slice(after))?.[0].length ?? 0);
  }
  return text.length;
}
