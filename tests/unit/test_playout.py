"""The voice on its way out: order, margin, ducking, flushing, and what counts as heard."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kame_core.audio import FRAME_SAMPLES, PIECE_SAMPLES, Samples, level_dbfs, silence
from kame_core.playout import Playout, Spoken


class Log:
    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.lost: list[str] = []
        self.playout = Playout(
            lambda spoken: self.begun.append(spoken.text),
            lambda spoken: self.ended.append(spoken.text),
            lambda spoken: self.lost.append(spoken.text),
        )
        self.playout.attach()

    def say(self, text: str, level: float = 0.5) -> None:
        self.playout.push(np.full(FRAME_SAMPLES, level, np.float32), Spoken("resp", text, "oracle", True))

    def hush(self) -> None:
        self.playout.push(silence(FRAME_SAMPLES), None)

    def read(self, pieces: int) -> Samples:
        return np.concatenate([self.playout.read(PIECE_SAMPLES) for _ in range(pieces)])


def test_words_count_as_heard_when_their_frame_has_been_played() -> None:
    log = Log()
    log.say(" Paris")
    log.say(" is")
    log.read(4)
    assert (log.begun, log.ended) == ([" Paris"], [" Paris"])
    log.read(1)
    assert (log.begun, log.ended) == ([" Paris", " is"], [" Paris"])
    log.read(3)
    assert log.ended == [" Paris", " is"]


def test_silence_brings_the_depth_to_the_margin_so_that_speech_starts_soon() -> None:
    log = Log()
    for _ in range(5):  # five frames arrive at once: a late ticker catching up
        log.hush()
    assert log.playout.depth_samples <= FRAME_SAMPLES + PIECE_SAMPLES
    log.read(4)
    log.say(" now")
    assert np.flatnonzero(log.read(12))[0] <= 2 * PIECE_SAMPLES


def test_an_underrun_in_speech_is_counted_and_widens_the_margin() -> None:
    log = Log()
    log.hush()
    log.say(" one")
    log.read(10)
    assert log.playout.underruns == 1
    before = log.playout.depth_samples
    log.hush()
    assert log.playout.depth_samples - before > FRAME_SAMPLES


def test_flush_fades_within_5_ms_and_loses_what_was_not_played() -> None:
    log = Log()
    log.say(" one")
    log.say(" two")
    log.say(" three")
    log.read(5)
    log.playout.flush()
    assert log.ended == [" one"]
    assert log.lost == [" two", " three"]
    after = log.read(2)
    assert np.all(after[120:] == 0)
    assert 0 < after[0] <= 0.5
    assert np.all(np.diff(after[:120]) <= 1e-6)


def test_ducking_lowers_by_more_than_12_db_within_one_piece_more() -> None:
    log = Log()
    log.say(" la")

    def play() -> Samples:
        log.say(" la")
        return log.read(4)

    loud = level_dbfs(play())
    log.playout.duck()
    log.read(2)
    assert level_dbfs(play()) <= loud - 12
    log.playout.restore()
    play()
    play()
    assert abs(level_dbfs(play()) - loud) < 0.5


def test_without_a_listener_nothing_is_heard_and_nothing_piles_up() -> None:
    log = Log()
    log.playout.detach()
    log.say(" unheard")
    assert log.lost == [" unheard"]
    assert log.playout.depth_samples == 0


def test_voice_that_exceeds_the_margin_by_more_than_60_ms_is_shortened() -> None:
    log = Log()
    for number in range(20):
        log.say(f" {number}")
    assert log.playout.depth_samples <= 3 * FRAME_SAMPLES
    assert log.playout.dropped_samples > 0
    assert len(log.lost) >= 16
    log.read(40)
    assert "".join(log.begun).split() == [str(number) for number in range(20)], "a cut of 80 ms takes no word away"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_every_frame_is_either_heard_or_lost_exactly_once(steps: list[tuple[bool, int]]) -> None:
    log = Log()
    said = []
    for index, (speaks, reads) in enumerate(steps):
        if speaks:
            said.append(str(index))
            log.say(f" {index}")
        else:
            log.hush()
        out = log.read(reads) if reads else silence(0)
        assert out.size == reads * PIECE_SAMPLES
    log.read(40)
    log.playout.flush()
    assert len(log.ended) + len(log.lost) == len(said)
    assert sorted("".join(log.ended + log.lost).split(), key=int) == said


def test_silence_does_not_pile_up_where_nobody_reads() -> None:
    log = Log()
    for _ in range(1000):
        log.hush()
    assert len(log.playout._frames) <= 2
