"""How the reflex front end says the oracle's words, in virtual time, with the real espeak-ng voice inline."""

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ
from kame_core.frontend.base import Floor, OracleAdopt, OracleFinish, OracleText, SpeechOrigin, SpeechPolicy
from tests.support.reflex_talk import ANSWER, NO_OPENER, Talk, reference, sound_of, talk, text_of


def test_prefetched_answer_begins_in_the_tick_after_the_floor_is_given() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.LISTEN, policy=NO_OPENER)
        t.answer("c", ANSWER)
        frames = await t.ticks(5)
        assert not sound_of(frames).any()
        t.tell(Floor.SPEAK)
        frames = await t.ticks(1)
        assert frames[0].speaking
        assert frames[0].text.startswith(" The")
        assert frames[0].origin is SpeechOrigin.ORACLE
        frames += await t.until_done()
        assert text_of(frames) == " " + ANSWER

    talk(main)


def test_text_spacing_and_punctuation_survive_any_cut_of_the_deltas() -> None:
    answer = "Well – it costs $3.50, “roughly”, at Dr. Smith's;  so don't\nworry: it's 50% off (today only)!"

    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK, policy=NO_OPENER)
        t.oracle(OracleAdopt("c"))
        for start in range(0, len(answer), 3):
            t.oracle(OracleText("c", answer[start : start + 3]))
            await t.ticks(1)
        t.oracle(OracleFinish("c"))
        frames = await t.until_done()
        spoken = text_of(t.frames)
        assert spoken.split() == answer.split()
        assert frames[-1].oracle.finished
        assert frames[-1].oracle.spoken_chars == frames[-1].oracle.read_chars == len(answer)

    talk(main)


def test_progress_counts_up_and_never_runs_ahead() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK, policy=NO_OPENER)
        t.answer("c", ANSWER)
        frames = await t.until_done()
        spoken = [frame.oracle.spoken_chars for frame in frames]
        assert spoken == sorted(spoken)
        assert spoken[-1] == len(ANSWER)
        so_far = ""
        for frame in frames:
            so_far += frame.text
            assert frame.oracle.candidate_id == "c"
            assert frame.oracle.spoken_chars <= len(so_far)
            assert frame.oracle.spoken_chars <= frame.oracle.read_chars <= len(ANSWER)

    talk(main)


def test_phrases_join_without_gaps_across_frames() -> None:
    text = "I have six words and some more of them to say right here and now"

    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK, policy=NO_OPENER)
        t.answer("c", text)
        sound = sound_of(await t.until_done())
        quiet = np.abs(sound) < 0.003
        audible = np.flatnonzero(~quiet)
        longest = int(np.diff(audible).max())
        assert longest < SAMPLE_RATE_HZ * 0.15
        whole = await reference(text)
        assert 0.9 < (audible[-1] - audible[0]) / whole.size < 1.6

    talk(main)


def test_speech_waits_for_a_slow_llm_and_loses_no_word() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK, policy=NO_OPENER)
        t.oracle(OracleAdopt("c"))
        for word in ANSWER.split(" "):
            t.oracle(OracleText("c", word + " "))
            await t.ticks(12)
        t.oracle(OracleFinish("c"))
        await t.until_done()
        assert text_of(t.frames) == " " + ANSWER

    talk(main)


def test_whole_sentences_are_waited_for_in_cascaded_mode() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK, policy=SpeechPolicy(opener=False, whole_sentences=True))
        t.answer("c", "The capital of France is Paris, a city", finished=False)
        assert not sound_of(await t.ticks(10)).any()
        t.oracle(OracleText("c", " of millions. It"))
        frames = await t.ticks(2)
        assert frames[0].text.startswith(" The")

    talk(main)


def test_newer_candidate_takes_over_at_the_end_of_the_word() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.SPEAK, policy=NO_OPENER)
        t.answer("old", "Considerably complicated explanations follow in this very long old sentence.")
        before = await t.ticks(4)
        t.answer("new", "Brand new words.")
        after = await t.until_done()
        text = text_of(before + after)
        old, _, new = text.partition(" Brand")
        assert new == " new words."
        assert 0 < len(old.split()) <= 3
        assert set(old.split()) <= {"Considerably", "complicated", "explanations"}
        sound = sound_of(before + after)
        assert np.abs(np.diff(sound)).max() < 0.5
        assert after[-1].oracle.candidate_id == "new"
        assert after[-1].oracle.spoken_chars == len("Brand new words.")

    talk(main)


def test_candidate_that_was_not_begun_is_replaced_whole() -> None:
    async def main(t: Talk) -> None:
        t.tell(Floor.LISTEN, policy=NO_OPENER)
        t.answer("old", "This is never heard by anyone.")
        await t.ticks(2)
        t.answer("new", "Only this is.")
        t.tell(Floor.SPEAK)
        assert text_of(await t.until_done()) == " Only this is."

    talk(main)
