// The page's pure models, run by test_page.py with Node's own test runner.

import assert from "node:assert/strict";
import { test } from "node:test";

import "./page_texts.mjs";

import { Captions, unheardEnd } from "../../static/js/captions.js";
import { Facts } from "../../static/js/facts.js";
import { CallFailure, fatalTrouble, httpFailure } from "../../static/js/failure.js";
import { Floor } from "../../static/js/floor.js";
import { Oracle, spokenLength } from "../../static/js/oracle.js";
import { Measured, median } from "../../static/js/measured.js";
import { commonWords, readingWindow } from "../../static/js/oracle_view.js";
import { changedSession, checked, DEFAULTS, openingSession } from "../../static/js/preferences.js";
import { queued } from "../../static/js/queue.js";
import { MARKS_MAX_NARROW, score } from "../../static/js/score.js";
import { duration, SERVER_LANGUAGE, texts } from "../../static/js/strings.js";
import { readTiming } from "../../static/js/timing.js";
import { Turn } from "../../static/js/turn.js";
import { asJson, asSrt, asText, clock } from "../../static/js/transcript.js";
import { sdpFragment, Trickler } from "../../static/js/trickle.js";
import { parseEvent } from "../../static/js/wire.js";

const user = (item_id) => ({
  began: { type: "input_audio_buffer.speech_started", item_id },
  partial: (text) => ({ type: "kame.partial_transcript", item_id, text }),
  final: (transcript) => ({ type: "conversation.item.input_audio_transcription.completed", item_id, transcript }),
});
const spoken = (delta, origin = "oracle") => ({ type: "kame.spoken", response_id: "r", item_id: "a", delta, origin });
const done = (status, transcript) => ({
  type: "response.done",
  response: { id: "r", status, output: [{ id: "a", content: [{ type: "output_audio", transcript }] }] },
});
const all = (captions, ...events) => {
  for (const event of events) captions.handle(event);
  return captions.all;
};

test("a partial grows, becomes final, and is not undone by a late partial", () => {
  const captions = new Captions();
  const { began, partial, final } = user("u");
  assert.deepEqual(all(captions, began).map((one) => [one.text, one.final]), [["", false]]);
  all(captions, partial("what is"), final("What is two?"), partial("what is to"));
  assert.deepEqual(captions.all.map((one) => [one.who, one.text, one.final]), [["you", "What is two?", true]]);
});

test("an empty final leaves no caption behind", () => {
  const { began, partial, final } = user("u");
  assert.equal(all(new Captions(), began, partial("uh"), final("  ")).length, 0);
});

test("a backchannel stays as one, a false interruption goes", () => {
  const captions = new Captions();
  const dropped = (kind, text) => ({ type: "kame.turn.dropped", item_id: "u", kind, text });
  all(captions, user("u").began, dropped("backchannel", "mm-hm"));
  assert.deepEqual(captions.all.map((one) => [one.kind, one.text]), [["backchannel", "mm-hm"]]);
  assert.equal(all(new Captions(), user("u").began, dropped("false_interruption", "")).length, 0);
});

test("the agent's words keep their origin and are shown once", () => {
  const [caption] = all(
    new Captions(),
    { type: "session.created", session: { kame: {} } },
    { type: "response.output_audio_transcript.delta", response_id: "r", item_id: "a", delta: "Well," },
    spoken("Well,", "opener"),
    spoken(" it is"),
    spoken(" four."),
  );
  assert.equal(caption.text, "Well, it is four.");
  assert.deepEqual(caption.parts, [
    { text: "Well,", origin: "opener" },
    { text: " it is four.", origin: "oracle" },
  ]);
});

test("a server without kame.spoken still has captions", () => {
  const delta = (text) => ({ type: "response.output_audio_transcript.delta", response_id: "r", item_id: "a", delta: text });
  assert.equal(all(new Captions(), delta("It is"), delta(" four."))[0].text, "It is four.");
});

test("what was cut off is marked, a completed answer is not", () => {
  const [cut] = all(new Captions(), spoken("It is four, as ever."), done("cancelled", "It is four,"));
  assert.deepEqual([cut.final, cut.interrupted, cut.unheard], [true, true, " as ever."]);
  const [whole] = all(new Captions(), spoken("It is four."), done("completed", "It is four."));
  assert.deepEqual([whole.final, whole.interrupted, whole.unheard], [true, false, ""]);
  assert.equal(unheardEnd("It is four.", "Something else"), "");
});

test("words left out on a congested channel come back when the answer is whole", () => {
  const [mended] = all(new Captions(), spoken("Well,", "opener"), spoken(" two cities"), done("completed", "Well, the two cities."));
  assert.equal(mended.text, "Well, the two cities.");
  assert.deepEqual(mended.parts, [
    { text: "Well,", origin: "opener" },
    { text: " the two cities.", origin: "oracle" },
  ]);
});

test("a typed message is not shown twice", () => {
  const captions = new Captions();
  captions.typed("t", "hello");
  const item = { id: "t", role: "user", content: [{ type: "input_text", text: "hello" }] };
  assert.equal(captions.handle({ type: "conversation.item.added", item }), false);
  assert.equal(captions.all.length, 1);
});

test("malformed events change nothing", () => {
  const captions = new Captions();
  for (const type of ["kame.spoken", "response.done", "conversation.item.added", "response.unknown"]) {
    captions.handle({ type, item: 7, response: { output: "no" }, delta: { a: 1 } });
  }
  assert.equal(captions.all.length, 0);
  for (const bad of ["", "[]", "7", "{", '{"type":7}', new ArrayBuffer(4)]) assert.equal(parseEvent(bad), null);
});

test("captions are bounded", () => {
  const captions = new Captions();
  for (let n = 0; n < 1000; n += 1) captions.typed(`t${n}`, "x");
  assert.equal(captions.all.length, 300);
  assert.equal(captions.all.at(-1).id, "t999");
});

test("candidates grow, are adopted, superseded, fail", () => {
  const oracle = new Oracle();
  const tell = (name, candidate_id, rest = {}) => oracle.handle({ type: `kame.candidate.${name}`, candidate_id, ...rest });
  tell("started", "a", { partial: "what is", complete: false });
  tell("started", "b", { partial: "what is two", complete: true });
  tell("started", "c", { partial: "what" });
  tell("delta", "a", { delta: "It" });
  tell("delta", "b", { delta: "Two" });
  tell("adopted", "a");
  tell("superseded", "a", { by: "b" });
  tell("adopted", "b");
  tell("delta", "b", { delta: " is" });
  tell("finished", "b", { text: "Two is two." });
  tell("failed", "c", { code: "llm_timeout", message: "Too slow." });
  oracle.handle({ type: "kame.spoken", origin: "oracle", delta: " Two" });
  tell("superseded", "b", { by: null });
  assert.deepEqual(
    oracle.all.map((one) => [one.id, one.state, one.text, one.note]),
    [
      ["a", "superseded", "It", ""],
      ["b", "adopted", "Two is two.", ""],
      ["c", "failed", "", "Too slow."],
    ],
  );
  assert.equal(tell("delta", "unknown", { delta: "x" }), false);
});

test("a candidate that ends without an error was dropped", () => {
  const oracle = new Oracle();
  oracle.handle({ type: "kame.candidate.started", candidate_id: "a", partial: "", complete: false });
  oracle.handle({ type: "kame.candidate.failed", candidate_id: "a", code: null, message: null });
  assert.equal(oracle.all[0].state, "dropped");
});

test("the floor goes from listening through thinking to speaking and back", () => {
  const floor = new Floor();
  const phases = [];
  const steps = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "response.created",
    "output_audio_buffer.started",
    "response.done",
    "output_audio_buffer.stopped",
  ];
  for (const type of steps) {
    floor.handle({ type }, 0);
    phases.push(floor.phase(1));
  }
  assert.deepEqual(phases, ["listening", "thinking", "thinking", "speaking", "speaking", "listening"]);
});

test("thinking that leads nowhere ends", () => {
  const floor = new Floor();
  floor.handle({ type: "input_audio_buffer.speech_stopped" }, 1000);
  assert.equal(floor.phase(2000), "thinking");
  assert.equal(floor.phase(60_000), "listening");
});

test("the voice is ducked only while it speaks", () => {
  const floor = new Floor();
  floor.handle({ type: "output_audio_buffer.started" }, 0);
  floor.handle({ type: "kame.voice.ducked" }, 0);
  assert.equal(floor.ducked, true);
  floor.handle({ type: "output_audio_buffer.cleared" }, 0);
  assert.equal(floor.ducked, false);
});

const lived = (rest) => ({
  response: "r", by_voice: true, typed: false, from_ms: null, to_ms: null, sound_ms: null, knowing_ms: null, over: true, ...rest,
});
const timing = (rest) => readTiming({ type: "kame.turn.timing", mode: "tandem", ...rest });
const candidate = (rest) => ({
  id: "c", partial: "", greeting: false, complete: false, text: "", state: "finished", finished: true, note: "", spoken: "", turn: 0,
  started_ms: null, adopted_ms: null, ended_ms: null, ...rest,
});

test("a score shows three voices in order within its width, on one time", () => {
  const candidates = [
    candidate({ id: "a", state: "superseded", started_ms: 4500, ended_ms: 5200 }),
    candidate({ id: "b", state: "adopted", started_ms: 4700, adopted_ms: 5300, ended_ms: 5600, spoken: " Two" }),
  ];
  const laid = score(
    lived(),
    timing({ asked_ms: -300, first_audio_ms: 310, first_oracle_audio_ms: 900, pause_ms: "no" }),
    candidates,
    null,
  );
  assert.deepEqual(laid.moments.map((one) => one.moment), ["asked_ms", "first_audio_ms", "first_oracle_audio_ms"]);
  assert.deepEqual(laid.agent.map((one) => one.kind), ["opener", "oracle"]);
  assert.equal(laid.agent[0].to, laid.agent[1].from);
  assert.equal(laid.you[0].to, laid.zero);
  assert.deepEqual(laid.candidates.map((one) => one.stretches.map((stretch) => stretch.kind)), [
    ["superseded"],
    ["writing", "adopted"],
  ]);
  // The spoken candidate was asked for 300 ms before the end of speech, so that was at 5,000 ms.
  const asked = laid.moments[0].at;
  assert.ok(Math.abs(laid.candidates[1].stretches[0].from - asked) < 1e-9);
  for (const { from, to } of [...laid.you, ...laid.agent, ...laid.candidates.flatMap((one) => one.stretches)]) {
    assert.ok(from >= 0 && to <= 1 && from < to);
  }
  assert.ok(laid.axis.some((mark) => mark.ms === 0 && mark.at === laid.zero));
});

test("where there is little width the axis has fewer marks", () => {
  const marks = (oracle, most) =>
    score(lived(), timing({ first_audio_ms: 300, first_oracle_audio_ms: oracle }), [], null, most).axis.length;
  const turns = [600, 900, 1500, 2500, 4000, 9000];
  for (const oracle of turns) assert.ok(marks(oracle, MARKS_MAX_NARROW) <= MARKS_MAX_NARROW + 1);
  assert.ok(turns.some((oracle) => marks(oracle) > MARKS_MAX_NARROW + 1));
});

test("a score without candidates in time shows the rest, an empty turn shows nothing", () => {
  assert.equal(score(lived(), timing({}), [], null), null);
  const laid = score(lived(), timing({ first_audio_ms: 250 }), [candidate({ started_ms: 100 })], null);
  assert.deepEqual([laid.candidates, laid.agent.map((one) => one.kind)], [[], ["opener"]]);
});

test("speech control shows in the score: ears that are held back, a voice let out later", () => {
  const laid = score(lived(), timing({ hold_ms: 400, gate_ms: 650, first_audio_ms: 700 }), [], null);
  assert.deepEqual(laid.moments.map((one) => one.moment), ["hold_ms", "gate_ms", "first_audio_ms"]);
  assert.deepEqual(laid.you.map((one) => one.kind), ["you", "held"]);
  assert.deepEqual(laid.agent.map((one) => one.kind), ["gated", "opener"]);
  assert.deepEqual([laid.you[1].to, laid.agent[0].to], [laid.moments[0].at, laid.moments[1].at]);
});

/** What is seen of a turn when it is as far as these events, told at their own times. */
const seen = (...events) => {
  const [turn, oracle] = [new Turn(), new Oracle()];
  let now_ms = 0;
  for (const event of events) {
    now_ms = event.at_ms ?? event.audio_end_ms ?? now_ms;
    oracle.handle(event);
    turn.handle(event, now_ms);
  }
  const laid = turn.last && score(turn.last, null, oracle.ofLastTurn, turn.isLive(now_ms) ? turn.now(now_ms) : null);
  return { turn, laid };
};
const LIVED = [
  { type: "input_audio_buffer.speech_started", item_id: "u", audio_start_ms: 1000 },
  { type: "kame.candidate.started", candidate_id: "a", partial: "what", at_ms: 1600 },
  { type: "kame.candidate.started", candidate_id: "b", partial: "what is it", complete: true, at_ms: 2000 },
  { type: "kame.candidate.delta", candidate_id: "b", delta: "Two.", at_ms: 2150 },
  { type: "input_audio_buffer.speech_stopped", item_id: "u", audio_end_ms: 2200 },
  { type: "kame.candidate.adopted", candidate_id: "b", at_ms: 2400 },
  { type: "kame.spoken", response_id: "r", item_id: "i", origin: "opener", delta: "Well,", at_ms: 2500 },
  { type: "kame.spoken", response_id: "r", item_id: "i", origin: "oracle", delta: " two.", at_ms: 3000 },
];
const PLAIN = ({ moments }) => Object.fromEntries(moments.map(({ moment, ms }) => [moment, ms]));

test("the score grows while the turn is lived, and stands once the voice knows", () => {
  assert.equal(seen(LIVED[0]).laid, null); // perhaps it is no turn
  const speaking = seen(...LIVED.slice(0, 3)).laid;
  assert.deepEqual(speaking.candidates.map((one) => [one.id, one.stretches.length]), [["a", 1], ["b", 0]]); // just begun
  assert.equal(speaking.candidates[0].stretches[0].to, speaking.zero); // "now"
  const aloud = seen(...LIVED.slice(0, 7));
  assert.equal(aloud.turn.isLive(2500), true);
  assert.deepEqual(PLAIN(aloud.laid), { asked_ms: -200, adopted_ms: 200, first_audio_ms: 300 });
  const over = seen(...LIVED);
  assert.equal(over.turn.isLive(3000), false);
  assert.deepEqual(PLAIN(over.laid), { asked_ms: -200, adopted_ms: 200, first_audio_ms: 300, first_oracle_audio_ms: 800 });
  assert.deepEqual(over.laid.agent.map((one) => one.kind), ["opener", "oracle"]);
});

test("the next turn takes the score's place only when something comes of it", () => {
  const done = { type: "response.done", response: { id: "r", status: "completed" } };
  const more = { type: "input_audio_buffer.speech_started", item_id: "v", audio_start_ms: 5000 };
  const { turn } = seen(...LIVED, done, more);
  assert.equal(turn.last.response, "r");
  turn.handle({ type: "kame.turn.dropped", item_id: "v", at_ms: 5400 }, 5400);
  turn.handle(more, 5500);
  turn.handle({ type: "kame.candidate.started", candidate_id: "c", partial: "and", at_ms: 5600 }, 5600);
  assert.deepEqual([turn.last.response, turn.last.from_ms, turn.isLive(5600), turn.isLive(50_000)], ["", 5000, true, false]);
});

test("who goes on before anything was asked has been speaking since the first sound", () => {
  const stopped = { type: "input_audio_buffer.speech_stopped", item_id: "u", audio_end_ms: 1500 };
  const on = { type: "input_audio_buffer.speech_started", item_id: "u", audio_start_ms: 1900 };
  const { turn } = seen(LIVED[0], stopped, on, { ...LIVED[1], at_ms: 2300 });
  assert.deepEqual([turn.last.from_ms, turn.last.to_ms], [1000, null]);
});

test("an opener into a pause begins no answer, an answer without knowing words ends with its response", () => {
  const cancelled = { type: "response.done", response: { id: "r", status: "cancelled" } };
  assert.equal(seen(...LIVED.slice(0, 7), cancelled).turn.last.sound_ms, null);
  const early = { ...LIVED[6], at_ms: 1900 };
  assert.equal(seen(...LIVED.slice(0, 2), early).laid.moments.length, 0); // the person has not stopped yet
  assert.equal(seen(...LIVED.slice(0, 2), early, LIVED[4]).turn.last.sound_ms, null); // and has gone on
  const own = { ...LIVED[6], origin: "own" };
  const { turn } = seen(LIVED[0], LIVED[4], own, cancelled);
  assert.deepEqual([turn.last.sound_ms, turn.last.over], [2500, true]);
});

test("a typed turn is counted from its message, which came before all that came of it", () => {
  const timing = readTiming({ response_id: "r", mode: "tandem", asked_ms: 0, adopted_ms: 2, first_audio_ms: 140 });
  for (const [told_ms, begun_ms] of [[0, 420], [5000, 9001]]) {
    const [turn, oracle] = [new Turn(), new Oracle()];
    let now_ms = 300_000;
    turn.handle({ type: "kame.engine", at_ms: told_ms }, now_ms - begun_ms + told_ms - 8); // this one was 8 ms faster
    for (const [after_ms, event] of [
      [0, { type: "conversation.item.added", item: { role: "user", content: [{ type: "input_text", text: "hi" }] } }],
      [2, { type: "kame.candidate.started", candidate_id: "c", partial: "hi", complete: true, at_ms: begun_ms }],
      [4, { type: "kame.candidate.adopted", candidate_id: "c", at_ms: begun_ms + 2 }],
      [142, { type: "kame.spoken", response_id: "r", item_id: "a", origin: "oracle", delta: "Hi.", at_ms: begun_ms + 140 }],
    ]) {
      oracle.handle(event);
      turn.handle(event, now_ms + after_ms);
    }
    for (const laid of [score(turn.last, null, oracle.ofLastTurn, null), score(turn.last, timing, oracle.ofLastTurn, null)]) {
      assert.deepEqual([laid.typed, laid.candidates.length, laid.you], [true, 1, []]);
      assert.equal(PLAIN(laid).first_audio_ms, 140);
      assert.ok(laid.moments.every(({ ms }) => ms >= 0));
    }
  }
});

test("words that nobody asked for are a greeting only at the beginning", () => {
  const start = (candidate_id) => ({ type: "kame.candidate.started", candidate_id, partial: "", complete: true, at_ms: 1 });
  const oracle = new Oracle();
  oracle.handle(start("a"));
  oracle.handle(start("b"));
  assert.deepEqual(oracle.all.map((one) => one.greeting), [true, false]);
});

test("modes are measured by their medians, apart from each other", () => {
  const measured = new Measured();
  for (const [mode, first_audio_ms, first_oracle_audio_ms] of [["tandem", 300, 500], ["tandem", 500, null], ["direct", 200, null], ["tandem", null, null]]) {
    measured.add(timing({ mode, first_audio_ms, first_oracle_audio_ms }));
  }
  assert.deepEqual(measured.of("tandem"), { turns: 2, sound_ms: 400, knowing_ms: 500 });
  assert.deepEqual(measured.of("direct"), { turns: 1, sound_ms: 200, knowing_ms: null });
  assert.equal(measured.of("cascaded"), null);
  assert.equal(measured.longest_ms, 500);
  assert.equal(median([]), null);
});

test("candidates belong to turns, and the word at which the voice began to know is kept", () => {
  const oracle = new Oracle();
  const start = (candidate_id, at_ms) => oracle.handle({ type: "kame.candidate.started", candidate_id, partial: "x", at_ms });
  oracle.handle({ type: "input_audio_buffer.speech_started" });
  start("a", 10);
  oracle.handle({ type: "kame.candidate.adopted", candidate_id: "a", at_ms: 20 });
  assert.equal(oracle.firstWord, "");
  oracle.handle({ type: "kame.spoken", response_id: "r", origin: "opener", delta: "Well," });
  oracle.handle({ type: "kame.spoken", response_id: "r", origin: "oracle", delta: " Canberra, of" });
  oracle.handle({ type: "kame.spoken", response_id: "r", origin: "oracle", delta: " course." });
  assert.equal(oracle.firstWord, "Canberra");
  assert.equal(oracle.all[0].spoken, " Canberra, of course.");
  assert.deepEqual(oracle.of("r").map((one) => one.id), ["a"]);
  start("b", 30); // goes on with the same answer
  assert.deepEqual(oracle.ofLastTurn.map((one) => one.id), ["a", "b"]);
  oracle.handle({ type: "input_audio_buffer.speech_started" });
  start("c", 40);
  assert.deepEqual(oracle.ofLastTurn.map((one) => one.id), ["c"]);
  assert.deepEqual(oracle.of("r").map((one) => one.id), ["a", "b"]);
  assert.deepEqual(oracle.of("another"), []);
  assert.equal(oracle.firstWord, "");
});

test("what of a candidate has been spoken is found whatever the spacing", () => {
  const text = "Canberra. It was founded in nineteen thirteen.";
  assert.equal(text.slice(0, spokenLength(text, " Canberra.  It was")), "Canberra. It was");
  assert.equal(text.slice(0, spokenLength(text, "Canberra")), "Canberra.");
  assert.equal(spokenLength(text, ""), 0);
  assert.equal(spokenLength("Two", "Two and more"), 3);
  assert.equal(commonWords("what is the", "what is the capital"), "what is the ");
  assert.equal(commonWords("what is", "who is"), "");
  assert.equal(commonWords("same", "same"), "same");
});

test("an opener is thinking aloud until a knowing word is spoken", () => {
  const floor = new Floor();
  const tell = (type, rest = {}) => floor.handle({ type, ...rest }, 0);
  tell("response.created");
  tell("output_audio_buffer.started");
  tell("kame.spoken", { origin: "opener" });
  assert.deepEqual([floor.phase(0), floor.aloud], ["thinking", true]);
  tell("kame.spoken", { origin: "oracle" });
  assert.deepEqual([floor.phase(0), floor.aloud], ["speaking", false]);
});

const talk = () => {
  const captions = new Captions();
  all(
    captions,
    { type: "input_audio_buffer.speech_started", item_id: "u", audio_start_ms: 1000 },
    { type: "kame.partial_transcript", item_id: "u", text: "what is two", at_ms: 2500 },
    user("u").final("What is two?"),
    { ...spoken("Well,", "opener"), at_ms: 3000 },
    { ...spoken(" it is four, as"), at_ms: 4200 },
    done("cancelled", "Well, it is four,"),
  );
  captions.goesOn("a", " ever.");
  captions.goesOn("u", " nothing");
  return captions.all;
};
const NAMES = { you: "You", agent: "KAME" };

test("what was cut off is told from what was heard, and goes on with what was meant", () => {
  const [, cut] = talk();
  assert.deepEqual([cut.heard, cut.unheard], ["Well, it is four,", " as ever."]);
  const oracle = new Oracle();
  oracle.handle({ type: "kame.candidate.started", candidate_id: "c", partial: "x" });
  oracle.handle({ type: "kame.candidate.delta", candidate_id: "c", delta: "Two, and three." });
  oracle.handle({ type: "kame.candidate.adopted", candidate_id: "c" });
  assert.equal(oracle.unread("r"), "");
  oracle.handle({ type: "kame.spoken", response_id: "r", origin: "oracle", delta: " Two," });
  assert.deepEqual([oracle.unread("r"), oracle.unread("s")], [" and three.", ""]);
});

test("a long text being spoken is shown from near the place", () => {
  assert.equal(readingWindow("short text", 5), 0);
  const text = "word ".repeat(40);
  const from = readingWindow(text, 150);
  assert.ok(from > 100 && from < 150 && text[from - 1] === " ");
});

test("a transcript is saved as text, subtitles and JSON, with times", () => {
  const captions = talk();
  assert.equal(
    asText(captions, NAMES, "not heard: "),
    "[00:00:01] You: What is two?\n[00:00:03] KAME: Well, it is four, [not heard: as ever.]\n",
  );
  assert.equal(
    asSrt(captions, NAMES),
    "1\n00:00:01,000 --> 00:00:03,000\nYou: What is two?\n\n2\n00:00:03,000 --> 00:00:05,400\nKAME: Well, it is four,\n",
  );
  const json = JSON.parse(asJson(captions, [candidate({ text: " four " })], { mode: "tandem", engines: {}, at: new Date(0) }));
  assert.deepEqual(json.turns.map((one) => [one.who, one.from_ms, one.to_ms, one.interrupted]), [["you", 1000, 2500, false], ["agent", 3000, 4200, true]]);
  assert.deepEqual([json.saved_at, json.oracle[0].text], ["1970-01-01T00:00:00.000Z", "four"]);
  assert.equal(clock(3_723_004), "01:02:03,004");
});

test("kept preferences are checked, and only what was chosen is sent", () => {
  assert.deepEqual(checked({ mode: "loud", volume: 7, persona: 3, pushToTalk: "yes", theme: "pink" }), { ...DEFAULTS });
  assert.deepEqual(checked(null), { ...DEFAULTS });
  assert.equal(openingSession({ ...DEFAULTS }), null);
  const chosen = { ...DEFAULTS, mode: "direct", voice: "en-gb", persona: "Be kind.", pushToTalk: true, language: "de" };
  assert.deepEqual(openingSession(chosen), {
    type: "realtime",
    instructions: "Be kind.",
    audio: { output: { voice: "en-gb" }, input: { turn_detection: null } },
    kame: { mode: "direct", language: "de" },
  });
  assert.equal(changedSession(chosen, { ...chosen, volume: 0.5, theme: "dark" }), null);
  assert.deepEqual(changedSession(chosen, { ...DEFAULTS, language: "de", voice: "en-gb" }), {
    type: "realtime",
    instructions: null,
    audio: { input: { turn_detection: { type: "semantic_vad", eagerness: "auto" } } },
    kame: { mode: null },
  });
});

const full = () => {
  const place = { ticket: "t", position: 2, ready: true, poll_s: 0.01 };
  return httpFailure(503, { code: "server_full" }, 15, place);
};

test("a full server is asked until there is a place", async () => {
  const answers = [full(), full()];
  const waits = [];
  const tickets = [];
  const open = async (ticket) => {
    tickets.push(ticket);
    const refusal = answers.shift();
    if (refusal) throw refusal;
  };
  await queued(open, (waited_ms, position) => waits.push([waited_ms, position]), new AbortController().signal);
  assert.ok(waits.length >= 2 && waits.at(-1)[0] > 0);
  assert.equal(waits[0][1], 2);
  assert.deepEqual(tickets, ["new", "t", "t"]);
});

test("the queue is left by the person, and by any other trouble", async () => {
  const abort = new AbortController();
  const left = queued(async () => Promise.reject(full()), () => abort.abort(), abort.signal);
  await assert.rejects(left, { name: "AbortError" });
  const other = new CallFailure({ code: "server_error", title: "", text: "", actions: [] });
  const open = async () => Promise.reject(other);
  await assert.rejects(queued(open, () => assert.fail("no waiting"), new AbortController().signal), other);
});

test("why a call ended is told in the page's words, else in the server's", () => {
  const ended = (code, message) => fatalTrouble({ type: "kame.trouble", fatal: true, code, message });
  const { call_idle, conversation_failed } = texts.troubles;
  assert.equal(ended("call_idle", "As the server says it.").text, call_idle.text);
  const { code, title, text, language } = ended("llm_melted", "As the server says it.");
  assert.deepEqual([code, title, text, language], ["llm_melted", conversation_failed.title, "As the server says it.", SERVER_LANGUAGE]);
  assert.equal(ended("constructor", "").text, conversation_failed.text);
  assert.equal(httpFailure(500, { message: "Own words." }, null).trouble.language, SERVER_LANGUAGE);
});

test("durations are said as people say them", () => {
  assert.deepEqual([284.4, 999, 1310, 42_000, 75_400].map(duration), ["284 ms", "999 ms", "1.3 s", "42 s", "1 min 15 s"]);
});

const OFFER = "v=0\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\nm=application 9 x\r\na=mid:1\r\n";

test("a trickle fragment names user fragment, password, media line and candidates", () => {
  const fragment = sdpFragment(OFFER, [{ candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host", sdpMid: "0" }], true);
  assert.deepEqual(fragment.split("\r\n"), [
    "a=ice-ufrag:abcd",
    "a=ice-pwd:secret",
    "m=audio 9 UDP/TLS/RTP/SAVPF 111",
    "a=mid:0",
    "a=candidate:1 1 udp 1 192.0.2.1 9 typ host",
    "a=end-of-candidates",
    "",
  ]);
});

test("candidates are sent once, in order, and the end comes last", async () => {
  const sent = [];
  const trickler = new Trickler();
  trickler.found({ candidate: "candidate:in-offer", sdpMid: "0" });
  trickler.found({ candidate: "candidate:late", sdpMid: "0" });
  const offer = `${OFFER}a=candidate:in-offer\r\n`;
  const ended = new Promise((resolve) => {
    trickler.open(offer, async (fragment) => {
      sent.push(fragment);
      if (fragment.includes("end-of-candidates")) resolve();
    });
  });
  setTimeout(() => trickler.found(null), 80);
  await ended;
  const text = sent.join("");
  assert.ok(!text.includes("in-offer"));
  assert.equal(text.split("candidate:late").length, 2);
  assert.ok(text.indexOf("candidate:late") < text.indexOf("end-of-candidates"));
});

test("mode, resume token, engines and timing are kept; an update without a token keeps the one before", () => {
  const facts = new Facts();
  facts.handle({ type: "session.created", session: { kame: { mode: "tandem", resume: "token" } } });
  facts.handle({ type: "session.updated", session: { kame: { mode: "direct" } } });
  facts.handle({ type: "kame.engine", llm: { name: "offline responder", note: "Small." }, stt: 7 });
  facts.handle({ type: "kame.turn.timing", mode: "direct", first_audio_ms: 300 });
  assert.deepEqual([facts.mode, facts.resume], ["direct", "token"]);
  assert.deepEqual(facts.engines, { llm: { name: "offline responder", note: "Small." } });
  assert.equal(facts.timing.first_audio_ms, 300);
});

test("a full server says how long to wait, and keeps its own sentence", () => {
  const full = httpFailure(503, { code: "server_full" }, 8).trouble;
  assert.equal(full.code, "server_full");
  assert.match(full.text, /about 8 seconds/);
  assert.match(httpFailure(503, { code: "server_full", message: "Own words." }, null).trouble.text, /^Own words\.$/);
  assert.deepEqual(httpFailure(401, {}, null).trouble.actions, ["none"]);
  assert.equal(httpFailure(502, {}, null).trouble.code, "server_unreachable");
});
