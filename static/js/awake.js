/** Keeps the screen on while a call runs: a phone that goes to sleep would end the talk. */

import { frameForbids } from "./framed.js";

export class Awake {
  #needed;
  /** @type {WakeLockSentinel | null} */
  #lock = null;

  /** @param {() => boolean} needed a call runs */
  constructor(needed) {
    this.#needed = needed;
    document.addEventListener("visibilitychange", () => void this.check()); // a hidden page loses it
  }

  /** To be called when that may have changed. */
  async check() {
    if (!this.#needed()) {
      void this.#lock?.release();
      return;
    }
    if (this.#lock || document.visibilityState !== "visible" || frameForbids("screen-wake-lock")) return;
    try {
      const lock = await navigator.wakeLock?.request("screen");
      if (!lock) return;
      this.#lock = lock;
      lock.addEventListener("release", () => (this.#lock = null));
      if (!this.#needed()) await lock.release();
    } catch {
      // Low battery, or not allowed here.
    }
  }
}
