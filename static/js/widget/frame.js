/**
 * The server's page `/embed` in a frame, and the messages both ways: to the server's origin only, from this frame and
 * that origin only, and nothing but what has the documented shape.
 */

import { element } from "./look.js";

/** @typedef {import("../../widget").FrameSays} FrameSays */
/** @typedef {import("../../widget").HostSays} HostSays */

const NAME = "kame-voice";
/** For a page that is on its way. */
const LOAD_DEADLINE_MS = 20_000;
/** For a page that was loaded, but may be a browser's error page: ours speaks before it is. */
const AFTER_LOAD_MS = 4_000;
/** Commands given before the frame is there; more than this is a mistake, and the later ones are dropped. */
const WAITING_MAX = 32;

/** Each field of each payload, and its type. @type {{ [Type in keyof FrameSays]: Record<keyof FrameSays[Type], string> }} */
const SHAPES = {
  ready: { version: "string" },
  state: { state: "string" },
  "call-start": { callId: "string" },
  "call-end": { callId: "string", reason: "string" },
  "user-transcript": { id: "string", text: "string", final: "boolean" },
  "agent-transcript": { id: "string", text: "string", final: "boolean", interrupted: "boolean" },
  volume: { user: "number", agent: "number" },
  muted: { muted: "boolean" },
  error: { code: "string", message: "string" },
  resize: { height: "number" },
  call: { id: "number", config: "object" },
  "need-token": {},
  close: {},
};

/**
 * @typedef {{ [Type in keyof FrameSays]: (payload: FrameSays[Type]) => void } & { failed: () => void }} Hears
 *   what is done with each message; `failed`: the page did not come
 */

export class Frame {
  #origin;
  #hears;
  #spoken = false;
  #ready = false;
  /** @type {{ type: string, payload: unknown }[]} */
  #waiting = [];
  #closed = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #deadline;

  /**
   * @param {URL} address
   * @param {Hears} hears
   */
  constructor(address, hears) {
    this.#origin = address.origin;
    this.#hears = hears;
    this.element = element("iframe", { part: "frame", allow: "microphone; autoplay; screen-wake-lock" });
    this.element.src = address.href;
    const { signal } = this.#closed;
    window.addEventListener("message", (event) => this.#heard(event), { signal });
    this.element.addEventListener("load", () => this.#expect(AFTER_LOAD_MS), { signal });
    this.#expect(LOAD_DEADLINE_MS);
  }

  /** The page in it can be talked to. */
  get ready() {
    return this.#ready;
  }

  /**
   * At once, or as soon as the page is there.
   * @template {keyof HostSays} Type
   * @param {Type} type
   * @param {HostSays[Type]} payload
   */
  say(type, payload) {
    if (this.#ready) this.#post({ type, payload });
    else if (this.#waiting.length < WAITING_MAX) this.#waiting.push({ type, payload });
  }

  /** A call in it ends with it. */
  close() {
    clearTimeout(this.#deadline);
    this.#closed.abort();
    this.element.remove();
  }

  /** @param {{ type: string, payload: unknown }} message */
  #post(message) {
    this.element.contentWindow?.postMessage({ source: NAME, v: 1, ...message }, this.#origin);
  }

  /** @param {MessageEvent} event */
  #heard({ source, origin, data }) {
    if (source !== this.element.contentWindow || origin !== this.#origin) return;
    if (data?.source !== NAME || data.v !== 1 || !Object.hasOwn(SHAPES, data.type)) return;
    const type = /** @type {keyof FrameSays} */ (data.type);
    const payload = data.payload ?? {};
    if (!Object.entries(SHAPES[type]).every(([field, kind]) => typeof payload[field] === kind)) return;
    this.#spoken = true; // it may say why it cannot be used
    clearTimeout(this.#deadline);
    if (type === "ready") this.#ready = true;
    this.#hears[type](/** @type {never} */ (payload));
    if (type === "ready") for (const message of this.#waiting.splice(0)) this.#post(message);
  }

  /** @param {number} wait_ms */
  #expect(wait_ms) {
    if (this.#spoken) return;
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#hears.failed(), wait_ms);
  }
}
