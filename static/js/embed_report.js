/** Tells the page around the frame what happens in a talk: only what is new, only what it may know. */

/** @typedef {import("./talk.js").Talk} Talk */
/** @typedef {import("./embed_host.js").Host} Host */
/** @typedef {import("./types").Phase} Phase */
/** @typedef {import("../widget").State} State */

const LEVELS_EVERY_MS = 100;
/** Turns before these do not change any more. */
const LIVE_TURNS = 8;

/** @type {Record<Phase, State>} */
const STATES = {
  idle: "idle",
  asking: "connecting",
  queued: "connecting",
  connecting: "connecting",
  listening: "listening",
  thinking: "thinking",
  speaking: "speaking",
  ended: "ended",
  error: "error",
};

export class Report {
  #talk;
  #host;
  /** @type {State} */
  #state = "idle";
  #callId = "";
  #hangingUp = false;
  #muted = false;
  #trouble = "";
  /** What was told of each turn. @type {Map<string, string>} */
  #turns = new Map();
  #levels = { user: 0, agent: 0 };
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;

  /**
   * @param {Talk} talk
   * @param {Host} host
   */
  constructor(talk, host) {
    this.#talk = talk;
    this.#host = host;
    talk.addEventListener("change", () => this.#changed());
    talk.addEventListener("phase", () => this.#changed());
  }

  /**
   * @param {"you" | "agent"} side
   * @param {number} level 0..1
   */
  level(side, level) {
    this.#levels[side === "you" ? "user" : "agent"] = Math.round(level * 1000) / 1000;
  }

  /** Ends the talk because one side of the frame wants it so. */
  hangUp() {
    this.#hangingUp = true;
    this.#talk.end();
    this.#hangingUp = false;
  }

  #changed() {
    const talk = this.#talk;
    if (talk.connected && !this.#callId) this.#began(talk.callId ?? "");
    this.#tellTurns();
    if (this.#callId && !talk.busy) this.#ended(talk.trouble?.code ?? (this.#hangingUp ? "hangup" : "ended"));
    const state = STATES[talk.phase];
    if (state !== this.#state) {
      this.#state = state;
      this.#host.tell("state", { state });
    }
    if (talk.muted !== this.#muted) {
      this.#muted = talk.muted;
      this.#host.tell("muted", { muted: talk.muted });
    }
    const { trouble } = talk;
    if ((trouble?.code ?? "") !== this.#trouble) {
      this.#trouble = trouble?.code ?? "";
      if (trouble) this.#host.tell("error", { code: trouble.code, message: `${trouble.title}. ${trouble.text}` });
    }
  }

  /** @param {string} callId */
  #began(callId) {
    this.#callId = callId;
    this.#turns.clear();
    this.#host.tell("call-start", { callId });
    this.#ticking = setInterval(() => this.#host.tell("volume", { ...this.#levels }), LEVELS_EVERY_MS);
  }

  /** @param {string} reason */
  #ended(reason) {
    clearInterval(this.#ticking);
    this.#host.tell("call-end", { callId: this.#callId, reason });
    this.#callId = "";
  }

  #tellTurns() {
    for (const caption of this.#talk.captions.all.slice(-LIVE_TURNS)) {
      const { id, who, final, interrupted, kind } = caption;
      const text = caption.heard ?? caption.text;
      if (!text || kind === "backchannel") continue;
      const news = JSON.stringify([text, final, interrupted]);
      const key = `${who} ${id}`;
      if (this.#turns.get(key) === news) continue;
      this.#turns.set(key, news);
      if (who === "you") this.#host.tell("user-transcript", { id, text, final });
      else this.#host.tell("agent-transcript", { id, text, final, interrupted });
    }
  }
}
