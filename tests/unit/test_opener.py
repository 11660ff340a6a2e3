import numpy as np
import pytest

from kame_core.audio import SAMPLE_RATE_HZ
from kame_core.frontend.reflex.opener import ALL_OPENERS, NEUTRAL_OPENER, OPENERS, choose_opener
from kame_core.frontend.reflex.replies import REPLIES, choose_reply
from kame_core.frontend.reflex.wording import Kind, kind_of
from kame_core.phrasing import words_of
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.workers import InlineWorkers


@pytest.mark.parametrize(
    ("heard", "kind"),
    [
        ("", Kind.NOTHING),
        (" ... ", Kind.NOTHING),
        ("hello", Kind.GREETING),
        ("Good morning!", Kind.GREETING),
        ("hi there", Kind.GREETING),
        ("hello what is the capital of france", Kind.QUESTION),
        ("how are you today", Kind.HOW_ARE_YOU),
        ("Hello, how are you?", Kind.HOW_ARE_YOU),
        ("how are you going to fix the roof", Kind.QUESTION),
        ("thank you very much", Kind.THANKS),
        ("okay thanks", Kind.THANKS),
        ("goodbye", Kind.GOODBYE),
        ("what is your name", Kind.WHO_ARE_YOU),
        ("can you hear me", Kind.CAN_YOU_HEAR),
        ("what is two plus two", Kind.CALCULATION),
        ("what's 12 * 7", Kind.CALCULATION),
        ("what's 12 × 7?", Kind.CALCULATION),
        ("twenty three times four", Kind.CALCULATION),
        ("how many meters are in three miles", Kind.CALCULATION),
        ("fifteen percent of eighty", Kind.CALCULATION),
        ("what is the capital of France", Kind.QUESTION),
        ("What’s the weather like", Kind.QUESTION),
        ("do you know where Oslo is", Kind.QUESTION),
        ("the meeting is on Monday?", Kind.QUESTION),
        ("tell me a story", Kind.REQUEST),
        ("could you please turn off the light", Kind.REQUEST),
        ("yes please", Kind.AGREEMENT),
        ("no", Kind.REFUSAL),
        ("I'm so sorry", Kind.APOLOGY),
        ("my cat is called Mimi", Kind.STATEMENT),
        ("I went over to two friends", Kind.STATEMENT),
        ("日本語を話せますか", Kind.STATEMENT),
    ],
)
def test_sorts_what_was_heard(heard: str, kind: Kind) -> None:
    assert kind_of(heard) is kind
    assert choose_opener(heard, 0) in OPENERS[kind]
    assert choose_reply(heard, 0) in REPLIES[kind]


def test_every_kind_has_openers_and_replies() -> None:
    assert set(OPENERS) == set(REPLIES) == set(Kind)
    assert all(len(choices) >= 2 for choices in OPENERS.values())


@pytest.mark.parametrize("kind", list(Kind))
def test_never_says_the_same_opener_twice_in_a_row(kind: Kind) -> None:
    heard = {Kind.NOTHING: "", Kind.QUESTION: "what is that", Kind.STATEMENT: "my cat"}.get(kind, "hello")
    previous = ""
    for nth in range(10):
        opener = choose_opener(heard, nth, previous)
        assert opener != previous
        assert opener == choose_opener(heard, nth, previous)
        previous = opener


def test_other_languages_get_a_sound_and_one_honest_sentence() -> None:
    assert choose_opener("wie spät ist es", 0, language="de") == NEUTRAL_OPENER
    assert choose_opener("what time is it", 0, language="en-GB") in OPENERS[Kind.QUESTION]
    assert "language" in choose_reply("wie spät ist es", 3, language="de")


def test_replies_are_short_and_promise_nothing() -> None:
    for kind, replies in REPLIES.items():
        for reply in replies:
            assert len(words_of(reply)) <= 20
            assert reply.endswith((".", "?"))
        if kind in (Kind.QUESTION, Kind.CALCULATION, Kind.REQUEST):
            assert all(word in " ".join(replies).lower() for word in ("on my own",))


async def test_every_opener_is_three_words_at_most_and_under_800_ms_of_sound() -> None:
    tts = EspeakTextToSpeech(workers=InlineWorkers())
    try:
        for opener in (*ALL_OPENERS, NEUTRAL_OPENER):
            assert 1 <= len(words_of(opener)) <= 3
            pcm = np.concatenate([chunk.pcm async for chunk in tts.speak(opener)])
            audible = np.flatnonzero(np.abs(pcm) > 0.003)
            seconds = (audible[-1] - audible[0]) / SAMPLE_RATE_HZ
            assert 0.15 < seconds < 0.8, opener
    finally:
        await tts.aclose()
