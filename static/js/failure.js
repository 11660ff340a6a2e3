/** One error type for everything that can end or prevent a call, carrying words for the person. */

import { texts, TROUBLES, tryAgainIn } from "./strings.js";

/** @typedef {import("./types").Trouble} Trouble */

export class CallFailure extends Error {
  /**
   * @param {Trouble} trouble
   * @param {import("./types").Place | null} [place] in the queue of a full server
   */
  constructor(trouble, place = null) {
    super(trouble.code);
    this.name = "CallFailure";
    this.trouble = trouble;
    this.place = place;
  }
}

/**
 * Whatever was thrown, as a trouble.
 * @param {unknown} error
 * @returns {Trouble}
 */
export function asTrouble(error) {
  return error instanceof CallFailure ? error.trouble : TROUBLES.unexpected;
}

/**
 * A server's answer that is no success. The server's own sentence is shown where it gave one.
 * @param {number} status HTTP status
 * @param {{ code?: string, message?: string }} error the body's `error`, empty where it was no JSON
 * @param {number | null} retryAfter_s
 * @param {import("./types").Place | null} [place]
 * @returns {CallFailure}
 */
export function httpFailure(status, error, retryAfter_s, place = null) {
  const base = byStatus(status, error.code ?? "");
  const message = error.message || (status === 502 || status === 504 ? TROUBLES.server_unreachable.text : base.text);
  const wait = retryAfter_s !== null && base.actions.includes("retry") ? ` ${tryAgainIn(retryAfter_s)}` : "";
  const words = wait && !error.message ? message.replace(` ${texts.again_soon}`, "") : message;
  return new CallFailure({ ...base, code: error.code || base.code, text: words + wait }, place);
}

/**
 * @param {number} status
 * @param {string} code
 * @returns {Trouble}
 */
function byStatus(status, code) {
  if (status === 503) return code === "server_full" ? TROUBLES.server_full : TROUBLES.server_loading;
  if (status === 401 || status === 403) return TROUBLES.server_refused;
  if (status === 429) return TROUBLES.server_rate;
  if (status === 502 || status === 504) return TROUBLES.server_unreachable;
  return TROUBLES.server_error;
}
