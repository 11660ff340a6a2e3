/**
 * The page's sound: the element that plays the agent, the levels of both sides, and the browser's leave to make sound.
 * It has to be unlocked inside a click; later attempts are refused by some browsers, Safari first.
 */

import { Meters } from "./meters.js";
import { Recorder } from "./recorder.js";

/** @typedef {import("./types").Who} Who */

export class Sound {
  /** The browser wants one more tap before it plays. */
  blocked = false;
  /** The last recording of both sides; null: there is none. @type {Blob | null} */
  recorded = null;

  #audio;
  #measured;
  #changed;
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {Meters | null} */
  #meters = null;
  /** Both sides as they are now. @type {Map<Who, MediaStream>} */
  #streams = new Map();
  /** @type {Recorder | null} */
  #recorder = null;

  /**
   * @param {HTMLAudioElement} audio plays the agent
   * @param {(who: Who, level: number) => void} measured level 0..1
   * @param {() => void} changed `blocked` or `recorded` is another
   */
  constructor(audio, measured, changed) {
    this.#audio = audio;
    this.#measured = measured;
    this.#changed = changed;
  }

  /** Levels are being measured at this moment. */
  get measures() {
    return this.#context?.state === "running" && document.visibilityState === "visible";
  }

  /** Must be called from a click or a key. */
  unlock() {
    this.recorded = null;
    this.#context = new AudioContext({ latencyHint: "interactive" });
    this.#context.resume().catch(() => undefined); // refused: meters stay flat, the voice is not concerned
    this.#meters = new Meters(this.#context, this.#measured);
    this.#audio.srcObject = new MediaStream();
    this.#audio.play().catch(() => undefined); // nothing to hear yet; `play` tells
  }

  /**
   * A silent stream for a call without a microphone, so that the server gets the same kind of call. After `unlock`.
   * @returns {MediaStream}
   */
  silence() {
    return this.#context?.createMediaStreamDestination().stream ?? new MediaStream();
  }

  /**
   * @param {Who} who
   * @param {MediaStream} stream
   */
  measure(who, stream) {
    this.#streams.set(who, stream);
    this.#meters?.watch(who, stream);
    this.#recorder?.hear(who, stream);
  }

  /** @param {number} volume 0..1 */
  setVolume(volume) {
    this.#audio.volume = volume;
  }

  /**
   * Plays through another device.
   * @param {string} device its id; empty: the system's choice
   * @throws {DOMException} there is no such device, or it is not allowed
   */
  async setSpeaker(device) {
    if ("setSinkId" in this.#audio && this.#audio.sinkId !== device) await this.#audio.setSinkId(device);
  }

  /** Records both sides from now on. While a call runs. */
  record() {
    if (!this.#context || this.#recorder) return;
    this.recorded = null;
    this.#recorder = new Recorder(this.#context);
    for (const [who, stream] of this.#streams) this.#recorder.hear(who, stream);
  }

  /** Ends the recording; it is in `recorded` a moment later. */
  stopRecording() {
    const finished = (/** @type {Blob} */ recording) => {
      this.recorded = recording.size > 0 ? recording : null;
      this.#changed();
    };
    this.#recorder?.stop().then(finished, () => undefined); // a recorder that failed has nothing to give
    this.#recorder = null;
  }

  get recording() {
    return this.#recorder !== null;
  }

  /** @param {MediaStream} stream the agent's voice */
  play(stream) {
    this.#audio.srcObject = stream;
    this.measure("agent", stream);
    this.#start();
  }

  /** The second tap some browsers want. Must be called from a click. */
  allow() {
    this.#context?.resume().catch(() => undefined);
    this.#start();
  }

  close() {
    this.#meters?.close();
    this.#meters = null;
    this.#streams.clear();
    this.stopRecording();
    this.#context?.close().catch(() => undefined);
    this.#context = null;
    this.#audio.pause();
    this.#audio.srcObject = null;
    this.#setBlocked(false);
  }

  #start() {
    this.#audio.play().then(
      () => this.#setBlocked(false),
      (error) => {
        // An abort only means that another stream was put in before this one began.
        const refused = error instanceof DOMException && error.name === "NotAllowedError";
        if (refused && this.#context) this.#setBlocked(true);
      },
    );
  }

  /** @param {boolean} blocked */
  #setBlocked(blocked) {
    if (this.blocked === blocked) return;
    this.blocked = blocked;
    this.#changed();
  }
}
