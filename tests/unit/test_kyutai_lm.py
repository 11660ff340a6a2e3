"""The speech-to-text model in a batch: what moshi's own generator writes, whatever the other slots do."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from moshi.models.lm import LMGen
from moshi.utils.compile import no_compile
from torch import Tensor

from kame_core.frontend.moshi.oracle_lm import OracleLM
from kame_core.frontend.moshi.step_graph import StepRecorder
from kame_core.stt.kyutai_lm import SttBatch, SttStep
from tests.support.recorded_step import SameWork, record_step
from tests.support.tiny_kyutai import CODEBOOKS, CONTEXT, DELAY, build_listening_lm, build_random_lm
from tests.support.tiny_moshi import CODEBOOK_SIZE

SILENCE = torch.arange(CODEBOOKS * 25).view(CODEBOOKS, 25) % 7
"""Made up, and different in each frame: a wrong one is noticed."""


@dataclass(frozen=True)
class Written:
    tokens: list[int]
    pauses: list[float]

    def __eq__(self, other: object) -> bool:
        """A product rounds otherwise beside other rows."""
        if not isinstance(other, Written):
            return NotImplemented
        return self.tokens == other.tokens and self.pauses == pytest.approx(other.pauses, abs=1e-5)


def sound(number: int, steps: int) -> Tensor:
    """Codes of a made-up speaker, int64 [CODEBOOKS, steps]."""
    return torch.randint(0, CODEBOOK_SIZE, (CODEBOOKS, steps), generator=torch.Generator().manual_seed(number))


def reference(lm: OracleLM, codes: Tensor) -> Written:
    """What moshi's own generator writes; it is given the first frame twice, as in moshi's own program."""
    generator = LMGen(lm, use_sampling=False)
    tokens, pauses = [], []
    with no_compile(), generator.streaming(1):
        generator.step(codes[None, :, :1])
        for frame in range(codes.shape[1]):
            out = generator.step_with_extra_heads(codes[None, :, frame : frame + 1])
            assert out is not None
            tokens.append(int(out[0][0, 0, 0]))
            pauses.append(float(out[1][2][0, 0, 0]))
    lm.set_streaming_detached(False)
    return Written(tokens, pauses)


@dataclass(frozen=True)
class Place:
    codes: Tensor
    slot: int
    begin: int = 0


def step(batch: SttBatch, heard: dict[int, Tensor], garbage: torch.Generator) -> SttStep:
    """One step; closed slots get garbage, full of the forbidden."""
    codes = torch.randint(-9, CODEBOOK_SIZE + 9, (batch.capacity, CODEBOOKS + 2, 1), generator=garbage)
    for slot, frame in heard.items():
        codes[slot, :CODEBOOKS, 0] = frame
    return batch.step(codes)


def listen(batch: SttBatch, *places: Place, looks: Sequence[int] = ()) -> list[Written]:
    """What is written in each place. In the ticks `looks` its first open slot is stepped ahead for a while."""
    written = [Written([], []) for _ in places]
    garbage = torch.Generator().manual_seed(99)
    for tick in range(max(place.begin + place.codes.shape[1] for place in places)):
        now = {}
        for which, place in enumerate(places):
            at = tick - place.begin
            if at == 0:
                batch.open(place.slot)
            elif at == place.codes.shape[1]:
                batch.close(place.slot)
            if 0 <= at < place.codes.shape[1]:
                now[place.slot] = (which, place.codes[:, at])
        out = step(batch, {slot: frame for slot, (_, frame) in now.items()}, garbage)
        assert not out.faults & set(now)
        for slot, (which, _) in now.items():
            written[which].tokens.append(out.tokens[slot])
            written[which].pauses.append(out.pauses[slot])
        if tick in looks:
            with batch.looking_ahead([min(now)], 9) as ahead:
                for _ in range(7):
                    ahead()
    return written


@pytest.mark.parametrize("lm", [build_random_lm(), build_listening_lm()], ids=["random", "listening"])
def test_it_writes_what_moshis_own_generator_writes(lm: OracleLM) -> None:
    codes = sound(1, 2 * CONTEXT + 10)
    expected = reference(lm, codes)
    batch = SttBatch(lm, 1, SILENCE)
    (written,) = listen(batch, Place(codes, 0))
    batch.shutdown()
    assert written == expected
    assert len(set(expected.tokens)) > 5


def test_the_listening_model_writes_what_was_heard_half_a_second_later() -> None:
    codes = sound(2, 60)
    (written,) = listen(SttBatch(build_listening_lm(), 1, SILENCE), Place(codes, 0))
    assert written.tokens[DELAY:] == codes[0, :-DELAY].tolist()


def test_a_conversation_is_written_as_if_it_were_alone() -> None:
    lm = build_random_lm()
    talks = [sound(number, steps) for number, steps in ((1, 70), (2, 30), (3, 45), (4, 12))]
    alone = [reference(lm, codes) for codes in talks]
    batch = SttBatch(lm, 3, SILENCE)
    places = [Place(talks[0], 1), Place(talks[1], 0, 5), Place(talks[2], 0, 40), Place(talks[3], 2, 11)]
    assert listen(batch, *places) == alone


@pytest.mark.parametrize("recorder", [None, record_step], ids=["eager", "recorded"])
def test_looking_ahead_leaves_no_trace(recorder: StepRecorder | None) -> None:
    lm = build_random_lm()
    talks = [sound(1, 70), sound(2, 60)]
    alone = [reference(lm, codes) for codes in talks]
    batch = SttBatch(lm, 3, SILENCE, recorder=recorder)
    # before the cache has gone round, while it does, and long after
    looks = [0, 3, 12, 13, CONTEXT - 5, CONTEXT - 1, CONTEXT, CONTEXT + 1, 2 * CONTEXT, 55, 69]
    assert listen(batch, Place(talks[0], 0), Place(talks[1], 2, 4), looks=looks) == alone


def test_every_step_is_the_same_work_on_the_same_memory() -> None:
    same = SameWork()
    batch = SttBatch(build_random_lm(), 3, SILENCE, recorder=same)
    listen(batch, Place(sound(1, CONTEXT + 6), 0), Place(sound(2, 9), 2, 4), Place(sound(3, 9), 2, 15), looks=[3, 20])
    assert same.steps > CONTEXT + 6 + 2 * 7


@pytest.mark.parametrize("steps", [3, CONTEXT - 2, 2 * CONTEXT + 3])
def test_what_is_written_ahead_is_what_silence_would_have_given(steps: int) -> None:
    lm = build_random_lm()
    codes = sound(5, steps)
    silence = SILENCE[:, -1:].expand(-1, 8)
    expected = reference(lm, torch.cat([codes, silence], dim=1))
    batch = SttBatch(lm, 2, SILENCE)
    batch.open(1)
    garbage = torch.Generator().manual_seed(1)
    for frame in range(steps):
        step(batch, {1: codes[:, frame]}, garbage)
    with batch.looking_ahead([1], 8) as ahead:
        assert [ahead().tokens[1] for _ in range(8)] == expected.tokens[steps:]
        with pytest.raises(ValueError, match="8 steps ahead"):
            ahead()


def test_several_look_ahead_at_once_and_closed_ones_cannot() -> None:
    lm = build_random_lm()
    talks = [sound(number, 40) for number in (1, 2)]
    silence = SILENCE[:, -1:].expand(-1, 3)
    expected = [reference(lm, torch.cat([codes, silence], dim=1)).tokens[40:] for codes in talks]
    batch = SttBatch(lm, 4, SILENCE)
    for slot in (3, 0):
        batch.open(slot)
    garbage = torch.Generator().manual_seed(1)
    for frame in range(40):
        step(batch, {3: talks[0][:, frame], 0: talks[1][:, frame]}, garbage)
    with batch.looking_ahead([3, 0], 3) as ahead:
        steps = [ahead() for _ in range(3)]
    assert [[out.tokens[slot] for out in steps] for slot in (3, 0)] == expected
    with pytest.raises(ValueError, match="not open"), batch.looking_ahead([1], 3):
        pass


@pytest.mark.parametrize("frames", [0, 1, 13])
def test_every_conversation_begins_with_silence(frames: int) -> None:
    lm = build_random_lm()
    codes = sound(6, 20)
    expected = reference(lm, torch.cat([SILENCE[:, :frames], codes], dim=1))
    batch = SttBatch(lm, 2, SILENCE, prefix_frames=frames)
    places = [Place(codes, 0), Place(codes, 1, 3), Place(codes, 0, 25)]
    assert [written.tokens for written in listen(batch, *places)] == [expected.tokens[frames:]] * 3


def test_a_prefix_longer_than_the_models_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="remembers"):
        SttBatch(build_random_lm(), 1, SILENCE, prefix_frames=CONTEXT)


def test_numbers_that_are_not_finite_stay_in_their_slot() -> None:
    lm = build_random_lm()
    codes = sound(7, 40)
    expected = reference(lm, codes)
    batch = SttBatch(lm, 2, SILENCE)
    batch.open(0)
    batch.open(1)
    garbage = torch.Generator().manual_seed(1)
    broken = batch._states.caches[0]
    tokens = []
    for frame in range(40):
        if frame == 10:
            broken.cache[:, 1] = torch.nan
        out = step(batch, {0: codes[:, frame], 1: codes[:, frame]}, garbage)
        tokens.append(out.tokens[0])
        assert out.faults == ({1} if frame >= 10 else set())
    assert tokens == expected.tokens
    batch.open(1)
    again = []
    for frame in range(40):
        out = step(batch, {1: codes[:, frame], 0: codes[:, frame]}, garbage)
        assert not out.faults
        again.append(out.tokens[1])
    assert again == expected.tokens


def test_a_model_without_heads_has_no_opinion() -> None:
    codes = sound(8, 5)
    (written,) = listen(SttBatch(build_random_lm(extra_heads_num_heads=0), 1, SILENCE), Place(codes, 0))
    assert all(pause != pause for pause in written.pauses)


def test_closing_forgets_everything() -> None:
    batch = SttBatch(build_random_lm(), 2, SILENCE)
    listen(batch, Place(sound(1, 30), 0), Place(sound(2, 20), 1))
    batch.close(0)
    batch.close(1)
    for held in (batch._states.table, *(cache.cache for cache in batch._states.caches)):
        assert held.abs().sum() == 0


def test_shut_down_the_model_is_free_for_another_batch() -> None:
    lm = build_random_lm()
    batch = SttBatch(lm, 1, SILENCE)
    batch.shutdown()
    batch.shutdown()
    assert not lm.is_streaming
    SttBatch(lm, 2, SILENCE).shutdown()


def test_codes_of_a_wrong_shape_are_refused() -> None:
    batch = SttBatch(build_random_lm(), 2, SILENCE)
    with pytest.raises(ValueError, match="codes must be"):
        batch.step(torch.zeros(2, CODEBOOKS - 1, 1, dtype=torch.long))
