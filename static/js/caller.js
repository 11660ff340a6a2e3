/**
 * The talk's way to the server, from call to call: waits for a place, opens the call, takes a broken one up again,
 * gives it up. Only the present call is listened to.
 */

import { Dialer, GRACE_S } from "./connection.js";
import { CallFailure } from "./failure.js";
import { queued } from "./queue.js";
import { TROUBLES } from "./strings.js";

/** A new measurement's share in the round trip. */
const NEWEST = 0.2;
/** A network that is gone is tried again after this. */
const RETRY_MS = 1_000;

/** @typedef {import("./connection.js").OpenCall} OpenCall */
/** @typedef {import("./connection.js").Wish} Wish */
/** @typedef {Omit<import("./call.js").CallEvents, "roundTrip">} CallerEvents */

export class Caller {
  #dialer;
  #events;
  /** @type {OpenCall | null} */
  #call = null;
  /** The broken call, and the attempts to take its conversation up again. @type {Set<OpenCall>} */
  #tried = new Set();
  /** @type {string | null} */
  #id = null;
  /** @type {number | null} */
  #roundTrip_ms = null;
  #abort = new AbortController();

  /**
   * @param {import("./connection.js").Mint | null} mint gives the keys of calls; null: this page's own
   * @param {CallerEvents} events
   */
  constructor(mint, events) {
    this.#dialer = new Dialer(mint);
    this.#events = events;
  }

  /** The call's, also after its end; null: there was none. */
  get id() {
    return this.#id;
  }

  /** Smoothed; null: not measured yet. */
  get roundTrip_ms() {
    return this.#roundTrip_ms;
  }

  /** Aborted when the call, or the attempt to open one, is given up. */
  get signal() {
    return this.#abort.signal;
  }

  /**
   * A new call is going to be opened; the one before has been closed.
   * @returns {AbortSignal} `signal`
   */
  begin() {
    this.#abort = new AbortController();
    this.#id = null;
    this.#roundTrip_ms = null;
    return this.signal;
  }

  /**
   * Opens a call, waiting for a place where the server has none.
   * @param {Omit<Wish, "ticket">} wish
   * @param {(waited_ms: number, position: number) => void} waiting told every second; position 0: not known
   * @throws {import("./failure.js").CallFailure} or the abort's reason
   */
  async open(wish, waiting) {
    const { signal } = this;
    await queued(
      (ticket) => this.#connect({ ...wish, ticket }, signal),
      (waited_ms, position) => {
        this.#hangUp();
        waiting(waited_ms, position);
      },
      signal,
    );
  }

  /**
   * Takes the conversation of a broken call up in another one, as soon as there is a network again. What was tried is
   * given up only when all has failed, because giving it up ends the conversation.
   * @param {Omit<Wish, "ticket">} wish
   * @throws {import("./failure.js").CallFailure} or the abort's reason
   */
  async resume(wish) {
    const { signal } = this;
    const until_ms = performance.now() + GRACE_S * 1000;
    const tried = (this.#tried = new Set(this.#call ? [this.#call] : []));
    for (;;) {
      try {
        await this.#connect({ ...wish, ticket: "new" }, signal, (call) => tried.add(call));
        for (const call of tried) if (call !== this.#call) call.drop();
        tried.clear();
        return;
      } catch (error) {
        const again = !signal.aborted && isOfNetwork(error) && performance.now() + RETRY_MS < until_ms;
        if (!again) {
          for (const call of tried) void call.close();
          throw error;
        }
        this.#call?.halt();
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        signal.throwIfAborted();
      }
    }
  }

  /**
   * @param {import("./types").WireEvent} event
   * @returns {boolean} false when there is nobody to tell
   */
  send(event) {
    return this.#call?.send(event) ?? false;
  }

  /**
   * Goes on with another microphone.
   * @param {MediaStream} microphone
   */
  async replaceMicrophone(microphone) {
    await this.#call?.replaceMicrophone(microphone);
  }

  /** Gives the call up, or the attempt to open one. */
  close() {
    this.#abort.abort();
    this.#hangUp();
  }

  #hangUp() {
    for (const call of this.#tried) void call.close();
    this.#tried.clear();
    void this.#call?.close();
    this.#call = null;
  }

  /**
   * @param {Wish} wish
   * @param {AbortSignal} signal
   * @param {(call: OpenCall) => void} [attempted]
   */
  async #connect(wish, signal, attempted) {
    const { message, voice, stability, ended } = this.#events;
    /** @type {OpenCall | null} */
    let current = null;
    const present = () => this.#call === current;
    await this.#dialer.open(
      wish,
      {
        message: (event) => present() && message(event),
        voice: (stream) => present() && voice(stream),
        stability: (stable) => present() && stability(stable),
        roundTrip: (rtt_ms) => present() && this.#timed(rtt_ms),
        ended: (failure) => present() && ended(failure),
      },
      signal,
      (call) => {
        this.#call = current = call;
        attempted?.(call);
      },
    );
    this.#id = this.#call?.id ?? null;
  }

  /** @param {number} rtt_ms */
  #timed(rtt_ms) {
    const before_ms = this.#roundTrip_ms ?? rtt_ms;
    this.#roundTrip_ms = before_ms + NEWEST * (rtt_ms - before_ms);
  }
}

/**
 * The server was not reached: it may be in a moment.
 * @param {unknown} error
 */
function isOfNetwork(error) {
  const { server_unreachable, connect_failed } = TROUBLES;
  return error instanceof CallFailure && [server_unreachable.code, connect_failed.code].includes(error.trouble.code);
}
