/**
 * Sound of a call over a WebSocket: the microphone in pieces of PCM16 at 24 kHz, and a stream that plays such pieces.
 * The stream is played by the page's `<audio>` element like that of any other call, for the echo cancellation's sake.
 */

import { list, number, object, text } from "../wire.js";

const RATE_HZ = 24_000;

/**
 * @typedef {object} SocketSoundEvents
 * @property {(piece: ArrayBuffer) => void} captured 20 ms of the microphone, PCM16
 * @property {(item: string, played_ms: number) => void} flushed what waited was thrown away
 */

export class SocketSound {
  #context;
  #events;
  /** For the microphone, where a browser cannot take it at another rate than its own. @type {AudioContext | null} */
  #ownRate = null;
  /** @type {AudioWorkletNode | null} */
  #capture = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  /** @type {AudioWorkletNode | null} */
  #playout = null;
  /** @type {Map<number, () => void>} */
  #marks = new Map();
  #nextMark = 0;
  #closed = false;
  #resume = () => void this.#context.resume().catch(() => undefined);

  /** @param {SocketSoundEvents} events */
  constructor(events) {
    this.#events = events;
    this.#context = new AudioContext({ sampleRate: RATE_HZ, latencyHint: "interactive" });
  }

  /**
   * @param {MediaStream} microphone
   * @returns {Promise<MediaStream>} what is played
   */
  async open(microphone) {
    document.addEventListener("pointerdown", this.#resume); // some browsers want a tap for each source of sound
    this.#resume();
    await this.#context.audioWorklet.addModule(new URL("./playout.js", import.meta.url));
    const options = { numberOfInputs: 0, outputChannelCount: [1] };
    this.#playout = new AudioWorkletNode(this.#context, "playout", options);
    this.#playout.port.onmessage = ({ data }) => this.#told(object(data));
    const destination = this.#context.createMediaStreamDestination();
    this.#playout.connect(destination);
    await this.listen(microphone);
    return destination.stream;
  }

  /**
   * Captures this microphone from now on.
   * @param {MediaStream} microphone
   */
  async listen(microphone) {
    this.#source?.disconnect();
    this.#source = null;
    if (microphone.getAudioTracks().length === 0) return;
    try {
      this.#source = this.#context.createMediaStreamSource(microphone);
    } catch {
      this.#ownRate ??= new AudioContext({ latencyHint: "interactive" });
      this.#source = this.#ownRate.createMediaStreamSource(microphone);
    }
    const context = this.#source.context;
    if (this.#capture?.context !== context) {
      const worklet = /** @type {AudioContext} */ (context).audioWorklet;
      await worklet.addModule(new URL("./capture.js", import.meta.url));
      if (this.#closed) return;
      const options = { numberOfOutputs: 0, channelCount: 1, channelCountMode: /** @type {const} */ ("explicit") };
      this.#capture = new AudioWorkletNode(context, "capture", options);
      this.#capture.port.onmessage = ({ data }) => {
        if (!this.#closed) this.#events.captured(/** @type {ArrayBuffer} */ (data));
      };
    }
    this.#source.connect(this.#capture);
  }

  /**
   * @param {Int16Array} sound
   * @param {string} item what it belongs to
   */
  play(sound, item) {
    this.#playout?.port.postMessage({ sound, item }, [sound.buffer]);
  }

  /** The answer is complete. */
  ended() {
    this.#playout?.port.postMessage({ end: true });
  }

  /**
   * Does this when everything that waits has been played, or was flushed.
   * @param {() => void} action
   */
  after(action) {
    const mark = (this.#nextMark += 1);
    this.#marks.set(mark, action);
    this.#playout?.port.postMessage({ mark });
  }

  /** Throws away what waits; the sound fades within 5 ms. */
  flush() {
    this.#playout?.port.postMessage({ flush: true });
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    document.removeEventListener("pointerdown", this.#resume);
    this.#marks.clear();
    this.#source?.disconnect();
    for (const context of [this.#context, this.#ownRate]) context?.close().catch(() => undefined);
  }

  /** @param {Record<string, unknown>} told */
  #told(told) {
    if (this.#closed) return;
    for (const mark of list(told.marks)) {
      const action = this.#marks.get(Number(mark));
      this.#marks.delete(Number(mark));
      action?.();
    }
    if ("flushed" in told) this.#events.flushed(text(told.flushed), number(told.played_ms) ?? 0);
  }
}
