/**
 * One call over a WebSocket: the same events as on a data channel, and sound in messages (PCM16, 24 kHz, base64).
 * It looks like `Call` from outside.
 */

import * as api from "../api.js";
import { inTime } from "../deadline.js";
import { CallFailure, httpFailure } from "../failure.js";
import { Heartbeat } from "../heartbeat.js";
import { TROUBLES } from "../strings.js";
import { object, parseEvent, text } from "../wire.js";
import { SocketSound } from "./socket_sound.js";

const CONNECT_DEADLINE_MS = 20_000;
/** Close code: this connection is given up, its conversation is not. */
const CONNECTION_LOST = 4000;
/** While so much waits to be sent, about 1.5 s of sound, the microphone's sound is left out. */
const MOST_WAITING_BYTES = 100_000;

/** @typedef {import("../call.js").CallEvents} CallEvents */
/** @typedef {import("../types").WireEvent} WireEvent */

export class SocketCall {
  #socket;
  #sound;
  #events;
  #microphone;
  #secret;
  #heartbeat;
  #abort = new AbortController();
  #id = "";
  #closed = false;
  /** @type {Promise<void> | null} */
  #hungUp = null;
  /** The response that is being played. */
  #response = "";
  /** The response that the person stopped: its sound may still be on the way. */
  #stopped = "";

  /**
   * @param {object} options
   * @param {MediaStream} options.microphone
   * @param {string} options.secret
   * @param {boolean} options.echo
   * @param {string} options.ticket of the queue, or `new`
   * @param {CallEvents} events
   */
  constructor({ microphone, secret, echo, ticket }, events) {
    this.#microphone = microphone;
    this.#secret = secret;
    this.#events = events;
    this.#heartbeat = new Heartbeat({
      ...events,
      send: (event) => this.send(event),
      lost: () => this.#end(new CallFailure(TROUBLES.connection_lost)),
    });
    this.#sound = new SocketSound({
      captured: (piece) => this.#captured(piece),
      flushed: (item, played_ms) => this.#flushed(item, played_ms),
    });
    this.#socket = api.openSocket(secret, echo, ticket);
    this.#socket.addEventListener("message", (message) => this.#received(message.data));
  }

  /** The last part of the call's URL; null before the server has answered. */
  get id() {
    return this.#id || null;
  }

  /**
   * Waits until sound and messages can flow.
   * @throws {CallFailure} or the abort's reason after `close()`
   */
  async connect() {
    const { signal } = this.#abort;
    const late = () => new CallFailure(TROUBLES.connect_failed);
    const sound = inTime(this.#sound.open(this.#microphone), CONNECT_DEADLINE_MS, signal, late);
    const [voice] = await Promise.all([sound, this.#opened()]);
    signal.throwIfAborted();
    this.#events.voice(voice);
    this.#socket.addEventListener("close", (event) => {
      this.#end(event.code === 1000 ? null : new CallFailure(TROUBLES.connection_lost)); // 1000: the server hung up
    });
    if (this.#socket.readyState !== WebSocket.OPEN) throw new CallFailure(TROUBLES.connect_failed);
    this.#heartbeat.start();
    this.#events.stability(true);
  }

  /**
   * @param {WireEvent} event
   * @returns {boolean} false when there is nobody to tell any more
   */
  send(event) {
    if (this.#socket.readyState !== WebSocket.OPEN) return false;
    if (event.type === "output_audio_buffer.clear") {
      this.#stopped = this.#response;
      this.#sound.flush(); // here and now, not a round trip later
    }
    this.#socket.send(JSON.stringify(event));
    return true;
  }

  /**
   * Goes on with another microphone.
   * @param {MediaStream} microphone
   */
  async replaceMicrophone(microphone) {
    await this.#sound.listen(microphone);
  }

  /** Hangs up: the call and its conversation are over; they are released when this resolves. */
  close() {
    this.#hungUp ??= this.#hangUp();
    return this.#hungUp;
  }

  async #hangUp() {
    this.#release();
    if (this.#id) await api.hangUp(api.callLocation(this.#id), this.#secret);
    this.#socket.close(1000); // not before: the server would not know the call any more
  }

  #release() {
    if (this.#closed) return;
    this.#closed = true;
    this.#abort.abort();
    this.#heartbeat.stop();
    this.#sound.close();
  }

  /** Waits for `session.created`, or for the reason why there is none. */
  #opened() {
    const [socket, signal] = [this.#socket, this.#abort.signal];
    return /** @type {Promise<void>} */ (
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => finish(new CallFailure(TROUBLES.connect_failed)), CONNECT_DEADLINE_MS);
        socket.addEventListener("message", told);
        socket.addEventListener("close", closed);
        signal.addEventListener("abort", aborted);

        /** @param {MessageEvent} message */
        function told(message) {
          const event = parseEvent(message.data);
          if (event?.type === "session.created") finish(null);
          else if (event?.type === "error") finish(refusal(object(event.error)));
        }
        function closed() {
          finish(new CallFailure(TROUBLES.connect_failed));
        }
        function aborted() {
          finish(signal.reason);
        }

        /** @param {unknown} error */
        function finish(error) {
          clearTimeout(timer);
          socket.removeEventListener("message", told);
          socket.removeEventListener("close", closed);
          signal.removeEventListener("abort", aborted);
          if (error) reject(error);
          else resolve();
        }
      })
    );
  }

  /** Gives the connection up: the server keeps the conversation for a moment. */
  halt() {
    this.#release();
    this.#socket.close(CONNECTION_LOST);
  }

  drop() {
    this.halt();
  }

  /** @param {CallFailure | null} failure */
  #end(failure) {
    if (this.#closed) return;
    if (failure) this.halt();
    else {
      this.#release();
      this.#socket.close(1000);
    }
    this.#events.ended(failure);
  }

  /** @param {unknown} data */
  #received(data) {
    const event = parseEvent(data);
    if (!event || this.#closed) return;
    switch (event.type) {
      case "kame.pong":
        this.#heartbeat.answered(event);
        return;
      case "response.output_audio.delta":
        this.#play(event);
        return;
      case "response.output_audio.done":
        this.#sound.ended();
        break;
      case "output_audio_buffer.cleared":
        this.#sound.flush();
        break;
      case "output_audio_buffer.stopped":
        this.#sound.after(() => this.#events.message(event)); // it was sent; here it is still being heard
        return;
      case "session.created":
        this.#id = text(object(object(event.session).kame).call_id) || this.#id;
        break;
      default:
    }
    this.#events.message(event);
  }

  /** @param {WireEvent} event */
  #play(event) {
    this.#response = text(event.response_id);
    if (this.#response === this.#stopped) return;
    this.#sound.play(decode(text(event.delta)), text(event.item_id));
  }

  /**
   * What was sent, but not played, was not heard.
   * @param {string} item
   * @param {number} played_ms
   */
  #flushed(item, played_ms) {
    if (item.startsWith("item_") && this.#socket.readyState === WebSocket.OPEN) {
      this.send({ type: "conversation.item.truncate", item_id: item, content_index: 0, audio_end_ms: played_ms });
    }
  }

  /** @param {ArrayBuffer} piece */
  #captured(piece) {
    const socket = this.#socket;
    if (!this.#id || socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > MOST_WAITING_BYTES) return;
    socket.send(`{"type":"input_audio_buffer.append","audio":"${encode(piece)}"}`);
  }
}

/**
 * The server's `error` as if it were an HTTP answer, of which a browser would show nothing.
 * @param {Record<string, unknown>} error
 */
function refusal(error) {
  const [code, message] = [text(error.code), text(error.message)];
  const status = error.type === "server_error" ? 503 : /_key$|^origin_/.test(code) ? 401 : 400;
  return httpFailure(status, { code, message }, null, api.readPlace(error.kame));
}

/** @param {ArrayBuffer} piece */
function encode(piece) {
  return btoa(String.fromCharCode(...new Uint8Array(piece)));
}

/** @param {string} base64 */
function decode(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Int16Array(bytes.buffer, 0, bytes.length >> 1);
}
