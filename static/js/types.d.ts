/** Shapes the page's modules share. Read by the type check only; never loaded by a browser. */

/** What the person sees happening. */
export type Phase =
  | "idle"
  | "asking"
  | "queued"
  | "connecting"
  | "listening"
  | "thinking"
  | "speaking"
  | "ended"
  | "error";

/** How a talk is to begin. */
export interface StartOptions {
  /** Typed messages only; the answers are heard. */
  withoutMicrophone?: boolean;
  /** Sound check: one hears oneself back. */
  check?: boolean;
  /** A typed message to begin with. */
  say?: string;
  /** Begin with the microphone off. */
  muted?: boolean;
}

export type Who = "you" | "agent";

/** Where words come from: a quick opener, the oracle (the LLM), or the front end's own knowledge. */
export type Origin = "opener" | "oracle" | "own";

export type CaptionKind = "speech" | "typed" | "backchannel" | "unintelligible";

export interface CaptionPart {
  text: string;
  origin: Origin;
}

/** One turn of the dialogue, as shown. */
export interface Caption {
  id: string;
  who: Who;
  kind: CaptionKind;
  text: string;
  parts: CaptionPart[];
  final: boolean;
  interrupted: boolean;
  /** What was heard of an answer that was cut off; null: all of `text`. */
  heard: string | null;
  /** What was generated after that and never heard. */
  unheard: string;
  /** When its first word came, and its last; ms since the conversation began. */
  from_ms: number;
  to_ms: number;
}

export type CandidateState = "asked" | "writing" | "finished" | "adopted" | "superseded" | "failed" | "dropped";

/** One LLM generation for one partial transcript. */
export interface Candidate {
  id: string;
  /** The transcript it answers; empty: words that were given, nobody asked. */
  partial: string;
  /** Such words with which the agent began the talk. */
  greeting: boolean;
  /** That transcript was a whole turn. */
  complete: boolean;
  text: string;
  state: CandidateState;
  finished: boolean;
  /** Why it failed, in words for people; else empty. */
  note: string;
  /** What of it has been spoken so far. */
  spoken: string;
  /** The answer it was asked for: how many turns of the agent had ended before. */
  turn: number;
  /** Times in ms since the conversation began; null: not yet. */
  started_ms: number | null;
  adopted_ms: number | null;
  ended_ms: number | null;
}

/** One turn's time line; ms after the end of the user's speech, null: did not happen. */
export interface TurnTiming {
  /** The response it is the time line of. */
  response: string;
  mode: string;
  pause_ms: number | null;
  settled_ms: number | null;
  /** The end of the speech reached ears that are held back. */
  hold_ms: number | null;
  turn_end_ms: number | null;
  asked_ms: number | null;
  first_token_ms: number | null;
  adopted_ms: number | null;
  /** The voice's gate, which had been shut, opened. */
  gate_ms: number | null;
  first_audio_ms: number | null;
  first_oracle_audio_ms: number | null;
}

/** A turn while it is lived; times in ms since the conversation began, null: not (yet). */
export interface LivedTurn {
  /** The response that answers it; empty: none yet. */
  response: string;
  /** It was spoken: not typed, and not begun by the agent. */
  by_voice: boolean;
  typed: boolean;
  /** When the person began to speak, and stopped; for other turns `to_ms` is when the answer was asked for. */
  from_ms: number | null;
  to_ms: number | null;
  /** The first word, and the first knowing one. */
  sound_ms: number | null;
  knowing_ms: number | null;
  /** The answer is complete. */
  over: boolean;
}

export interface EnginePart {
  name: string;
  note: string;
}

export type EngineRole = "frontend" | "stt" | "tts" | "llm";

export interface ReadyPart {
  name: string;
  title: string;
  /** The engine that was chosen; empty while that is open. */
  choice: string;
  state: "loading" | "ready" | "failed";
  progress: number | null;
  note: string;
}

export interface Readiness {
  ready: boolean;
  parts: ReadyPart[];
}

/** A place in the queue of a full server. */
export interface Place {
  ticket: string;
  /** From 1; 0: not told. */
  position: number;
  /** A place is free for this ticket. */
  ready: boolean;
  /** Ask again after this. */
  poll_s: number;
}

/** What a person can do about a trouble. */
export type TroubleAction = "retry" | "type" | "open_tab" | "none";

/** Something that went wrong, in words for the person it happened to. */
export interface Trouble {
  code: string;
  title: string;
  text: string;
  actions: TroubleAction[];
  /** The text's language, where it is not the page's. */
  language?: string;
}

/** A message on the data channel; its fields are checked where they are read. */
export interface WireEvent {
  type: string;
  [field: string]: unknown;
}

export interface OpenedCall {
  answer: string;
  /** Absolute URL of the call; null when the server named none. */
  location: string | null;
}

export type Mode = "tandem" | "direct" | "cascaded";

/** What the person chose, kept in the browser. An empty string or null: as the server chooses. */
export interface Preferences {
  mode: Mode | null;
  opener: boolean | null;
  preset: string;
  persona: string;
  voice: string;
  language: string;
  pushToTalk: boolean;
  microphone: string;
  speaker: string;
  echoCancellation: boolean;
  noiseSuppression: boolean;
  autoGainControl: boolean;
  /** 0..1 */
  volume: number;
  theme: "auto" | "light" | "dark";
  /** The oracle lane is unfolded; null: where there is room. */
  oracle: boolean | null;
}

/** How the microphone is to be opened. */
export type MicrophoneWishes = Pick<
  Preferences,
  "microphone" | "echoCancellation" | "noiseSuppression" | "autoGainControl"
>;

/** A role the server offers. */
export interface Preset {
  id: string;
  name: string;
  note: string;
}

/** What may be chosen on this server. */
export interface Offer {
  voices: string[];
  /** Languages that are understood, first parts of their tags; empty: many, or not known. */
  languages: string[];
  language: string;
  presets: Preset[];
}
