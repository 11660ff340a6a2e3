/**
 * Who is doing what in a running call, from wire events: listening, thinking (silently, or aloud with an opener) or
 * speaking. A pure model; the caller's clock is passed in.
 */

/** @typedef {import("./types").WireEvent} WireEvent */

/** "Thinking" that leads to no sound is over after this. */
const THINKING_MAX_MS = 12_000;

export class Floor {
  #agentSpeaks = false;
  #userSpeaks = false;
  /** @type {number | null} */
  #thinkingSince_ms = null;
  #ducked = false;
  /** What the present response has said is an opener only. */
  #openerOnly = false;

  /** The person speaks at this moment. */
  get userSpeaks() {
    return this.#userSpeaks;
  }

  /** The agent speaks, but not yet from knowledge. */
  get aloud() {
    return this.#agentSpeaks && this.#openerOnly;
  }

  /** The agent's voice is lowered, because the person speaks over it. */
  get ducked() {
    return this.#ducked && this.#agentSpeaks;
  }

  /**
   * @param {number} now_ms
   * @returns {"listening" | "thinking" | "speaking"}
   */
  phase(now_ms) {
    if (this.#agentSpeaks) return this.#openerOnly ? "thinking" : "speaking";
    if (this.#userSpeaks || this.#thinkingSince_ms === null) return "listening";
    return now_ms - this.#thinkingSince_ms < THINKING_MAX_MS ? "thinking" : "listening";
  }

  /**
   * @param {WireEvent} event
   * @param {number} now_ms
   * @returns {boolean} whether the event was about this
   */
  handle(event, now_ms) {
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        this.#userSpeaks = true;
        return true;
      case "input_audio_buffer.speech_stopped":
        this.#userSpeaks = false;
        this.#thinkingSince_ms = now_ms;
        return true;
      case "kame.turn.dropped":
        this.#userSpeaks = false;
        this.#thinkingSince_ms = null;
        return true;
      case "response.created":
        this.#thinkingSince_ms = now_ms;
        this.#openerOnly = false;
        return true;
      case "kame.spoken":
        this.#openerOnly = event.origin === "opener";
        return true;
      case "output_audio_buffer.started":
        this.#agentSpeaks = true;
        this.#thinkingSince_ms = null;
        return true;
      case "output_audio_buffer.stopped":
      case "output_audio_buffer.cleared":
        this.#agentSpeaks = false;
        this.#ducked = false;
        return true;
      case "response.done":
        this.#thinkingSince_ms = null; // what is still heard of it ends with its sound
        return true;
      case "kame.voice.ducked":
        this.#ducked = true;
        return true;
      case "kame.voice.restored":
        this.#ducked = false;
        return true;
      default:
        return false;
    }
  }
}
