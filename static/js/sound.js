/**
 * The page's sound: the element that plays the agent, the levels of both sides, and the browser's leave to make sound.
 * It has to be unlocked inside a click; later attempts are refused by some browsers, Safari first.
 */

import { Meters } from "./meters.js";
import { Recorder } from "./recorder.js";

export class Sound {
  /** The browser wants one more tap before it plays. */
  blocked = false;

  #audio;
  #measured;
  #changed;
  #recorded;
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {Meters | null} */
  #meters = null;
  /** Both sides as they are now. @type {Map<string, MediaStream>} */
  #streams = new Map();
  /** @type {Recorder | null} */
  #recorder = null;

  /**
   * @param {HTMLAudioElement} audio plays the agent
   * @param {(name: string, level: number) => void} measured level 0..1
   * @param {() => void} changed `blocked` is another
   * @param {(recording: Blob) => void} recorded a recording is finished
   */
  constructor(audio, measured, changed, recorded) {
    this.#audio = audio;
    this.#measured = measured;
    this.#changed = changed;
    this.#recorded = recorded;
  }

  /** Levels are being measured at this moment. */
  get measures() {
    return this.#context?.state === "running" && document.visibilityState === "visible";
  }

  /** Must be called from a click or a key. */
  unlock() {
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
   * @param {string} name
   * @param {MediaStream} stream
   */
  measure(name, stream) {
    this.#streams.set(name, stream);
    this.#meters?.watch(name, stream);
    this.#recorder?.hear(name, stream);
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
    this.#recorder = new Recorder(this.#context);
    for (const [name, stream] of this.#streams) this.#recorder.hear(name, stream);
  }

  /** Ends the recording; `recorded` gets it a moment later. */
  stopRecording() {
    this.#recorder?.stop().then(this.#recorded, () => undefined); // a recorder that failed has nothing to give
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
