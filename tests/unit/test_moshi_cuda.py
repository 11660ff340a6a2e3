"""The moshi front end on an NVIDIA GPU, where there is one: recorded steps say what computed ones say in 32 and 16 bit,
whatever the other slots do; trouble in a slot is its own; memory comes back.

Without a GPU `test_moshi_gpu` shows as much of this as can be shown.
"""

import gc
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kame_core.audio import FRAME_SAMPLES
from kame_core.frontend.base import OracleAdopt, OracleFinish, OracleText, SlotInput, SlotOptions, SlotOutput
from kame_core.frontend.moshi.checkpoint import load_checkpoint
from kame_core.frontend.moshi.engine import MoshiEngine
from kame_core.frontend.moshi.files import locate_checkpoint
from kame_core.frontend.moshi.generation import Guidance, GuidanceMode, LMBatch
from kame_core.frontend.moshi.load import MoshiOptions, load_moshi
from kame_core.frontend.moshi.mimi import MimiBatch
from kame_core.frontend.moshi.oracle_lm import OracleLM
from kame_core.frontend.moshi.step_graph import StepRecorder, run_eagerly
from kame_core.stt.kyutai_lm import SttBatch
from tests.support.kame_reference import reference_lm
from tests.support.moshi_talks import SAMPLED, Place, Talk, run, talk
from tests.support.tiny_kyutai import CODEBOOKS, build_random_lm
from tests.support.tiny_moshi import CODEBOOK_SIZE, build_mimi, build_moshi

DEVICE = torch.device("cuda")
TICKS = 60

pytestmark = [
    pytest.mark.skipif(DEVICE.type == "cuda" and not torch.cuda.is_available(), reason="no NVIDIA GPU here"),
    pytest.mark.filterwarnings("default"),  # PyTorch's compiler warns: of what it imports, and of 32 bit without TF32
]


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["32 bit", "16 bit"])
def lm(request: pytest.FixtureRequest) -> OracleLM:
    return reference_lm().to(DEVICE, request.param)


def conversations() -> list[Place]:
    """Three slots, joined, left and used again at any tick; one of them samples."""
    return [
        Place(talk(1, TICKS), 1),
        Place(talk(2, 20), 0, 3),
        Place(talk(3, 25, SAMPLED), 0, 30),
        Place(talk(4, 11), 2, 17),
    ]


@pytest.mark.parametrize(
    "guidance",
    [Guidance(), Guidance(GuidanceMode.SAME, 1.7), Guidance(GuidanceMode.PAD_NULL)],
    ids=lambda guidance: str(guidance.mode),
)
def test_a_recorded_step_says_what_a_computed_one_says(lm: OracleLM, guidance: Guidance) -> None:
    said = []
    for recorder in (run_eagerly, None):
        batch = LMBatch(lm, 3, guidance, recorder=recorder)
        said.append(run(batch, *conversations()))
        batch.shutdown()
    computed, recorded = said
    assert recorded == computed


def test_a_conversation_is_the_same_alone_and_among_others(lm: OracleLM) -> None:
    places = conversations()
    batch = LMBatch(lm, 3)
    together = run(batch, *places)
    for place, said in zip(places, together, strict=True):
        assert run(batch, Place(place.talk, place.slot)) == [said]
    batch.shutdown()


def test_numbers_outside_the_vocabulary_end_no_process(lm: OracleLM) -> None:
    """An index out of bounds kills everything on a GPU; `run` feeds closed slots such numbers, here an open one too."""
    batch = LMBatch(lm, 2)
    outside = Talk(torch.full((3, 5), 10**6), [10**6] * 5)
    assert len(run(batch, Place(outside, 0))[0]) == 5
    batch.shutdown()
    assert float(torch.ones(1, device=DEVICE).sum()) == 1.0


def codes_of(batch: MimiBatch, sounds: dict[int, Tensor]) -> dict[int, tuple[Tensor, Tensor]]:
    """Codes and sound of each slot's talk, all begun together."""
    for slot in sounds:
        batch.open(slot)
    found: dict[int, list[tuple[Tensor, Tensor]]] = {slot: [] for slot in sounds}
    for frame in range(next(iter(sounds.values())).shape[0]):
        pcm = torch.zeros(batch.capacity, 1, FRAME_SAMPLES)
        for slot, sound in sounds.items():
            pcm[slot, 0] = sound[frame]
        codes = batch.encode(pcm)
        heard = batch.decode(codes, list(sounds))
        for slot in sounds:
            found[slot].append((codes[slot].cpu().clone(), heard[slot].cpu().clone()))
    for slot in sounds:
        batch.close(slot)
    return {
        slot: (torch.cat([codes for codes, _ in pairs], 1), torch.cat([heard for _, heard in pairs], 1))
        for slot, pairs in found.items()
    }


def test_the_codecs_slots_know_nothing_of_each_other() -> None:
    mimi = build_mimi(8)
    mimi.to(DEVICE).eval()
    batch = MimiBatch(mimi, 3)
    dice = torch.Generator().manual_seed(0)
    sounds = {slot: 0.1 * torch.randn(20, FRAME_SAMPLES, generator=dice) for slot in (0, 2)}
    together = codes_of(batch, sounds)
    for slot, sound in sounds.items():
        codes, heard = codes_of(batch, {slot: sound})[slot]
        assert torch.equal(codes, together[slot][0])
        assert torch.allclose(heard, together[slot][1], atol=1e-4)
    batch.close_all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["32 bit", "16 bit"])
def test_recorded_speech_to_text_writes_what_computed_writes(dtype: torch.dtype) -> None:
    lm = build_random_lm().to(DEVICE, dtype)
    silence = (torch.arange(CODEBOOKS * 25).view(CODEBOOKS, 25) % 7).to(DEVICE)
    codes = torch.randint(0, CODEBOOK_SIZE, (TICKS, 2, CODEBOOKS, 1), generator=torch.Generator().manual_seed(3))
    written = []
    recorders: tuple[StepRecorder | None, ...] = (run_eagerly, None)
    for recorder in recorders:
        batch = SttBatch(lm, 2, silence, recorder=recorder)
        batch.open(0)
        tokens = []
        for tick, frame in enumerate(codes.to(DEVICE)):
            if tick == 10:
                batch.open(1)
            tokens.append(batch.step(frame).tokens[: 1 + (tick >= 10)])
            if tick % 20 == 15:
                with batch.looking_ahead([0], 5) as ahead:
                    for _ in range(4):
                        ahead()
        batch.shutdown()
        written.append(tokens)
    assert written[0] == written[1]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_moshi(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def engine(weights: Path) -> Iterator[MoshiEngine]:
    files = locate_checkpoint(str(weights))
    assert files is not None
    engine = MoshiEngine(load_checkpoint(files, device=DEVICE, dtype=torch.bfloat16), 3)
    yield engine
    engine.shutdown()


def ticks(engine: MoshiEngine, slots: list[int], count: int) -> list[list[SlotOutput]]:
    dice = np.random.default_rng(0)
    sound = 0.05 * dice.standard_normal((count, FRAME_SAMPLES), np.float32)
    return [list(engine.step([SlotInput(slot, frame) for slot in slots])) for frame in sound]


def test_the_whole_engine_speaks_and_reads(engine: MoshiEngine) -> None:
    times = engine.warm_up()
    assert 0 < times.p50_ms <= times.p95_ms
    assert times.joined_ms > 0
    for slot in (0, 2):
        engine.open(slot, SlotOptions(seed=slot))
    engine.feed(2, (OracleAdopt("a"), OracleText("a", "a small answer"), OracleFinish("a")), None)
    said = ticks(engine, [0, 2], TICKS)
    assert all(out.fault is None and np.isfinite(out.voice).all() for outputs in said for out in outputs)
    assert any(out.speaking for outputs in said for out in outputs)
    assert said[-1][1].oracle.finished
    assert said[-1][0].oracle.candidate_id is None


def test_numbers_that_are_none_are_the_fault_of_one_slot(engine: MoshiEngine) -> None:
    for slot in (0, 1):
        engine.open(slot, SlotOptions(seed=slot))
    ticks(engine, [0, 1], 5)
    for cache in engine._lm._states.caches:
        cache.cache[:, 1] = math.nan
    said = ticks(engine, [0, 1], 1)[0]
    assert said[0].fault is None
    assert said[1].fault is not None
    engine.close(1)
    engine.open(1, SlotOptions(seed=7))
    assert all(out.fault is None for outputs in ticks(engine, [0, 1], 20) for out in outputs)


async def test_loading_measures_how_many_it_bears_and_gives_the_memory_back(weights: Path) -> None:
    def held() -> int:
        gc.collect()
        if DEVICE.type != "cuda":
            return 0
        torch._C._cuda_clearCublasWorkspaces()  # they are of threads and streams, and count as allocated
        return torch.cuda.memory_allocated()

    before = held()
    for _ in range(2):
        loaded = await load_moshi(MoshiOptions(str(weights), DEVICE.type), lambda share: None, 30.0)
        assert loaded.in_real_time
        assert loaded.host.capacity == (128 if DEVICE.type == "cuda" else 2)
        await loaded.host.aclose()
        del loaded
    assert held() - before < 1 << 20
