import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from moshi.models.lm import LMModel, LMOutput
from moshi.utils.compile import no_compile

from kame_core.frontend.moshi.oracle_lm import NO_ORACLE_ID, build_oracle_lm
from tests.support.kame_reference import CASES, config, plain_lm, reference_lm, vectors, weights

_COMPILE_NOTHING = """
import torch

def compile(*args, **kwargs):
    raise AssertionError("moshi compiled something on a CPU")

torch.compile = compile
from tests.support.kame_reference import reference_lm

lm = reference_lm()
with torch.no_grad():
    lm(torch.zeros(1, 7, 3, dtype=torch.long), None, torch.zeros(1, 1, 3, dtype=torch.long))
from kame_core.frontend.moshi.generation import LMBatch
from kame_core.frontend.moshi.sampling import GREEDY

batch = LMBatch(lm, 1)
batch.open(0, seed=0, sampling=GREEDY)
batch.step(torch.zeros(1, 3, 1, dtype=torch.long), [3])
print("ok")
"""


@pytest.mark.parametrize("case", CASES)
def test_teacher_forcing_gives_the_references_logits_bit_by_bit(case: str) -> None:
    lm, known = reference_lm(), vectors(case)
    codes, oracle = known["tf_codes"], known["tf_oracle"]

    def text_logits(oracle_tokens: torch.Tensor | None) -> torch.Tensor:
        out: LMOutput = lm(codes, None, oracle_tokens)
        return out.text_logits.nan_to_num(7.0)

    with torch.no_grad():
        out = lm(codes, None, oracle)
        expected = known["tf_text_logits"].nan_to_num(7.0)
        assert torch.equal(out.text_logits.nan_to_num(7.0), expected)
        assert torch.equal(out.logits.nan_to_num(7.0), known["tf_logits"].nan_to_num(7.0))
        assert not torch.equal(text_logits(oracle.roll(1, dims=2)), expected)
        assert not torch.equal(text_logits(oracle.roll(-1, dims=2)), expected)
        assert not torch.equal(text_logits(None), expected)
        other = oracle.clone()
        other[:, :, -1] += 1  # comes after the last step
        assert torch.equal(text_logits(other), expected)


def test_without_an_oracle_embedding_it_is_moshis_own_model() -> None:
    lm = plain_lm()
    moshi = LMModel(**config()).eval()
    moshi.load_state_dict(lm.state_dict())
    assert not lm.has_oracle
    assert reference_lm().has_oracle
    codes = vectors(CASES[0])["tf_codes"]
    with torch.no_grad(), no_compile():
        ours, theirs = lm(codes), moshi(codes)
        assert torch.equal(ours.text_logits.nan_to_num(7.0), theirs.text_logits.nan_to_num(7.0))
        assert torch.equal(ours.logits.nan_to_num(7.0), theirs.logits.nan_to_num(7.0))
        with pytest.raises(ValueError, match="no oracle embedding"):
            lm(codes, None, torch.zeros(2, 1, 20, dtype=torch.long))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_oracle_adds_nothing(dtype: torch.dtype) -> None:
    lm = reference_lm(dtype)
    codes = lm._get_initial_token().expand(2, -1, 5)
    with torch.no_grad():
        silent = lm.forward_text(codes, None, None, torch.full((2, 1, 5), NO_ORACLE_ID))
        absent = lm.forward_text(codes)
        pad = lm.forward_text(codes, None, None, torch.full((2, 1, 5), lm.text_padding_token_id))
    assert all(torch.equal(a, b) for a, b in zip(silent, absent, strict=True))
    assert not torch.equal(pad[1], absent[1])
    assert silent[0].dtype == dtype


def test_parameters_are_moshis_and_one_more() -> None:
    plain = build_oracle_lm(config(), device="meta", dtype=torch.bfloat16, oracle=False).state_dict()
    lm = build_oracle_lm(config(), device="meta", dtype=torch.bfloat16)
    state = lm.state_dict()
    assert set(state) - set(plain) == {"oracle_emb.weight"}
    assert {name: value.shape for name, value in state.items()} == {name: w.shape for name, w in weights().items()}
    assert state["oracle_emb.weight"].shape == state["text_emb.weight"].shape
    assert all(value.is_meta and value.dtype == torch.bfloat16 for value in state.values())
    assert not lm.training


def test_a_copy_adds_its_own_oracle() -> None:
    lm = reference_lm()
    twin = copy.deepcopy(lm)
    codes, oracle = vectors(CASES[0])["tf_codes"], vectors(CASES[0])["tf_oracle"]
    with torch.no_grad():
        before = lm(codes, None, oracle).text_logits
        twin.oracle_emb.weight.zero_()
        assert torch.equal(lm(codes, None, oracle).text_logits, before)
        assert torch.equal(twin(codes, None, oracle).text_logits, twin(codes).text_logits)


def test_the_oracle_can_be_trained() -> None:
    lm = build_oracle_lm(config(), device="cpu", dtype=torch.float32)
    codes, oracle = vectors(CASES[0])["tf_codes"], vectors(CASES[0])["tf_oracle"]
    lm(codes, None, oracle).text_logits.sum().backward()
    gradient = lm.oracle_emb.weight.grad
    assert gradient is not None
    fed = {lm.text_initial_token_id, *oracle[:, 0, :-1].flatten().tolist()}
    assert set(gradient.abs().sum(1).nonzero()[:, 0].tolist()) == fed


def test_what_older_config_files_say_is_understood() -> None:
    older = config() | {
        "depformer_causal": True,
        "demux_second_stream": True,
        "lora": True,
        "lora_rank": 8,
        "lora_scaling": 2.0,
    }
    lm = build_oracle_lm(older, device="meta", dtype=torch.float32)
    assert lm.text_emb.demux_second_stream
    assert lm.oracle_emb.demux_second_stream
    with pytest.raises(TypeError, match="no_such_thing"):
        build_oracle_lm(config() | {"no_such_thing": 1}, device="meta", dtype=torch.float32)


def test_a_cpu_compiles_nothing() -> None:
    """Even where NO_TORCH_COMPILE is not set before moshi is imported; in a process of its own for that."""
    run = subprocess.run(
        [sys.executable, "-c", _COMPILE_NOTHING],
        env={"PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.stdout.strip() == "ok", run.stderr[-2000:]
