/**
 * The page's sound: the element that plays the agent, the levels of both sides, and the browser's leave to make sound.
 * It has to be unlocked inside a click; later attempts are refused by some browsers, Safari first.
 */

import { Meters } from "./meters.js";

export class Sound {
  /** The browser wants one more tap before it plays. */
  blocked = false;

  #audio;
  #measured;
  #changed;
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {Meters | null} */
  #meters = null;

  /**
   * @param {HTMLAudioElement} audio plays the agent
   * @param {(name: string, level: number) => void} measured level 0..1
   * @param {() => void} changed `blocked` is another
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
    this.#meters?.watch(name, stream);
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
