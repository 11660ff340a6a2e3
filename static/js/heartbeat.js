/** `kame.ping` once a second: the round trip, and a connection that died long before the browser says so. */

import { number } from "./wire.js";

const PING_EVERY_MS = 1_000;
/** Pings without an answer after which the connection counts as interrupted, and as lost. */
const UNANSWERED_WEAK = 3;
const UNANSWERED_LOST = 8;

/**
 * @typedef {object} HeartbeatEvents
 * @property {(event: import("./types").WireEvent) => void} send
 * @property {(rtt_ms: number) => void} roundTrip
 * @property {(stable: boolean) => void} stability interrupted, or back
 * @property {() => void} lost
 */

export class Heartbeat {
  #events;
  #unanswered = 0;
  #answers = false;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;

  /** @param {HeartbeatEvents} events */
  constructor(events) {
    this.#events = events;
  }

  start() {
    this.#timer ??= setInterval(() => this.#ping(), PING_EVERY_MS);
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** @param {import("./types").WireEvent} event `kame.pong` */
  answered(event) {
    const sent_ms = number(event.t);
    if (sent_ms !== null) this.#events.roundTrip(performance.now() - sent_ms);
    this.#answers = true;
    if (this.#unanswered >= UNANSWERED_WEAK) this.#events.stability(true);
    this.#unanswered = 0;
  }

  #ping() {
    this.#events.send({ type: "kame.ping", t: performance.now() });
    this.#unanswered += 1;
    if (!this.#answers) return; // this server does not answer pings
    if (this.#unanswered > UNANSWERED_LOST) this.#events.lost();
    else if (this.#unanswered === UNANSWERED_WEAK) this.#events.stability(false);
  }
}
