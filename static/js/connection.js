/**
 * How a call gets through: over WebRTC, and where that does not connect (no UDP, no WebRTC), over a WebSocket, without
 * the person doing anything. Both kinds of call look the same from outside.
 */

import * as api from "./api.js";
import { Call } from "./call.js";
import { inTime } from "./deadline.js";
import { CallFailure } from "./failure.js";
import { TROUBLES } from "./strings.js";
import { object } from "./wire.js";

/** WebRTC that works connects within a second or two; who waits longer is not going to be heard. */
const WEBRTC_DEADLINE_MS = 4_000;
const MODULE_DEADLINE_MS = 10_000;
/** For so long a network that let no WebRTC through is not tried again. */
const BLOCKED_MS = 10 * 60_000;

/** The conversation waits so long when the connection breaks; browsers do not say on a WebSocket whose page it is. */
export const GRACE_S = 20;

/** @typedef {import("./call.js").CallEvents} CallEvents */
/** Gives a key for a call, which carries a session where there is one. */
/** @typedef {(signal: AbortSignal, session: Record<string, unknown> | null) => Promise<string>} Mint */
/** @typedef {Pick<Call, "id" | "send" | "replaceMicrophone" | "close" | "drop" | "halt">} OpenCall */

/**
 * @typedef {object} Wish
 * @property {MediaStream} microphone opened before: then the browser offers its real addresses
 * @property {boolean} echo sound check: the server says back what it hears
 * @property {string} ticket of the queue of a full server, or `new`
 * @property {Record<string, unknown> | null} session sent when the call is opened, where there is something to say
 */

/** Opens calls, and remembers what the network does not let through. */
export class Dialer {
  #blockedUntil_ms = 0;
  #mint;

  /** @param {Mint | null} mint null: this is a page of the server, which gives it keys */
  constructor(mint) {
    this.#mint = mint;
  }

  /**
   * Opens a call and waits until sound and messages can flow.
   * @param {Wish} wish
   * @param {CallEvents} events
   * @param {AbortSignal} signal ends the call, or the attempt to open it
   * @param {(call: OpenCall) => void} attempted told of every call being tried, before it says anything
   * @throws {CallFailure} or the abort's reason
   */
  async open(wish, events, signal, attempted) {
    const { session } = wish;
    const mint = this.#mint ?? api.clientSecret;
    const minting = mint(signal, null);
    const asking = this.#mint ? minting.then((key) => api.iceServers(signal, key)) : api.iceServers(signal);
    const [offered, secret] = await Promise.all([asking, minting]);
    signal.throwIfAborted();
    const resumed = "resume" in object(session?.kame);
    const blocked = performance.now() < this.#blockedUntil_ms || !("RTCPeerConnection" in window);
    if (!(blocked || offered.websocketOnly)) {
      const call = new Call({ ...wish, iceServers: offered.iceServers, secret }, events);
      attempted(call);
      try {
        await this.#connect(call, () => call.connect(session, WEBRTC_DEADLINE_MS), signal);
        return;
      } catch (error) {
        signal.throwIfAborted();
        const notThrough = error instanceof CallFailure && error.trouble.code === TROUBLES.connect_failed.code;
        if (!notThrough) throw error;
        if (resumed) call.halt(); // hanging up would end the conversation, which the next attempt takes over
        else await call.close(); // its place may be the last one
        signal.throwIfAborted();
        this.#blockedUntil_ms = performance.now() + BLOCKED_MS;
      }
    }
    const needed = import("./socket/socket_call.js"); // most people never need it
    const unreachable = () => new CallFailure(TROUBLES.server_unreachable);
    const { SocketCall } = await inTime(needed, MODULE_DEADLINE_MS, signal, unreachable);
    // A WebSocket's opening cannot carry a session, so the key does.
    const kame = { grace_s: GRACE_S, ...object(session?.kame) };
    const key = await mint(signal, { type: "realtime", ...session, kame });
    signal.throwIfAborted();
    const call = new SocketCall({ ...wish, secret: key }, events);
    attempted(call);
    await this.#connect(call, () => call.connect(), signal);
  }

  /**
   * @param {OpenCall} call
   * @param {() => Promise<void>} connect
   * @param {AbortSignal} signal
   */
  async #connect(call, connect, signal) {
    const close = () => void call.close();
    signal.addEventListener("abort", close, { once: true });
    try {
      await connect();
    } catch (error) {
      signal.removeEventListener("abort", close);
      throw error;
    }
  }
}
