/** What a person chose, kept in this browser where that is allowed. */

/** @typedef {import("./types").Preferences} Preferences */

const KEY = "kame-voice";

/** @returns {Preferences} */
export function loadPreferences() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return {
      mode: ["tandem", "direct", "cascaded"].includes(kept.mode) ? kept.mode : null,
      opener: typeof kept.opener === "boolean" ? kept.opener : null,
    };
  } catch {
    return { mode: null, opener: null }; // storage is blocked, as in some frames
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
