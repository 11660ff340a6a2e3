/**
 * The page's one talk: asks for the microphone, opens the call, keeps the models, and says when something changed.
 * Knows no document; what is shown is the views' business.
 */

import * as api from "./api.js";
import { Call } from "./call.js";
import { Captions } from "./captions.js";
import { Facts } from "./facts.js";
import { asTrouble, CallFailure } from "./failure.js";
import { Floor } from "./floor.js";
import { openMicrophone, stopAll } from "./microphone.js";
import { Oracle } from "./oracle.js";
import { Sound } from "./sound.js";
import { MICROPHONE_GONE, QUIET_MICROPHONE, SYSTEM_MUTED, TROUBLES, WEAK_CONNECTION } from "./strings.js";
import { object, text } from "./wire.js";

/** @typedef {import("./types").Phase} Phase */
/** @typedef {import("./types").Trouble} Trouble */
/** @typedef {import("./types").WireEvent} WireEvent */
/** @typedef {"you" | "agent"} Side */

/** A microphone that gives no sound at all for this long is worth a word. */
const QUIET_AFTER_MS = 8_000;
const NOTICE_MS = 12_000;
/** Levels (0..1) over this count as sound. */
const AUDIBLE = 0.12;

/**
 * @typedef {object} StartOptions
 * @property {boolean} [withoutMicrophone] typed messages only; the answers are heard
 * @property {boolean} [check] sound check: one hears oneself back
 * @property {string} [say] a typed message to begin with
 */

export class Talk extends EventTarget {
  captions = new Captions();
  oracle = new Oracle();
  floor = new Floor();
  facts = new Facts();
  /** @type {number | null} */
  roundTrip_ms = null;
  /** @type {import("./types").Preferences} */
  preferences = { mode: null, opener: null };
  /** @type {Trouble | null} */
  trouble = null;
  /** Something worth knowing that ends nothing. */
  notice = "";
  muted = false;
  /** This call is (or was) a sound check. */
  check = false;
  /** What a sound check has found so far. */
  checked = { microphone: false, connection: false, sound: false };
  withoutMicrophone = false;
  /** The call is being taken up again after its connection broke. */
  resuming = false;

  /** @type {Phase} */
  #phase = "idle";
  #sound;
  #showLevel;
  /** @type {Call | null} */
  #call = null;
  /** @type {string | null} */
  #callId = null;
  /** @type {MediaStream | null} */
  #microphone = null;
  #abort = new AbortController();
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #second;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #noticeTimer;
  #heardMicrophone_ms = 0;
  #responseOpen = false;

  /**
   * @param {HTMLAudioElement} audio plays the agent
   * @param {(side: Side, level: number) => void} showLevel
   */
  constructor(audio, showLevel) {
    super();
    this.#showLevel = showLevel;
    this.#sound = new Sound(
      audio,
      (name, level) => this.#measured(/** @type {Side} */ (name), level),
      () => this.#changed(),
    );
  }

  /** @returns {Phase} */
  get phase() {
    return this.#phase === "listening" && !this.check ? this.floor.phase(performance.now()) : this.#phase;
  }

  /** A call is being made or runs. */
  get busy() {
    return this.#phase === "asking" || this.#phase === "connecting" || this.#phase === "listening";
  }

  /** Sound and messages flow. */
  get connected() {
    return this.#phase === "listening";
  }

  /** The browser wants one more tap before it plays sound. */
  get soundBlocked() {
    return this.#sound.blocked;
  }

  get callId() {
    return this.#callId;
  }

  /**
   * Begins a talk. Must be called from a click or a key, or browsers keep sound and microphone back.
   * @param {StartOptions} [options]
   */
  async start(options = {}) {
    if (this.busy) return;
    this.#reset(options);
    const abort = new AbortController();
    this.#abort = abort;
    this.#sound.unlock();
    try {
      if (!("RTCPeerConnection" in window)) throw new CallFailure(TROUBLES.browser_too_old);
      this.#enter("asking");
      await this.#openMicrophone(abort.signal);
      this.#enter("connecting");
      await this.#connect(abort.signal, null);
      this.#connected();
      if (options.say) this.sendText(options.say);
    } catch (error) {
      if (!abort.signal.aborted) this.#fail(asTrouble(error));
    }
  }

  /** Ends the talk, or the attempt to begin one. */
  end() {
    if (!this.busy) return;
    const spoken = this.connected;
    this.#release();
    this.#enter(spoken ? "ended" : "idle");
  }

  /** Stops the agent's answer. */
  interrupt() {
    if (this.#responseOpen) this.#call?.send({ type: "response.cancel" });
    this.#call?.send({ type: "output_audio_buffer.clear" });
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    if (!this.connected || this.withoutMicrophone || this.muted === muted) return;
    this.muted = muted;
    this.#applyMuted();
    this.#heardMicrophone_ms = performance.now();
    this.dispatchEvent(new CustomEvent("muted"));
    this.#changed();
  }

  /**
   * A typed message; the agent answers it aloud.
   * @param {string} words
   */
  sendText(words) {
    const said = words.trim();
    if (!said || !this.connected || this.check) return;
    const id = `item_${[...crypto.getRandomValues(new Uint32Array(3))].map((n) => n.toString(36)).join("")}`;
    const item = { id, type: "message", role: "user", content: [{ type: "input_text", text: said }] };
    if (this.phase === "speaking" || this.#responseOpen) this.interrupt();
    if (!this.#call?.send({ type: "conversation.item.create", item })) return;
    this.#call.send({ type: "response.create" });
    this.captions.typed(id, said);
    this.#changed();
  }

  /** @param {Partial<import("./types").Preferences>} wanted applies from the next turn on */
  setPreferences(wanted) {
    this.preferences = { ...this.preferences, ...wanted };
    if (this.connected && !this.check) this.#sendPreferences();
    this.#changed();
  }

  /** The second tap some browsers want. Must be called from a click. */
  allowSound() {
    this.#sound.allow();
  }

  dismissNotice() {
    this.#setNotice("");
  }

  /** The page is being left: end everything now, waiting for nothing. */
  leave() {
    this.end();
  }

  // --- beginning ---

  /** @param {StartOptions} options */
  #reset(options) {
    this.#release();
    this.captions.clear();
    this.oracle.clear();
    this.floor = new Floor();
    this.facts = new Facts();
    this.roundTrip_ms = null;
    this.trouble = null;
    this.muted = false;
    this.check = options.check === true;
    this.withoutMicrophone = options.withoutMicrophone === true;
    this.checked = { microphone: false, connection: false, sound: false };
    this.#callId = null;
  }

  /** @param {AbortSignal} signal */
  async #openMicrophone(signal) {
    const stream = this.withoutMicrophone ? this.#sound.silence() : await openMicrophone(signal);
    this.#microphone = stream;
    if (this.withoutMicrophone) return;
    this.#sound.measure("you", stream);
    const track = stream.getAudioTracks()[0];
    track?.addEventListener("ended", () => {
      if (this.#microphone === stream) this.#fail({ ...TROUBLES.microphone_missing, text: MICROPHONE_GONE });
    });
    track?.addEventListener("mute", () => this.#microphone === stream && this.#setNotice(SYSTEM_MUTED, true));
    track?.addEventListener("unmute", () => this.notice === SYSTEM_MUTED && this.#setNotice(""));
  }

  /**
   * @param {AbortSignal} signal
   * @param {Record<string, unknown> | null} session
   */
  async #connect(signal, session) {
    const [iceServers, secret] = await Promise.all([api.iceServers(signal), api.clientSecret(signal)]);
    signal.throwIfAborted();
    const call = new Call(
      { microphone: /** @type {MediaStream} */ (this.#microphone), iceServers, secret, echo: this.check },
      {
        message: (event) => this.#call === call && this.#received(event),
        voice: (stream) => this.#call === call && this.#sound.play(stream),
        stability: (stable) => this.#stability(stable),
        roundTrip: (rtt_ms) => {
          this.roundTrip_ms = this.roundTrip_ms === null ? rtt_ms : this.roundTrip_ms * 0.8 + rtt_ms * 0.2;
        },
        ended: (failure) => this.#call === call && this.#callEnded(failure),
      },
    );
    this.#call = call;
    signal.addEventListener("abort", () => call.close(), { once: true });
    await call.connect(session);
    this.#callId = call.id;
  }

  #connected() {
    this.resuming = false;
    this.checked.connection = true;
    this.#heardMicrophone_ms = performance.now();
    this.#applyMuted();
    if (this.preferences.mode !== null || this.preferences.opener !== null) this.#sendPreferences();
    clearInterval(this.#second);
    this.#second = setInterval(() => this.#eachSecond(), 1000);
    this.#enter("listening");
  }

  #sendPreferences() {
    if (this.check) return;
    const { mode, opener } = this.preferences;
    const kame = { ...(mode !== null && { mode }), ...(opener !== null && { opener }) };
    this.#call?.send({ type: "session.update", session: { type: "realtime", kame } });
  }

  #applyMuted() {
    for (const track of this.#microphone?.getAudioTracks() ?? []) track.enabled = !this.muted;
  }

  // --- while it runs ---

  /** @param {WireEvent} event */
  #received(event) {
    const now_ms = performance.now();
    let changed = this.captions.handle(event);
    changed = this.oracle.handle(event) || changed;
    changed = this.facts.handle(event) || changed;
    changed = this.floor.handle(event, now_ms) || changed;
    if (this.#troubled(event) || changed) this.#changed();
    if (event.type === "response.created") this.#responseOpen = true;
    if (event.type === "response.done") this.#responseOpen = false;
  }

  /**
   * @param {WireEvent} event
   * @returns {boolean}
   */
  #troubled(event) {
    switch (event.type) {
      case "kame.trouble":
        if (event.fatal === true) {
          const words = text(event.message) || TROUBLES.conversation_failed.text;
          this.#fail({ ...TROUBLES.conversation_failed, code: text(event.code) || "conversation_failed", text: words });
        } else this.#setNotice(text(event.message));
        return true;
      case "error":
        return this.#clientError(object(event.error));
      default:
        return false;
    }
  }

  /** @param {Record<string, unknown>} error */
  #clientError(error) {
    // Stopping an answer that has just ended by itself is no trouble.
    if (text(error.code) === "response_cancel_not_active") return false;
    this.#setNotice(text(error.message));
    return true;
  }

  /**
   * @param {Side} side
   * @param {number} level
   */
  #measured(side, level) {
    this.#showLevel(side, side === "you" && this.muted ? 0 : level);
    if (level < AUDIBLE) return;
    if (side === "you") {
      this.#heardMicrophone_ms = performance.now();
      if (this.notice === QUIET_MICROPHONE) this.#setNotice("");
    }
    if (!this.check || !this.connected) return;
    const found = side === "you" ? "microphone" : "sound";
    if (this.checked[found]) return;
    this.checked[found] = true;
    this.#changed();
  }

  #eachSecond() {
    const quiet_ms = performance.now() - this.#heardMicrophone_ms;
    if (!this.#sound.measures || this.muted || this.withoutMicrophone) this.#heardMicrophone_ms = performance.now();
    else if (quiet_ms > QUIET_AFTER_MS && !this.notice) this.#setNotice(QUIET_MICROPHONE, true);
    this.#changed(); // "thinking" may have run out
  }

  /** @param {boolean} stable */
  #stability(stable) {
    if (!stable) this.#setNotice(WEAK_CONNECTION, true);
    else if (this.notice === WEAK_CONNECTION) this.#setNotice("");
  }

  /**
   * @param {string} words empty: none
   * @param {boolean} [stays] until its cause is gone
   */
  #setNotice(words, stays = false) {
    clearTimeout(this.#noticeTimer);
    this.notice = words;
    if (words && !stays) this.#noticeTimer = setTimeout(() => this.#setNotice(""), NOTICE_MS);
    this.#changed();
  }

  // --- the end ---

  /** @param {CallFailure | null} failure */
  #callEnded(failure) {
    if (failure && this.facts.resume) void this.#takeUpAgain(failure);
    else if (failure) this.#fail(failure.trouble);
    else {
      this.#release();
      this.#enter("ended");
    }
  }

  /**
   * The server keeps a conversation for a moment after its connection broke; one attempt is made to go on with it.
   * The broken call is given up only when that fails: giving it up ends the conversation.
   * @param {CallFailure} failure
   */
  async #takeUpAgain(failure) {
    const { signal } = this.#abort;
    const session = { type: "realtime", kame: { resume: this.facts.resume } };
    const broken = this.#call;
    this.facts.resume = "";
    this.resuming = true;
    this.floor = new Floor();
    this.#responseOpen = false;
    clearInterval(this.#second);
    this.#setNotice("");
    this.#enter("connecting");
    try {
      await this.#connect(signal, session);
      this.#connected();
    } catch {
      broken?.close();
      if (!signal.aborted) this.#fail(failure.trouble);
    }
  }

  /** @param {Trouble} trouble */
  #fail(trouble) {
    this.#release();
    this.trouble = trouble;
    this.#enter("error");
  }

  /** Gives everything back. */
  #release() {
    this.#abort.abort();
    this.#call?.close();
    this.#call = null;
    clearInterval(this.#second);
    clearTimeout(this.#noticeTimer);
    this.notice = "";
    this.resuming = false;
    this.#responseOpen = false;
    const microphone = this.#microphone;
    this.#microphone = null; // before its tracks end: that is no loss of the microphone now
    if (microphone) stopAll(microphone);
    this.#sound.close();
    this.captions.close();
    this.oracle.close();
  }

  /** @param {Phase} phase */
  #enter(phase) {
    this.#phase = phase;
    this.dispatchEvent(new CustomEvent("phase"));
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new CustomEvent("change"));
  }
}
