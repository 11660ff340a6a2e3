/** What the widget itself says; all else is said by the page in its frame. */

/** @typedef {{ label: string, open: string, close: string, running: string, frame: string, broken: string, again: string }} Words */

/** @type {Words} */
const ENGLISH = {
  label: "Talk",
  open: "Open the voice assistant.",
  close: "Close the voice assistant.",
  running: "A call is going on.",
  frame: "Voice assistant",
  broken: "The voice assistant could not be loaded. Its server has to be reachable, and to allow this page's origin.",
  again: "Try again",
};

/** @type {Record<string, Words>} */
const WORDS = {
  en: ENGLISH,
  de: {
    label: "Sprechen",
    open: "Sprachassistenten öffnen.",
    close: "Sprachassistenten schließen.",
    running: "Ein Gespräch läuft.",
    frame: "Sprachassistent",
    broken:
      "Der Sprachassistent konnte nicht geladen werden. Sein Server muss erreichbar sein und die Herkunft dieser Seite erlauben.",
    again: "Noch einmal versuchen",
  },
};

/**
 * @param {string} tag of a language (BCP 47)
 * @returns {Words} English where the language is not there
 */
export function wordsIn(tag) {
  return WORDS[tag.toLowerCase().split("-")[0] ?? ""] ?? ENGLISH;
}
