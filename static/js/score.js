/** The last turn laid out in time like a score: you, the oracle's candidates, the agent. Pure. */

import { MOMENTS } from "./timing.js";

/** @typedef {import("./types").TurnTiming} TurnTiming */
/** @typedef {import("./types").Candidate} Candidate */
/** @typedef {import("./timing.js").Moment} Moment */

/** What is shown before the person stopped speaking, at least, in ms. */
const BEFORE_MS = 400;
/** Air after the last moment, as a share of the whole. */
const AFTER = 0.22;
/** More candidates than this make no picture; the adopted one is always among them. */
const ROWS_MAX = 5;
/** Distances between the axis' marks, in ms. */
const STEPS_MS = [100, 200, 500, 1000, 2000, 5000];
const MARKS_MAX = 7;

/**
 * A stretch of a row; `from` and `to` in parts of the width (0..1).
 * @typedef {object} Stretch
 * @property {"you" | "asked" | "writing" | "adopted" | "superseded" | "failed" | "opener" | "oracle"} kind
 * @property {number} from
 * @property {number} to
 */

/**
 * @typedef {object} Score
 * @property {number} zero where the person stopped speaking
 * @property {Stretch[]} you
 * @property {{ id: string, stretches: Stretch[] }[]} candidates in the order they were asked for
 * @property {Stretch[]} agent
 * @property {{ ms: number, at: number }[]} axis
 * @property {{ moment: Moment, ms: number, at: number }[]} moments in order of time
 */

/**
 * @param {TurnTiming} timing
 * @param {readonly Candidate[]} candidates the turn's
 * @returns {Score | null} null when nothing happened that could be shown
 */
export function score(timing, candidates) {
  const known = MOMENTS.flatMap((moment) => {
    const ms = timing[moment];
    return ms === null ? [] : [{ moment, ms }];
  }).sort((a, b) => a.ms - b.ms);
  if (known.length === 0) return null;

  const zero_ms = endOfSpeech(timing, candidates);
  const rows = zero_ms === null ? [] : pick(candidates);
  /** @param {number | null} ms the conversation's time @returns {number | null} after the end of speech */
  const relative = (ms) => (ms === null || zero_ms === null ? null : ms - zero_ms);
  const began = rows.map((one) => relative(one.started_ms) ?? 0);

  const first = Math.min(-BEFORE_MS, ...known.map((one) => one.ms), ...began) - BEFORE_MS / 4;
  const last = Math.max(0, ...known.map((one) => one.ms));
  const span = (last - first) / (1 - AFTER);
  /** @param {number} ms */
  const at = (ms) => Math.min(1, Math.max(0, (ms - first) / span));

  const sound = timing.first_audio_ms;
  const knowing = timing.first_oracle_audio_ms;
  /** @type {Stretch[]} */
  const agent = [];
  if (sound !== null) agent.push({ kind: "opener", from: at(sound), to: knowing === null ? 1 : at(knowing) });
  if (knowing !== null) agent.push({ kind: "oracle", from: at(knowing), to: 1 });

  return {
    zero: at(0),
    you: [{ kind: "you", from: 0, to: at(0) }],
    candidates: rows.map((one) => ({ id: one.id, stretches: wide(life(one, relative, at)) })),
    agent: wide(agent),
    axis: axis(first, span).map((ms) => ({ ms, at: at(ms) })),
    moments: known.map(({ moment, ms }) => ({ moment, ms, at: at(ms) })),
  };
}

/**
 * When the person stopped, in the conversation's time: the spoken candidate's start is known in both times.
 * @param {TurnTiming} timing
 * @param {readonly Candidate[]} candidates
 */
function endOfSpeech(timing, candidates) {
  const adopted = candidates.find((one) => one.adopted_ms !== null && one.spoken !== "");
  if (!adopted || adopted.started_ms === null || timing.asked_ms === null) return null;
  return adopted.started_ms - timing.asked_ms;
}

/** @param {readonly Candidate[]} candidates */
function pick(candidates) {
  const shown = candidates.slice(-ROWS_MAX);
  const adopted = candidates.find((one) => one.spoken !== "");
  if (adopted && !shown.includes(adopted)) shown.splice(0, 1, adopted);
  return shown;
}

/**
 * @param {Candidate} one
 * @param {(ms: number | null) => number | null} relative
 * @param {(ms: number) => number} at
 * @returns {Stretch[]}
 */
function life(one, relative, at) {
  const [from, adopted, ended] = [relative(one.started_ms), relative(one.adopted_ms), relative(one.ended_ms)];
  if (from === null) return [];
  const end = ended === null ? 1 : at(ended);
  const gone = one.state === "superseded" || one.state === "dropped";
  const kind = one.state === "failed" ? "failed" : gone ? "superseded" : "writing";
  if (adopted === null) return [{ kind, from: at(from), to: end }];
  const taken = at(adopted);
  return [
    { kind, from: at(from), to: taken },
    { kind: one.spoken === "" ? "superseded" : "adopted", from: taken, to: Math.max(taken, end) },
  ];
}

/** @param {Stretch[]} stretches */
function wide(stretches) {
  return stretches.filter((one) => one.to > one.from);
}

/**
 * @param {number} first
 * @param {number} span
 * @returns {number[]} round times in ms, zero among them
 */
function axis(first, span) {
  const step = STEPS_MS.find((one) => span / one <= MARKS_MAX) ?? 10_000;
  const marks = [];
  for (let ms = Math.ceil(first / step) * step; ms <= first + span * 0.97; ms += step) marks.push(ms);
  return marks;
}
