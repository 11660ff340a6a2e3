/** The one notice beside a running call: something worth knowing that ends nothing. The newest takes the place. */

import { duration, fill, SERVER_LANGUAGE, texts } from "./strings.js";
import { number, object, text } from "./wire.js";

/** @typedef {import("./types").WireEvent} WireEvent */

const SHOWN_MS = 12_000;
/** What is said of the coming end of a call, by its reason. */
const ENDINGS = new Map([
  ["time_limit", texts.notices.ending_time_limit],
  ["idle", texts.notices.ending_idle],
  ["server_shutdown", texts.notices.ending_server_shutdown],
]);

export class Notice {
  #changed;
  #words = "";
  #language = "";
  /** What was said of the call's end. */
  #ending = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {() => void} changed */
  constructor(changed) {
    this.#changed = changed;
  }

  /** Empty: there is none. */
  get words() {
    return this.#words;
  }

  /** The words' language; empty: the page's. */
  get language() {
    return this.#language;
  }

  /**
   * Shown for a while.
   * @param {string} words
   * @param {string} [language] empty: the page's
   */
  show(words, language = "") {
    this.#put(words, language);
    if (words) this.#timer = setTimeout(() => this.dismiss(), SHOWN_MS);
  }

  /**
   * Shown until its cause is gone.
   * @param {string} words
   * @param {boolean} cause it is there; else these words are taken back
   */
  showWhile(words, cause) {
    if (cause) this.#put(words);
    else if (words && this.#words === words) this.dismiss();
  }

  dismiss() {
    this.#put("");
  }

  /** The call is over; tells nobody. */
  close() {
    clearTimeout(this.#timer);
    this.#words = this.#ending = "";
  }

  /**
   * Takes notice of trouble that ends nothing, and of a call that is about to end.
   * @param {WireEvent} event
   */
  handle(event) {
    switch (event.type) {
      case "kame.trouble":
        this.show(text(event.message), SERVER_LANGUAGE);
        break;
      case "kame.ending":
        this.#ends(text(event.reason), number(event.in_s));
        break;
      case "error":
        this.#refused(object(event.error));
        break;
      default:
    }
  }

  /**
   * The server will end the call, or will not after all.
   * @param {string} reason
   * @param {number | null} in_s null: not after all
   */
  #ends(reason, in_s) {
    const words = ENDINGS.get(reason);
    if (in_s === null) this.showWhile(this.#ending, false);
    else if (words) {
      this.#ending = fill(words, { time: duration(in_s * 1000) });
      this.showWhile(this.#ending, true);
    }
  }

  /**
   * The server could not do what it was asked.
   * @param {Record<string, unknown>} error
   */
  #refused(error) {
    switch (error.code) {
      case "response_cancel_not_active":
        break; // stopping an answer that has just ended by itself is no trouble
      case "input_audio_buffer_commit_empty":
        this.show(texts.notices.nothing_said);
        break;
      default:
        this.show(text(error.message), SERVER_LANGUAGE);
    }
  }

  /**
   * @param {string} words
   * @param {string} [language]
   */
  #put(words, language = "") {
    clearTimeout(this.#timer);
    this.#words = words;
    this.#language = language;
    this.#changed();
  }
}
