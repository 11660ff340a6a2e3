/**
 * The page's one talk: asks for the microphone, opens the call, keeps the models, and says when something changed.
 * Knows no document; what is shown is the views' business.
 */

import { Captions } from "./captions.js";
import { Dialer } from "./connection.js";
import { Facts } from "./facts.js";
import { asTrouble, CallFailure } from "./failure.js";
import { Floor } from "./floor.js";
import { Line } from "./line.js";
import { Measured } from "./measured.js";
import { Oracle } from "./oracle.js";
import { changedSession, DEFAULTS, openingSession } from "./preferences.js";
import { queued } from "./queue.js";
import { Sound } from "./sound.js";
import { duration, fill, texts, TROUBLES } from "./strings.js";
import { readTiming } from "./timing.js";
import { list, number, object, text } from "./wire.js";

/** @typedef {import("./types").Phase} Phase */
/** @typedef {import("./types").Trouble} Trouble */
/** @typedef {import("./types").WireEvent} WireEvent */
/** @typedef {"you" | "agent"} Side */

const NOTICE_MS = 12_000;
/** Levels (0..1) over this count as sound. */
const AUDIBLE = 0.12;
const WISHES = /** @type {const} */ (["microphone", "echoCancellation", "noiseSuppression", "autoGainControl"]);
/** Push to talk: people let go while the last sound is still on its way. */
const HOLD_TAIL_MS = 180;

/**
 * @typedef {object} StartOptions
 * @property {boolean} [withoutMicrophone] typed messages only; the answers are heard
 * @property {boolean} [check] sound check: one hears oneself back
 * @property {string} [say] a typed message to begin with
 * @property {boolean} [muted] begin with the microphone off
 */

export class Talk extends EventTarget {
  captions = new Captions();
  oracle = new Oracle();
  floor = new Floor();
  facts = new Facts();
  /** @type {number | null} */
  roundTrip_ms = null;
  /** @type {import("./types").Preferences} */
  preferences = { ...DEFAULTS };
  /** How fast the modes answered; kept from call to call. */
  measured = new Measured();
  /** What was recorded of the last call; null: nothing. @type {Blob | null} */
  recording = null;
  /** The talk button is held down (push to talk). */
  held = false;
  /** How long this caller has been waiting for a place, in ms. */
  waited_ms = 0;
  /** The place in the queue, from 1; 0: not told. */
  position = 0;
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
  #line;
  #dialer;
  #context = "";
  /** @type {import("./connection.js").OpenCall | null} */
  #call = null;
  /** @type {string | null} */
  #callId = null;
  #abort = new AbortController();
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #second;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #noticeTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #holdTimer;
  #responseOpen = false;
  /** What was said of the call's end. */
  #endingNotice = "";

  /**
   * @param {HTMLAudioElement} audio plays the agent
   * @param {(side: Side, level: number) => void} showLevel
   * @param {import("./connection.js").Mint | null} [mint] gives the keys of calls; default: this page's own
   */
  constructor(audio, showLevel, mint = null) {
    super();
    this.#dialer = new Dialer(mint);
    this.#showLevel = showLevel;
    this.#line = new Line({
      opened: (stream) => this.#sound.measure("you", stream),
      lost: () => this.#fail({ ...TROUBLES.microphone_missing, text: texts.notices.microphone_gone }),
      systemMuted: (muted) => this.#systemMuted(muted),
    });
    this.#sound = new Sound(
      audio,
      (name, level) => this.#measured(/** @type {Side} */ (name), level),
      () => this.#changed(),
      (recording) => {
        this.recording = recording.size > 0 ? recording : null;
        this.#changed();
      },
    );
  }

  /** @returns {Phase} */
  get phase() {
    return this.#phase === "listening" && !this.check ? this.floor.phase(performance.now()) : this.#phase;
  }

  /** A call is being made or runs. */
  get busy() {
    return ["asking", "queued", "connecting", "listening"].includes(this.#phase);
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

  /** Both sides are being recorded. */
  get isRecording() {
    return this.#sound.recording;
  }

  /** The microphone is open only while the button is held. */
  get pushToTalk() {
    return this.preferences.pushToTalk && !this.check && !this.withoutMicrophone;
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
      if (!("AudioWorkletNode" in window)) throw new CallFailure(TROUBLES.browser_too_old);
      this.#enter("asking");
      if (this.withoutMicrophone) this.#line.stay(this.#sound.silence());
      else await this.#line.open(this.preferences, abort.signal);
      this.#enter("connecting");
      const session = this.check ? null : openingSession(this.preferences, this.#context);
      await queued(
        (ticket) => this.#connect(abort.signal, session, ticket),
        (waited_ms, position) => this.#wait(waited_ms, position),
        abort.signal,
      );
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
    if (!this.connected || this.withoutMicrophone || this.pushToTalk || this.muted === muted) return;
    this.muted = muted;
    this.#applyMuted();
    this.dispatchEvent(new CustomEvent("muted"));
    this.#changed();
  }

  /**
   * Push to talk: the button goes down, or up. What was said in between is one turn.
   * @param {boolean} down
   */
  hold(down) {
    if (!this.pushToTalk || !this.connected || this.held === down) return;
    this.held = down;
    clearTimeout(this.#holdTimer);
    if (down) {
      if (this.phase !== "listening") this.interrupt();
      this.muted = false;
      this.#applyMuted();
    } else {
      this.#holdTimer = setTimeout(() => {
        this.#applyMuted();
        this.#call?.send({ type: "input_audio_buffer.commit" }); // once it is one, it is answered
      }, HOLD_TAIL_MS);
    }
    this.#changed();
  }

  /** Begins to record both sides, or ends it. */
  toggleRecording() {
    if (this.#sound.recording) this.#sound.stopRecording();
    else if (this.connected) {
      this.recording = null;
      this.#sound.record();
    }
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

  /**
   * What the page around knows of the person's situation, for the language model; in place of what it said before.
   * @param {string} context
   */
  setContext(context) {
    if (this.#context === context) return;
    this.#context = context;
    if (this.connected) this.#call?.send({ type: "session.update", session: { type: "realtime", kame: { context } } });
  }

  /** @param {Partial<import("./types").Preferences>} wanted what concerns the server applies from the next turn on */
  setPreferences(wanted) {
    const before = this.preferences;
    const after = { ...before, ...wanted };
    this.preferences = after;
    this.#sound.setVolume(after.volume);
    if (before.speaker !== after.speaker) void this.#changeSpeaker();
    if (this.connected) {
      const session = this.check ? null : changedSession(before, after);
      if (session) this.#call?.send({ type: "session.update", session });
      if (WISHES.some((wish) => before[wish] !== after[wish])) {
        void this.#changeMicrophone(before);
      }
      if (before.pushToTalk !== after.pushToTalk) {
        this.held = false;
        this.#applyMuted();
      }
    }
    this.#changed();
  }

  async #changeSpeaker() {
    try {
      await this.#sound.setSpeaker(this.preferences.speaker);
    } catch {
      this.preferences = { ...this.preferences, speaker: "" }; // it is gone; the system's choice plays on
    }
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
    this.muted = options.muted === true && !options.withoutMicrophone;
    this.held = false;
    this.waited_ms = 0;
    this.recording = null;
    this.check = options.check === true;
    this.withoutMicrophone = options.withoutMicrophone === true;
    this.checked = { microphone: false, connection: false, sound: false };
    this.#callId = null;
    this.#applyMuted();
  }

  /**
   * The chosen microphone, or the way it is to be heard, is another one in the middle of a call.
   * @param {import("./types").Preferences} before
   */
  async #changeMicrophone(before) {
    const [call, { signal }] = [this.#call, this.#abort];
    if (!call || this.withoutMicrophone) return;
    try {
      const wishes = this.preferences;
      if (await this.#line.exchange(wishes, before, signal, (stream) => call.replaceMicrophone(stream))) return;
      this.preferences = { ...this.preferences, ...pick(before, WISHES) };
      this.#setNotice(texts.notices.device_failed);
    } catch (error) {
      if (!signal.aborted) this.#fail(asTrouble(error));
    }
  }

  /** @param {boolean} muted by the system or the headset */
  #systemMuted(muted) {
    const words = texts.notices.system_muted;
    if (muted) this.#setNotice(words, true);
    else if (this.notice === words) this.#setNotice("");
  }

  /**
   * @param {AbortSignal} signal
   * @param {Record<string, unknown> | null} session
   * @param {string} [ticket] of the queue
   */
  async #connect(signal, session, ticket = "new") {
    const microphone = /** @type {MediaStream} */ (this.#line.stream);
    /** @type {import("./connection.js").OpenCall | null} */
    let current = null;
    await this.#dialer.open(
      { microphone, echo: this.check, ticket, session },
      {
        message: (event) => this.#call === current && this.#received(event),
        voice: (stream) => this.#call === current && this.#sound.play(stream),
        stability: (stable) => this.#stability(stable),
        roundTrip: (rtt_ms) => {
          this.roundTrip_ms = this.roundTrip_ms === null ? rtt_ms : this.roundTrip_ms * 0.8 + rtt_ms * 0.2;
        },
        ended: (failure) => this.#call === current && this.#callEnded(failure),
      },
      signal,
      (call) => (this.#call = current = call),
    );
    this.#callId = this.#call?.id ?? null;
  }

  #connected() {
    this.resuming = false;
    this.checked.connection = true;
    this.#applyMuted();
    clearInterval(this.#second);
    this.#second = setInterval(() => this.#eachSecond(), 1000);
    this.#enter("listening");
  }

  /**
   * There is no place for this call yet.
   * @param {number} waited_ms
   * @param {number} position
   */
  #wait(waited_ms, position) {
    this.waited_ms = waited_ms;
    this.position = position;
    this.#call?.close();
    this.#call = null;
    if (this.#phase === "queued") this.#changed();
    else this.#enter("queued");
  }

  #applyMuted() {
    this.#line.set(this.pushToTalk ? this.held : !this.muted);
  }

  // --- while it runs ---

  /** @param {WireEvent} event */
  #received(event) {
    const now_ms = performance.now();
    if (event.type === "kame.turn.timing") this.measured.add(readTiming(event));
    let changed = this.captions.handle(event);
    changed = this.oracle.handle(event) || changed;
    changed = this.facts.handle(event) || changed;
    changed = this.floor.handle(event, now_ms) || changed;
    if (this.#troubled(event) || changed) this.#changed();
    if (event.type === "input_audio_buffer.committed" && this.pushToTalk) this.#call?.send({ type: "response.create" });
    if (event.type === "response.created") this.#responseOpen = true;
    if (event.type === "response.done") {
      this.#responseOpen = false;
      const response = object(event.response);
      this.captions.goesOn(text(object(list(response.output)[0]).id), this.oracle.unread(text(response.id)));
    }
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
      case "kame.ending":
        this.#ending(event);
        return true;
      case "error":
        return this.#clientError(object(event.error));
      default:
        return false;
    }
  }

  /**
   * The server will end the call, or will not after all.
   * @param {WireEvent} event
   */
  #ending(event) {
    const warnings = {
      time_limit: texts.notices.ending_time_limit,
      idle: texts.notices.ending_idle,
      server_shutdown: texts.notices.ending_server_shutdown,
    };
    const words = warnings[/** @type {keyof typeof warnings} */ (text(event.reason))];
    const in_s = number(event.in_s);
    if (in_s === null) {
      if (this.notice === this.#endingNotice) this.#setNotice("");
    } else if (words) {
      this.#endingNotice = fill(words, { time: duration(in_s * 1000) });
      this.#setNotice(this.#endingNotice, true);
    }
  }

  /** @param {Record<string, unknown>} error */
  #clientError(error) {
    // Stopping an answer that has just ended by itself is no trouble.
    if (text(error.code) === "response_cancel_not_active") return false;
    const nothing = text(error.code) === "input_audio_buffer_commit_empty";
    this.#setNotice(nothing ? texts.notices.nothing_said : text(error.message));
    return true;
  }

  /**
   * @param {Side} side
   * @param {number} level
   */
  #measured(side, level) {
    this.#showLevel(side, side === "you" && !this.#line.isOpen ? 0 : level);
    if (level < AUDIBLE) return;
    if (side === "you") {
      this.#line.heard();
      if (this.notice === texts.notices.quiet_microphone) this.#setNotice("");
    }
    if (!this.check || !this.connected) return;
    const found = side === "you" ? "microphone" : "sound";
    if (this.checked[found]) return;
    this.checked[found] = true;
    this.#changed();
  }

  #eachSecond() {
    const measured = this.#sound.measures && !this.withoutMicrophone;
    const quiet = this.#line.isQuiet(measured, performance.now());
    if (quiet && !this.notice) this.#setNotice(texts.notices.quiet_microphone, true);
    this.#changed(); // "thinking" may have run out
  }

  /** @param {boolean} stable */
  #stability(stable) {
    if (!stable) this.#setNotice(texts.notices.weak, true);
    else if (this.notice === texts.notices.weak) this.#setNotice("");
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
    const session = { type: "realtime", kame: { resume: this.facts.resume } }; // all else was agreed before
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
    clearTimeout(this.#holdTimer);
    this.held = false;
    this.notice = "";
    this.resuming = false;
    this.#responseOpen = false;
    this.#line.close();
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

/**
 * @template {object} T
 * @template {keyof T} K
 * @param {T} from
 * @param {readonly K[]} names
 * @returns {Pick<T, K>}
 */
function pick(from, names) {
  return /** @type {Pick<T, K>} */ (Object.fromEntries(names.map((name) => [name, from[name]])));
}
