/** Shows the last turn as a score: two figures, three voices over one time axis, and its moments as a list. */

import { keep, make, part, write } from "./dom.js";
import { MARKS_MAX_NARROW, score } from "./score.js";
import { duration, fill, texts } from "./strings.js";

/** @typedef {import("./types").TurnTiming} TurnTiming */
/** @typedef {import("./types").LivedTurn} LivedTurn */
/** @typedef {import("./types").Candidate} Candidate */
/** @typedef {import("./score.js").Score} Score */
/** @typedef {import("./score.js").Stretch} Stretch */

export class ScoreView {
  #panel = part("score");
  #sound = part("score-sound");
  #knowing = part("score-knowing");
  #knowingFigure = part("score-knows");
  #moments = part("score-moments");
  #note = part("score-note");
  #you = make("span", "lane");
  #candidates = make("span", "row__lanes");
  #agent = make("span", "lane");
  #axis = make("div", "axis");
  #zero = make("span", "axis__line");
  #narrow = matchMedia("(max-width: 40rem)");
  #shown = "";

  /** @param {string} agentName */
  constructor(agentName) {
    const { you, oracle } = texts.score;
    // Made once and moved: what is built again cannot glide, and flickers.
    part("score-plot").replaceChildren(
      row(you, make("span", "row__lanes", this.#you)),
      row(oracle, this.#candidates, "row--oracle"),
      row(agentName, make("span", "row__lanes", this.#agent)),
      this.#axis,
      make("div", "axis axis--zero", this.#zero),
    );
  }

  /**
   * @param {LivedTurn | null} turn
   * @param {TurnTiming | null} timing that turn's, once it is told
   * @param {readonly Candidate[]} candidates that turn's
   * @param {number | null} now_ms the conversation's time while the turn is lived; null: it is over
   * @param {number | null} roundTrip_ms
   */
  render(turn, timing, candidates, now_ms, roundTrip_ms) {
    const way = roundTrip_ms === null ? "" : ` ${fill(texts.score.way, { n: Math.max(1, Math.round(roundTrip_ms)) })}`;
    write(this.#note, (turn?.typed ? texts.score.zero_note_typed : texts.score.zero_note) + way);
    const laid = turn && score(turn, timing, candidates, now_ms, this.#narrow.matches ? MARKS_MAX_NARROW : undefined);
    const state = JSON.stringify(laid);
    if (state === this.#shown) return;
    this.#shown = state;
    this.#panel.hidden = laid === null;
    if (!laid) return;
    this.#panel.dataset.live = String(now_ms !== null);
    this.#draw(laid);
    this.#tell(laid);
  }

  /** @param {Score} laid */
  #draw({ typed, you, candidates, agent, axis, zero }) {
    lane(this.#you, you);
    /** @type {HTMLElement} */ (this.#candidates.parentElement).hidden = candidates.length === 0;
    keep(
      this.#candidates,
      candidates,
      (one) => one.id,
      () => make("span", "lane"),
      (element, one) => lane(element, one.stretches),
    );
    lane(this.#agent, agent);
    keep(
      this.#axis,
      axis,
      ({ ms }) => `${ms} ${typed}`,
      ({ ms }) => mark(ms, typed),
      (element, { at }) => place(element, at),
    );
    place(this.#zero, zero);
  }

  /** @param {Score} laid */
  #tell({ moments }) {
    const when = new Map(moments.map(({ moment, ms }) => [moment, ms]));
    write(this.#sound, figure(when.get("first_audio_ms")));
    write(this.#knowing, figure(when.get("first_oracle_audio_ms")));
    this.#knowingFigure.hidden = !when.has("first_oracle_audio_ms");
    keep(
      this.#moments,
      moments,
      ({ moment }) => moment,
      ({ moment }) => {
        const item = make("div", "moment", make("dt", "", texts.score[moment]), make("dd", ""));
        item.dataset.moment = moment;
        return item;
      },
      (element, { ms }) => write(/** @type {Element} */ (element.lastElementChild), said(ms)),
    );
  }
}

/**
 * @param {string} name
 * @param {Element} lanes
 * @param {string} [kind]
 */
function row(name, lanes, kind = "") {
  return make("div", `row ${kind}`.trim(), make("span", "row__name", name), lanes);
}

/**
 * @param {Element} element
 * @param {readonly Stretch[]} stretches
 */
function lane(element, stretches) {
  keep(
    element,
    stretches.map((one, n) => ({ ...one, n })),
    ({ n }) => String(n),
    () => make("i", ""),
    (stretch, { kind, from, to }) => {
      const name = `stretch stretch--${kind}`;
      if (stretch.className !== name) stretch.className = name;
      place(stretch, from).style.width = `${((to - from) * 100).toFixed(2)}%`;
    },
  );
}

/**
 * @param {number} ms
 * @param {boolean} typed
 */
function mark(ms, typed) {
  const { zero, zero_typed } = texts.score;
  const label = ms === 0 ? (typed ? zero_typed : zero) : `${ms > 0 ? "+" : "−"}${duration(Math.abs(ms))}`;
  return make("span", ms === 0 ? "axis__mark axis__mark--zero" : "axis__mark", make("span", "axis__label", label));
}

/**
 * @param {Element} element
 * @param {number} at 0..1
 */
function place(element, at) {
  const moved = /** @type {HTMLElement} */ (element);
  moved.style.left = `${(at * 100).toFixed(2)}%`;
  return moved;
}

/** @param {number} ms */
function said(ms) {
  const template = ms < 0 ? texts.score.milliseconds_before : texts.score.milliseconds;
  return fill(template, { n: Math.abs(Math.round(ms)) });
}

/** @param {number | undefined} ms */
function figure(ms) {
  if (ms === undefined) return "–";
  const rounded = Math.round(ms);
  return `${rounded < 0 ? "−" : ""}${Math.abs(rounded)}`;
}
