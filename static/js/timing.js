/** One turn's time line, read from its event. Pure. */

import { number, text } from "./wire.js";

/** @typedef {import("./types").TurnTiming} TurnTiming */

/** What is shown of a time line. */
export const MOMENTS = /** @type {const} */ ([
  "asked_ms",
  "pause_ms",
  "hold_ms",
  "turn_end_ms",
  "first_token_ms",
  "adopted_ms",
  "gate_ms",
  "first_audio_ms",
  "first_oracle_audio_ms",
]);

/** @typedef {(typeof MOMENTS)[number]} Moment */

/**
 * @param {import("./types").WireEvent} event `kame.turn.timing`
 * @returns {TurnTiming}
 */
export function readTiming(event) {
  return {
    response: text(event.response_id),
    mode: text(event.mode),
    pause_ms: number(event.pause_ms),
    settled_ms: number(event.settled_ms),
    hold_ms: number(event.hold_ms),
    turn_end_ms: number(event.turn_end_ms),
    asked_ms: number(event.asked_ms),
    first_token_ms: number(event.first_token_ms),
    adopted_ms: number(event.adopted_ms),
    gate_ms: number(event.gate_ms),
    first_audio_ms: number(event.first_audio_ms),
    first_oracle_audio_ms: number(event.first_oracle_audio_ms),
  };
}
