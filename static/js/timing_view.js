/** The last turn's time line: two numbers, a bar, and the moments as a list. */

import { make, part, write } from "./dom.js";
import { milliseconds, MOMENTS as NAMES, roundTrip } from "./strings.js";
import { layOut } from "./timing.js";

/** @typedef {import("./types").TurnTiming} TurnTiming */

export class TimingView {
  #panel = part("timing");
  #sound = part("timing-sound");
  #knowing = part("timing-knowing");
  #bar = part("timing-bar");
  #list = part("timing-list");
  #note = part("timing-note");
  /** @type {TurnTiming | null} */
  #shown = null;

  /**
   * @param {TurnTiming | null} timing
   * @param {number | null} roundTrip_ms
   */
  render(timing, roundTrip_ms) {
    write(this.#note, roundTrip_ms === null ? "" : roundTrip(roundTrip_ms));
    if (timing === this.#shown) return;
    this.#shown = timing;
    const layout = timing && layOut(timing);
    this.#panel.classList.toggle("has-turn", layout !== null);
    if (!timing || !layout) return;
    write(this.#sound, figure(timing.first_audio_ms));
    write(this.#knowing, figure(timing.first_oracle_audio_ms));
    const stretches = layout.stretches.map(({ kind, from, to }) => {
      const stretch = make("span", `stretch stretch--${kind}`);
      stretch.style.left = `${from * 100}%`;
      stretch.style.width = `${(to - from) * 100}%`;
      return stretch;
    });
    const marks = layout.marks.map(({ moment, at }) => {
      const mark = make("i", "mark");
      mark.dataset.moment = moment;
      mark.style.left = `${at * 100}%`;
      return mark;
    });
    const zero = make("i", "mark mark--zero");
    zero.style.left = `${layout.zero * 100}%`;
    this.#bar.replaceChildren(...stretches, ...marks, zero);
    const inOrder = layout.marks.toSorted((a, b) => a.ms - b.ms);
    const rows = inOrder.map(({ moment, ms }) => {
      const row = make("div", "moment", make("dt", "", NAMES[moment]), make("dd", "", milliseconds(ms)));
      row.dataset.moment = moment;
      return row;
    });
    this.#list.replaceChildren(...rows);
  }
}

/** @param {number | null} ms */
function figure(ms) {
  return ms === null ? "–" : String(Math.round(ms));
}
