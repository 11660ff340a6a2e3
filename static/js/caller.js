/**
 * The talk's way to the server, from call to call: waits for a place, opens the call, takes a broken one up again,
 * gives it up. Only the present call is listened to.
 */

import { Dialer } from "./connection.js";
import { queued } from "./queue.js";

/** A new measurement's share in the round trip. */
const NEWEST = 0.2;

/** @typedef {import("./connection.js").OpenCall} OpenCall */
/** @typedef {import("./connection.js").Wish} Wish */
/** @typedef {Omit<import("./call.js").CallEvents, "roundTrip">} CallerEvents */

export class Caller {
  #dialer;
  #events;
  /** @type {OpenCall | null} */
  #call = null;
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
   * Takes the conversation of a broken call up in another one: one attempt. The broken call is given up only when that
   * fails, because giving it up ends the conversation.
   * @param {Omit<Wish, "ticket">} wish
   * @throws {import("./failure.js").CallFailure} or the abort's reason
   */
  async resume(wish) {
    const broken = this.#call;
    try {
      await this.#connect({ ...wish, ticket: "new" }, this.signal);
    } catch (error) {
      void broken?.close();
      throw error;
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
    void this.#call?.close();
    this.#call = null;
  }

  /**
   * @param {Wish} wish
   * @param {AbortSignal} signal
   */
  async #connect(wish, signal) {
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
      (call) => (this.#call = current = call),
    );
    this.#id = this.#call?.id ?? null;
  }

  /** @param {number} rtt_ms */
  #timed(rtt_ms) {
    const before_ms = this.#roundTrip_ms ?? rtt_ms;
    this.#roundTrip_ms = before_ms + NEWEST * (rtt_ms - before_ms);
  }
}
