/** What was chosen for calls: told to the server and put into effect at once, also in the middle of a call. */

import { asTrouble } from "./failure.js";
import { changedSession, DEFAULTS, microphoneWishes, openingSession } from "./preferences.js";
import { texts } from "./strings.js";

/** @typedef {import("./types").Preferences} Preferences */
/** @typedef {import("./types").MicrophoneWishes} MicrophoneWishes */

/**
 * @typedef {object} Parts
 * @property {import("./sound.js").Sound} sound
 * @property {import("./line.js").Line} line
 * @property {import("./gate.js").Gate} gate
 * @property {import("./caller.js").Caller} caller
 * @property {import("./notice.js").Notice} notice
 */

/**
 * @typedef {object} Running the call that runs
 * @property {boolean} session it has one: no sound check
 * @property {boolean} microphone it has one: not for typed messages only
 */

export class Choices {
  #parts;
  #changed;
  #failed;
  /** @type {Preferences} */
  #preferences = { ...DEFAULTS };
  #context = "";

  /**
   * @param {Parts} parts
   * @param {() => void} changed a choice could not be kept
   * @param {(trouble: import("./types").Trouble) => void} failed the call cannot go on
   */
  constructor(parts, changed, failed) {
    this.#parts = parts;
    this.#changed = changed;
    this.#failed = failed;
  }

  get preferences() {
    return this.#preferences;
  }

  /** The wire `session` to begin a call with; null: the server's own. */
  get session() {
    return openingSession(this.#preferences, this.#context);
  }

  /**
   * What the page around knows of the person's situation, in place of what it said before.
   * @param {string} context
   * @param {Running | null} running
   */
  setContext(context, running) {
    if (this.#context === context) return;
    this.#context = context;
    if (running) this.#update({ type: "realtime", kame: { context } });
  }

  /**
   * @param {Partial<Preferences>} wanted
   * @param {Running | null} running
   */
  choose(wanted, running) {
    const before = this.#preferences;
    const after = { ...before, ...wanted };
    this.#preferences = after;
    this.#parts.sound.setVolume(after.volume);
    if (before.speaker !== after.speaker) void this.#changeSpeaker(after.speaker);
    if (!running) return;
    const session = running.session ? changedSession(before, after) : null;
    if (session) this.#update(session);
    const [old, wishes] = [microphoneWishes(before), microphoneWishes(after)];
    const same = JSON.stringify(old) === JSON.stringify(wishes);
    if (running.microphone && !same) void this.#changeMicrophone(old, wishes);
    if (before.pushToTalk !== after.pushToTalk) this.#parts.gate.switched();
  }

  /** @param {Record<string, unknown>} session */
  #update(session) {
    this.#parts.caller.send({ type: "session.update", session });
  }

  /** @param {string} speaker */
  async #changeSpeaker(speaker) {
    try {
      await this.#parts.sound.setSpeaker(speaker);
    } catch {
      this.#preferences = { ...this.#preferences, speaker: "" }; // it is gone; the system's choice plays on
      this.#changed();
    }
  }

  /**
   * The microphone, or the way it is to be heard, is another one in the middle of a call.
   * @param {MicrophoneWishes} before
   * @param {MicrophoneWishes} wishes
   */
  async #changeMicrophone(before, wishes) {
    const { line, caller, notice } = this.#parts;
    const { signal } = caller;
    try {
      const met = await line.exchange(wishes, before, signal, (stream) => caller.replaceMicrophone(stream));
      if (met) return;
      this.#preferences = { ...this.#preferences, ...before };
      notice.show(texts.notices.device_failed);
    } catch (error) {
      if (!signal.aborted) this.#failed(asTrouble(error));
    }
  }
}
