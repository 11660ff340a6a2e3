/** The oracle stream's candidates, from `kame.candidate.*` events. A pure model: no document, no clock. */

import { object, text } from "./wire.js";

/** @typedef {import("./types").Candidate} Candidate */
/** @typedef {import("./types").WireEvent} WireEvent */

const CANDIDATES_MAX = 24;

export class Oracle {
  /** Oldest first. @type {Candidate[]} */
  #candidates = [];
  /** Ids of candidates of which something was spoken. @type {Set<string>} */
  #spoken = new Set();

  /** @returns {readonly Candidate[]} oldest first */
  get all() {
    return this.#candidates;
  }

  clear() {
    this.#candidates = [];
    this.#spoken.clear();
  }

  /** The call is over: nothing is written any more. */
  close() {
    for (const candidate of this.#candidates) {
      if (candidate.state === "asked" || candidate.state === "writing") candidate.state = "dropped";
    }
  }

  /**
   * @param {WireEvent} event
   * @returns {boolean} whether something shown has changed
   */
  handle(event) {
    if (event.type === "kame.spoken" && event.origin === "oracle") {
      const adopted = this.#candidates.findLast((one) => one.state === "adopted");
      if (adopted) this.#spoken.add(adopted.id);
      return false;
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
        if (typeof event.text === "string") candidate.text = event.text;
        if (candidate.state === "asked" || candidate.state === "writing") candidate.state = "finished";
        return true;
      case "kame.candidate.failed":
        fail(candidate, event);
        return true;
      case "kame.candidate.adopted":
        candidate.state = "adopted";
        return true;
      case "kame.candidate.superseded":
        // `by` null: nothing takes its place; the one that was spoken stays shown as such.
        if (text(event.by) || !this.#spoken.has(id)) candidate.state = "superseded";
        return true;
      default:
        return false;
    }
  }

  /**
   * @param {string} id
   * @param {WireEvent} event
   */
  #start(id, event) {
    this.#candidates.push({
      id,
      partial: text(event.partial),
      complete: event.complete === true,
      text: "",
      state: "asked",
      finished: false,
      note: "",
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
