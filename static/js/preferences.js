/** What a person chose, kept in this browser where that is allowed; and what of it the server is told. */

/** @typedef {import("./types").Preferences} Preferences */

const KEY = "kame-voice";
const PERSONA_MAX = 2_000;

/** @type {Readonly<Preferences>} */
export const DEFAULTS = {
  mode: null,
  opener: null,
  preset: "",
  persona: "",
  voice: "",
  language: "",
  pushToTalk: false,
  microphone: "",
  speaker: "",
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
  volume: 1,
  theme: "auto",
  oracle: null,
};
const MODES = ["tandem", "direct", "cascaded"];
const THEMES = ["auto", "light", "dark"];

/** @returns {Preferences} */
export function loadPreferences() {
  try {
    return checked(JSON.parse(localStorage.getItem(KEY) ?? "{}"));
  } catch {
    return { ...DEFAULTS }; // storage is blocked, as in some frames, or holds nonsense
  }
}

/** @param {Preferences} preferences */
export function savePreferences(preferences) {
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // Chosen for this visit only.
  }
}

/**
 * Only what has the right kind; the rest falls back.
 * @param {Record<string, unknown>} kept
 * @returns {Preferences}
 */
export function checked(kept) {
  /** @type {Record<string, unknown>} */
  const good = { ...DEFAULTS };
  for (const [name, standard] of Object.entries(DEFAULTS)) {
    if (standard !== null && typeof kept?.[name] === typeof standard) good[name] = kept[name];
  }
  const { mode, opener, theme, volume, oracle } = kept ?? {};
  good.mode = MODES.includes(String(mode)) ? mode : null;
  good.opener = typeof opener === "boolean" ? opener : null;
  good.oracle = typeof oracle === "boolean" ? oracle : null;
  good.theme = THEMES.includes(String(theme)) ? theme : "auto";
  good.volume = typeof volume === "number" && volume >= 0 && volume <= 1 ? volume : 1;
  good.persona = String(good.persona).slice(0, PERSONA_MAX);
  return /** @type {Preferences} */ (/** @type {unknown} */ (good));
}

/**
 * What of it concerns the microphone.
 * @param {Preferences} preferences
 * @returns {import("./types").MicrophoneWishes}
 */
export function microphoneWishes({ microphone, echoCancellation, noiseSuppression, autoGainControl }) {
  return { microphone, echoCancellation, noiseSuppression, autoGainControl };
}

/**
 * The wire `session` that asks for what was chosen; only what differs from the server's own choice.
 * @param {Preferences} preferences
 * @param {string} [context] what the page around knows of the person's situation
 * @returns {Record<string, unknown> | null} null: nothing was chosen
 */
export function openingSession(preferences, context) {
  const { mode, opener, preset, persona, voice, language, pushToTalk } = preferences;
  const kame = {
    ...(mode !== null && { mode }),
    ...(opener !== null && { opener }),
    ...(preset && { preset }),
    ...(language && { language }),
    ...(context && { context }),
  };
  const audio = {
    ...(voice && { output: { voice } }),
    ...(pushToTalk && { input: { turn_detection: null } }),
  };
  const session = {
    ...(persona && { instructions: persona }),
    ...(Object.keys(audio).length > 0 && { audio }),
    ...(Object.keys(kame).length > 0 && { kame }),
  };
  return Object.keys(session).length > 0 ? { type: "realtime", ...session } : null;
}

/**
 * What a running call is told when choices change. Null brings the server's own choice back, except for
 * `turn_detection`, where it means push to talk.
 * @param {Preferences} before
 * @param {Preferences} after
 * @returns {Record<string, unknown> | null} null: nothing the server has to know
 */
export function changedSession(before, after) {
  /** @type {Record<string, unknown>} */
  const kame = {};
  if (before.mode !== after.mode) kame.mode = after.mode;
  if (before.opener !== after.opener) kame.opener = after.opener;
  if (before.preset !== after.preset) kame.preset = after.preset || null;
  /** @type {Record<string, unknown>} */
  const session = {};
  if (before.persona !== after.persona) session.instructions = after.persona || null;
  if (before.pushToTalk !== after.pushToTalk) {
    session.audio = { input: { turn_detection: after.pushToTalk ? null : { type: "semantic_vad", eagerness: "auto" } } };
  }
  if (Object.keys(kame).length > 0) session.kame = kame;
  return Object.keys(session).length > 0 ? { type: "realtime", ...session } : null;
}
