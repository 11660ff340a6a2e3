/** How fast each mode answered on this page, over all its calls. A pure model. */

/** @typedef {import("./types").TurnTiming} TurnTiming */

/** Older turns are forgotten, so that a median follows what is now. */
const TURNS_MAX = 20;

/**
 * @typedef {object} Measure
 * @property {number} turns
 * @property {number | null} sound_ms median to the first sound after the end of speech
 * @property {number | null} knowing_ms median to the first knowing word; null: none was spoken
 */

export class Measured {
  /** @type {Map<string, TurnTiming[]>} */
  #turns = new Map();

  /** @param {TurnTiming} timing */
  add(timing) {
    if (timing.first_audio_ms === null) return;
    const turns = [...(this.#turns.get(timing.mode) ?? []), timing];
    this.#turns.set(timing.mode, turns.slice(-TURNS_MAX));
  }

  /**
   * @param {string} mode
   * @returns {Measure | null} null: this mode has not answered yet
   */
  of(mode) {
    const turns = this.#turns.get(mode);
    if (!turns) return null;
    return {
      turns: turns.length,
      sound_ms: median(turns.map((one) => one.first_audio_ms)),
      knowing_ms: median(turns.map((one) => one.first_oracle_audio_ms)),
    };
  }

  /** The longest median of all modes, in ms; 0 where nothing is measured. */
  get longest_ms() {
    const all = [...this.#turns.keys()].map((mode) => this.of(mode));
    return Math.max(0, ...all.map((one) => Math.max(one?.sound_ms ?? 0, one?.knowing_ms ?? 0)));
  }
}

/**
 * @param {(number | null)[]} values
 * @returns {number | null}
 */
export function median(values) {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  const middle = known.length >> 1;
  const upper = known[middle];
  if (upper === undefined) return null;
  return known.length % 2 ? upper : ((known[middle - 1] ?? upper) + upper) / 2;
}
