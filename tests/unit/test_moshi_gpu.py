"""Full size on a GPU without hardware: tensors where they belong, steps that CUDA graphs can hold, memory foretold."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from moshi.models import loaders
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException

from kame_core.frontend.moshi.config import default_config
from kame_core.frontend.moshi.generation import Guidance, GuidanceMode, LMBatch
from kame_core.frontend.moshi.load import _MIMI_SLOT_BYTES, slot_bytes
from kame_core.frontend.moshi.mimi import MimiBatch
from kame_core.frontend.moshi.oracle_lm import build_oracle_lm
from kame_core.frontend.moshi.sampling import SamplingOptions
from kame_core.stt.kyutai_files import parse_kyutai_config
from kame_core.stt.kyutai_lm import SttBatch
from tests.support.moshi_fake_gpu import GPU, CannotBeCapturedError, HostWaitsError, fake_gpu, on_gpu, record
from tests.support.tiny_kyutai import PUBLISHED, STT_1B

SLOTS = 64
FRAME_SAMPLES = 1920


def bytes_of(states: object) -> int:
    """Of all tensors that streaming states hold."""
    held = {}
    for state in states.values():  # type: ignore[attr-defined]
        for part in (*vars(state).values(), *vars(getattr(state, "kv_cache", None) or state).values()):
            if isinstance(part, Tensor):
                held[id(part)] = part
    return sum(part.nbytes for part in held.values())


@pytest.mark.parametrize(
    ("guidance", "layers"),
    [(Guidance(), 4), (Guidance(GuidanceMode.SAME, 1.7), 1), (Guidance(GuidanceMode.PAD_NULL), 1)],
)
def test_the_step_of_moshi_7b_is_a_graph_and_its_memory_is_as_foretold(guidance: Guidance, layers: int) -> None:
    """But for the number of layers, of which one is as the other."""
    config = default_config()
    assert config.lm["num_layers"] == 32
    config = replace(config, lm={**config.lm, "num_layers": layers, "depformer_num_layers": 2})
    slots = SLOTS // 2 if guidance.on else SLOTS
    lm = build_oracle_lm(config.lm, device="meta", dtype=torch.bfloat16)
    with fake_gpu():
        batch = LMBatch(on_gpu(lm), slots, guidance, recorder=record)
        batch.open(3, seed=1, sampling=SamplingOptions())
        result = batch.step(torch.zeros(slots, 32, 1, dtype=torch.long, device=GPU), [3] * slots)
        assert result.codec_input().shape == (slots, config.voice_codebooks, 1)
        assert result.codec_input().device == GPU
        with pytest.raises(DataDependentOutputException):  # here, and nowhere before, the host waits
            _ = result.text_tokens
        held = bytes_of(lm.get_streaming_state())
        batch.close(3)
        batch.shutdown()
    foretold = slot_bytes(config, guidance, 2) - _MIMI_SLOT_BYTES
    assert foretold <= held / slots < 1.001 * foretold


def test_mimi_in_full_size() -> None:
    with torch.device("meta"):
        mimi = loaders.get_mimi(None, device="meta", num_codebooks=32)
    with fake_gpu():
        batch = MimiBatch(on_gpu(mimi), SLOTS, 32)
        batch.open(2)
        codes = batch.encode(torch.zeros(SLOTS, 1, FRAME_SAMPLES))
        voice = batch.decode(codes[:, :8], [2])
        assert (codes.shape, codes.device) == ((SLOTS, 32, 1), GPU)
        assert (voice.shape, voice.device) == ((SLOTS, 1, FRAME_SAMPLES), GPU)
        assert bytes_of(mimi.get_streaming_state()) / SLOTS < _MIMI_SLOT_BYTES
        batch.close(2)
        batch.close_all()


def test_speech_to_text_in_full_size() -> None:
    config = parse_kyutai_config(json.dumps({**PUBLISHED, **STT_1B, "num_layers": 2}))
    lm = build_oracle_lm(config.lm, device="meta", dtype=torch.bfloat16, oracle=False)
    with fake_gpu():
        silence = torch.zeros(32, 25, dtype=torch.long, device=GPU)
        batch = SttBatch(on_gpu(lm), SLOTS, silence, recorder=record)
        batch.open(2)
        with pytest.raises(DataDependentOutputException):
            batch.step(torch.zeros(SLOTS, 32, 1, dtype=torch.long, device=GPU))
        with batch.looking_ahead([2], 3) as step, pytest.raises(DataDependentOutputException):
            step()
        held = bytes_of(lm.get_streaming_state())
        batch.shutdown()
    assert config.slot_bytes(2) <= held / SLOTS < 1.001 * config.slot_bytes(2)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (lambda x: x.multinomial(1), "random"),
        (lambda x: x + torch.rand(4, 4, device=GPU), "random"),
        (lambda x: x[x > 0], "depends on values"),
        (lambda x: torch.ones(4, 4).to(GPU), "host"),
        (lambda x: x.copy_(torch.ones(4)), "host"),
        (lambda x: x.cpu(), "host"),
        (lambda x: x * torch.tensor(2.0), "host"),
    ],
)
def test_what_no_graph_can_hold_is_noticed(step: Callable[[Tensor], Tensor], says: str) -> None:
    with fake_gpu():
        x = torch.zeros(4, 4, device=GPU)
        with pytest.raises(CannotBeCapturedError, match=says):
            record(lambda: step(x))()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "copy", [lambda x, there: x.copy_(there), lambda x, there: there.to(GPU), lambda x, there: x.__setitem__(0, there)]
)
def test_a_copy_for_which_the_host_waits_is_noticed(copy: Callable[[Tensor, Tensor], object]) -> None:
    with fake_gpu():
        x, there = torch.zeros(4, 4, device=GPU), torch.ones(4)
        x.copy_(there, non_blocking=True)
        with pytest.raises(HostWaitsError):
            copy(x, there)
