/**
 * The page around the frame: messages to it and from it. Its origin is fixed when the frame is loaded: the server lets
 * the browser show the frame on pages of that origin only (`frame-ancestors`), and no other is spoken to or heard.
 */

import { object, text } from "./wire.js";

/** @typedef {import("../widget").FrameSays} FrameSays */
/** @typedef {import("../widget").HostSays} HostSays */
/** @typedef {import("../widget").CallConfig} CallConfig */

const SOURCE = "kame-voice";
/** A page that said it would answer, and does not, is not waited for. */
const GRANT_DEADLINE_MS = 3_000;
const TOKEN_DEADLINE_MS = 15_000;
/** A client secret is asked for anew after this: it may have expired. */
const TOKEN_KEPT_MS = 30_000;

export class Host extends EventTarget {
  /** The page answers questions; else they answer themselves. */
  answers = false;

  #origin;
  #parent;
  #calls = 0;
  /** @type {string | null} */
  #token = null;
  #tokenUntil_ms = 0;

  /** @param {URLSearchParams} address the frame's */
  constructor(address) {
    super();
    this.#parent = window.parent === window ? null : window.parent;
    const around = address.get("origin") ?? location.ancestorOrigins?.[0] ?? document.referrer;
    this.#origin = this.#parent ? originOf(around) : "";
    if (this.#origin) window.addEventListener("message", (event) => this.#heard(event));
  }

  /** The origin of the page around; empty: there is none, or it is not known. */
  get origin() {
    return this.#origin;
  }

  /** That origin for the server; `null` where it is not known, none where there is no page around. */
  get embedder() {
    return this.#origin || (this.#parent ? "null" : undefined);
  }

  /**
   * @template {keyof FrameSays} Type
   * @param {Type} type
   * @param {FrameSays[Type]} payload
   */
  tell(type, payload) {
    if (this.#origin) this.#parent?.postMessage({ source: SOURCE, v: 1, type, payload }, this.#origin);
  }

  /**
   * @template {keyof HostSays} Type
   * @param {Type} type
   * @param {(payload: Record<string, unknown>) => void} handle
   * @param {AbortSignal} [signal]
   */
  on(type, handle, signal) {
    this.addEventListener(type, (event) => handle(/** @type {CustomEvent} */ (event).detail), { signal });
  }

  /**
   * Whether a call may begin, and with what.
   * @param {CallConfig} config
   * @returns {Promise<Record<string, unknown> | null>} what the page wants otherwise; null: it wants no call
   */
  async grant(config) {
    if (!this.answers) return {};
    const id = (this.#calls += 1);
    const answer = this.#answer(["grant", "refuse"], (payload) => payload.id === id, GRANT_DEADLINE_MS);
    this.tell("call", { id, config });
    const got = await answer;
    return got?.type === "refuse" ? null : object(got?.payload.config);
  }

  /**
   * The page's client secret.
   * @returns {Promise<string | null>} null: it has none, the server's own rules for its origin count
   */
  async token() {
    if (performance.now() < this.#tokenUntil_ms || !this.answers) return this.#token;
    const answer = this.#answer(["set-token"], () => true, TOKEN_DEADLINE_MS);
    this.tell("need-token", {});
    await answer; // `#heard` keeps it
    return this.#token;
  }

  /** The next call gets a secret of its own, where the page gives them. */
  spendToken() {
    this.#tokenUntil_ms = 0;
  }

  /**
   * @param {(keyof HostSays)[]} types
   * @param {(payload: Record<string, unknown>) => boolean} fits
   * @param {number} deadline_ms
   * @returns {Promise<{ type: string, payload: Record<string, unknown> } | null>} null: there was none in time
   */
  #answer(types, fits, deadline_ms) {
    const done = new AbortController();
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(null), deadline_ms);
      for (const type of types) {
        this.on(type, (payload) => fits(payload) && resolve({ type, payload }), done.signal);
      }
      done.signal.addEventListener("abort", () => clearTimeout(timer));
    }).then((answer) => {
      done.abort();
      return /** @type {{ type: string, payload: Record<string, unknown> } | null} */ (answer);
    });
  }

  /** @param {MessageEvent} event */
  #heard({ source, origin, data }) {
    if (source !== this.#parent || origin !== this.#origin) return;
    const message = object(data);
    if (message.source !== SOURCE || message.v !== 1) return;
    const payload = object(message.payload);
    const type = text(message.type);
    if (type === "configure") this.answers = true;
    if (type === "set-token") {
      this.#token = typeof payload.token === "string" ? payload.token : null;
      this.#tokenUntil_ms = this.#token ? performance.now() + TOKEN_KEPT_MS : 0;
    }
    this.dispatchEvent(new CustomEvent(type, { detail: payload }));
  }
}

/** @param {string} address */
function originOf(address) {
  try {
    const { origin, protocol } = new URL(address);
    return /^https?:$/.test(protocol) ? origin : "";
  } catch {
    return "";
  }
}
