/** Every word the scripts write, in English. The words that never change stand in the templates. */

/** @typedef {import("./types").Phase} Phase */
/** @typedef {import("./types").Trouble} Trouble */
/** @typedef {import("./types").TroubleAction} TroubleAction */

/** The state under the button, and what to do in it. @type {Record<Phase, { title: string, hint: string }>} */
export const PHASES = {
  idle: { title: "Ready when you are", hint: "Press the button and just talk." },
  asking: { title: "May we hear you?", hint: "Allow the microphone in the question your browser shows." },
  connecting: { title: "Connecting…", hint: "This takes about a second." },
  listening: { title: "Listening", hint: "Just talk. You can interrupt at any time." },
  thinking: { title: "Thinking", hint: "Your words have arrived." },
  speaking: { title: "Speaking", hint: "Talk over it, or press the button to stop it." },
  ended: { title: "The call has ended", hint: "What was said stays here until you leave the page." },
  error: { title: "Something went wrong", hint: "" },
};

/** What the big button does. @type {Record<Phase, string>} */
export const TALK_LABELS = {
  idle: "Talk",
  asking: "Cancel",
  connecting: "Cancel",
  listening: "Listening",
  thinking: "Stop answering",
  speaking: "Stop speaking",
  ended: "Talk again",
  error: "Try again",
};

export const GETTING_READY = { title: "Getting ready…", hint: "The engines are being loaded. You can talk in a moment." };
export const NOT_WORKING = "This server cannot take calls";
export const CHECK_ENDED = { title: "Sound check ended", hint: "Press the button to talk." };
export const SERVER_SILENT = {
  title: "The server does not answer",
  hint: "Trying again by itself. Check that it is running and that you are online.",
};
export const RESUMING = { title: "Reconnecting…", hint: "The connection broke. Your talk goes on in a moment." };
export const HEARING_YOU = { title: "Listening", hint: "I hear you." };
export const MUTED = { title: "Muted", hint: "Your microphone is off. Unmute to be heard." };
export const TYPING = { title: "Type a message", hint: "There is no microphone in this call. You hear the answers." };
export const DUCKED_HINT = "Lowered its voice, because you are talking.";
export const WEAK_CONNECTION = "The connection is interrupted. Waiting for it to come back…";
export const QUIET_MICROPHONE =
  "Nothing comes from your microphone. Is the right one chosen, and is it switched on in your system?";
export const MICROPHONE_GONE = "The microphone was unplugged or taken away. Plug it in and start again.";
export const SYSTEM_MUTED = "Your system or headset has muted the microphone.";
export const INTERRUPTED = "interrupted";
export const UNHEARD = "not heard: ";
export const NOT_UNDERSTOOD = "(could not be understood)";
export const BACKCHANNEL = "in between";
export const YOU = "You";

export const CHECK = {
  title: "Sound check",
  hint: "Say something. You hear it back a moment later.",
  waiting: "waiting…",
  microphone: "Your microphone is heard",
  connection: "The connection to the server stands",
  sound: "Your voice comes back",
  done: "All three work. If you heard yourself, you are ready to talk.",
};

/** Said to screen readers. Not every turn: the voice itself is heard then. @type {Partial<Record<Phase, string>>} */
export const ANNOUNCED = {
  asking: "Allow the microphone in the question your browser shows.",
  connecting: "Connecting.",
  listening: "Connected. Talk now.",
  ended: "The call has ended.",
};
export const ANNOUNCE_MUTED = "Microphone muted.";
export const ANNOUNCE_UNMUTED = "Microphone on.";

export const MUTE = "Mute";
export const UNMUTE = "Unmute";

/** @type {Record<TroubleAction, string>} */
export const ACTIONS = { retry: "Try again", type: "Type instead", open_tab: "Open in its own tab", none: "" };

/** @type {Record<import("./types").EngineRole, { label: string, what: string }>} */
export const ENGINES = {
  frontend: { label: "Front end", what: "hears and speaks, answers at once" },
  stt: { label: "Speech-to-text", what: "writes down what you say, word by word" },
  llm: { label: "Language model", what: "the back end: writes the oracle" },
  tts: { label: "Text-to-speech", what: "the voice" },
};

/** @type {Record<string, string>} */
export const PART_NAMES = mapValues(ENGINES, (one) => one.label);

/** @type {Record<import("./types").CandidateState, string>} */
export const CANDIDATE_STATES = {
  asked: "asked",
  writing: "being written",
  finished: "ready",
  adopted: "adopted",
  superseded: "superseded",
  failed: "failed",
  dropped: "dropped",
};
export const ANSWERS_PARTIAL = "heard so far:";
export const ANSWERS_TURN = "whole turn:";
export const NO_WORDS_YET = "no words yet";
export const NO_ANSWER = "no answer";

/** @type {Record<import("./timing.js").Moment, string>} */
export const MOMENTS = {
  asked_ms: "The adopted candidate was asked for",
  pause_ms: "Your pause was noticed",
  turn_end_ms: "Your turn was taken to be over",
  first_token_ms: "First word of the candidate",
  adopted_ms: "Candidate adopted",
  first_audio_ms: "First sound",
  first_oracle_audio_ms: "First knowing word",
};
export const TIME_ZERO = "you stop speaking";

/** @type {Record<string, string>} */
export const MODES = {
  tandem: "Tandem: it answers at once, and the language model's words follow mid-sentence.",
  direct: "Front end alone: quick and shallow, no language model.",
  cascaded: "One after another: it waits for your whole turn, then for the language model. For comparison.",
};

/** @param {number} ms */
export function milliseconds(ms) {
  return ms < 0 ? `${Math.round(-ms)} ms before` : `${Math.round(ms)} ms`;
}

/** @param {number} rtt_ms */
export function roundTrip(rtt_ms) {
  return `Measured at the server from the end of your speech. The way to you and back takes ${Math.max(1, Math.round(rtt_ms))} ms more.`;
}

/** @param {number} n */
export function candidateCount(n) {
  return n === 1 ? "1 candidate" : `${n} candidates`;
}

/** @param {number} percent */
export function loaded(percent) {
  return `${percent} %`;
}

/** @param {readonly string[]} parts what is still being loaded, with how far in brackets where that is known */
export function loading(parts) {
  return parts.length ? `Loading: ${parts.join(", ")}.` : GETTING_READY.hint;
}

/**
 * @param {string} code
 * @param {string} title
 * @param {string} words
 * @param {TroubleAction[]} actions
 * @returns {Trouble}
 */
function trouble(code, title, words, ...actions) {
  return { code, title, text: words, actions };
}

/** What can go wrong, and what to do next. `server_*` texts are used when the server gave no sentence of its own. */
export const TROUBLES = {
  insecure_origin: trouble(
    "insecure_origin",
    "This address is not secure",
    "Browsers give the microphone only to https pages and to localhost. Open this page with https://, or on the machine itself as http://localhost.",
    "type",
  ),
  frame_blocked: trouble(
    "frame_blocked",
    "The page around this one keeps the microphone",
    'Its owner has to add allow="microphone; autoplay" to the frame. Meanwhile, open this page in its own tab.',
    "open_tab",
    "type",
  ),
  microphone_denied: trouble(
    "microphone_denied",
    "The microphone is blocked",
    "Press the icon beside the address of this page, allow the microphone, then try again. Some systems also have a microphone switch in their privacy settings.",
    "retry",
    "type",
  ),
  microphone_missing: trouble(
    "microphone_missing",
    "No microphone found",
    "Plug one in or switch it on, then try again.",
    "retry",
    "type",
  ),
  microphone_busy: trouble(
    "microphone_busy",
    "The microphone is in use",
    "Another program holds it. Close that program, or choose another microphone, then try again.",
    "retry",
    "type",
  ),
  microphone_unanswered: trouble(
    "microphone_unanswered",
    "The microphone was not allowed yet",
    "Your browser asked, but got no answer. Try again and choose “Allow”.",
    "retry",
    "type",
  ),
  browser_too_old: trouble(
    "browser_too_old",
    "This browser cannot make calls",
    "It has no WebRTC. A current Chrome, Edge, Firefox or Safari has.",
    "none",
  ),
  server_full: trouble(
    "server_full",
    "Everyone is busy",
    "All places on this server are taken by other calls. Try again in a moment.",
    "retry",
  ),
  server_loading: trouble(
    "server_loading",
    "Still getting ready",
    "The server is loading its engines. Try again in a moment.",
    "retry",
  ),
  server_unreachable: trouble(
    "server_unreachable",
    "The server does not answer",
    "It may be restarting, or you are offline. Check your connection, then try again.",
    "retry",
  ),
  server_refused: trouble(
    "server_refused",
    "This server wants to know who you are",
    "It takes calls only with a key or from certain pages. Ask the person who runs it.",
    "none",
  ),
  server_rate: trouble(
    "server_rate",
    "Too many calls at once",
    "This server limits how often one may call. Wait a minute, then try again.",
    "retry",
  ),
  server_error: trouble(
    "server_error",
    "The server had a problem",
    "The call could not be opened. Try again; if it stays like this, tell the person who runs the server.",
    "retry",
  ),
  connect_failed: trouble(
    "connect_failed",
    "No way through to the server",
    "The page reaches the server, but the sound does not: often a VPN or a firewall blocks UDP. Try without VPN or in another network. Whoever runs the server can add a TURN relay.",
    "retry",
  ),
  connection_lost: trouble(
    "connection_lost",
    "The connection was lost",
    "Your network or the server went away. What was said is still here; talk again when you are back online.",
    "retry",
  ),
  conversation_failed: trouble("conversation_failed", "The call had to end", "Talk again to start a new one.", "retry"),
  unexpected: trouble("unexpected", "Something went wrong", "Reload the page, then try again.", "retry"),
};

/** @param {number} seconds */
export function tryAgainIn(seconds) {
  return seconds <= 1 ? "Try again in a second." : `Try again in about ${Math.ceil(seconds)} seconds.`;
}

/**
 * @template {string} K
 * @template V, W
 * @param {Record<K, V>} from
 * @param {(value: V) => W} by
 * @returns {Record<K, W>}
 */
function mapValues(from, by) {
  return /** @type {Record<K, W>} */ (Object.fromEntries(Object.entries(from).map(([k, v]) => [k, by(/** @type {V} */ (v))])));
}
