/** The switch between the modes, each with how fast it answered here. */

import { make, part, write } from "./dom.js";
import { counted, duration, fill, texts } from "./strings.js";

/** @typedef {import("./types").Mode} Mode */
/** @typedef {import("./measured.js").Measured} Measured */
/** @typedef {import("./measured.js").Measure} Measure */

export class ModeView {
  #form = part("modes", HTMLFormElement);
  #note = part("mode-note");

  /** @param {(mode: Mode) => void} choose */
  constructor(choose) {
    this.#form.addEventListener("change", () => {
      choose(/** @type {Mode} */ (new FormData(this.#form).get("mode")));
    });
    this.#form.addEventListener("submit", (event) => event.preventDefault());
  }

  /**
   * @param {string} mode the one in force
   * @param {Measured} measured
   */
  render(mode, measured) {
    for (const input of this.#form.querySelectorAll("input")) {
      input.checked = input.value === mode;
      const measure = measured.of(input.value);
      const figure = /** @type {Element} */ (input.parentElement?.querySelector("[data-figure]"));
      write(figure, measure?.sound_ms == null ? "–" : duration(Math.max(0, measure.sound_ms)));
      const bar = /** @type {HTMLElement} */ (input.parentElement?.querySelector("[data-bar]"));
      draw(bar, measure, measured.longest_ms);
      input.setAttribute("aria-description", describe(measure));
    }
    this.#form.classList.toggle("is-measured", measured.longest_ms > 0);
    const chosen = texts.modes[/** @type {Mode} */ (mode)];
    write(this.#note, chosen ? `${chosen.note} ${sentence(measured.of(mode))}`.trim() : "");
  }
}

/**
 * @param {HTMLElement} bar
 * @param {Measure | null} measure
 * @param {number} longest_ms
 */
function draw(bar, measure, longest_ms) {
  const state = JSON.stringify([measure, longest_ms]);
  if (bar.dataset.shown === state) return;
  bar.dataset.shown = state;
  if (!measure || longest_ms <= 0 || measure.sound_ms === null) {
    bar.replaceChildren();
    return;
  }
  const sound_ms = Math.max(0, measure.sound_ms); // who speaks over the person is there before zero
  const sound = make("i", "measure__sound");
  sound.style.width = `${Math.max(2, (sound_ms / longest_ms) * 100)}%`;
  const knowing = make("i", "measure__knowing");
  const more_ms = Math.max(0, (measure.knowing_ms ?? 0) - sound_ms);
  knowing.style.width = `${(more_ms / longest_ms) * 100}%`;
  bar.replaceChildren(sound, knowing);
}

/** @param {Measure | null} measure */
function describe(measure) {
  return measure ? sentence(measure) : texts.modes.unmeasured;
}

/** @param {Measure | null} measure */
function sentence(measure) {
  if (!measure || measure.sound_ms === null) return "";
  const values = { sound: duration(Math.max(0, measure.sound_ms)), n: counted(texts.modes.turns, measure.turns) };
  return measure.knowing_ms === null
    ? fill(texts.modes.measured_sound, values)
    : fill(texts.modes.measured, { ...values, knowing: duration(Math.max(0, measure.knowing_ms)) });
}
