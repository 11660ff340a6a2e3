"""An utterance in parts: nothing is answered twice, kept for ever, or mixed up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kame_core.stt.speech_parts import Utterance

MAX, MAX_PART = 1000, 400
PIECE = b"\1\0" * 50


def utterance() -> Utterance:
    return Utterance(3, MAX, MAX_PART)


def test_parts_are_joined_in_order_whichever_is_read_first() -> None:
    talk = utterance()
    talk.push(PIECE, 1.0)
    talk.flush(1.1, 10)
    talk.push(PIECE, 1.2)
    talk.flush(1.3, 10)
    first, second = talk.parts
    talk.finish(second, " of  France? ")
    assert talk.answered() == 0
    first.heard = "What is the"
    assert talk.text == "What is the of France?"
    talk.finish(first, "What is the capital")
    assert talk.answered() == 2
    assert talk.answered() == 0
    assert talk.text == "What is the capital of France?"
    assert not talk.parts


def test_a_flush_without_sound_is_answered_when_what_was_before_is() -> None:
    talk = utterance()
    talk.flush(0.0, 10)
    assert talk.answered() == 1
    talk.push(PIECE, 0.0)
    talk.flush(0.0, 10)
    talk.flush(0.0, 10)
    assert talk.answered() == 0
    talk.finish(talk.parts[0], "yes")
    assert talk.answered() == 2


def test_a_short_part_is_filled_up_with_silence() -> None:
    talk = utterance()
    talk.push(PIECE, 0.0)
    talk.flush(0.0, 80)
    assert talk.parts[0].samples == 80
    assert b"".join(talk.parts[0].sound) == PIECE + b"\0\0" * 30


def test_what_was_sent_is_sent_again_and_keeps_its_best_reading() -> None:
    talk = utterance()
    talk.push(PIECE, 0.0)
    talk.flush(0.0, 10)
    part = talk.parts[0]
    part.sent_pieces, part.commit_sent, part.heard = 1, True, "what is the"
    told = not part.untold
    part.send_again()
    assert told
    assert part.untold
    assert part.tries == 1
    part.heard = "what"
    assert part.reading == "what is the"
    part.heard = "what is the capital"
    assert part.reading == "what is the capital"


@pytest.mark.parametrize("half_sent", [True, False])
def test_the_oldest_part_gives_way_and_what_lies_in_the_buffer_is_told(half_sent: bool) -> None:
    talk = utterance()
    for _ in range(8):
        assert not talk.push(PIECE, 0.0)
    talk.parts[0].sent_pieces = 3
    talk.parts[0].commit_sent = not half_sent
    told = [talk.push(PIECE, 0.0) for _ in range(13)]
    assert talk.dropped_samples == 400
    assert told == [False] * 12 + [half_sent]


def test_a_dropped_part_wants_nothing_any_more() -> None:
    talk = utterance()
    talk.push(PIECE, 0.0)
    part = talk.parts[0]
    part.sent_pieces = 1
    assert talk.half_sent
    talk.drop()
    part.complete = True
    assert not part.untold
    talk.finish(part, "late")
    assert talk.text == ""


@given(st.lists(st.sampled_from(["push", "flush", "finish oldest", "finish newest", "again"]), max_size=120))
def test_whatever_happens_every_flush_is_answered_once_and_memory_is_bounded(steps: list[str]) -> None:
    talk = utterance()
    flushes = answers = 0
    for step in steps:
        match step:
            case "push":
                talk.push(PIECE, 0.0)
            case "flush":
                talk.flush(0.0, 10)
                flushes += 1
            case "finish oldest" if talk.parts and talk.parts[0].complete:
                talk.finish(talk.parts[0], "word")
            case "finish newest" if talk.parts and talk.parts[-1].complete:
                talk.finish(talk.parts[-1], "word")
            case "again":
                for part in talk.parts:
                    part.send_again()
        answers += talk.answered()
        assert answers <= flushes
        kept = sum(len(piece) // 2 for part in talk.parts for piece in part.sound)
        assert kept <= MAX + MAX_PART
        assert len([part for part in talk.parts if not part.complete]) <= 1
    talk.flush(0.0, 10)
    for part in list(talk.parts):
        talk.finish(part, "word")
    assert answers + talk.answered() == flushes + 1
