/** What the server tells of a call beside words and sound: mode, engines, the last turn's time line. A pure model. */

import { readTiming } from "./timing.js";
import { object, text } from "./wire.js";

/** @typedef {import("./types").EngineRole} EngineRole */
/** @typedef {import("./types").EnginePart} EnginePart */

const ROLES = /** @type {const} */ (["frontend", "stt", "tts", "llm"]);

export class Facts {
  /** The mode the server says it is in. */
  mode = "";
  /** With this token a later call may go on with the conversation; single use. */
  resume = "";
  /** @type {import("./types").TurnTiming | null} */
  timing = null;
  /** @type {Partial<Record<EngineRole, EnginePart>>} */
  engines = {};

  /**
   * @param {import("./types").WireEvent} event
   * @returns {boolean} whether something shown has changed
   */
  handle(event) {
    switch (event.type) {
      case "session.created":
      case "session.updated": {
        const kame = object(object(event.session).kame);
        this.mode = text(kame.mode) || this.mode;
        this.resume = text(kame.resume) || this.resume;
        return true;
      }
      case "kame.engine":
        for (const role of ROLES) {
          const part = object(event[role]);
          if (part.name) this.engines[role] = { name: text(part.name), note: text(part.note) };
        }
        return true;
      case "kame.turn.timing":
        this.timing = readTiming(event);
        return true;
      default:
        return false;
    }
  }
}
