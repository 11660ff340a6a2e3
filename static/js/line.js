/** The person's line into a call: the microphone opened, shut, exchanged, and whether anything comes from it. */

import { openMicrophone, stopAll } from "./microphone.js";

/** @typedef {import("./types").MicrophoneWishes} MicrophoneWishes */

/** A microphone that gives no sound at all for this long is worth a word. */
const QUIET_AFTER_MS = 8_000;

/**
 * @typedef {object} LineEvents
 * @property {(stream: MediaStream) => void} opened
 * @property {() => void} lost the microphone was taken away
 * @property {(muted: boolean) => void} systemMuted the system or the headset shut it, or opened it again
 */

export class Line {
  #events;
  /** @type {MediaStream | null} */
  #stream = null;
  #open = true;
  /** This microphone has given sound: later silence is the person's own. */
  #works = false;
  #quietSince_ms = 0;
  /** Exchanges come one after the other. @type {Promise<void>} */
  #exchanging = Promise.resolve();

  /** @param {LineEvents} events */
  constructor(events) {
    this.#events = events;
  }

  /** What is sent; null while there is no call. */
  get stream() {
    return this.#stream;
  }

  /** What the microphone hears goes out. */
  get isOpen() {
    return this.#open;
  }

  /**
   * @param {MicrophoneWishes} wishes
   * @param {AbortSignal} signal
   * @throws {import("./failure.js").CallFailure}
   */
  async open(wishes, signal) {
    this.#use(await openMicrophone(signal, wishes));
  }

  /** @param {MediaStream} silence sent in place of a microphone */
  stay(silence) {
    this.#stream = silence;
  }

  /**
   * Another microphone, or the same one treated in another way, in the middle of a call.
   * @param {MicrophoneWishes} wishes
   * @param {MicrophoneWishes} before what is gone back to when that fails
   * @param {AbortSignal} signal the call's
   * @param {(stream: MediaStream) => Promise<void>} send
   * @returns {Promise<boolean>} whether the wishes could be met
   * @throws {import("./failure.js").CallFailure} there is no microphone any more
   */
  exchange(wishes, before, signal, send) {
    const done = this.#exchanging.then(() => this.#exchange(wishes, before, signal, send));
    this.#exchanging = done.then(
      () => undefined,
      () => undefined, // told to who asked for it
    );
    return done;
  }

  /**
   * @param {MicrophoneWishes} wishes
   * @param {MicrophoneWishes} before
   * @param {AbortSignal} signal
   * @param {(stream: MediaStream) => Promise<void>} send
   */
  async #exchange(wishes, before, signal, send) {
    const old = this.#stream;
    if (!old || signal.aborted) return true;
    stopAll(old); // first: a device that is still open keeps its echo and noise treatment
    let met = true;
    const stream = await openMicrophone(signal, wishes).catch((error) => {
      if (signal.aborted) throw error;
      met = false;
      return openMicrophone(signal, before);
    });
    if (this.#stream === old) {
      this.#use(stream);
      await send(stream);
    } else stopAll(stream);
    return met;
  }

  /** @param {boolean} open */
  set(open) {
    this.#open = open;
    for (const track of this.#stream?.getAudioTracks() ?? []) track.enabled = open;
  }

  /** Sound came from the microphone. */
  heard() {
    this.#works = true;
  }

  /**
   * Whether a microphone that should be heard has never given any sound. To be asked about once a second.
   * @param {boolean} measured its sound is being measured at this moment
   * @param {number} now_ms
   */
  isQuiet(measured, now_ms) {
    if (!measured || !this.#open || this.#works || this.#quietSince_ms === 0) this.#quietSince_ms = now_ms;
    return now_ms - this.#quietSince_ms > QUIET_AFTER_MS;
  }

  close() {
    const stream = this.#stream;
    this.#stream = null; // before its tracks end: that is no loss of the microphone now
    if (stream) stopAll(stream);
  }

  /** @param {MediaStream} stream */
  #use(stream) {
    this.#stream = stream;
    this.#works = false;
    this.#quietSince_ms = 0;
    this.set(this.#open);
    const [track] = stream.getAudioTracks();
    /** @param {() => void} tell */
    const ifMine = (tell) => () => this.#stream === stream && tell();
    track?.addEventListener("ended", ifMine(this.#events.lost));
    track?.addEventListener("mute", ifMine(() => this.#events.systemMuted(true)));
    track?.addEventListener("unmute", ifMine(() => this.#events.systemMuted(false)));
    this.#events.opened(stream);
  }
}
