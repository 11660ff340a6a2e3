/**
 * `<kame-voice>`: a voice to talk to, on any page. Documented in docs/widget.md, typed in widget.d.ts.
 *
 * It holds the server's page `/embed` in a frame and talks to it by messages; sound, microphone and call live in there.
 * Works under a strict policy of the page around it: styles are constructed, nothing is inline, nothing is evaluated.
 */

(() => {
  "use strict";

  /** @typedef {import("./widget").FrameSays} FrameSays */
  /** @typedef {import("./widget").HostSays} HostSays */
  /** @typedef {import("./widget").CallConfig} CallConfig */
  /** @typedef {import("./widget").State} State */

  const NAME = "kame-voice";
  const READY_DEADLINE_MS = 20_000;
  const TOKEN_DEADLINE_MS = 10_000;
  /** Commands given before the frame is there; more than this is a mistake. */
  const WAITING_MAX = 32;
  const LOOK = /** @type {const} */ (["accent", "on-accent", "ground", "card", "ink", "soft", "line", "font"]);
  /** Passed on to the page as they come. */
  const TOLD = /** @type {const} */ (["user-transcript", "agent-transcript", "volume", "muted", "error", "resize"]);
  const SOUNDING = ["listening", "thinking", "speaking"];
  /** Where this script came from is where the server is, unless the element says otherwise. */
  const HOME = document.currentScript instanceof HTMLScriptElement ? new URL(document.currentScript.src).origin : "";

  /** @type {Record<string, { label: string, open: string, close: string, frame: string, broken: string }>} */
  const TEXTS = {
    en: {
      label: "Talk",
      open: "Open the voice assistant",
      close: "Close the voice assistant",
      frame: "Voice assistant",
      broken: "The voice assistant could not be loaded. Its server has to be reachable, and to allow this page's origin.",
    },
    de: {
      label: "Sprechen",
      open: "Sprachassistenten öffnen",
      close: "Sprachassistenten schließen",
      frame: "Sprachassistent",
      broken:
        "Der Sprachassistent konnte nicht geladen werden. Sein Server muss erreichbar sein und die Herkunft dieser Seite erlauben.",
    },
  };

  const CSS = `
    :host { --_radius: var(--kame-radius, 20px); --_gap: var(--kame-offset, 20px); color-scheme: light dark; }
    :host([theme="light"]) { color-scheme: light; }
    :host([theme="dark"]) { color-scheme: dark; }
    :host([hidden]) { display: none !important; }
    :host([variant="inline"]) { display: block; }
    :host(:not([variant="inline"])) { position: fixed; z-index: var(--kame-z-index, 2147483000); bottom: calc(var(--_gap) + env(safe-area-inset-bottom)); right: var(--_gap); }
    :host([placement$="left"]:not([variant="inline"])) { right: auto; left: var(--_gap); }
    :host([placement^="top"]:not([variant="inline"])) { bottom: auto; top: var(--_gap); }
    * { box-sizing: border-box; }
    .box { --_accent: var(--kame-accent, light-dark(#0b6b62, #62d9c7)); --_on: var(--kame-on-accent, light-dark(#fff, #06211d)); }
    iframe { display: block; width: 100%; height: 100%; border: 0; border-radius: inherit; color-scheme: inherit; }
    .panel { width: 100%; height: var(--kame-height, var(--_wanted, 26rem)); max-height: var(--kame-max-height, 40rem); overflow: clip;
      border-radius: var(--_radius); background: var(--kame-ground, light-dark(#f7f6f2, #101312)); transition: height 0.25s ease-out; }
    :host([variant="inline"]) .panel { min-height: 15rem; border: 1px solid var(--kame-line, light-dark(#d9d8d0, #313937)); }
    :host([variant="inline"]) .launcher { display: none; }
    :host(:not([variant="inline"])) .panel { position: absolute; bottom: calc(100% + 12px); right: 0;
      width: min(var(--kame-width, 24rem), calc(100vw - 2 * var(--_gap)));
      height: clamp(15rem, var(--kame-height, var(--_wanted, 26rem)), min(var(--kame-max-height, 40rem), calc(100dvh - 2 * var(--_gap) - 5rem)));
      box-shadow: 0 0 0 1px light-dark(rgb(25 28 26 / 8%), rgb(255 255 255 / 12%)), 0 18px 50px rgb(0 0 0 / 28%);
      visibility: hidden; opacity: 0; transform: translateY(10px) scale(0.98); transform-origin: bottom right;
      transition: height 0.25s ease-out, opacity 0.18s, transform 0.18s, visibility 0s 0.18s; }
    :host([placement$="left"]:not([variant="inline"])) .panel { right: auto; left: 0; transform-origin: bottom left; }
    :host([placement^="top"]:not([variant="inline"])) .panel { bottom: auto; top: calc(100% + 12px); transform-origin: top; }
    :host([open]:not([variant="inline"])) .panel { visibility: visible; opacity: 1; transform: none;
      transition: height 0.25s ease-out, opacity 0.18s, transform 0.18s, visibility 0s; }
    .launcher { display: inline-flex; align-items: center; justify-content: center; gap: 0.6em; min-width: 3.5rem; height: 3.5rem; margin: 0; padding: 0 1.35rem 0 1.1rem;
      border: 0; border-radius: 1.75rem; background: var(--_accent); color: var(--_on); cursor: pointer; -webkit-tap-highlight-color: transparent;
      font: 600 1rem/1.2 var(--kame-font, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif); box-shadow: 0 1px 3px rgb(0 0 0 / 18%), 0 8px 24px rgb(0 0 0 / 20%);
      transition: transform 0.15s, filter 0.15s; }
    .launcher:hover { filter: brightness(1.08); }
    .launcher:active { transform: scale(0.97); }
    .launcher:focus-visible { outline: 2px solid var(--_accent); outline-offset: 3px; }
    .launcher svg { width: 1.6rem; height: 1.6rem; flex: none; fill: none; stroke: currentcolor; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round; }
    :host([open]) .launcher { padding: 0; width: 3.5rem; }
    :host([open]) .launcher span, .launcher .close, :host([open]) .launcher .talk { display: none; }
    :host([open]) .launcher .close { display: block; }
    .sounding .talk { animation: breathe 1.6s ease-in-out infinite; }
    .sounding .launcher { box-shadow: 0 0 0 5px color-mix(in srgb, var(--_accent) 28%, transparent), 0 8px 24px rgb(0 0 0 / 20%); }
    @keyframes breathe { 50% { transform: scaleY(0.62); } }
    @media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
    @media print { :host(:not([variant="inline"])) { display: none; } }
  `;
  const TALK = "M4 10v4M8 7v10M12 4.5v15M16 7v10M20 10v4";
  const CLOSE = "M6 6l12 12M18 6 6 18";

  class KameVoice extends HTMLElement {
    static observedAttributes = ["open", "theme", "accent", "transcript", "heading", "label", "lang", "muted", "server", "variant"];

    /** @type {HTMLElement} */
    #box;
    /** @type {HTMLElement} */
    #panel;
    /** @type {HTMLButtonElement} */
    #launcher;
    /** @type {HTMLIFrameElement | null} */
    #frame = null;
    #ready = false;
    /** @type {[type: string, payload: unknown][]} */
    #waiting = [];
    /** @type {State} */
    #state = "idle";
    /** @type {string | null} */
    #callId = null;
    /** @type {string | null | undefined} undefined: none was set */
    #token = undefined;
    #context = "";
    /** Everything that listens stops with this. */
    #connected = new AbortController();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #deadline;

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open" });
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(CSS);
      root.adoptedStyleSheets = [sheet];
      this.#panel = element("div", { class: "panel", part: "panel", id: "panel", role: "region" });
      this.#launcher = element("button", { class: "launcher", part: "launcher", type: "button", "aria-controls": "panel" });
      this.#launcher.append(drawing("talk", TALK), drawing("close", CLOSE), document.createElement("span"));
      this.#box = element("div", { class: "box" });
      this.#box.append(this.#panel, this.#launcher);
      root.append(this.#box);
      this.#launcher.addEventListener("click", () => this.#toggle());
      // It loads while the pointer is on its way.
      for (const near of ["pointerenter", "focus"]) this.#launcher.addEventListener(near, () => this.#load());
    }

    connectedCallback() {
      this.#connected = new AbortController();
      const { signal } = this.#connected;
      window.addEventListener("message", (event) => this.#heard(event), { signal });
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#configure(), { signal });
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
      if (before === now || !this.isConnected) return;
      if (name === "server") this.#unload();
      if ((name === "server" || name === "variant") && this.#isInline) this.#load();
      this.#words();
      if (name === "open") this.#opened(now !== null);
      else if (name === "muted") this.mute(now !== null);
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
      this.open = true;
      this.#load();
      this.#say("start", {});
    }

    stop() {
      if (this.#frame) this.#say("stop", {});
    }

    mute(on = true) {
      if (this.#frame) this.#say("mute", { on: Boolean(on) });
    }

    /** @param {string} text */
    sendText(text) {
      this.open = true;
      this.#load();
      this.#say("send-text", { text: String(text) });
    }

    /** @param {string} text */
    setContext(text) {
      this.#context = String(text);
      if (this.#frame) this.#say("context", { text: this.#context });
    }

    /** @param {string | null} token */
    setToken(token) {
      this.#token = token === null ? null : String(token);
    }

    get #isInline() {
      return this.getAttribute("variant") === "inline";
    }

    /** The server's origin; empty: it is no address. */
    get #server() {
      try {
        const url = new URL(this.getAttribute("server") || HOME, document.baseURI);
        return /^https?:$/.test(url.protocol) ? url.origin : "";
      } catch {
        return "";
      }
    }

    get #texts() {
      const lang = this.getAttribute("lang") || document.documentElement.lang || navigator.language;
      return TEXTS[lang.split("-")[0] ?? ""] ?? /** @type {typeof TEXTS[string]} */ (TEXTS.en);
    }

    // --- what is shown ---

    #words() {
      const texts = this.#texts;
      const label = this.getAttribute("label") ?? texts.label;
      const [words] = this.#launcher.getElementsByTagName("span");
      if (words) words.textContent = label;
      this.#launcher.setAttribute("aria-expanded", String(this.open));
      this.#launcher.setAttribute("aria-label", this.open ? texts.close : label ? `${label}: ${texts.open}` : texts.open);
      this.#panel.setAttribute("aria-label", this.getAttribute("heading") || texts.frame);
      if (this.#frame) this.#frame.title = this.getAttribute("heading") || texts.frame;
      this.#box.classList.toggle("sounding", SOUNDING.includes(this.#state));
      this.#box.style.setProperty("--kame-accent", this.getAttribute("accent")); // null: as the page says
    }

    #toggle() {
      this.open = !this.open;
      if (this.open) this.#frame?.focus();
    }

    /** @param {boolean} open */
    #opened(open) {
      if (open) this.#load();
      else if (!this.#isInline && this.shadowRoot?.activeElement === this.#frame) this.#launcher.focus();
    }

    // --- the frame ---

    #load() {
      if (this.#frame || !this.isConnected) return;
      const server = this.#server;
      if (!server) {
        this.#failed();
        return;
      }
      const url = new URL("/embed", server);
      url.searchParams.set("origin", location.origin);
      for (const name of ["lang", "theme"]) {
        const value = this.getAttribute(name);
        if (value) url.searchParams.set(name, value);
      }
      this.#frame = element("iframe", { part: "frame", allow: "microphone; autoplay; screen-wake-lock" });
      this.#frame.src = url.href;
      this.#panel.replaceChildren(this.#frame);
      this.#deadline = setTimeout(() => this.#failed(), READY_DEADLINE_MS);
      this.#words();
    }

    #unload() {
      clearTimeout(this.#deadline);
      this.#frame?.remove(); // a call in it ends with it
      this.#frame = null;
      this.#ready = false;
      this.#waiting = [];
      if (this.#callId) this.#emit("call-end", { callId: this.#callId, reason: "hangup" });
      this.#callId = null;
      this.#setState("idle");
    }

    #failed() {
      this.#emit("error", { code: "frame_failed", message: this.#texts.broken });
      this.#setState("error");
    }

    /**
     * @template {keyof HostSays} Type
     * @param {Type} type
     * @param {HostSays[Type]} payload
     */
    #say(type, payload) {
      if (!this.#ready) {
        if (this.#waiting.length < WAITING_MAX) this.#waiting.push([type, payload]);
        return;
      }
      this.#frame?.contentWindow?.postMessage({ source: NAME, v: 1, type, payload }, this.#server);
    }

    #configure() {
      if (!this.#ready) return;
      const theme = this.getAttribute("theme");
      this.#say("configure", {
        theme: theme === "light" || theme === "dark" ? theme : "auto",
        transcript: this.getAttribute("transcript") !== "off",
        heading: this.getAttribute("heading") ?? "",
        look: this.#look(),
        config: { muted: this.hasAttribute("muted") },
      });
    }

    /** The custom properties in force here; they do not reach into a frame by themselves. */
    #look() {
      const style = getComputedStyle(this.#box);
      /** @type {import("./widget").Look} */
      const look = {};
      for (const name of LOOK) {
        const value = style.getPropertyValue(`--kame-${name}`).trim();
        if (value) look[name] = value;
      }
      if (look.accent && !look["on-accent"]) {
        look["on-accent"] = readableOn(getComputedStyle(this.#launcher).backgroundColor);
        this.#launcher.style.color = look["on-accent"];
      } else this.#launcher.style.removeProperty("color");
      return look;
    }

    /** @returns {CallConfig} */
    #config() {
      /** @type {Record<string, string>} */
      const config = {};
      for (const name of ["agent", "language", "mode", "voice", "instructions"]) {
        const value = this.getAttribute(name);
        if (value) config[name] = value;
      }
      if (this.#context) config.context = this.#context;
      return config;
    }

    /** @param {MessageEvent} event */
    #heard({ source, origin, data }) {
      if (!this.#frame || source !== this.#frame.contentWindow || origin !== this.#server) return;
      if (data?.source !== NAME || data.v !== 1 || typeof data.type !== "string") return;
      const payload = data.payload !== null && typeof data.payload === "object" ? data.payload : {};
      this.#handle(data.type, payload);
    }

    /**
     * @param {string} type
     * @param {any} payload of our own server's page
     */
    #handle(type, payload) {
      switch (type) {
        case "ready":
          this.#begin(payload);
          return;
        case "state":
          this.#setState(payload.state);
          return;
        case "call-start":
          this.#callId = payload.callId;
          this.#emit(type, payload);
          return;
        case "call-end":
          this.#callId = null;
          this.#emit(type, payload);
          return;
        case "call":
          this.#answer(payload);
          return;
        case "need-token":
          void this.#tellToken();
          return;
        case "close":
          if (!this.#isInline) this.open = false;
          return;
        case "error":
          clearTimeout(this.#deadline); // whoever tells why it cannot be used is there
          break;
        case "resize":
          this.#panel.style.setProperty("--_wanted", `${Number(payload.height) || 0}px`);
          break;
        default:
      }
      if (TOLD.includes(/** @type {any} */ (type))) this.#emit(/** @type {typeof TOLD[number]} */ (type), payload);
    }

    /** @param {FrameSays["ready"]} payload */
    #begin(payload) {
      clearTimeout(this.#deadline);
      this.#ready = true;
      this.#configure();
      if (this.#context) this.#say("context", { text: this.#context });
      for (const [type, waiting] of this.#waiting.splice(0)) {
        this.#say(/** @type {keyof HostSays} */ (type), /** @type {any} */ (waiting));
      }
      this.#emit("ready", payload);
    }

    /** @param {FrameSays["call"]} asked */
    #answer({ id }) {
      const detail = { config: this.#config() };
      const granted = this.#emit("call", detail, true);
      if (granted) this.#say("grant", { id, config: detail.config });
      else this.#say("refuse", { id });
    }

    async #tellToken() {
      const url = this.getAttribute("token-url");
      let token = this.#token ?? null;
      if (this.#token === undefined && url) {
        try {
          const signal = AbortSignal.timeout(TOKEN_DEADLINE_MS);
          const response = await fetch(url, { method: "POST", cache: "no-store", signal });
          if (!response.ok) throw new Error(String(response.status));
          const text = (await response.text()).trim();
          const found = text.startsWith("{") ? JSON.parse(text) : text;
          token = typeof found === "string" ? found : String(found.value ?? found.token ?? "");
        } catch (error) {
          const message = error instanceof Error ? error.message : "";
          this.#emit("error", { code: "token_failed", message: `token-url gave no client secret (${message}).` });
          token = ""; // no secret: the server refuses the call, and the frame says so
        }
      }
      this.#say("set-token", { token });
    }

    /** @param {State} state */
    #setState(state) {
      if (this.#state === state) return;
      this.#state = state;
      this.#words();
      this.#emit("state", { state });
    }

    /**
     * @template {keyof import("./widget").Emitted} Type
     * @param {Type} type
     * @param {import("./widget").Emitted[Type]} detail
     * @returns {boolean} false: the page prevented it
     */
    #emit(type, detail, cancelable = false) {
      return this.dispatchEvent(new CustomEvent(`${NAME}:${type}`, { detail, bubbles: true, composed: true, cancelable }));
    }
  }

  /**
   * @template {keyof HTMLElementTagNameMap} Tag
   * @param {Tag} tag
   * @param {Record<string, string>} attributes
   */
  function element(tag, attributes) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  /**
   * @param {string} name
   * @param {string} path
   */
  function drawing(name, path) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("class", name);
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS(space, "path");
    line.setAttribute("d", path);
    svg.append(line);
    return svg;
  }

  /**
   * White or near-black, whichever reads better (WCAG 2.2 relative luminance).
   * @param {string} colour resolved
   */
  function readableOn(colour) {
    const context = new OffscreenCanvas(1, 1).getContext("2d");
    if (!context) return "#fff";
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [red = 0, green = 0, blue = 0] = [...context.getImageData(0, 0, 1, 1).data].map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#111" : "#fff";
  }

  /** @type {new () => import("./widget").KameVoiceElement} */
  const documented = KameVoice;
  if (!customElements.get(NAME)) customElements.define(NAME, documented);
})();
