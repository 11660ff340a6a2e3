/** What is heard of both sides: their levels, a microphone that gives nothing, and what a sound check has found. */

import { texts } from "./strings.js";

/** Levels (0..1) over this count as sound. */
const AUDIBLE = 0.12;

/** @typedef {import("./types").Who} Who */

/**
 * @typedef {object} HearingEvents
 * @property {(who: Who, level: number) => void} level 0..1, once per screen frame
 * @property {() => void} found a sound check has found one thing more
 */

export class Hearing {
  /** What a sound check has found so far. */
  found = { microphone: false, connection: false, sound: false };

  #line;
  #notice;
  #checking;
  #events;

  /**
   * @param {import("./line.js").Line} line
   * @param {import("./notice.js").Notice} notice
   * @param {() => boolean} checking a sound check runs
   * @param {HearingEvents} events
   */
  constructor(line, notice, checking, events) {
    this.#line = line;
    this.#notice = notice;
    this.#checking = checking;
    this.#events = events;
  }

  /** A new call begins. */
  clear() {
    this.found = { microphone: false, connection: false, sound: false };
  }

  /**
   * @param {Who} who
   * @param {number} level 0..1
   */
  measured(who, level) {
    this.#events.level(who, who === "you" && !this.#line.isOpen ? 0 : level);
    if (level < AUDIBLE) return;
    if (who === "you") {
      this.#line.heard();
      this.#notice.showWhile(texts.notices.quiet_microphone, false);
    }
    const found = who === "you" ? "microphone" : "sound";
    if (!this.#checking() || this.found[found]) return;
    this.found[found] = true;
    this.#events.found();
  }

  /**
   * Tells of a microphone that gives nothing. To be asked for once a second.
   * @param {boolean} measured the microphone is being measured at this moment
   */
  eachSecond(measured) {
    const quiet = this.#line.isQuiet(measured, performance.now());
    if (quiet && !this.#notice.words) this.#notice.showWhile(texts.notices.quiet_microphone, true);
  }
}
