/** One error type for everything that can end or prevent a call, carrying words for the person. */

import { SERVER_LANGUAGE, texts, TROUBLES, tryAgainIn } from "./strings.js";
import { text } from "./wire.js";

/** @typedef {import("./types").Trouble} Trouble */
/** @typedef {import("./strings.js").TroubleCode} TroubleCode */

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
  const language = error.message ? SERVER_LANGUAGE : "";
  return new CallFailure({ ...base, code: error.code || base.code, text: words + wait, language }, place);
}

/**
 * What ends a call, by its `kame.trouble`. What the page has no words for is told in the server's.
 * @param {import("./types").WireEvent} event
 * @returns {Trouble}
 */
export function fatalTrouble(event) {
  const [code, message] = [text(event.code), text(event.message)];
  if (Object.hasOwn(TROUBLES, code)) return TROUBLES[/** @type {TroubleCode} */ (code)];
  const base = TROUBLES.conversation_failed;
  return { ...base, code: code || base.code, ...(message && { text: message, language: SERVER_LANGUAGE }) };
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
