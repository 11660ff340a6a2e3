/**
 * The page's one talk: asks for the microphone, opens the call, keeps the models, and says when something changed.
 * Knows no document; what is shown is the views' business.
 */

import { Caller } from "./caller.js";
import { Choices } from "./choices.js";
import { Conversation } from "./conversation.js";
import { asTrouble, CallFailure, fatalTrouble } from "./failure.js";
import { Gate } from "./gate.js";
import { Hearing } from "./hearing.js";
import { Line } from "./line.js";
import { Notice } from "./notice.js";
import { Sound } from "./sound.js";
import { texts, TROUBLES } from "./strings.js";
import { typedMessage } from "./wire.js";

/** @typedef {import("./types").Phase} Phase */
/** @typedef {import("./types").StartOptions} StartOptions */
/** @typedef {import("./types").Trouble} Trouble */

export class Talk extends EventTarget {
  #conversation = new Conversation();
  captions = this.#conversation.captions;
  oracle = this.#conversation.oracle;
  /** The turn that is being lived, or was the last. */
  turn = this.#conversation.turn;
  /** How fast the modes answered; kept from call to call. */
  measured = this.#conversation.measured;
  /** Something worth knowing that ends nothing. */
  notice = new Notice(() => this.#changed());
  /** How long this caller has been waiting for a place, in ms. */
  waited_ms = 0;
  /** The place in the queue, from 1; 0: not told. */
  position = 0;
  /** @type {Trouble | null} */
  trouble = null;
  /** This call is (or was) a sound check. */
  check = false;
  withoutMicrophone = false;
  /** The call is being taken up again after its connection broke. */
  resuming = false;
  /** The server ended the call, and not because of a trouble. */
  endedByServer = false;

  /** @type {Phase} */
  #phase = "idle";
  #stale = false;
  #sound;
  #line;
  #hearing;
  #gate;
  #caller;
  #choices;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #second;

  /**
   * @param {HTMLAudioElement} audio plays the agent
   * @param {(who: import("./types").Who, level: number) => void} showLevel
   * @param {import("./connection.js").Mint | null} [mint] gives the keys of calls; default: this page's own
   */
  constructor(audio, showLevel, mint = null) {
    super();
    const changed = () => this.#changed();
    this.#line = new Line({
      opened: (stream) => this.#sound.measure("you", stream),
      lost: () => this.#fail({ ...TROUBLES.microphone_missing, text: texts.notices.microphone_gone }),
      systemMuted: (muted) => this.notice.showWhile(texts.notices.system_muted, muted),
    });
    const checking = () => this.check && this.connected;
    this.#hearing = new Hearing(this.#line, this.notice, checking, { level: showLevel, found: changed });
    this.#gate = new Gate(() => this.pushToTalk, {
      set: (open) => this.#line.set(open),
      said: () => this.#caller.send({ type: "input_audio_buffer.commit" }), // once it is one, it is answered
    });
    this.#caller = new Caller(mint, {
      message: (event) => this.#received(event),
      voice: (stream) => this.#sound.play(stream),
      stability: (stable) => this.notice.showWhile(texts.notices.weak, !stable),
      ended: (failure) => this.#callEnded(failure),
    });
    this.#sound = new Sound(audio, (who, level) => this.#hearing.measured(who, level), changed);
    this.#choices = new Choices(
      { sound: this.#sound, line: this.#line, gate: this.#gate, caller: this.#caller, notice: this.notice },
      () => this.#tell("preferences"),
      (trouble) => this.#fail(trouble),
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

  get preferences() {
    return this.#choices.preferences;
  }

  get floor() {
    return this.#conversation.floor;
  }

  get facts() {
    return this.#conversation.facts;
  }

  get callId() {
    return this.#caller.id;
  }

  get roundTrip_ms() {
    return this.#caller.roundTrip_ms;
  }

  get muted() {
    return this.#gate.muted;
  }

  /** What a sound check has found so far. */
  get checked() {
    return this.#hearing.found;
  }

  /** The talk button is held down (push to talk). */
  get held() {
    return this.#gate.held;
  }

  /** What was recorded of the last call; null: nothing. */
  get recording() {
    return this.#sound.recorded;
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
    const signal = this.#caller.begin();
    try {
      if (!("AudioWorkletNode" in window)) throw new CallFailure(TROUBLES.browser_too_old);
      this.#sound.unlock();
      this.#enter("asking");
      this.#choices.settle();
      if (this.withoutMicrophone) this.#line.stay(this.#sound.silence());
      else await this.#line.open(this.preferences, signal);
      this.#enter("connecting");
      const session = this.check ? null : this.#choices.session;
      await this.#caller.open(this.#wish(session), (waited_ms, position) => this.#wait(waited_ms, position));
      this.#connected();
      if (options.say) this.sendText(options.say);
    } catch (error) {
      if (!signal.aborted) this.#fail(asTrouble(error));
    }
  }

  /** Ends the talk, or the attempt to begin one; at once, waiting for nothing. */
  end() {
    if (!this.busy) return;
    const spoken = this.connected;
    this.#release();
    this.#enter(spoken ? "ended" : "idle");
  }

  /** Stops the agent's answer. */
  interrupt() {
    if (this.#conversation.answering) this.#caller.send({ type: "response.cancel" });
    this.#caller.send({ type: "output_audio_buffer.clear" });
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    if (!this.busy || this.withoutMicrophone || this.pushToTalk || this.muted === muted) return;
    this.#gate.mute(muted);
    this.#tell("muted");
  }

  /**
   * Push to talk: the button goes down, or up. What was said in between is one turn.
   * @param {boolean} down
   */
  hold(down) {
    if (!this.pushToTalk || !this.connected || this.held === down) return;
    if (down && this.phase !== "listening") this.interrupt();
    this.#gate.hold(down);
    this.#changed();
  }

  /** Begins to record both sides, or ends it. */
  toggleRecording() {
    if (this.isRecording) this.#sound.stopRecording();
    else if (this.connected) this.#sound.record();
    this.#changed();
  }

  /**
   * A typed message; the agent answers it aloud.
   * @param {string} words
   */
  sendText(words) {
    const said = words.trim();
    if (!said || !this.connected || this.check) return;
    const { id, event } = typedMessage(said);
    if (this.phase === "speaking" || this.#conversation.answering) this.interrupt();
    if (!this.#caller.send(event)) return;
    this.#caller.send({ type: "response.create" });
    this.captions.typed(id, said);
    this.#changed();
  }

  /**
   * What the page around knows of the person's situation, for the language model; in place of what it said before.
   * @param {string} context
   */
  setContext(context) {
    this.#choices.setContext(context, this.#running);
  }

  /** @param {Partial<import("./types").Preferences>} wanted what concerns the server applies from the next turn on */
  setPreferences(wanted) {
    this.#choices.choose(wanted, this.#running);
    this.#changed();
  }

  /** The second tap some browsers want. Must be called from a click. */
  allowSound() {
    this.#sound.allow();
  }

  // --- beginning ---

  /** @param {StartOptions} options */
  #reset(options) {
    this.#release();
    this.#stale = true;
    this.trouble = null;
    this.waited_ms = 0;
    this.endedByServer = false;
    this.check = options.check === true;
    this.withoutMicrophone = options.withoutMicrophone === true;
    this.#hearing.clear();
    this.#gate.mute(options.muted === true && !this.withoutMicrophone);
  }

  /** What was said in the call before stays to be read until the new one stands. */
  #clearStale() {
    if (this.#stale) this.#conversation.clear();
    this.#stale = false;
  }

  /** @param {Record<string, unknown> | null} session what the call is to begin with */
  #wish(session) {
    return { microphone: /** @type {MediaStream} */ (this.#line.stream), echo: this.check, session };
  }

  #connected() {
    this.#clearStale();
    this.resuming = false;
    this.#hearing.found.connection = true;
    this.#gate.apply();
    clearInterval(this.#second);
    this.#second = setInterval(() => this.#eachSecond(), 1000);
    this.#enter("listening");
    this.#choices.catchUp(this.#running);
  }

  /**
   * There is no place for this call yet.
   * @param {number} waited_ms
   * @param {number} position
   */
  #wait(waited_ms, position) {
    this.waited_ms = waited_ms;
    this.position = position;
    if (this.#phase === "queued") this.#changed();
    else this.#enter("queued");
  }

  // --- while it runs ---

  get #running() {
    return this.connected ? { session: !this.check, microphone: !this.withoutMicrophone } : null;
  }

  /** @param {import("./types").WireEvent} event */
  #received(event) {
    this.#clearStale();
    if (this.#conversation.handle(event, performance.now())) this.#changed();
    if (event.type === "kame.trouble" && event.fatal === true) return this.#fail(fatalTrouble(event));
    this.#choices.handle(event, this.facts.mode);
    this.notice.handle(event);
    if (event.type === "input_audio_buffer.committed" && this.pushToTalk) this.#caller.send({ type: "response.create" });
  }

  #eachSecond() {
    this.#hearing.eachSecond(this.#sound.measures && !this.withoutMicrophone);
    this.#changed(); // "thinking" may have run out
  }

  // --- the end ---

  /** @param {CallFailure | null} failure */
  #callEnded(failure) {
    if (failure && this.facts.resume) void this.#takeUpAgain(failure);
    else if (failure) this.#fail(failure.trouble);
    else {
      this.#release();
      this.endedByServer = !this.check; // a sound check's connection tells no more than that it is over
      this.#enter("ended");
    }
  }

  /**
   * The server keeps a conversation for a moment after its connection broke: the talk goes on with it.
   * @param {CallFailure} failure
   */
  async #takeUpAgain(failure) {
    const { signal } = this.#caller;
    const session = { type: "realtime", kame: { resume: this.facts.resume } }; // all else was agreed before
    this.facts.resume = "";
    this.resuming = true;
    this.#choices.settle();
    this.#gate.close(); // the button may be let go while nobody looks
    this.#conversation.pause();
    clearInterval(this.#second);
    this.notice.dismiss();
    this.#enter("connecting");
    try {
      await this.#caller.resume(this.#wish(session));
      this.#connected();
    } catch {
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
    this.#caller.close();
    clearInterval(this.#second);
    this.#gate.close();
    this.notice.close();
    this.resuming = false;
    this.#line.close();
    this.#sound.close();
    this.#conversation.close();
  }

  /** @param {Phase} phase */
  #enter(phase) {
    this.#phase = phase;
    this.#tell("phase");
  }

  /** @param {"phase" | "muted" | "preferences"} what is another */
  #tell(what) {
    this.dispatchEvent(new CustomEvent(what));
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new CustomEvent("change"));
  }
}
