/** Which engines work here, how far they are loaded, and how to get better ones. */

import { keep, make, part, write } from "./dom.js";
import { fill, texts } from "./strings.js";

/** @typedef {import("./types").EngineRole} EngineRole */
/** @typedef {import("./types").EnginePart} EnginePart */
/** @typedef {import("./types").ReadyPart} ReadyPart */

/**
 * @typedef {object} Row
 * @property {string} role
 * @property {string} label
 * @property {string} name
 * @property {string} note
 * @property {ReadyPart["state"]} state
 * @property {number | null} progress
 */

const ORDER = ["frontend", "stt", "llm", "tts"];
/** @type {Record<string, { label: string, what: string }>} */
const labels = texts.engines;

export class EnginesView {
  #list = part("engines");

  /**
   * @param {readonly ReadyPart[]} parts what the server loads
   * @param {Partial<Record<EngineRole, EnginePart>>} engines what the running call uses
   */
  render(parts, engines) {
    const rows = merge(parts, engines);
    keep(this.#list, rows, (row) => row.role, build, update);
  }
}

/**
 * @param {readonly ReadyPart[]} parts
 * @param {Partial<Record<EngineRole, EnginePart>>} engines
 * @returns {Row[]}
 */
function merge(parts, engines) {
  /** @type {Map<string, Row>} */
  const rows = new Map();
  for (const { name, title, choice, note, state, progress } of parts) {
    rows.set(name, { role: name, label: labels[name]?.label ?? (title || name), name: choice, note, state, progress });
  }
  for (const [role, engine] of Object.entries(engines)) {
    const row = rows.get(role) ?? { role, label: labels[role]?.label ?? role, note: "", state: "ready", progress: null };
    rows.set(role, { ...row, name: engine.name, note: engine.note || row.note });
  }
  /** @param {Row} row */
  const place = (row) => (ORDER.includes(row.role) ? ORDER.indexOf(row.role) : ORDER.length);
  return [...rows.values()].sort((a, b) => place(a) - place(b));
}

/** @param {Row} row */
function build(row) {
  const what = labels[row.role]?.what ?? "";
  const label = make("p", "engine__label", make("span", "", row.label), make("span", "engine__what", what));
  const bar = make("progress", "engine__progress");
  bar.max = 1;
  bar.setAttribute("aria-label", row.label);
  const note = make("p", "engine__note");
  note.lang = "en"; // the server's own words
  const element = make("li", "engine", label, make("p", "engine__name"), bar, note);
  element.dataset.testid = `engine-${row.role}`;
  return element;
}

/**
 * @param {Element} element
 * @param {Row} row
 */
function update(element, row) {
  element.setAttribute("data-state", row.state);
  const [, name, bar, note] = /** @type {[Element, Element, HTMLProgressElement, HTMLElement]} */ (
    /** @type {unknown} */ (element.children)
  );
  const percent = row.progress === null ? "" : fill(texts.units.percent, { n: Math.round(row.progress * 100) });
  write(name, [row.name, percent].filter(Boolean).join(" · "));
  bar.hidden = row.state !== "loading" && row.progress === null;
  if (row.progress === null) bar.removeAttribute("value");
  else bar.value = row.progress;
  write(note, row.note);
  note.hidden = row.note === "";
}
