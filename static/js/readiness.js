/** Watches how far the server has loaded its engines. */

import { readiness } from "./api.js";

const LOADING_EVERY_MS = 700;
/** The server serves already and fetches something better. */
const IMPROVING_EVERY_MS = 4_000;
/** The server does not answer, or a part of it failed: somebody has to do something first. */
const SILENT_EVERY_MS = 3_000;

/** @typedef {import("./types").Readiness} Readiness */

export class ReadinessWatch {
  #show;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #asking = false;

  /** @param {(readiness: Readiness | null) => void} show null: the server does not answer */
  constructor(show) {
    this.#show = show;
  }

  /** Asks now, and again until everything is loaded. */
  async check() {
    if (this.#asking) return;
    this.#asking = true;
    clearTimeout(this.#timer);
    const now = await readiness();
    this.#asking = false;
    this.#show(now);
    const every_ms = pause(now);
    if (every_ms !== null) this.#timer = setTimeout(() => void this.check(), every_ms);
  }
}

/** @param {Readiness | null} now */
function pause(now) {
  if (now === null) return SILENT_EVERY_MS;
  if (!now.ready) return now.parts.some((one) => one.state === "failed") ? SILENT_EVERY_MS : LOADING_EVERY_MS;
  return now.parts.some((one) => one.progress !== null && one.progress < 1) ? IMPROVING_EVERY_MS : null;
}
