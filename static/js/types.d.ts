/** Shapes the page's modules share. Read by the type check only; never loaded by a browser. */

/** What the person sees happening. */
export type Phase =
  | "idle"
  | "asking"
  | "connecting"
  | "listening"
  | "thinking"
  | "speaking"
  | "ended"
  | "error";

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
  /** The end of `text` that was generated but never heard. */
  unheard: string;
}

export type CandidateState = "asked" | "writing" | "finished" | "adopted" | "superseded" | "failed" | "dropped";

/** One LLM generation for one partial transcript. */
export interface Candidate {
  id: string;
  /** The transcript it answers. */
  partial: string;
  /** That transcript was a whole turn. */
  complete: boolean;
  text: string;
  state: CandidateState;
  finished: boolean;
  /** Why it failed, in words for people; else empty. */
  note: string;
}

/** One turn's time line; ms after the end of the user's speech, null: did not happen. */
export interface TurnTiming {
  mode: string;
  pause_ms: number | null;
  settled_ms: number | null;
  turn_end_ms: number | null;
  asked_ms: number | null;
  first_token_ms: number | null;
  adopted_ms: number | null;
  first_audio_ms: number | null;
  first_oracle_audio_ms: number | null;
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

/** What a person can do about a trouble. */
export type TroubleAction = "retry" | "type" | "open_tab" | "none";

/** Something that went wrong, in words for the person it happened to. */
export interface Trouble {
  code: string;
  title: string;
  text: string;
  actions: TroubleAction[];
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

/** What the person chose; sent with every call. */
export interface Preferences {
  mode: "tandem" | "direct" | "cascaded" | null;
  opener: boolean | null;
}
