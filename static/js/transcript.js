/** The transcript as files: text, JSON and SRT subtitles. Pure. */

/** @typedef {import("./types").Caption} Caption */
/** @typedef {import("./types").Candidate} Candidate */

/** How long a subtitle stays after its last word came, and how long at least, in ms. */
const LINGER_MS = 1_200;
const SHORTEST_MS = 800;

/**
 * What was heard of a caption: the end that was cut off is left out.
 * @param {Caption} caption
 */
export function heard(caption) {
  return caption.heard ?? caption.text.trim();
}

/**
 * @param {readonly Caption[]} captions
 * @param {Record<"you" | "agent", string>} names
 * @param {string} unheardNote stands before words that were not heard
 */
export function asText(captions, names, unheardNote) {
  const lines = spoken(captions).map((caption) => {
    const cut = caption.unheard.trim() ? ` [${unheardNote}${caption.unheard.trim()}]` : "";
    return `[${clock(caption.from_ms).slice(0, -4)}] ${names[caption.who]}: ${heard(caption)}${cut}`;
  });
  return `${lines.join("\n")}\n`;
}

/**
 * @param {readonly Caption[]} captions
 * @param {readonly Candidate[]} candidates
 * @param {{ mode: string, engines: object, at: Date }} about
 */
export function asJson(captions, candidates, { mode, engines, at }) {
  const turns = spoken(captions).map((caption) => ({
    who: caption.who,
    kind: caption.kind,
    from_ms: caption.from_ms,
    to_ms: caption.to_ms,
    text: heard(caption),
    parts: caption.parts.map(({ text, origin }) => ({ text, origin })),
    interrupted: caption.interrupted,
    unheard: caption.unheard.trim(),
  }));
  const oracle = candidates.map(({ partial, complete, text, state, started_ms, adopted_ms, ended_ms }) => ({
    partial,
    complete,
    text: text.trim(),
    state,
    started_ms,
    adopted_ms,
    ended_ms,
  }));
  return `${JSON.stringify({ saved_at: at.toISOString(), mode, engines, turns, oracle }, null, 2)}\n`;
}

/**
 * SubRip subtitles, in the recording's time if that began with the call.
 * @param {readonly Caption[]} captions
 * @param {Record<"you" | "agent", string>} names
 */
export function asSrt(captions, names) {
  const all = spoken(captions);
  return all
    .map((caption, index) => {
      const next = all[index + 1]?.from_ms ?? Number.POSITIVE_INFINITY;
      const end = Math.max(caption.from_ms + SHORTEST_MS, Math.min(caption.to_ms + LINGER_MS, next));
      const words = heard(caption).replace(/\s*\n\s*/g, " ");
      return `${index + 1}\n${clock(caption.from_ms)} --> ${clock(end)}\n${names[caption.who]}: ${words}\n`;
    })
    .join("\n");
}

/** @param {readonly Caption[]} captions */
function spoken(captions) {
  return captions.filter((caption) => heard(caption) !== "" || caption.unheard.trim() !== "");
}

/**
 * @param {number} ms
 * @returns {string} such as 00:01:02,345
 */
export function clock(ms) {
  const whole = Math.max(0, Math.round(ms));
  /** @param {number} value @param {number} digits */
  const two = (value, digits = 2) => String(value).padStart(digits, "0");
  const s = Math.floor(whole / 1000);
  return `${two(Math.floor(s / 3600))}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)},${two(whole % 1000, 3)}`;
}
