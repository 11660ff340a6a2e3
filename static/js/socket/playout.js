/**
 * AudioWorklet: plays sound that comes in pieces, 24 kHz. It waits until a little is there, so that what comes unevenly
 * plays evenly; how much follows what happened. What waits can be flushed.
 *
 * In: `{sound: Int16Array, item}`, `{mark: number}` (told back when all before it was played), `{end: true}` (the
 * answer is complete: play what there is), `{flush: true}`.
 * Out: `{marks: number[]}`, `{flushed: item, played_ms}`.
 */

const RATE_HZ = 24_000;
const LEAST_WAIT_SAMPLES = 0.04 * RATE_HZ;
const MOST_WAIT_SAMPLES = 0.24 * RATE_HZ;
const WAIT_STEP_SAMPLES = 0.04 * RATE_HZ;
/** More than this waits only after a long stall; the oldest is dropped. */
const MOST_SAMPLES = 3 * RATE_HZ;
const FADE_SAMPLES = 120;

/** @typedef {{ sound?: Int16Array, item?: string, mark?: number, end?: boolean, flush?: boolean }} Message */

class Playout extends AudioWorkletProcessor {
  /** @type {({ sound: Int16Array, item: string } | { mark: number })[]} */
  #queue = [];
  #waiting = 0;
  /** Samples already played of the queue's head. */
  #at = 0;
  #playing = false;
  #ended = false;
  #wait = LEAST_WAIT_SAMPLES;
  /** Time since the first piece came, while nothing plays. */
  #waited = 0;
  #item = "";
  #played = 0;
  /** What fades out after a flush. @type {Float32Array | null} */
  #tail = null;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => this.#take(/** @type {Message} */ (data));
  }

  /** @param {Message} message */
  #take({ sound, item, mark, end, flush }) {
    if (sound) {
      this.#queue.push({ sound, item: item ?? "" });
      this.#waiting += sound.length;
      this.#ended = false;
      this.#limit();
    }
    if (mark !== undefined) {
      this.#queue.push({ mark });
      this.#ended = true;
    }
    if (end) this.#ended = true;
    if (flush) this.#flush();
  }

  #limit() {
    while (this.#waiting > MOST_SAMPLES) {
      const oldest = this.#queue.findIndex((entry) => "sound" in entry);
      const [entry] = this.#queue.splice(oldest, 1);
      if (!entry || !("sound" in entry)) return;
      this.#waiting -= entry.sound.length - (oldest === 0 ? this.#at : 0);
      if (oldest === 0) this.#at = 0;
    }
  }

  #flush() {
    const head = this.#queue[0];
    if (this.#playing && head && "sound" in head) {
      const rest = head.sound.subarray(this.#at, this.#at + FADE_SAMPLES);
      this.#tail = Float32Array.from(rest, (sample, n) => (sample / 32_768) * (1 - n / rest.length));
    }
    const marks = this.#queue.flatMap((entry) => ("mark" in entry ? [entry.mark] : []));
    this.#queue = [];
    this.#waiting = this.#at = this.#waited = 0;
    this.#playing = false;
    if (marks.length > 0) this.port.postMessage({ marks });
    this.port.postMessage({ flushed: this.#item, played_ms: Math.round((this.#played * 1000) / RATE_HZ) });
  }

  /**
   * @param {Float32Array[][]} _inputs
   * @param {Float32Array[][]} outputs
   */
  process(_inputs, outputs) {
    const out = outputs[0]?.[0];
    if (!out) return true;
    let filled = 0;
    if (this.#tail) {
      filled = Math.min(out.length, this.#tail.length);
      out.set(this.#tail.subarray(0, filled));
      this.#tail = filled < this.#tail.length ? this.#tail.subarray(filled) : null;
    }
    if (!this.#playing) this.#start(out.length);
    if (this.#playing) this.#fill(out, filled);
    return true;
  }

  /** @param {number} samples how much time passes */
  #start(samples) {
    if (this.#queue.length === 0) return;
    this.#waited += samples;
    if (this.#waiting < this.#wait && this.#waited < this.#wait && !this.#ended) return;
    this.#playing = true;
    this.#waited = 0;
  }

  /**
   * @param {Float32Array} out
   * @param {number} filled
   */
  #fill(out, filled) {
    const marks = [];
    while (filled < out.length || (this.#queue[0] && "mark" in this.#queue[0])) {
      const head = this.#queue[0];
      if (!head) break;
      if ("mark" in head) {
        marks.push(head.mark);
        this.#queue.shift();
        continue;
      }
      if (head.item !== this.#item) [this.#item, this.#played] = [head.item, 0];
      const count = Math.min(out.length - filled, head.sound.length - this.#at);
      for (let n = 0; n < count; n += 1) out[filled + n] = (head.sound[this.#at + n] ?? 0) / 32_768;
      filled += count;
      this.#at += count;
      this.#played += count;
      this.#waiting -= count;
      if (this.#at === head.sound.length) {
        this.#queue.shift();
        this.#at = 0;
      }
    }
    if (marks.length > 0) this.port.postMessage({ marks });
    if (this.#queue.length > 0) return;
    this.#playing = false;
    if (!this.#ended) this.#wait = Math.min(MOST_WAIT_SAMPLES, this.#wait + WAIT_STEP_SAMPLES); // it ran dry
  }
}

registerProcessor("playout", Playout);

export {}; // a module, as everything here
