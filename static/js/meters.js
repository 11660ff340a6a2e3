/**
 * Sound levels of both sides. Web Audio only measures: the agent is heard through an `<audio>` element, because that
 * is what the browser's echo cancellation knows about.
 */

/** @typedef {import("./types").Who} Who */

/** Levels under this count as silence; above `FULL_DB` as full. dB relative to full scale. */
const SILENCE_DB = -60;
const FULL_DB = -12;
/** A level falls by at most this share of the whole meter per second, so that it can be read. */
const FALL_PER_S = 2.5;

export class Meters {
  #context;
  /** @type {Map<Who, { source: MediaStreamAudioSourceNode, analyser: AnalyserNode, samples: Float32Array<ArrayBuffer>, level: number }>} */
  #meters = new Map();
  #frame = 0;
  #last_ms = 0;
  #show;

  /**
   * @param {AudioContext} context made in a click, or it stays suspended
   * @param {(who: Who, level: number) => void} show level 0..1, once per screen frame
   */
  constructor(context, show) {
    this.#context = context;
    this.#show = show;
  }

  /**
   * Measures a stream of one side, in place of the one before.
   * @param {Who} who
   * @param {MediaStream} stream
   */
  watch(who, stream) {
    this.#drop(who);
    if (stream.getAudioTracks().length === 0) return;
    const source = this.#context.createMediaStreamSource(stream);
    const analyser = this.#context.createAnalyser();
    analyser.fftSize = 1024;
    source.connect(analyser); // and nowhere else
    this.#meters.set(who, { source, analyser, samples: new Float32Array(analyser.fftSize), level: 0 });
    if (!this.#frame) this.#frame = requestAnimationFrame((now_ms) => this.#tick(now_ms));
  }

  close() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    for (const who of [...this.#meters.keys()]) {
      this.#drop(who);
      this.#show(who, 0);
    }
  }

  /** @param {Who} who */
  #drop(who) {
    this.#meters.get(who)?.source.disconnect();
    this.#meters.delete(who);
  }

  /** @param {number} now_ms */
  #tick(now_ms) {
    const fall = (FALL_PER_S * Math.min(100, now_ms - this.#last_ms)) / 1000;
    this.#last_ms = now_ms;
    for (const [who, meter] of this.#meters) {
      meter.analyser.getFloatTimeDomainData(meter.samples);
      meter.level = Math.max(level(meter.samples), meter.level - fall, 0);
      this.#show(who, meter.level);
    }
    this.#frame = requestAnimationFrame((next_ms) => this.#tick(next_ms));
  }
}

/**
 * @param {Float32Array} samples -1..1
 * @returns {number} 0 (silence) .. 1 (full), even steps in dB
 */
export function level(samples) {
  let power = 0;
  for (const sample of samples) power += sample * sample;
  const db = 10 * Math.log10(power / samples.length + 1e-12);
  return Math.min(1, Math.max(0, (db - SILENCE_DB) / (FULL_DB - SILENCE_DB)));
}
