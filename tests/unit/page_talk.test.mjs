// The parts of the page's talk that need no browser, run by test_page.py with Node's own test runner.

import assert from "node:assert/strict";
import { test } from "node:test";

import "./page_texts.mjs";

import { Choices } from "../../static/js/choices.js";
import { Conversation } from "../../static/js/conversation.js";
import { inTime } from "../../static/js/deadline.js";
import { Gate } from "../../static/js/gate.js";
import { Hearing } from "../../static/js/hearing.js";
import { Notice } from "../../static/js/notice.js";
import { texts } from "../../static/js/strings.js";

const { notices } = texts;

test("a notice goes after a while, or with its cause, and only its own cause takes it back", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let changes = 0;
  const notice = new Notice(() => (changes += 1));
  notice.show("Worth knowing.");
  t.mock.timers.tick(11_999);
  assert.equal(notice.words, "Worth knowing.");
  t.mock.timers.tick(1);
  assert.equal(notice.words, "");
  notice.show("Worth knowing.");
  notice.showWhile(notices.weak, true);
  t.mock.timers.tick(60_000);
  notice.showWhile(notices.system_muted, false);
  assert.equal(notice.words, notices.weak);
  notice.showWhile(notices.weak, false);
  assert.deepEqual([notice.words, changes], ["", 5]);
});

test("a call's coming end is told, and taken back when it does not come", () => {
  const notice = new Notice(() => undefined);
  notice.handle({ type: "kame.ending", reason: "idle", in_s: 30 });
  assert.equal(notice.words, notices.ending_idle.replace("{time}", "30 s"));
  notice.handle({ type: "kame.ending", reason: "unheard of", in_s: 30 });
  assert.match(notice.words, /30 s/);
  notice.handle({ type: "kame.ending", reason: "idle", in_s: null });
  assert.equal(notice.words, "");
  notice.handle({ type: "kame.ending", reason: "time_limit", in_s: 60 });
  notice.showWhile(notices.weak, true);
  notice.handle({ type: "kame.ending", reason: "time_limit", in_s: null });
  assert.equal(notice.words, notices.weak);
});

test("the server's own sentences say their language, until the page speaks again", () => {
  const notice = new Notice(() => undefined);
  notice.handle({ type: "kame.trouble", message: "Slower than usual." });
  assert.equal(notice.language, "en");
  notice.showWhile(notices.weak, true);
  assert.equal(notice.language, "");
});

test("trouble and refusals are told, but not that an answer had already ended", () => {
  const notice = new Notice(() => undefined);
  const told = (event) => {
    notice.handle(event);
    const { words } = notice;
    notice.close();
    return words;
  };
  assert.equal(told({ type: "kame.trouble", message: "Slower than usual." }), "Slower than usual.");
  assert.equal(told({ type: "error", error: { code: "other", message: "No." } }), "No.");
  assert.equal(told({ type: "error", error: { code: "input_audio_buffer_commit_empty" } }), notices.nothing_said);
  assert.equal(told({ type: "error", error: { code: "response_cancel_not_active", message: "No." } }), "");
  assert.equal(told({ type: "response.done" }), "");
});

test("push to talk opens while held and ends the turn a moment after; held again in time, it goes on", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let pushToTalk = true;
  const done = [];
  const gate = new Gate(() => pushToTalk, { set: (open) => done.push(open), said: () => done.push("said") });
  gate.apply();
  gate.hold(true);
  gate.hold(false);
  t.mock.timers.tick(100);
  gate.hold(true);
  t.mock.timers.tick(1_000);
  assert.deepEqual(done, [false, true, true]);
  gate.hold(false);
  t.mock.timers.tick(200);
  assert.deepEqual(done.splice(0), [false, true, true, false, "said"]);
  gate.hold(true);
  pushToTalk = false;
  gate.switched();
  gate.mute(true);
  assert.deepEqual([done.splice(0), gate.held, gate.muted], [[true, true, false], false, true]);
});

test("a call that ends while the button is let go ends no turn", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const gate = new Gate(() => true, { set: () => undefined, said: () => assert.fail("nobody is there") });
  gate.hold(true);
  gate.hold(false);
  gate.close();
  t.mock.timers.tick(1_000);
  assert.equal(gate.held, false);
});

test("an answer can be cancelled while it is made, and a broken connection leaves what was said", () => {
  const conversation = new Conversation();
  const handle = (event) => conversation.handle(event, 0);
  assert.equal(handle({ type: "response.created" }), true);
  assert.equal(conversation.answering, true);
  handle({ type: "kame.spoken", response_id: "r", item_id: "a", delta: "Two and two", origin: "own" });
  handle({ type: "output_audio_buffer.started" });
  handle({ type: "kame.turn.timing", response_id: "r", mode: "direct", first_audio_ms: 200 });
  conversation.pause();
  assert.equal(conversation.answering, false);
  assert.equal(conversation.floor.phase(0), "listening");
  assert.deepEqual(conversation.captions.all.map((one) => one.text), ["Two and two"]);
  conversation.clear();
  assert.deepEqual([conversation.captions.all.length, conversation.facts.timing], [0, null]);
  assert.equal(conversation.measured.of("direct").sound_ms, 200);
  assert.equal(handle({ type: "unheard.of" }), false);
});

test("a cut-off answer is shown with what its candidate would have gone on with", () => {
  const conversation = new Conversation();
  for (const event of [
    { type: "kame.candidate.started", candidate_id: "c", partial: "", at_ms: 1 },
    { type: "kame.candidate.finished", candidate_id: "c", text: "It is four. Always.", at_ms: 2 },
    { type: "kame.candidate.adopted", candidate_id: "c", at_ms: 3 },
    { type: "response.created" },
    { type: "kame.spoken", response_id: "r", item_id: "a", delta: "It is four.", origin: "oracle" },
    {
      type: "response.done",
      response: { id: "r", status: "cancelled", output: [{ id: "a", content: [{ transcript: "It is" }] }] },
    },
  ]) {
    conversation.handle(event, 0);
  }
  const [said] = conversation.captions.all;
  assert.deepEqual([said.heard, said.unheard, conversation.answering], ["It is", " four. Always.", false]);
});

test("a sound check finds both sides once; a shut microphone shows no level", () => {
  let checking = false;
  const events = [];
  const line = { isOpen: false, heard: () => events.push("heard") };
  const hearing = new Hearing(line, new Notice(() => undefined), () => checking, {
    level: (who, level) => events.push([who, level]),
    found: () => events.push("found"),
  });
  hearing.measured("you", 0.1);
  hearing.measured("agent", 0.5);
  assert.deepEqual(events.splice(0), [["you", 0], ["agent", 0.5]]);
  [checking, line.isOpen] = [true, true];
  hearing.measured("you", 0.5);
  hearing.measured("you", 0.5);
  assert.deepEqual(events.splice(0), [["you", 0.5], "heard", "found", ["you", 0.5], "heard"]);
  assert.deepEqual(hearing.found, { microphone: true, connection: false, sound: false });
});

/** What was chosen, with all that it is put into effect by. */
const choosing = () => {
  const done = [];
  const choices = new Choices(
    {
      sound: { setVolume: () => undefined, setSpeaker: async (id) => Promise.reject(new Error(id)) },
      line: { exchange: async (wishes) => done.push(wishes.microphone) },
      gate: { switched: () => done.push("gate") },
      caller: { signal: new AbortController().signal, send: (event) => done.push(event.session) },
      notice: new Notice(() => undefined),
    },
    () => done.push(choices.preferences.mode),
    assert.fail,
  );
  return { choices, done };
};
const RUNNING = { session: true, microphone: true };

test("what is chosen while a call is being made counts once it stands", async () => {
  const { choices, done } = choosing();
  choices.choose({ pushToTalk: true, speaker: "mine" }, null);
  choices.settle();
  choices.choose({ pushToTalk: false, persona: "Be kind.", microphone: "new" }, null);
  choices.setContext("a shop", null);
  assert.deepEqual(done, []);
  choices.catchUp(RUNNING);
  await Promise.resolve();
  const audio = { input: { turn_detection: { type: "semantic_vad", eagerness: "auto" } } };
  assert.deepEqual(done.splice(0), [
    { type: "realtime", instructions: "Be kind.", audio },
    "new",
    "gate",
    { type: "realtime", kame: { context: "a shop" } },
  ]);
  choices.settle();
  choices.catchUp(RUNNING);
  assert.deepEqual([done, choices.preferences.speaker], [[], "mine"]); // it was not to be had, and may come back
});

test("a mode that the server refuses is not asked for again", () => {
  const { choices, done } = choosing();
  const refused = { type: "error", error: { code: "mode_unavailable", message: "No place." } };
  choices.choose({ mode: "cascaded" }, RUNNING);
  choices.handle({ type: "session.updated" }, "cascaded");
  choices.handle(refused, "cascaded"); // told when its turn came
  choices.handle({ type: "session.updated" }, "tandem");
  choices.handle({ type: "session.updated" }, "direct");
  assert.deepEqual(done.splice(0), [{ type: "realtime", kame: { mode: "cascaded" } }, "cascaded", "tandem"]);
  choices.handle(refused, "tandem"); // told at once
  choices.choose({ mode: "direct" }, RUNNING);
  choices.handle({ type: "session.updated" }, "direct");
  assert.deepEqual([done.slice(-1), choices.preferences.mode], [[{ type: "realtime", kame: { mode: "direct" } }], "direct"]);
});

test("waiting ends with the promise, the deadline or the abort", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const late = () => new Error("late");
  const abort = new AbortController();
  assert.equal(await inTime(Promise.resolve(1), 1_000, abort.signal, late), 1);
  const slow = inTime(new Promise(() => undefined), 1_000, abort.signal, late);
  t.mock.timers.tick(1_000);
  await assert.rejects(slow, /late/);
  const waiting = inTime(new Promise(() => undefined), 1_000, abort.signal, late);
  abort.abort(new Error("given up"));
  await assert.rejects(waiting, /given up/);
  await assert.rejects(inTime(new Promise(() => undefined), 1_000, abort.signal, late), /given up/);
});
