"""The moshi front end as an engine: one oracle token per tick, slots that know nothing of each other, and trouble."""

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kame_core.audio import FRAME_SAMPLES, Samples, level_dbfs, silence
from kame_core.errors import CapacityError
from kame_core.frontend.base import (
    OracleClear,
    SlotInput,
    SlotOptions,
    SlotOutput,
    SpeechOrigin,
    UserState,
)
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint
from kame_core.frontend.moshi.engine import MoshiEngine
from kame_core.frontend.moshi.oracle_lm import NO_ORACLE_ID
from kame_core.frontend.moshi.sampling import GREEDY
from tests.support.moshi_loading import loaded
from tests.support.moshi_studio import FOLDER
from tests.support.oracle_updates import spoken
from tests.support.tiny_moshi import PAD_ID, TEXT_CARD, Variant, build_moshi

PARIS = "Paris is the capital of France, and about two million people live there."
FIVE = "Well, the answer is five."
LONG = (
    "Yes, it is so, and it was so, in the best of times. I am so happy that it is so, and you are so, too, as we are."
)
OPTIONS = SlotOptions(seed=1)


@pytest.fixture(scope="module")
def kame() -> LoadedCheckpoint:
    return loaded(FOLDER)


@dataclass
class Watch:
    """Time that passes when the test says so: a busy machine is no slow model."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def engine(kame: LoadedCheckpoint, watch: Watch) -> Iterator[MoshiEngine]:
    made = MoshiEngine(kame, 2, sampling=GREEDY, now_s=watch)
    yield made
    made.shutdown()


def run(
    engine: MoshiEngine, slots: Sequence[int], ticks: int, mic: Callable[[int], Samples] | None = None
) -> dict[int, list[SlotOutput]]:
    outputs: dict[int, list[SlotOutput]] = {slot: [] for slot in slots}
    for tick in range(ticks):
        sound = silence(FRAME_SAMPLES) if mic is None else mic(tick)
        for out in engine.step([SlotInput(slot, sound) for slot in slots]):
            outputs[out.slot].append(out)
    return outputs


def text_of(outputs: list[SlotOutput]) -> str:
    return "".join(out.text for out in outputs)


# --- what it says ---


def test_each_slot_says_its_own_oracle_and_tells_how_far_it_is(engine: MoshiEngine) -> None:
    assert engine.traits.takes_turns
    assert engine.traits.follows_oracle
    assert engine.traits.oracle_style == "utterance"
    engine.open(0, OPTIONS)
    engine.open(1, OPTIONS)
    engine.feed(0, spoken(PARIS), None)
    engine.feed(1, spoken(FIVE), UserState(turn=7))
    said = run(engine, [0, 1], 54)
    assert text_of(said[0]) == f" {PARIS}"
    assert text_of(said[1]) == f" {FIVE}"
    assert {out.turn for out in said[1]} == {7}
    reads = [out.oracle.read_chars for out in said[0]]
    spoke = [out.oracle.spoken_chars for out in said[0]]
    assert reads == sorted(reads)
    assert reads[-1] == len(PARIS)
    assert spoke == sorted(spoke)
    assert spoke[-1] == len(PARIS)
    assert all(behind <= ahead for behind, ahead in zip(spoke, reads, strict=True))
    assert said[0][-1].oracle.finished
    assert not said[0][-1].pending
    assert said[0][3].pending
    words = [out for out in said[0] if out.text]
    assert {out.origin for out in words} == {SpeechOrigin.ORACLE}
    assert all(out.speaking and level_dbfs(out.voice) > -45 for out in words)
    assert said[0][0].origin is SpeechOrigin.NONE
    assert not said[0][-1].speaking


def test_a_long_answer_is_read_as_successive_utterances(engine: MoshiEngine) -> None:
    engine.open(0, OPTIONS)
    engine.feed(0, spoken(LONG), None)
    starts = 0
    outputs = []
    for _ in range(110):
        outputs += run(engine, [0], 1)[0]
        starts += engine._oracle[0] == TEXT_CARD
    assert text_of(outputs) == f" {LONG}"
    assert starts == 2
    assert outputs[-1].oracle.finished


def test_a_cleared_oracle_is_not_said(engine: MoshiEngine) -> None:
    engine.open(0, OPTIONS)
    engine.feed(0, spoken(PARIS), None)
    before = text_of(run(engine, [0], 14)[0])
    assert before
    engine.feed(0, (OracleClear(),), None)
    after = run(engine, [0], 16)[0]
    assert len(before + text_of(after)) < len(PARIS) // 2
    assert not after[0].pending
    assert after[0].oracle.candidate_id is None


def test_nothing_of_a_conversation_is_left_in_its_slot(engine: MoshiEngine) -> None:
    noise = np.random.default_rng(5).normal(0, 0.1, (26, FRAME_SAMPLES)).astype(np.float32)

    def fresh() -> list[SlotOutput]:
        engine.open(0, OPTIONS)
        engine.feed(0, spoken(FIVE), None)
        return run(engine, [0], 26, lambda tick: noise[tick])[0]

    first = fresh()
    engine.close(0)
    engine.open(0, SlotOptions(seed=9))
    engine.feed(0, spoken(LONG), UserState(turn=3))
    run(engine, [0], 16, lambda tick: noise[-tick])  # ends in the middle of it
    engine.close(0)
    again = fresh()
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.voice, other.voice)
        assert replace(one, voice=other.voice) == other
    engine.close(0)
    engine.open(0, OPTIONS)
    assert text_of(run(engine, [0], 12)[0]) == ""


def test_plain_moshi_has_no_oracle_and_says_so(tmp_path: Path) -> None:
    plain = MoshiEngine(loaded(build_moshi(tmp_path, Variant(oracle=False))), 1)
    assert not plain.traits.follows_oracle
    assert plain.traits.name == "moshi"
    plain.open(0, OPTIONS)
    plain.feed(0, spoken(PARIS), None)
    assert len(run(plain, [0], 4)[0]) == 4
    plain.shutdown()


def test_an_untrained_oracle_idles_on_none(tmp_path: Path) -> None:
    cloned = MoshiEngine(loaded(build_moshi(tmp_path, Variant(oracle=False)), clone_oracle=True), 1)
    assert cloned.traits.follows_oracle
    cloned.open(0, OPTIONS)
    run(cloned, [0], 2)
    assert cloned._oracle == [NO_ORACLE_ID]
    cloned.shutdown()


def test_pad_is_the_checkpoints(kame: LoadedCheckpoint) -> None:
    engine = MoshiEngine(kame, 1)
    engine.open(0, OPTIONS)
    engine.feed(0, spoken("Yes"), None)
    fed = []
    for _ in range(6):
        engine.step([SlotInput(0, silence(FRAME_SAMPLES))])
        fed.append(engine._oracle[0])
    assert fed[0] == TEXT_CARD
    assert fed[1 : 1 + len(kame.tokenizer.encode("Yes"))] == kame.tokenizer.encode("Yes")
    assert fed[-1] == PAD_ID
    engine.shutdown()


# --- trouble ---


def test_numbers_that_are_not_finite_end_only_their_own_slot(engine: MoshiEngine) -> None:
    engine.open(0, OPTIONS)
    engine.open(1, OPTIONS)
    engine.feed(1, spoken(FIVE), None)
    head = run(engine, [0, 1], 5)
    for cache in engine._lm._states.caches:
        cache.cache[:, 0] = torch.nan
    broken, well = engine.step([SlotInput(slot, silence(FRAME_SAMPLES)) for slot in (0, 1)])
    assert broken.fault is not None
    assert broken.fault.code == "model_failed"
    assert well.fault is None
    engine.close(0)
    rest = run(engine, [1], 22)[1]
    assert text_of([*head[1], well, *rest]) == f" {FIVE}"
    engine.open(0, OPTIONS)  # the next one in the broken slot is well
    engine.feed(0, spoken(FIVE), None)
    assert text_of(run(engine, [0, 1], 26)[0]) == f" {FIVE}"


def test_no_memory_for_a_slot_refuses_that_call_only(engine: MoshiEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(slot: int) -> None:
        raise torch.OutOfMemoryError

    engine.open(0, OPTIONS)
    engine.feed(0, spoken(FIVE), None)
    head = run(engine, [0], 6)[0]
    with monkeypatch.context() as patch:
        patch.setattr(engine._mimi, "open", full)
        with pytest.raises(CapacityError, match="no memory") as caught:
            engine.open(1, OPTIONS)
    assert caught.value.retryable
    assert text_of(head + run(engine, [0], 24)[0]) == f" {FIVE}"
    engine.open(1, OPTIONS)  # what was begun was taken back
    assert len(run(engine, [0, 1], 1)) == 2


def test_a_model_that_does_not_keep_up_takes_no_more_calls(
    engine: MoshiEngine, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = engine._mimi.decode

    def slow(codes: Tensor, slots: Sequence[int] | None = None) -> Tensor:
        watch.now_s += 0.1
        return decode(codes, slots)

    monkeypatch.setattr(engine._mimi, "decode", slow)
    engine.open(0, OPTIONS)
    run(engine, [0], 30)
    with pytest.raises(CapacityError, match="does not keep up"):
        engine.open(1, OPTIONS)
    engine.close(0)
    engine.open(1, OPTIONS)  # alone it may try


def test_shutdown_frees_and_the_model_can_be_used_again(
    kame: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kame_core.frontend.moshi.engine._TIMED_STEPS", 4)
    first = MoshiEngine(kame, 3)
    times = first.warm_up()
    assert 0 < times.p50_ms <= times.p95_ms
    assert times.joined_ms > 0
    caches = [weakref.ref(cache.cache) for cache in first._lm._states.caches]
    assert len(caches) == kame.config.lm["num_layers"]
    first.shutdown()
    first.shutdown()
    gc.collect()
    assert [cache() for cache in caches] == [None] * len(caches)
    second = MoshiEngine(kame, 3)
    second.warm_up()
    second.shutdown()
