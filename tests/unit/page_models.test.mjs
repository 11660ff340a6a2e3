// The page's pure models, run by test_page.py with Node's own test runner.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Captions, unheardEnd } from "../../static/js/captions.js";
import { Facts } from "../../static/js/facts.js";
import { httpFailure } from "../../static/js/failure.js";
import { Floor } from "../../static/js/floor.js";
import { Oracle } from "../../static/js/oracle.js";
import { layOut, readTiming } from "../../static/js/timing.js";
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

test("a time line is laid out in order within its bar", () => {
  const timing = readTiming({ type: "kame.turn.timing", mode: "tandem", asked_ms: -300, first_audio_ms: 310, first_oracle_audio_ms: 900, pause_ms: "no" });
  const { zero, stretches, marks } = layOut(timing);
  assert.deepEqual(stretches.map((one) => one.kind), ["you", "wait", "opener", "oracle"]);
  assert.deepEqual(marks.map((one) => one.moment), ["asked_ms", "first_audio_ms", "first_oracle_audio_ms"]);
  for (const [index, { from, to }] of stretches.entries()) {
    assert.ok(from >= 0 && to <= 1 && from < to);
    if (index) assert.equal(from, stretches[index - 1].to);
  }
  assert.equal(stretches[0].to, zero);
  assert.equal(layOut(readTiming({ type: "kame.turn.timing" })), null);
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
