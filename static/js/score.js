/** The last turn laid out in time like a score: you, the oracle's candidates, the agent; also while it is lived. Pure. */

import { MOMENTS } from "./timing.js";

/** @typedef {import("./types").TurnTiming} TurnTiming */
/** @typedef {import("./types").LivedTurn} LivedTurn */
/** @typedef {import("./types").Candidate} Candidate */
/** @typedef {import("./timing.js").Moment} Moment */

/** What is shown before the person stopped speaking, at least, in ms. */
const BEFORE_MS = 400;
/** Air after the last moment, as a share of the whole. */
const AFTER = 0.22;
/** While a turn is lived its picture grows in steps: always moving, it could not be read. */
const GROWS_MS = 500;
/** More candidates than this make no picture; the adopted one is always among them. */
const ROWS_MAX = 5;
/** Distances between the axis' marks, in ms. */
const STEPS_MS = [100, 200, 500, 1000, 2000, 5000];
const MARKS_MAX = 7;
/** ... where there is little width: their words would run into each other. */
export const MARKS_MAX_NARROW = 4;

/**
 * A stretch of a row; `from` and `to` in parts of the width (0..1).
 * @typedef {object} Stretch
 * @property {"you" | "held" | "asked" | "writing" | "adopted" | "superseded" | "failed" | "gated" | "opener" | "oracle"} kind
 * @property {number} from
 * @property {number} to
 */

/**
 * @typedef {object} Score
 * @property {boolean} typed the person did not speak
 * @property {number} zero where the person stopped speaking, or sent what was typed
 * @property {Stretch[]} you
 * @property {{ id: string, stretches: Stretch[] }[]} candidates in the order they were asked for
 * @property {Stretch[]} agent
 * @property {{ ms: number, at: number }[]} axis
 * @property {{ moment: Moment, ms: number, at: number }[]} moments in order of time
 */

/**
 * @param {LivedTurn} turn
 * @param {TurnTiming | null} timing its time line, once that is told
 * @param {readonly Candidate[]} candidates the turn's
 * @param {number | null} now_ms the conversation's time while the turn is lived; null: it is over
 * @param {number} [marks_max] marks on the axis, at most
 * @returns {Score | null} null when nothing happened that could be shown
 */
export function score(turn, timing, candidates, now_ms, marks_max = MARKS_MAX) {
  const told_ms = endOfSpeech(timing, candidates);
  const zero_ms = (turn.by_voice ? (turn.to_ms ?? told_ms) : (told_ms ?? turn.to_ms)) ?? now_ms;
  const known = moments(turn, timing, candidates, zero_ms);
  if (known.length === 0 && now_ms === null) return null;
  const since_ms = turn.from_ms ?? turn.to_ms ?? 0;
  const rows = zero_ms === null ? [] : pick(candidates.filter((one) => (one.started_ms ?? 0) >= since_ms));
  /** @param {number | null} ms the conversation's time @returns {number | null} after the end of speech */
  const relative = (ms) => (ms === null || zero_ms === null ? null : ms - zero_ms);
  const began = rows.map((one) => relative(one.started_ms) ?? 0);
  const now = relative(now_ms);

  const first = Math.min(-BEFORE_MS, ...known.map((one) => one.ms), ...began) - BEFORE_MS / 4;
  const grown = now === null ? 0 : Math.ceil((now + GROWS_MS / 2) / GROWS_MS) * GROWS_MS;
  const last = Math.max(0, grown, ...known.map((one) => one.ms));
  const span = (last - first) / (1 - AFTER);
  /** @param {number} ms */
  const at = (ms) => Math.min(1, Math.max(0, (ms - first) / span));
  const end = now === null ? 1 : at(now);

  const sound = known.find((one) => one.moment === "first_audio_ms")?.ms ?? null;
  const knowing = known.find((one) => one.moment === "first_oracle_audio_ms")?.ms ?? null;
  const { hold_ms, gate_ms } = timing ?? { hold_ms: null, gate_ms: null };
  /** @type {Stretch[]} */
  const agent = [];
  if (gate_ms !== null) agent.push({ kind: "gated", from: at(0), to: at(gate_ms) });
  if (sound !== null) agent.push({ kind: "opener", from: at(sound), to: knowing === null ? end : at(knowing) });
  if (knowing !== null) agent.push({ kind: "oracle", from: at(knowing), to: end });
  /** @type {Stretch[]} */
  const you = turn.by_voice || (timing !== null && !turn.typed) ? [{ kind: "you", from: 0, to: at(0) }] : [];
  if (hold_ms !== null) you.push({ kind: "held", from: at(0), to: at(hold_ms) });

  return {
    typed: turn.typed,
    zero: at(0),
    you: wide(you),
    candidates: rows.map((one) => ({ id: one.id, stretches: wide(life(one, relative, at, end)) })),
    agent: wide(agent),
    axis: axis(first, span, marks_max).map((ms) => ({ ms, at: at(ms) })),
    moments: known.map(({ moment, ms }) => ({ moment, ms, at: at(ms) })),
  };
}

/**
 * What is known of the turn, after the end of speech, in order: the server's time line, or what was seen so far.
 * @param {LivedTurn} turn
 * @param {TurnTiming | null} timing
 * @param {readonly Candidate[]} candidates
 * @param {number | null} zero_ms
 */
function moments(turn, timing, candidates, zero_ms) {
  const adopted = candidates.findLast((one) => one.adopted_ms !== null);
  const stopped = !turn.by_voice || turn.to_ms !== null; // before, nobody can say how long it takes
  /** @type {Partial<Record<Moment, number | null>>} */
  const seen = {
    asked_ms: adopted?.started_ms ?? null,
    adopted_ms: adopted?.adopted_ms ?? null,
    first_audio_ms: stopped ? turn.sound_ms : null,
    first_oracle_audio_ms: turn.knowing_ms,
  };
  const known = MOMENTS.flatMap((moment) => {
    const lived = seen[moment] ?? null;
    const ms = timing ? timing[moment] : lived === null || zero_ms === null ? null : lived - zero_ms;
    return ms === null ? [] : [{ moment, ms }];
  });
  return known.sort((a, b) => a.ms - b.ms);
}

/**
 * When the person stopped, in the conversation's time: the spoken candidate's start is known in both times.
 * @param {TurnTiming | null} timing
 * @param {readonly Candidate[]} candidates
 */
function endOfSpeech(timing, candidates) {
  const adopted = candidates.find((one) => one.adopted_ms !== null && one.spoken !== "");
  if (!adopted || adopted.started_ms === null || !timing || timing.asked_ms === null) return null;
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
 * @param {number} until how far it goes if it has not ended (0..1)
 * @returns {Stretch[]}
 */
function life(one, relative, at, until) {
  const [from, adopted, ended] = [relative(one.started_ms), relative(one.adopted_ms), relative(one.ended_ms)];
  if (from === null) return [];
  const end = ended === null ? until : at(ended);
  const gone = one.state === "superseded" || one.state === "dropped";
  const kind = one.state === "failed" ? "failed" : gone ? "superseded" : "writing";
  if (adopted === null) return [{ kind, from: at(from), to: end }];
  const taken = at(adopted);
  return [
    { kind, from: at(from), to: taken },
    { kind: one.state !== "adopted" && one.spoken === "" ? "superseded" : "adopted", from: taken, to: Math.max(taken, end) },
  ];
}

/** @param {Stretch[]} stretches */
function wide(stretches) {
  return stretches.filter((one) => one.to > one.from);
}

/**
 * @param {number} first
 * @param {number} span
 * @param {number} marks_max
 * @returns {number[]} round times in ms, zero among them
 */
function axis(first, span, marks_max) {
  const step = STEPS_MS.find((one) => span / one <= marks_max) ?? 10_000;
  const marks = [];
  for (let ms = Math.ceil(first / step) * step; ms <= first + span * 0.94; ms += step) marks.push(ms || 0);
  return marks;
}
