/** What was chosen for calls: told to the server and put into effect at once, also in the middle of a call. */

import { asTrouble } from "./failure.js";
import { changedSession, DEFAULTS, microphoneWishes, openingSession } from "./preferences.js";
import { texts } from "./strings.js";
import { object } from "./wire.js";

/** @typedef {import("./types").Preferences} Preferences */
/** @typedef {import("./types").Mode} Mode */
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
  /** What the server was told, or will be when the call being made stands. */
  #told = { preferences: this.#preferences, context: this.#context };
  /** The server could not take the mode that was chosen. */
  #modeRefused = false;

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

  /** A call is being made with what is chosen now; what is chosen from here on is told by `catchUp`. */
  settle() {
    this.#told = { preferences: this.#preferences, context: this.#context };
  }

  /**
   * The call stands: what was chosen meanwhile is put into effect.
   * @param {Running | null} running
   */
  catchUp(running) {
    const [chosen, context] = [this.#preferences, this.#context];
    this.#preferences = this.#told.preferences;
    this.#context = this.#told.context;
    this.choose(chosen, running);
    this.setContext(context, running);
    // Only now: browsers do not let pages choose that may not use the microphone. One that is missing may come back.
    this.#parts.sound.setSpeaker(chosen.speaker).catch(() => undefined);
  }

  /**
   * A mode that the server cannot take is not asked for again: the one that stays is chosen then.
   * @param {import("./types").WireEvent} event
   * @param {string} mode in force, as far as the server has told; after a late refusal it tells once more
   */
  handle(event, mode) {
    const refused = event.type === "error" && object(event.error).code === "mode_unavailable";
    if (!refused && !(this.#modeRefused && event.type === "session.updated")) return;
    this.#modeRefused = refused;
    this.#preferences = { ...this.#preferences, mode: /** @type {Mode} */ (mode) || null };
    this.#changed();
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
    this.#modeRefused &&= before.mode === after.mode;
    this.#parts.sound.setVolume(after.volume);
    if (!running) return;
    if (before.speaker !== after.speaker) {
      this.#parts.sound.setSpeaker(after.speaker).catch(() => this.#parts.notice.show(texts.notices.device_failed));
    }
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
