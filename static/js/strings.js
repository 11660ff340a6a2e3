/**
 * Every word the scripts show, in the page's language. The words themselves stand in `static/i18n/<language>.json`; the
 * server puts the chosen language's into the page as its `texts`, from which the templates are written, too.
 */

/** @typedef {typeof import("../i18n/en.json")} Texts */
/** @typedef {import("./types").TroubleAction} TroubleAction */
/** @typedef {import("./types").Trouble} Trouble */
/** @typedef {keyof Texts["troubles"]} TroubleCode */

/** @type {Texts} */
export const texts = JSON.parse(document.getElementById("texts")?.textContent ?? "");

/** The page's language, a BCP 47 tag. */
export const language = document.documentElement.lang || "en";

/** In which the server's own sentences are written. */
export const SERVER_LANGUAGE = "en";

const plural = new Intl.PluralRules(language);

/**
 * Puts values into a text's `{places}`.
 * @param {string} template
 * @param {Record<string, string | number>} values
 */
export function fill(template, values) {
  return template.replace(/\{(\w+)\}/g, (place, name) => String(values[name] ?? place));
}

/**
 * @param {{ one: string, other: string }} forms
 * @param {number} n
 */
export function counted(forms, n) {
  return fill(plural.select(n) === "one" ? forms.one : forms.other, { n });
}

/**
 * A duration as people say it: milliseconds up to a second, then seconds.
 * @param {number} ms not negative
 */
export function duration(ms) {
  if (ms < 999.5) return fill(texts.units.ms, { n: Math.round(ms) });
  const s = ms / 1000;
  if (s < 60) return fill(texts.units.s, { n: s.toLocaleString(language, { maximumFractionDigits: s < 10 ? 1 : 0 }) });
  return fill(texts.units.min_s, { min: Math.floor(s / 60), s: Math.floor(s % 60) });
}

/** What a person can do about each trouble; troubles without an entry can be tried again. */
/** @type {Partial<Record<TroubleCode, TroubleAction[]>>} */
const ACTIONS = {
  insecure_origin: ["type"],
  frame_blocked: ["open_tab", "type"],
  microphone_denied: ["retry", "type"],
  microphone_missing: ["retry", "type"],
  microphone_busy: ["retry", "type"],
  microphone_unanswered: ["retry", "type"],
  browser_too_old: ["none"],
  server_refused: ["none"],
};

/** What can go wrong, and what to do next. `server_*` texts are used when the server gave no sentence of its own. */
export const TROUBLES = /** @type {Record<TroubleCode, Trouble>} */ (
  Object.fromEntries(
    Object.entries(texts.troubles).map(([code, { title, text }]) => [
      code,
      { code, title, text, actions: ACTIONS[/** @type {TroubleCode} */ (code)] ?? ["retry"] },
    ]),
  )
);

/** @param {number} seconds */
export function tryAgainIn(seconds) {
  return seconds <= 1 ? texts.again_one : fill(texts.again_in, { n: Math.ceil(seconds) });
}
