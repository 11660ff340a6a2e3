"""Slots of a batch: nothing of one conversation in the next, and trouble in one is its own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from moshi.modules.transformer import RingKVCache
from torch import Tensor, nn

from kame_core.errors import InvalidRequestError, UnavailableError
from kame_core.frontend.moshi.generation import Guidance, GuidanceMode, LMBatch
from kame_core.frontend.moshi.oracle_lm import OracleLM, build_oracle_lm
from kame_core.frontend.moshi.sampling import GREEDY
from kame_core.frontend.moshi.slots import NOT_YET
from kame_core.frontend.moshi.step_graph import Step
from tests.support.kame_reference import config, plain_lm, reference_lm
from tests.support.moshi_talks import (
    CARD,
    PAD,
    SAMPLED,
    TEXT_CARD,
    USER_CODEBOOKS,
    Place,
    logits_of,
    run,
    talk,
    tokens_of,
)
from tests.support.recorded_step import OperationLog


@pytest.fixture
def lm() -> OracleLM:
    return reference_lm()


def spoil(module: nn.Module, row: int, when: Callable[[], bool], value: float = torch.nan) -> None:
    """From now on the module's output is not a number in one row whenever asked for."""

    def hook(module: nn.Module, inputs: object, out: Tensor) -> Tensor | None:
        if not when():
            return None
        spoilt = out.clone()
        spoilt[row] = value
        return spoilt

    module.register_forward_hook(hook)


# --- nothing of one conversation in the next -------------------------------------------------------------------------


def test_a_used_slot_begins_as_a_new_one(lm: OracleLM) -> None:
    """Bit by bit, and also when the one before broke down and left numbers that are none in its caches."""
    broken = False
    spoil(lm.transformer.layers[0], 1, lambda: broken)
    seen: list[Tensor] = []
    logits_of(lm.text_linear, seen)
    given, company = talk(30, 40), talk(31, 40)
    fresh = LMBatch(lm, 2)
    expected = run(fresh, Place(given, 1), Place(company, 0))
    expected_logits = [logits.clone() for logits in seen]
    fresh.shutdown()

    used = LMBatch(lm, 2)
    run(used, Place(talk(32, 60), 1), Place(talk(33, 60), 0))
    used.open(1, seed=1, sampling=SAMPLED)
    used.open(0, seed=1, sampling=SAMPLED)
    broken = True
    for _ in range(3):
        result = used.step(torch.ones(2, USER_CODEBOOKS, 1, dtype=torch.long), [5, 5])
        assert result.faults == {1}
    broken = False
    assert used.step(torch.ones(2, USER_CODEBOOKS, 1, dtype=torch.long), [5, 5]).faults == {1}  # it stays broken
    for slot in (0, 1):
        used.close(slot)
    assert used.step(torch.ones(2, USER_CODEBOOKS, 1, dtype=torch.long), [5, 5]).faults == frozenset()
    seen.clear()
    assert run(used, Place(given, 1), Place(company, 0)) == expected
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(seen, expected_logits, strict=True))


def test_a_closed_slot_holds_nothing_of_its_conversation(lm: OracleLM) -> None:
    batch = LMBatch(lm, 2)
    run(batch, Place(talk(40, 30), 0), Place(talk(41, 30), 1), until=29)
    for slot in (0, 1):
        batch.open(slot, seed=1, sampling=GREEDY)
    for _ in range(30):
        batch.step(torch.ones(2, USER_CODEBOOKS, 1, dtype=torch.long), [5, 5])
    batch.close(0)
    states = lm.get_streaming_state().values()
    caches = [state.kv_cache for state in states if hasattr(state, "kv_cache")]
    assert len(caches) == config()["num_layers"]
    for cache in caches:
        assert cache.cache[:, 1].abs().sum() > 0
        assert cache.cache[:, 0].abs().sum() == 0
    for _ in range(3):
        batch.step(torch.ones(2, USER_CODEBOOKS, 1, dtype=torch.long), [5, 5])
    assert [cache.end_offset.tolist() for cache in caches] == [[0, 33]] * len(caches)  # and it stands still


# --- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("head", ["text", "last codebook"])
def test_broken_logits_are_the_fault_of_one_slot(lm: OracleLM, head: str, value: float) -> None:
    places = [Place(talk(50 + slot, 20), slot) for slot in range(3)]
    sound = LMBatch(lm, 3)
    expected = run(sound, *places)
    sound.shutdown()
    step = 0
    linear = lm.text_linear if head == "text" else lm.linears[-1]
    spoil(linear, 1, lambda: step == 12, value)
    batch = LMBatch(lm, 3)
    for place in places:
        batch.open(place.slot, seed=0, sampling=GREEDY)
    for step in range(20):
        codes = torch.stack([place.talk.user[:, step : step + 1] for place in places])
        result = batch.step(codes, [place.talk.oracle[step] for place in places])
        assert result.faults == ({1} if step == 12 else set())
        assert [tokens_of(result, slot) for slot in (0, 2)] == [expected[slot][step] for slot in (0, 2)]
        if step == 12:
            assert result.ready == [True, False, True]
            assert set(tokens_of(result, 1)) == {NOT_YET}
            batch.close(1)


def test_what_comes_out_is_marked_and_fit_for_a_codec(lm: OracleLM) -> None:
    batch = LMBatch(lm, 2)
    batch.open(1, seed=0, sampling=GREEDY)
    ready = []
    for _ in range(3):
        result = batch.step(torch.zeros(2, USER_CODEBOOKS + 2, 1, dtype=torch.long), [PAD, PAD])
        ready.append(result.ready)
        codes = result.codec_input()
        assert codes.shape == (2, batch.voice_codebooks, 1)
        assert int(codes.min()) >= 0
        assert int(codes.max()) < CARD
    assert ready == [[False, False], [False, True], [False, True]]
    kept = tokens_of(result, 1)
    batch.step(torch.ones(2, USER_CODEBOOKS, 1, dtype=torch.long), [9, 9])
    assert tokens_of(result, 1) == kept  # a result is not overwritten by the next step


def test_ids_outside_the_vocabulary_end_no_conversation(lm: OracleLM) -> None:
    batch = LMBatch(lm, 1)
    batch.open(0, seed=0, sampling=GREEDY)
    for wild in (-(2**40), -7, TEXT_CARD + 1, 2**40):
        assert not batch.step(torch.full((1, USER_CODEBOOKS, 1), wild), [wild]).faults


def test_wrong_use_is_refused(lm: OracleLM) -> None:
    batch = LMBatch(lm, 2)
    batch.open(0, seed=0, sampling=GREEDY)
    with pytest.raises(ValueError, match="slot 0 is open"):
        batch.open(0, seed=0, sampling=GREEDY)
    right = torch.zeros(2, USER_CODEBOOKS, 1, dtype=torch.long)
    for codes, oracle in ((right[:1], [PAD, PAD]), (right[:, :2], [PAD, PAD]), (right.repeat(1, 1, 2), [PAD, PAD])):
        with pytest.raises(ValueError, match="codes must be"):
            batch.step(codes, oracle)
    with pytest.raises(ValueError, match="one oracle token"):
        batch.step(right, [PAD])
    batch.close(0)
    batch.close(0)
    batch.open(0, seed=0, sampling=GREEDY)


def test_after_shutdown_the_model_is_free(lm: OracleLM) -> None:
    given = talk(60, 10)
    batch = LMBatch(lm, 3)
    run(batch, Place(given, 2))
    batch.shutdown()
    batch.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        batch.step(torch.zeros(3, USER_CODEBOOKS, 1, dtype=torch.long), [PAD] * 3)
    assert not lm.is_streaming
    assert run(LMBatch(lm, 1), Place(given, 0)) == run(LMBatch(reference_lm(), 1), Place(given, 0))


def test_no_memory_for_so_many_slots_is_said_and_leaves_the_model_free(lm: OracleLM) -> None:
    def out_of_memory(step: Step) -> Step:
        step()
        raise torch.OutOfMemoryError("CUDA out of memory")

    def while_recording(step: Step) -> Step:
        try:
            out_of_memory(step)
        finally:  # as `torch.cuda.graph` ends its recording
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    for recorder in (out_of_memory, while_recording):
        with pytest.raises(UnavailableError, match="no memory for 5 conversations"):
            LMBatch(lm, 5, recorder=recorder)
        assert not lm.is_streaming
    run(LMBatch(lm, 1), Place(talk(61, 3), 0))


def test_no_memory_for_the_depth_transformer_leaves_the_model_free(
    lm: OracleLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, made = RingKVCache.__init__, 0

    def limited(cache: RingKVCache, batch_size: int, *args: Any, respect_exec_mask: bool = True, **kwargs: Any) -> None:
        nonlocal made
        the_depth_transformers = batch_size == 4 and not respect_exec_mask
        made += the_depth_transformers
        if the_depth_transformers and made == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        plain(cache, batch_size, *args, respect_exec_mask=respect_exec_mask, **kwargs)  # type: ignore[misc]

    def first_step(step: Step) -> Step:
        step()
        return step

    monkeypatch.setattr(RingKVCache, "__init__", limited)
    with pytest.raises(UnavailableError, match="no memory for 4 conversations"):
        LMBatch(lm, 4, recorder=first_step)
    run(LMBatch(lm, 2, recorder=first_step), Place(talk(62, 3), 0))


def test_a_conversation_that_ends_and_one_that_begins_cost_a_few_operations_a_layer(lm: OracleLM) -> None:
    batch = LMBatch(lm, 2)
    batch.open(0, seed=0, sampling=GREEDY)
    with OperationLog() as log:
        batch.close(0)
        batch.open(0, seed=1, sampling=GREEDY)
    work = [func for func, *_ in log.calls if not func.is_view]
    assert len(work) <= 2 * len(batch._states.caches) + 20


def test_another_failure_while_recording_is_not_taken_for_a_lack_of_memory(lm: OracleLM) -> None:
    def fail(step: Step) -> Step:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        LMBatch(lm, 5, recorder=fail)
    assert not lm.is_streaming


def test_models_that_cannot_converse_are_refused() -> None:
    only_hears = build_oracle_lm(
        config() | {"dep_q": 0, "depformer_weights_per_step": False}, device="meta", dtype=torch.float32
    )
    with pytest.raises(UnavailableError, match="cannot speak"):
        LMBatch(only_hears, 1)
    with pytest.raises(UnavailableError, match="pad-null"):
        LMBatch(plain_lm(), 1, Guidance(GuidanceMode.PAD_NULL))
    LMBatch(plain_lm(), 1, Guidance(GuidanceMode.PAD_NULL, 1.0))  # guides nothing
    with pytest.raises(InvalidRequestError):
        Guidance(GuidanceMode.SAME, 0.0)
