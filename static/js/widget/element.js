/** The element `<kame-voice>`: its attributes, methods and events. Documented in docs/widget.md, typed in widget.d.ts. */

import { Frame } from "./frame.js";
import { build, element, lookOf } from "./look.js";
import { fetchToken } from "./token.js";
import { wordsIn } from "./words.js";

/** @typedef {import("../../widget").CallConfig} CallConfig */
/** @typedef {import("../../widget").State} State */

const NAME = "kame-voice";
const SOUNDING = ["listening", "thinking", "speaking"];
/** Where this file came from is where the server is, unless the element says otherwise. */
const HOME = new URL(import.meta.url).origin;

class KameVoice extends HTMLElement {
  static observedAttributes = ["open", "theme", "accent", "transcript", "heading", "label", "lang", "muted", "server", "variant"];

  #parts;
  /** @type {Frame | null} */
  #frame = null;
  /** @type {State} */
  #state = "idle";
  /** @type {string | null} */
  #callId = null;
  /** @type {string | null | undefined} undefined: none was set */
  #token = undefined;
  #context = "";
  /** By `mute()`, in place of the attribute. @type {boolean | null} */
  #muted = null;
  /** Everything that listens stops with this. */
  #connected = new AbortController();

  constructor() {
    super();
    this.#parts = build(this.attachShadow({ mode: "open" }));
    const { box, launcher } = this.#parts;
    launcher.addEventListener("click", () => this.#toggle());
    box.addEventListener("keydown", ({ key }) => key === "Escape" && this.#close());
    // It loads while the pointer is on its way; what failed is tried again only where somebody asks for it.
    const near = () => this.#state !== "error" && this.#load();
    for (const type of ["pointerenter", "focus"]) launcher.addEventListener(type, near);
  }

  connectedCallback() {
    this.#connected = new AbortController();
    const { signal } = this.#connected;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#configure(), { signal });
    if (Object.hasOwn(this, "open")) this.#takeUp(); // set before this script was there
    this.#words();
    if (this.#isInline || this.open) this.#load();
  }

  disconnectedCallback() {
    this.#connected.abort();
    this.#unload();
  }

  /**
   * @param {string} name
   * @param {string | null} before
   * @param {string | null} now
   */
  attributeChangedCallback(name, before, now) {
    if (before === now) return;
    if (name === "muted") this.#muted = null;
    if (!this.isConnected) return;
    if (name === "server" || (name === "lang" && !this.#callId)) this.#unload();
    if (this.#isInline || this.open) this.#load();
    this.#words();
    if (name === "open" && now === null) this.#closed();
    else if (name === "muted") this.#frame?.say("mute", { on: now !== null });
    else this.#configure();
  }

  get open() {
    return this.hasAttribute("open");
  }

  set open(open) {
    this.toggleAttribute("open", Boolean(open));
  }

  get state() {
    return this.#state;
  }

  get callId() {
    return this.#callId;
  }

  start() {
    this.#shown().say("start", {});
  }

  stop() {
    this.#frame?.say("stop", {});
  }

  mute(on = true) {
    this.#muted = Boolean(on);
    this.#frame?.say("mute", { on: this.#muted });
  }

  /** @param {string} text */
  sendText(text) {
    this.#shown().say("send-text", { text: String(text) });
  }

  /** @param {string} text */
  setContext(text) {
    this.#context = String(text);
    this.#frame?.say("context", { text: this.#context });
  }

  /** @param {string | null} token */
  setToken(token) {
    this.#token = token === null ? null : String(token);
  }

  get #isInline() {
    return this.getAttribute("variant") === "inline";
  }

  get #language() {
    return this.getAttribute("lang") || document.documentElement.lang || navigator.language;
  }

  /** Where the frame's page is; null: `server` is no address of one. */
  get #address() {
    const server = this.getAttribute("server") || HOME;
    if (!URL.canParse(server, document.baseURI)) return null;
    const home = new URL(server, document.baseURI);
    if (!/^https?:$/.test(home.protocol)) return null;
    const url = new URL("/embed", home);
    url.searchParams.set("origin", location.origin);
    url.searchParams.set("lang", this.#language);
    const theme = this.getAttribute("theme");
    if (theme) url.searchParams.set("theme", theme);
    return url;
  }

  // --- what is shown ---

  #takeUp() {
    const { open } = this;
    Reflect.deleteProperty(this, "open");
    this.open = open;
  }

  #words() {
    const words = wordsIn(this.#language);
    const { box, panel, launcher, label } = this.#parts;
    const title = this.getAttribute("heading") || words.frame;
    const sounding = SOUNDING.includes(this.#state);
    label.textContent = this.getAttribute("label") ?? words.label;
    const closed = [label.textContent && `${label.textContent}:`, words.open, sounding && words.running];
    launcher.setAttribute("aria-expanded", String(this.open));
    launcher.setAttribute("aria-label", this.open ? words.close : closed.filter(Boolean).join(" "));
    panel.setAttribute("aria-label", title);
    if (this.#frame) this.#frame.element.title = title;
    box.classList.toggle("sounding", sounding);
    box.style.setProperty("--kame-accent", this.getAttribute("accent")); // null: as the page says
  }

  #toggle() {
    this.open = !this.open;
    if (this.open) this.#frame?.element.focus();
  }

  #close() {
    if (!this.#isInline) this.open = false;
  }

  /** The focus does not stay in what cannot be seen. */
  #closed() {
    const { panel, launcher } = this.#parts;
    if (!this.#isInline && panel.contains(this.shadowRoot?.activeElement ?? null)) launcher.focus();
  }

  // --- the frame ---

  /** Its frame, for a command that is to be seen. */
  #shown() {
    this.open = true;
    this.#load();
    return this.#frame ?? { say: () => undefined };
  }

  #load() {
    if (this.#frame || !this.isConnected) return;
    const address = this.#address;
    if (!address) {
      this.#failed();
      return;
    }
    const over = () => this.#over();
    this.#frame = new Frame(address, {
      ready: (payload) => {
        over(); // it was loaded anew
        this.#configure();
        if (this.#context) this.#frame?.say("context", { text: this.#context });
        this.#emit("ready", payload);
      },
      state: ({ state }) => this.#setState(state),
      "call-start": (payload) => {
        this.#callId = payload.callId;
        this.#emit("call-start", payload);
      },
      "call-end": (payload) => {
        this.#callId = null;
        this.#emit("call-end", payload);
      },
      call: ({ id }) => this.#answer(id),
      "need-token": () => void this.#tellToken(),
      close: () => this.#close(),
      "user-transcript": (payload) => this.#emit("user-transcript", payload),
      "agent-transcript": (payload) => this.#emit("agent-transcript", payload),
      volume: (payload) => this.#emit("volume", payload),
      muted: (payload) => this.#emit("muted", payload),
      error: (payload) => this.#emit("error", payload),
      resize: (payload) => {
        this.#parts.panel.style.setProperty("--_wanted", `${payload.height}px`);
        this.#emit("resize", payload);
      },
      failed: () => this.#failed(),
    });
    this.#setState("idle");
    this.#parts.panel.replaceChildren(this.#frame.element);
    this.#words();
  }

  #unload() {
    this.#frame?.close();
    this.#frame = null;
    this.#parts.panel.replaceChildren();
    this.#over();
  }

  /** Says so where the frame would be, and offers to try it again. */
  #failed() {
    const words = wordsIn(this.#language);
    const focused = this.#frame !== null && this.shadowRoot?.activeElement === this.#frame.element;
    this.#unload();
    const again = element("button", { type: "button" }, words.again);
    again.addEventListener("click", () => {
      this.#load();
      this.#frame?.element.focus();
    });
    const text = element("p", { role: "alert" }, words.broken);
    this.#parts.panel.style.removeProperty("--_wanted");
    this.#parts.panel.replaceChildren(element("div", { class: "failed", part: "failed" }, text, again));
    if (focused) again.focus();
    this.#setState("error");
    this.#emit("error", { code: "frame_failed", message: words.broken });
  }

  /** Whatever call there was has ended with its page. */
  #over() {
    const callId = this.#callId;
    this.#callId = null;
    if (callId) this.#emit("call-end", { callId, reason: "hangup" });
    this.#setState("idle");
  }

  #configure() {
    if (!this.#frame?.ready) return;
    const theme = this.getAttribute("theme");
    this.#frame.say("configure", {
      theme: theme === "light" || theme === "dark" ? theme : "auto",
      transcript: this.getAttribute("transcript") !== "off",
      heading: this.getAttribute("heading") ?? "",
      look: lookOf(this.#parts.box),
      config: { muted: this.#muted ?? this.hasAttribute("muted") },
    });
  }

  /** @param {number} id of the call that is about to begin */
  #answer(id) {
    /** @type {Record<string, string>} */
    const config = {};
    for (const name of ["agent", "language", "mode", "voice", "instructions"]) {
      const value = this.getAttribute(name);
      if (value) config[name] = value;
    }
    if (this.#context) config.context = this.#context;
    const detail = { config: /** @type {CallConfig} */ (config) };
    if (this.#emit("call", detail, true)) this.#frame?.say("grant", { id, config: detail.config });
    else this.#frame?.say("refuse", { id });
  }

  async #tellToken() {
    const frame = this.#frame;
    const url = this.getAttribute("token-url");
    let token = this.#token ?? null;
    if (this.#token === undefined && url) {
      try {
        token = await fetchToken(url);
      } catch (error) {
        const message = error instanceof Error ? error.message : "";
        this.#emit("error", { code: "token_failed", message: `token-url gave no client secret (${message}).` });
        token = ""; // where the server wants one, it refuses the call, and the frame says so
      }
    }
    frame?.say("set-token", { token });
  }

  /** @param {State} state */
  #setState(state) {
    if (this.#state === state) return;
    this.#state = state;
    this.#words();
    this.#emit("state", { state });
  }

  /**
   * @template {keyof import("../../widget").Emitted} Type
   * @param {Type} type
   * @param {import("../../widget").Emitted[Type]} detail
   * @returns {boolean} false: the page prevented it
   */
  #emit(type, detail, cancelable = false) {
    return this.dispatchEvent(new CustomEvent(`${NAME}:${type}`, { detail, bubbles: true, composed: true, cancelable }));
  }
}

/** @type {new () => import("../../widget").KameVoiceElement} */
const documented = KameVoice;
if (!customElements.get(NAME)) customElements.define(NAME, documented);
