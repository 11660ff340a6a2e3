/** The last turn's time line: reading it and laying it out. Pure. */

import { number, text } from "./wire.js";

/** @typedef {import("./types").TurnTiming} TurnTiming */

/** What is shown of a time line. */
export const MOMENTS = /** @type {const} */ ([
  "asked_ms",
  "pause_ms",
  "turn_end_ms",
  "first_token_ms",
  "adopted_ms",
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
    mode: text(event.mode),
    pause_ms: number(event.pause_ms),
    settled_ms: number(event.settled_ms),
    turn_end_ms: number(event.turn_end_ms),
    asked_ms: number(event.asked_ms),
    first_token_ms: number(event.first_token_ms),
    adopted_ms: number(event.adopted_ms),
    first_audio_ms: number(event.first_audio_ms),
    first_oracle_audio_ms: number(event.first_oracle_audio_ms),
  };
}

/**
 * A stretch of the bar, in parts of its width (0..1).
 * @typedef {object} Stretch
 * @property {"you" | "wait" | "opener" | "oracle"} kind
 * @property {number} from
 * @property {number} to
 */

/**
 * Where everything lies on a bar of width 1. Zero, the end of the person's speech, always lies on it.
 * @param {TurnTiming} timing
 * @returns {{ zero: number, stretches: Stretch[], marks: { moment: Moment, ms: number, at: number }[] } | null}
 *   null when nothing happened that could be shown
 */
export function layOut(timing) {
  const known = MOMENTS.flatMap((moment) => {
    const ms = timing[moment];
    return ms === null ? [] : [{ moment, ms }];
  });
  if (known.length === 0) return null;
  const values = known.map((one) => one.ms);
  const last = Math.max(...values, 0);
  const first = Math.min(...values, 0);
  const room = Math.max((last - first) * 0.08, 60); // some air at both ends, so that no mark sits on the edge
  const [from, span] = [first - room, last - first + 2 * room];
  /** @param {number} ms */
  const at = (ms) => Math.min(1, Math.max(0, (ms - from) / span));
  /** @type {Stretch[]} */
  const stretches = [{ kind: "you", from: 0, to: at(0) }];
  const sound = timing.first_audio_ms;
  const knowing = timing.first_oracle_audio_ms;
  const begins = sound ?? knowing;
  stretches.push({ kind: "wait", from: at(0), to: begins === null ? 1 : at(begins) });
  if (sound !== null) stretches.push({ kind: "opener", from: at(sound), to: knowing === null ? 1 : at(knowing) });
  if (knowing !== null) stretches.push({ kind: "oracle", from: at(knowing), to: 1 });
  return {
    zero: at(0),
    stretches: stretches.filter((stretch) => stretch.to > stretch.from),
    marks: known.map(({ moment, ms }) => ({ moment, ms, at: at(ms) })),
  };
}
