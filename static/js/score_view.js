/** Shows the last turn as a score: two figures, three voices over one time axis, and its moments as a list. */

import { make, part, write } from "./dom.js";
import { score } from "./score.js";
import { duration, fill, texts } from "./strings.js";

/** @typedef {import("./types").TurnTiming} TurnTiming */
/** @typedef {import("./types").Candidate} Candidate */
/** @typedef {import("./score.js").Stretch} Stretch */

export class ScoreView {
  #panel = part("score");
  #sound = part("score-sound");
  #knowing = part("score-knowing");
  #knowingFigure = part("score-knows");
  #plot = part("score-plot");
  #moments = part("score-moments");
  #note = part("score-note");
  #agentName;
  #shown = "";

  /** @param {string} agentName */
  constructor(agentName) {
    this.#agentName = agentName;
  }

  /**
   * @param {TurnTiming | null} timing
   * @param {readonly Candidate[]} candidates that response's
   * @param {number | null} roundTrip_ms
   */
  render(timing, candidates, roundTrip_ms) {
    const way = roundTrip_ms === null ? "" : ` ${fill(texts.score.way, { n: Math.max(1, Math.round(roundTrip_ms)) })}`;
    write(this.#note, texts.score.zero_note + way);
    const lines = candidates.map((one) => [one.id, one.state, one.started_ms, one.adopted_ms, one.ended_ms, one.spoken !== ""]);
    const state = JSON.stringify([timing, lines]);
    if (state === this.#shown) return;
    this.#shown = state;
    const laid = timing && score(timing, candidates);
    this.#panel.hidden = laid === null;
    if (!timing || !laid) return;

    write(this.#sound, figure(timing.first_audio_ms));
    write(this.#knowing, figure(timing.first_oracle_audio_ms));
    this.#knowingFigure.hidden = timing.first_oracle_audio_ms === null;
    const names = texts.score;
    const marks = laid.axis.map(({ ms, at }) => {
      const label = make("span", "axis__label", ms === 0 ? names.zero : `${ms > 0 ? "+" : "−"}${duration(Math.abs(ms))}`);
      return place(make("span", ms === 0 ? "axis__mark axis__mark--zero" : "axis__mark", label), at);
    });
    const candidateRow = laid.candidates.map((one) => make("span", "lane", ...one.stretches.map(stretch)));
    this.#plot.replaceChildren(
      row(names.you, make("span", "lane", ...laid.you.map(stretch))),
      ...(candidateRow.length ? [row(names.oracle, ...candidateRow)] : []),
      row(this.#agentName, make("span", "lane", ...laid.agent.map(stretch))),
      make("div", "axis", ...marks),
      make("div", "axis axis--zero", place(make("span", "axis__line"), laid.zero)),
    );
    this.#moments.replaceChildren(
      ...laid.moments.map(({ moment, ms }) => {
        const item = make("div", "moment", make("dt", "", names[moment]), make("dd", "", when(ms)));
        item.dataset.moment = moment;
        return item;
      }),
    );
  }
}

/**
 * @param {string} name
 * @param {...Node} lanes
 */
function row(name, ...lanes) {
  return make("div", "row", make("span", "row__name", name), make("span", "row__lanes", ...lanes));
}

/** @param {Stretch} one */
function stretch({ kind, from, to }) {
  const element = place(make("i", `stretch stretch--${kind}`), from);
  element.style.width = `${(to - from) * 100}%`;
  return element;
}

/**
 * @template {HTMLElement} T
 * @param {T} element
 * @param {number} at
 */
function place(element, at) {
  element.style.left = `${at * 100}%`;
  return element;
}

/** @param {number} ms */
function when(ms) {
  const template = ms < 0 ? texts.score.milliseconds_before : texts.score.milliseconds;
  return fill(template, { n: Math.abs(Math.round(ms)) });
}

/** @param {number | null} ms */
function figure(ms) {
  return ms === null ? "–" : String(Math.round(ms));
}
