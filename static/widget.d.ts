/**
 * Types of the widget: the element `<kame-voice>`, its events, and the messages between a page and the frame `/embed`.
 * Read by editors and type checks only; never loaded by a browser. Explained in docs/widget.md.
 */

export type State = "idle" | "connecting" | "listening" | "thinking" | "speaking" | "ended" | "error";
export type Variant = "launcher" | "inline";
export type Placement = "bottom-right" | "bottom-left" | "top-right" | "top-left";
export type Theme = "auto" | "light" | "dark";
export type Mode = "tandem" | "direct" | "cascaded";

/** What a call begins with. What is left out is the server's choice, or the client secret's. */
export interface CallConfig {
  /** A role the server offers, as in its `/offer`: assistant, interpreter, tutor, customer_service. */
  agent?: string;
  /** The language people speak, a BCP 47 tag. */
  language?: string;
  mode?: Mode;
  voice?: string;
  /** Told to the language model beside its own instructions; at most 2,000 characters. */
  instructions?: string;
  /** What the page knows of the user's situation; at most 4,000 characters. */
  context?: string;
  /** Begin with the microphone off. */
  muted?: boolean;
}

/** Colours and shapes of the frame; CSS values, named like the custom properties `--kame-…`. */
export type Look = Partial<Record<"accent" | "on-accent" | "ground" | "card" | "ink" | "soft" | "line" | "font", string>>;

export interface Appearance {
  theme?: Theme;
  /** Show what was said. */
  transcript?: boolean;
  /** Stands at the top of the frame; empty: nothing does. */
  heading?: string;
  look?: Look;
}

export interface Transcript {
  /** The same for every event about this turn. */
  id: string;
  /** The whole turn so far. */
  text: string;
  final: boolean;
}

/** What the frame says; re-emitted by the element as `kame-voice:<type>` with the payload as `detail`. */
export interface FrameSays {
  /** It can be talked to. */
  ready: { version: string };
  state: { state: State };
  "call-start": { callId: string };
  /** `hangup`, `ended` (by the server), or the code of what went wrong. */
  "call-end": { callId: string; reason: string };
  "user-transcript": Transcript;
  /** `interrupted`: the user cut it off; `text` is then what was heard of it. */
  "agent-transcript": Transcript & { interrupted: boolean };
  /** Levels of both sides, 0 to 1, ten times a second during a call. */
  volume: { user: number; agent: number };
  muted: { muted: boolean };
  error: { code: string; message: string };
  /** The height its content would like, in CSS pixels. */
  resize: { height: number };
  /** A call is about to begin: answer with `grant` or `refuse` of the same id. Only after `configure`. */
  call: { id: number; config: CallConfig };
  /** A client secret is needed now: answer with `set-token`. Only after `configure`. */
  "need-token": Record<string, never>;
  /** Escape was pressed outside of a call. */
  close: Record<string, never>;
}

/** What a page says to the frame. */
export interface HostSays {
  /** The page answers `call` and `need-token`; and how the frame is to look. May be sent again. */
  configure: Appearance & { config?: CallConfig };
  start: Record<string, never>;
  stop: Record<string, never>;
  mute: { on: boolean };
  /** Begins a call without a microphone where there is none yet. */
  "send-text": { text: string };
  /** What the page knows of the user's situation; in place of what it said before. */
  context: { text: string };
  /** A client secret `ek_…`; null: there is none, the server's own rules for this origin count. */
  "set-token": { token: string | null };
  grant: { id: number; config: CallConfig };
  refuse: { id: number };
}

/** One message, either way. Foreign messages have another `source`; those of a later version another `v`. */
export interface Message<Says, Type extends keyof Says = keyof Says> {
  source: "kame-voice";
  v: 1;
  type: Type;
  payload: Says[Type];
}

export type Emitted = Omit<FrameSays, "call" | "need-token" | "close"> & {
  /** Cancelable: `preventDefault()` keeps the call from beginning; `detail.config` may be changed. */
  call: { config: CallConfig };
};

export type VoiceEventMap = { [Type in keyof Emitted as `kame-voice:${Type}`]: CustomEvent<Emitted[Type]> };

/** `<kame-voice>` */
export interface KameVoiceElement extends HTMLElement {
  /** The launcher's panel is open; reflects the attribute. */
  open: boolean;
  readonly state: State;
  /** Of the call that runs; null: none does. */
  readonly callId: string | null;
  /** Begins a call; opens the panel. Best called from a click. */
  start(): void;
  stop(): void;
  mute(on?: boolean): void;
  sendText(text: string): void;
  setContext(text: string): void;
  /** A client secret for the calls from now on, in place of `token-url`. */
  setToken(token: string | null): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "kame-voice": KameVoiceElement;
  }
  interface HTMLElementEventMap extends VoiceEventMap {}
  interface DocumentEventMap extends VoiceEventMap {}
}
