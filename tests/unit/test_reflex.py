"""The reflex front end in virtual time, with the real espeak-ng voice inline."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from kame_core.audio import FRAME_SAMPLES
from kame_core.clock import VirtualClock, run_virtual
from kame_core.errors import TextToSpeechError
from kame_core.frontend.base import (
    Floor,
    OracleAdopt,
    OracleClear,
    OracleFinish,
    OracleText,
    SlotOptions,
    SlotOutput,
    SpeechOrigin,
    SpeechPolicy,
    UserState,
)
from kame_core.frontend.host import LocalHost
from kame_core.frontend.reflex import reflex_host
from kame_core.frontend.reflex.opener import OPENERS
from kame_core.frontend.reflex.replies import REPLIES
from kame_core.frontend.reflex.wording import Kind
from kame_core.tts.base import SpeechChunk
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.workers import InlineWorkers
from tests.support.reflex_talk import ANSWER, NO_OPENER, Talk, origins, sound_of, talk, text_of

# --- openers ---


def test_opener_begins_in_the_tick_after_the_pause() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.LISTEN)
        assert not sound_of(await t.ticks(3)).any()
        t.tell(Floor.PAUSE)
        frames = await t.ticks(1)
        assert frames[0].text.strip() in {opener.split()[0] for opener in OPENERS[Kind.QUESTION]}
        assert frames[0].origin is SpeechOrigin.OPENER
        assert frames[0].speaking
        frames += await t.until_done()
        assert text_of(frames).strip() in OPENERS[Kind.QUESTION]
        assert not sound_of(await t.ticks(20)).any()  # one a turn, then silence

    talk(main)


def test_a_new_turn_gets_another_opener() -> None:
    async def main(t: Talk) -> None:
        said = []
        for turn in range(6):
            t.tell(Floor.LISTEN, turn=turn)
            await t.ticks(2)
            t.tell(Floor.PAUSE)
            said.append(text_of(await t.until_done()))
        assert all(a != b for a, b in itertools.pairwise(said))
        assert all(said)

    talk(main)


def test_no_opener_where_the_policy_forbids_or_the_oracle_is_there() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.PAUSE, policy=NO_OPENER)
        assert not sound_of(await t.ticks(10)).any()
        t.tell(Floor.LISTEN, turn=1, policy=SpeechPolicy())
        t.answer("c", ANSWER)
        t.tell(Floor.PAUSE)
        frames = await t.ticks(10)
        assert not sound_of(frames).any()
        assert frames[-1].pending

    talk(main)


def test_a_pause_that_may_last_gets_an_opener_also_where_the_answer_is_known() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.LISTEN)
        t.answer("c", ANSWER)
        t.tell(Floor.PAUSE, policy=SpeechPolicy(covers_pause=True))
        frames = await t.ticks(12)
        assert origins(frames) == [SpeechOrigin.OPENER]
        t.tell(Floor.SPEAK)
        frames = await t.until_done()
        assert text_of(frames).strip() == ANSWER
        assert origins(frames) == [SpeechOrigin.ORACLE]

    talk(main)


def test_opener_covers_the_wait_for_a_slow_oracle_after_80_ms() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK)
        frames = await t.ticks(10)
        assert [frame.speaking for frame in frames[:2]] == [False, True]
        assert not frames[0].pending
        assert frames[1].origin is SpeechOrigin.OPENER
        t.answer("c", ANSWER)
        frames += await t.until_done()
        assert text_of(frames).endswith(" " + ANSWER)
        assert origins(frames) == [SpeechOrigin.OPENER, SpeechOrigin.ORACLE]

    talk(main)


def test_user_going_on_cuts_the_opener_and_is_marked_with_the_turn_it_belongs_to() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.PAUSE)
        await t.ticks(2)
        t.tell(Floor.LISTEN, turn=1)
        frames = await t.ticks(3)
        assert np.abs(frames[0].voice[:60]).max() > 0.001  # 5 ms of fading
        assert not frames[0].voice[120:].any()
        assert (frames[0].turn, frames[0].speaking, frames[0].text) == (0, False, "")
        assert not sound_of(frames[1:]).any()
        assert frames[1].turn == 1
        assert not frames[1].pending

    talk(main)


# --- losing the floor ---


@pytest.mark.parametrize("new_turn", [True, False])
def test_barge_in_fades_within_5_ms_and_drops_the_rest(new_turn: bool) -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK, policy=NO_OPENER)
        t.answer("c", ANSWER, finished=False)
        await t.ticks(7)
        t.tell(Floor.LISTEN, turn=1 if new_turn else 0)
        t.oracle(OracleText("c", " And more of what is not wanted any longer."))
        frames = await t.ticks(10)
        assert not sound_of(frames)[120:].any()
        assert text_of(frames) == ""
        assert not frames[-1].pending
        t.tell(Floor.SPEAK)
        assert not sound_of(await t.ticks(10)).any()

    talk(main)


def test_clear_drops_the_oracle_but_not_an_opener_in_progress() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.PAUSE)
        frames = await t.ticks(1)
        t.answer("c", ANSWER)
        t.oracle(OracleClear())
        t.tell(Floor.SPEAK)
        frames += await t.until_done()
        assert text_of(frames).strip() in OPENERS[Kind.QUESTION]
        assert frames[-1].oracle.candidate_id is None

    talk(main)


def test_candidate_adopted_while_the_user_speaks_outlives_a_pause_in_the_question() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.LISTEN, policy=NO_OPENER)
        t.answer("c", ANSWER)
        t.tell(Floor.PAUSE)
        await t.ticks(2)
        t.tell(Floor.LISTEN, turn=1)
        await t.ticks(2)
        t.tell(Floor.SPEAK)
        assert text_of(await t.until_done()) == " " + ANSWER

    talk(main)


def test_pause_noticed_while_the_agent_has_the_floor_takes_nothing_away() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK, policy=NO_OPENER)
        t.answer("c", ANSWER)
        frames = await t.ticks(5)
        t.tell(Floor.PAUSE)
        frames += await t.until_done()
        assert text_of(frames) == " " + ANSWER

    talk(main)


def test_repeating_a_state_changes_nothing() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK, policy=NO_OPENER)
        t.answer("c", ANSWER)
        frames: list[SlotOutput] = []
        for _ in range(150):
            t.tell(Floor.SPEAK)
            frames += await t.ticks(1)
        assert text_of(frames) == " " + ANSWER

    talk(main)


# --- alone ---


def test_alone_it_gives_one_honest_reply_at_once() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK, policy=SpeechPolicy(alone=True))
        frames = await t.ticks(1)
        assert frames[0].speaking
        frames += await t.until_done()
        assert text_of(frames).strip() in REPLIES[Kind.QUESTION]
        assert origins(frames) == [SpeechOrigin.OWN]
        assert not sound_of(await t.ticks(30)).any()

    talk(main)


def test_replies_differ_from_turn_to_turn_and_follow_the_opener() -> None:
    async def main(t: Talk) -> None:
        said = []
        for turn in range(3):
            t.tell(Floor.LISTEN, turn=turn, policy=SpeechPolicy(alone=True))
            t.tell(Floor.PAUSE, heard="my cat is ill")
            frames = await t.ticks(2)
            t.tell(Floor.SPEAK, heard="my cat is ill")
            frames += await t.until_done()
            assert origins(frames) == [SpeechOrigin.OPENER, SpeechOrigin.OWN]
            said.append("".join(frame.text for frame in frames if frame.origin is SpeechOrigin.OWN))
        assert len(set(said)) == 3

    talk(main)


def test_falls_back_to_a_reply_when_the_back_end_gives_up() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK, policy=NO_OPENER)
        assert not sound_of(await t.ticks(20)).any()
        t.tell(Floor.SPEAK, policy=SpeechPolicy(opener=False, alone=True))
        assert (await t.ticks(1))[0].speaking

    talk(main)


# --- isolation, voices, failures ---


def test_a_reopened_slot_knows_nothing_of_the_conversation_before() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK, turn=5, policy=NO_OPENER)
        t.answer("c", ANSWER)
        await t.ticks(5)
        await t.lease.aclose()
        other = Talk(t.clock, t.host, await t.host.lease(SlotOptions()))
        assert other.lease.slot == t.lease.slot
        other.tell(Floor.SPEAK, policy=NO_OPENER)
        frames = await other.ticks(10)
        assert not sound_of(frames).any()
        assert all(frame.oracle.candidate_id is None and frame.turn == 0 for frame in frames)
        await other.close()

    talk(main)


def test_conversations_speak_at_the_same_time_without_mixing() -> None:
    async def main(t: Talk) -> None:
        others = [Talk(t.clock, t.host, await t.host.lease(SlotOptions())) for _ in range(3)]
        for index, other in enumerate(others):
            other.tell(Floor.SPEAK, policy=NO_OPENER)
            other.answer(f"c{index}", f"This is conversation {index} speaking to you.")
        await t.ticks(60)
        for index, other in enumerate(others):
            assert text_of(other.frames) == f" This is conversation {index} speaking to you."
            await other.close()
        assert not sound_of(t.frames).any()

    talk(main)


def test_other_languages_speak_with_their_voice() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.PAUSE, "wie spät ist es")
        frames = await t.ticks(12)
        assert text_of(frames) == " Hmm."
        t.tell(Floor.SPEAK)
        t.answer("c", "Es ist zwölf Uhr.")
        assert text_of(await t.until_done()) == " Es ist zwölf Uhr."

    talk(main, options=SlotOptions(language="de"))


class Failing:
    """Wraps a voice; every phrase with "boom" in it fails."""

    name = "failing"

    def __init__(self, tts: EspeakTextToSpeech) -> None:
        self._tts = tts

    async def speak(self, text: str, voice: str = "", language: str = "") -> AsyncGenerator[SpeechChunk, None]:
        if "boom" in text:
            raise TextToSpeechError("The voice failed on purpose.")
        if "bug" in text:
            raise ValueError(text)
        async for chunk in self._tts.speak(text, voice, language):
            yield chunk

    async def aclose(self) -> None:
        await self._tts.aclose()


def test_a_failing_phrase_is_left_out() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK, policy=NO_OPENER)
        t.answer("c", "This is good. This is boom. This has a bug. This is fine. A boom again. All is well.")
        frames = await t.until_done()
        assert text_of(frames) == " This is good. This is fine. All is well."
        assert not any(frame.fault for frame in frames)
        assert frames[-1].oracle.finished

    talk(main, wrap=Failing)


def test_three_failures_in_a_row_end_the_slot() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK, policy=NO_OPENER)
        t.answer("c", "One boom. Two boom. Three boom. Four is fine.")
        frames = await t.ticks(4)
        faults = [frame.fault for frame in frames if frame.fault]
        assert len(faults) == 1
        assert faults[0].code == "frontend_failed"
        assert "on purpose" in faults[0].user_message
        assert "Three" not in faults[0].user_message

    talk(main, wrap=Failing)


def test_a_voice_that_does_not_work_is_told_at_start() -> None:
    async def run(clock: VirtualClock) -> None:
        tts = EspeakTextToSpeech("qqq+klatt4", workers=InlineWorkers())
        with pytest.raises(TextToSpeechError) as caught:
            await reflex_host(tts, 1, clock=clock)
        assert caught.value.code == "unknown_voice"
        await tts.aclose()
        assert len(asyncio.all_tasks()) == 1

    run_virtual(run)


# --- on threads, in real time ---


@asynccontextmanager
async def real_host() -> AsyncGenerator[LocalHost, None]:
    host = await reflex_host(EspeakTextToSpeech(), 4)
    try:
        yield host
    finally:
        await host.aclose()


async def test_on_the_ticker_thread_it_says_the_same() -> None:
    async with real_host() as host:
        lease = await host.lease(SlotOptions())
        lease.push(user=UserState(floor=Floor.SPEAK, policy=NO_OPENER))
        lease.push(oracle=[OracleAdopt("c"), OracleText("c", "Hello from a thread."), OracleFinish("c")])
        text = ""
        async with asyncio.timeout(10):
            async for out in lease.outputs():
                assert out.voice.shape == (FRAME_SAMPLES,)
                text += out.text
                if text and not out.pending:
                    break
        assert text == " Hello from a thread."
        assert host.stats.faults == 0
