/** AudioWorklet: the microphone as PCM16, mono, 24 kHz, 20 ms at a time, whatever rate the browser runs at. */

const RATE_HZ = 24_000;
const PIECE_SAMPLES = 480;
/** Half-width of the resampling filter in input samples, at least. */
const REACH = 12;

/** Windowed-sinc resampling of a stream; passes through where the rates are equal. */
class Resampler {
  #step;
  #cutoff;
  #reach;
  /** Input that may still be needed. */
  #past = new Float32Array(0);
  /** Place of the next output sample in `#past`. */
  #at;

  /** @param {number} from_hz */
  constructor(from_hz) {
    this.#step = from_hz / RATE_HZ;
    this.#cutoff = Math.min(1, 1 / this.#step) * 0.94;
    this.#reach = Math.ceil(REACH / this.#cutoff);
    this.#at = this.#reach;
  }

  /**
   * @param {Float32Array} input
   * @returns {Float32Array}
   */
  push(input) {
    if (this.#step === 1) return input;
    const all = new Float32Array(this.#past.length + input.length);
    all.set(this.#past);
    all.set(input, this.#past.length);
    const out = [];
    while (this.#at + this.#reach < all.length) {
      out.push(this.#sample(all));
      this.#at += this.#step;
    }
    const drop = Math.max(0, Math.floor(this.#at) - this.#reach);
    this.#past = all.slice(drop);
    this.#at -= drop;
    return Float32Array.from(out);
  }

  /** @param {Float32Array} all */
  #sample(all) {
    let sum = 0;
    let weights = 0;
    for (let n = Math.ceil(this.#at - this.#reach); n <= this.#at + this.#reach; n += 1) {
      const x = n - this.#at;
      const turn = Math.PI * x * this.#cutoff;
      const sinc = turn === 0 ? 1 : Math.sin(turn) / turn;
      const weight = sinc * (0.5 + 0.5 * Math.cos((Math.PI * x) / (this.#reach + 1)));
      sum += weight * (all[n] ?? 0);
      weights += weight;
    }
    return sum / weights;
  }
}

class Capture extends AudioWorkletProcessor {
  #resampler = new Resampler(sampleRate);
  #piece = new Int16Array(PIECE_SAMPLES);
  #filled = 0;

  /** @param {Float32Array[][]} inputs */
  process(inputs) {
    const sound = inputs[0]?.[0];
    if (!sound) return true; // between two microphones
    for (const sample of this.#resampler.push(sound)) {
      this.#piece[this.#filled] = Math.max(-32_768, Math.min(32_767, Math.round(sample * 32_768)));
      this.#filled += 1;
      if (this.#filled < PIECE_SAMPLES) continue;
      this.port.postMessage(this.#piece.buffer, [this.#piece.buffer]);
      this.#piece = new Int16Array(PIECE_SAMPLES);
      this.#filled = 0;
    }
    return true;
  }
}

registerProcessor("capture", Capture);

export {}; // a module, as everything here
