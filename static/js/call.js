/**
 * One call's transport: peer connection, data channel and the call's resource on the server.
 *
 * It tells its owner what happens through `CallEvents` and knows nothing of the page. `close()` may be called at any
 * time and any number of times.
 */

import * as api from "./api.js";
import { CallFailure } from "./failure.js";
import { Heartbeat } from "./heartbeat.js";
import { TROUBLES } from "./strings.js";
import { Trickler } from "./trickle.js";
import { parseEvent } from "./wire.js";

const GATHERING_MAX_MS = 300;
const DISCONNECTED_MAX_MS = 5_000;
/** The connection stands at most so long after hanging up. */
const RELEASE_MAX_MS = 500;

/**
 * @typedef {object} CallEvents
 * @property {(event: import("./types").WireEvent) => void} message the server said something
 * @property {(stream: MediaStream) => void} voice the agent's sound is there
 * @property {(stable: boolean) => void} stability the connection is interrupted, or back
 * @property {(rtt_ms: number) => void} roundTrip
 * @property {(failure: CallFailure | null) => void} ended the call is over without our doing; null: the server ended
 *   it. After a failure its conversation may be taken up by another call; `close` gives it up.
 */

export class Call {
  #peer;
  #channel;
  #events;
  #echo;
  #ticket;
  #trickler = new Trickler();
  #abort = new AbortController();
  #secret = "";
  /** @type {string | null} */
  #location = null;
  #open = false;
  /** The server has said that this is the end. */
  #over = false;
  #closed = false;
  #forgotten = false;
  #heartbeat;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #disconnectedTimer;

  /**
   * @param {object} options
   * @param {MediaStream} options.microphone opened before: then the browser offers its real addresses
   * @param {RTCIceServer[]} options.iceServers
   * @param {string} options.secret
   * @param {boolean} options.echo
   * @param {string} options.ticket of the queue, or `new`
   * @param {CallEvents} events
   */
  constructor({ microphone, iceServers, secret, echo, ticket }, events) {
    this.#events = events;
    this.#echo = echo;
    this.#ticket = ticket;
    this.#secret = secret;
    this.#heartbeat = new Heartbeat({
      ...events,
      send: (event) => this.send(event),
      lost: () => this.#end(new CallFailure(TROUBLES.connection_lost)), // ICE notices much later
    });
    this.#peer = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
    for (const track of microphone.getAudioTracks()) this.#peer.addTrack(track, microphone);
    this.#channel = this.#peer.createDataChannel("oai-events");
    this.#peer.addEventListener("icecandidate", (found) => this.#trickler.found(found.candidate));
    this.#peer.addEventListener("track", (got) => events.voice(got.streams[0] ?? new MediaStream([got.track])));
    this.#channel.addEventListener("message", (message) => this.#received(message.data));
  }

  /** The last part of the call's URL; null before the server has answered. */
  get id() {
    return this.#location?.split("/").at(-1) ?? null;
  }

  /**
   * Negotiates and waits until sound and messages can flow.
   * @param {Record<string, unknown> | null} session sent beside the offer
   * @param {number} deadline_ms from the server's answer on
   * @throws {CallFailure} or the abort's reason after `close()`
   */
  async connect(session, deadline_ms) {
    const { signal } = this.#abort;
    await this.#peer.setLocalDescription(await this.#peer.createOffer());
    await this.#gathered();
    signal.throwIfAborted();
    const sdp = this.#peer.localDescription?.sdp ?? "";
    const wish = { secret: this.#secret, echo: this.#echo, ticket: this.#ticket, session };
    const opened = await api.openCall({ sdp, ...wish }, signal);
    this.#location = opened.location;
    if (signal.aborted) void this.#forget(); // hung up meanwhile: the server has a call now that nobody wants
    signal.throwIfAborted();
    try {
      await this.#peer.setRemoteDescription({ type: "answer", sdp: opened.answer });
    } catch {
      throw new CallFailure(TROUBLES.server_error);
    }
    const { location } = opened;
    if (location) this.#trickler.open(sdp, (fragment) => api.trickle(location, this.#secret, fragment));
    await this.#connected(deadline_ms);
    this.#open = true;
    this.#peer.addEventListener("connectionstatechange", () => this.#connectionChanged());
    // A sound check's server may do without a channel; its end shows as the connection's end.
    if (this.#channel.readyState === "open") this.#channel.addEventListener("close", () => this.#gone());
    if (!this.#echo) this.#heartbeat.start();
    this.#connectionChanged(); // it may have changed before we listened
  }

  /**
   * @param {import("./types").WireEvent} event
   * @returns {boolean} false when there is nobody to tell any more
   */
  send(event) {
    if (this.#channel.readyState !== "open") return false;
    this.#channel.send(JSON.stringify(event));
    return true;
  }

  /**
   * Goes on with another microphone.
   * @param {MediaStream} microphone
   */
  async replaceMicrophone(microphone) {
    const track = microphone.getAudioTracks()[0] ?? null;
    await Promise.all(this.#peer.getSenders().map((sender) => sender.replaceTrack(track)));
  }

  /** Hangs up: the call and its conversation are over; they are released when this resolves. */
  async close() {
    // The server is told first: one that sees the connection go has forgotten the call before it is told.
    const released = this.#forget();
    this.halt();
    await Promise.race([released, new Promise((resolve) => setTimeout(resolve, RELEASE_MAX_MS))]);
    this.#peer.close();
    await released;
  }

  /** Tells the server that nobody will come back. */
  async #forget() {
    if (!this.#location || this.#forgotten) return;
    this.#forgotten = true;
    await api.hangUp(this.#location, this.#secret);
  }

  /** Gives the connection up. Where the server still hears of it, that is a hang-up. */
  drop() {
    this.halt();
    this.#peer.close();
  }

  /** Nothing is told or done any more; the connection is left as it is, so that the server keeps the conversation. */
  halt() {
    if (this.#closed) return;
    this.#closed = true;
    this.#abort.abort();
    clearTimeout(this.#disconnectedTimer);
    this.#heartbeat.stop();
    this.#trickler.close();
  }

  /** Waits for candidates a short moment only; later ones are trickled. */
  #gathered() {
    const peer = this.#peer;
    if (peer.iceGatheringState === "complete") return Promise.resolve();
    return /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        const timer = setTimeout(done, GATHERING_MAX_MS);
        peer.addEventListener("icegatheringstatechange", changed);
        function changed() {
          if (peer.iceGatheringState === "complete") done();
        }
        function done() {
          clearTimeout(timer);
          peer.removeEventListener("icegatheringstatechange", changed);
          resolve();
        }
      })
    );
  }

  /**
   * Waits until sound can flow, and messages too where there are any.
   * @param {number} deadline_ms
   */
  #connected(deadline_ms) {
    const [peer, channel, signal, echo] = [this.#peer, this.#channel, this.#abort.signal, this.#echo];
    return /** @type {Promise<void>} */ (
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => finish(new CallFailure(TROUBLES.connect_failed)), deadline_ms);
        peer.addEventListener("connectionstatechange", check);
        channel.addEventListener("open", check);
        signal.addEventListener("abort", check);
        check();

        function check() {
          if (signal.aborted) finish(signal.reason);
          else if (peer.connectionState === "failed" || peer.connectionState === "closed")
            finish(new CallFailure(TROUBLES.connect_failed));
          else if (peer.connectionState === "connected" && (echo || channel.readyState === "open")) finish(null);
        }

        /** @param {unknown} error */
        function finish(error) {
          clearTimeout(timer);
          peer.removeEventListener("connectionstatechange", check);
          channel.removeEventListener("open", check);
          signal.removeEventListener("abort", check);
          if (error) reject(error);
          else resolve();
        }
      })
    );
  }

  #connectionChanged() {
    if (this.#closed) return;
    switch (this.#peer.connectionState) {
      case "connected":
        clearTimeout(this.#disconnectedTimer);
        this.#disconnectedTimer = undefined;
        this.#events.stability(true);
        break;
      case "disconnected":
        // Often only a change of network; the browser itself says "failed" much later.
        this.#events.stability(false);
        this.#disconnectedTimer ??= setTimeout(
          () => this.#end(new CallFailure(TROUBLES.connection_lost)),
          DISCONNECTED_MAX_MS,
        );
        break;
      case "failed":
        this.#end(new CallFailure(TROUBLES.connection_lost));
        break;
      case "closed":
        this.#gone();
        break;
      default:
    }
  }

  /** The server has closed the connection: at the call's end, or because it heard nothing of us any more. */
  #gone() {
    this.#end(this.#over || this.#echo ? null : new CallFailure(TROUBLES.connection_lost));
  }

  /** @param {CallFailure | null} failure */
  #end(failure) {
    if (this.#closed || !this.#open) return;
    this.halt(); // until `drop` or `close`
    this.#forgotten ||= failure === null; // the server ended it
    this.#events.ended(failure);
  }

  /** @param {unknown} data */
  #received(data) {
    const event = parseEvent(data);
    if (!event || this.#closed) return;
    this.#over ||= event.type === "kame.ended" || (event.type === "kame.trouble" && event.fatal === true);
    if (event.type === "kame.pong") this.#heartbeat.answered(event);
    else this.#events.message(event);
  }
}
