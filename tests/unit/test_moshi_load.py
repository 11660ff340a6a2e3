"""The moshi front end as it is made: how many slots it gets, on which device, and what is said where it cannot be."""

from dataclasses import replace
from subprocess import CalledProcessError

import pytest
import torch

from kame_core.errors import UnavailableError
from kame_core.frontend.moshi.engine import MoshiEngine
from kame_core.frontend.moshi.generation import Guidance, GuidanceMode
from kame_core.frontend.moshi.load import (
    _MOST_SLOTS,
    MoshiOptions,
    device_of,
    load_moshi,
    sampling_of,
    slot_bytes,
)
from kame_core.frontend.moshi.mimi import MimiBatch
from tests.support.moshi_loading import located
from tests.support.moshi_studio import FOLDER


@pytest.fixture(autouse=True)
def few_steps_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kame_core.frontend.moshi.engine._TIMED_STEPS", 4)


async def test_loading_measures_and_tells() -> None:
    shares: list[float | None] = []
    moshi = await load_moshi(MoshiOptions(str(FOLDER), "cpu", slots=1), shares.append, 60)
    try:
        assert moshi.host.capacity == 1
        assert moshi.device == "the CPU"
        assert moshi.dtype == "float32"
        assert moshi.trained_for_oracle
        assert moshi.times.p95_ms > 0
        assert shares
        assert shares[-1] == 0.9
    finally:
        await moshi.host.aclose()


async def test_without_a_number_slots_are_taken_away_until_a_step_is_short_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kame_core.frontend.moshi.load._USABLE_STEP_MS", 1e-6)
    moshi = await load_moshi(MoshiOptions(str(FOLDER), "cpu"), lambda _: None, 60)
    assert moshi.host.capacity == 1
    await moshi.host.aclose()
    asked = await load_moshi(MoshiOptions(str(FOLDER), "cpu", slots=3), lambda _: None, 60)
    assert asked.host.capacity == 3
    await asked.host.aclose()


@pytest.mark.parametrize("part", [MimiBatch, MoshiEngine])
async def test_where_memory_ends_there_are_a_few_slots_less(
    monkeypatch: pytest.MonkeyPatch, part: type[MimiBatch | MoshiEngine]
) -> None:
    """In making room for conversations, or in the first step; a number that was asked for is not lowered."""
    monkeypatch.setitem(_MOST_SLOTS, "cpu", 16)
    name = "_warm_up" if part is MimiBatch else "warm_up"
    plain = getattr(part, name)

    def limited(made: MimiBatch | MoshiEngine) -> object:
        if made.capacity > 14:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(made)

    monkeypatch.setattr(part, name, limited)
    monkeypatch.setattr("kame_core.frontend.moshi.load._USABLE_STEP_MS", 1e6)
    monkeypatch.setattr("kame_core.frontend.moshi.load.FRAME_MS", 1e6)
    moshi = await load_moshi(MoshiOptions(str(FOLDER), "cpu"), lambda _: None, 60)
    assert moshi.host.capacity == 14
    await moshi.host.aclose()
    with pytest.raises(UnavailableError, match=r"no memory for .* 15 conversations") as caught:
        await load_moshi(MoshiOptions(str(FOLDER), "cpu", slots=15), lambda _: None, 60)
    assert caught.value.code == "out_of_memory"


class InductorError(RuntimeError):
    """As `torch._inductor.exc` has it, which takes seconds to import."""

    def __init__(self, inner_exception: Exception) -> None:
        super().__init__(f"{type(inner_exception).__name__}: {inner_exception}")
        self.inner_exception = inner_exception


NO_HEADERS = CalledProcessError(1, ["/usr/bin/gcc", "cuda_utils.c", "-O3", "-shared", "-I/usr/include/python3.11"])


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to find C compiler. Please specify via CC environment variable."),
        InductorError(NO_HEADERS),
        NO_HEADERS,
    ],
    ids=["no compiler", "no headers", "no headers, bare"],
)
async def test_a_missing_compiler_is_said(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def build(engine: MoshiEngine) -> None:
        raise error

    monkeypatch.setattr(MoshiEngine, "warm_up", build)
    with pytest.raises(UnavailableError, match="apt-get install gcc python3-dev"):
        await load_moshi(MoshiOptions(str(FOLDER), "cpu", slots=1), lambda _: None, 60)


def test_guidance_and_sampling_and_memory_as_configured() -> None:
    published = located(FOLDER).config
    lm = published.lm
    config = replace(published, generation={"temp": 0.5, "top_k_text": 9, "unknown": 1})
    sampling = sampling_of(config)
    assert (sampling.audio_temperature, sampling.text_top_k, sampling.text_temperature) == (0.5, 9, 0.7)
    with pytest.raises(UnavailableError, match="lm_gen_config"):
        sampling_of(replace(config, generation={"temp": -1}))
    with pytest.raises(UnavailableError, match="no device 'tpu9'"):
        device_of("tpu9")
    cache = 2 * int(lm["num_layers"]) * int(lm["context"]) * int(lm["dim"]) * 2
    both = slot_bytes(config, Guidance(GuidanceMode.SAME), 2) - slot_bytes(config, Guidance(), 2)
    assert both == cache
