"""Loading checkpoints of every kind; and what is said of those that cannot be loaded."""

import importlib.util
from pathlib import Path

import pytest
import torch
from moshi.models import loaders
from moshi.utils.quantize import QLinear
from safetensors.torch import load_file, save_file

from kame_core.errors import UnavailableError
from kame_core.frontend.moshi import checkpoint as loading
from kame_core.frontend.moshi.checkpoint import load_checkpoint
from kame_core.frontend.moshi.config import CheckpointError
from tests.support.moshi_loading import loaded, located, set_config, text_logits
from tests.support.tiny_moshi import (
    LM,
    LORA,
    MIMI,
    TOKENIZER,
    WEIGHTS,
    Variant,
    build_moshi,
    build_tokenizer,
)

ORACLE = torch.randint(4, 257, (2, 1, 10), generator=torch.Generator().manual_seed(2))


class TestKinds:
    def test_kame(self, tmp_path: Path) -> None:
        checkpoint = loaded(build_moshi(tmp_path))
        assert checkpoint.trained_for_oracle
        assert checkpoint.lm.has_oracle
        stored = load_file(tmp_path / WEIGHTS)
        assert {name: tensor.shape for name, tensor in checkpoint.lm.state_dict().items()} == {
            name: tensor.shape for name, tensor in stored.items()
        }
        for name, tensor in checkpoint.lm.state_dict().items():
            assert torch.equal(tensor, stored[name]), name
        assert not any(parameter.requires_grad for parameter in checkpoint.lm.parameters())
        assert not checkpoint.lm.training
        assert not torch.equal(text_logits(checkpoint.lm, ORACLE), text_logits(checkpoint.lm))
        assert checkpoint.tokenizer.encode("Paris")
        assert checkpoint.mimi.num_codebooks == 2

    def test_plain_moshi_is_what_moshi_loads(self, tmp_path: Path) -> None:
        checkpoint = loaded(build_moshi(tmp_path, Variant(oracle=False)))
        assert not checkpoint.trained_for_oracle
        assert not checkpoint.lm.has_oracle
        theirs = loaders.get_moshi_lm(tmp_path / WEIGHTS, dict(LM), dtype=torch.float32)
        assert torch.equal(text_logits(checkpoint.lm), text_logits(theirs))

    def test_a_cloned_oracle_equals_the_text_embedding(self, tmp_path: Path) -> None:
        checkpoint = loaded(build_moshi(tmp_path, Variant(oracle=False)), clone_oracle=True)
        assert not checkpoint.trained_for_oracle
        assert checkpoint.lm.has_oracle
        assert torch.equal(checkpoint.lm.oracle_emb.weight, checkpoint.lm.text_emb.weight)
        assert checkpoint.lm.oracle_emb.weight.data_ptr() != checkpoint.lm.text_emb.weight.data_ptr()
        silent = text_logits(checkpoint.lm, torch.full_like(ORACLE, -1))
        assert not torch.equal(text_logits(checkpoint.lm, ORACLE), silent)

    def test_a_trained_oracle_is_never_replaced(self, tmp_path: Path) -> None:
        checkpoint = loaded(build_moshi(tmp_path), clone_oracle=True)
        assert checkpoint.trained_for_oracle
        assert torch.equal(checkpoint.lm.oracle_emb.weight, load_file(tmp_path / WEIGHTS)["oracle_emb.weight"])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_fused_attention_is_the_same_model(self, tmp_path: Path, dtype: torch.dtype) -> None:
        split = loaded(build_moshi(tmp_path / "split"), dtype)
        fused = loaded(build_moshi(tmp_path / "fused", Variant(fused=True)), dtype)
        assert set(load_file(tmp_path / "fused" / WEIGHTS)) != set(load_file(tmp_path / "split" / WEIGHTS))
        assert split.lm.dtype == dtype
        assert torch.equal(text_logits(fused.lm, ORACLE), text_logits(split.lm, ORACLE))

    def test_narrow_files_load_into_wide_models(self, tmp_path: Path) -> None:
        stored = load_file(build_moshi(tmp_path, Variant(dtype=torch.float16)) / WEIGHTS)
        checkpoint = loaded(tmp_path)
        assert checkpoint.lm.text_emb.weight.dtype == torch.float32
        assert torch.equal(checkpoint.lm.text_emb.weight, stored["text_emb.weight"].float())

    def test_lora_is_what_moshi_fuses(self, tmp_path: Path) -> None:
        build_moshi(tmp_path, Variant(oracle=False, lora=True))
        theirs = loaders.get_moshi_lm(
            tmp_path / WEIGHTS,
            {**LM, "lora": True, "lora_rank": 4, "lora_scaling": 1.5},
            dtype=torch.float32,
            lora_weights=tmp_path / LORA,
            fuse_lora=True,
        )
        tuned = text_logits(loaded(tmp_path).lm)
        torch.testing.assert_close(tuned, text_logits(theirs), rtol=0, atol=1e-6)
        (tmp_path / "plain").mkdir()
        plain = text_logits(loaded(build_moshi(tmp_path / "plain", Variant(oracle=False))).lm)
        assert (tuned - plain).abs().max() > 0.01

    def test_lora_may_bring_the_oracle(self, tmp_path: Path) -> None:
        build_moshi(tmp_path, Variant(oracle=False, lora=True))
        brought = torch.randn(257, 32)
        save_file(load_file(tmp_path / LORA) | {"oracle_emb.weight": brought}, tmp_path / LORA)
        checkpoint = loaded(tmp_path)
        assert checkpoint.trained_for_oracle
        assert torch.equal(checkpoint.lm.oracle_emb.weight, brought)

    def test_mimi_by_its_older_names(self, tmp_path: Path) -> None:
        build_moshi(tmp_path)
        today = load_file(tmp_path / MIMI)
        older = {
            "self_attn.in_projs.0.weight": "self_attn.in_proj_weight",
            "self_attn.out_projs.0.weight": "self_attn.out_proj.weight",
            "_codebook._initialized": "_codebook.inited",
            "_codebook.cluster_usage": "_codebook.cluster_size",
            "_codebook.embedding_sum": "_codebook.embed_avg",
        }

        def renamed(name: str) -> str:
            return next((name.replace(new, old) for new, old in older.items() if name.endswith(new)), name)

        save_file({renamed(name): tensor for name, tensor in today.items()}, tmp_path / MIMI)
        assert not set(load_file(tmp_path / MIMI)) >= set(today)
        mimi = loaded(tmp_path).mimi
        assert dict.fromkeys(today, True) == {
            name: torch.equal(tensor, today[name]) for name, tensor in mimi.state_dict().items()
        }

    def test_8_bit_without_its_package_names_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hide_bitsandbytes(monkeypatch, installed=False)
        with pytest.raises(UnavailableError, match=r"pip install bitsandbytes"):
            loaded(build_moshi(tmp_path, Variant(quantized=True)))

    @pytest.mark.parametrize("fused", [False, True])
    def test_8_bit_weights_stay_as_they_are(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fused: bool) -> None:
        hide_bitsandbytes(monkeypatch, installed=True)
        checkpoint = loaded(build_moshi(tmp_path, Variant(quantized=True, fused=fused)), torch.bfloat16)
        stored = load_file(tmp_path / "model.q8.safetensors")
        layers = {name: layer for name, layer in checkpoint.lm.named_modules() if isinstance(layer, QLinear)}
        assert "depformer.layers.0.self_attn.in_projs.1" in layers
        weights = checkpoint.lm.state_dict()
        assert torch.equal(weights["text_linear.weight"], stored["text_linear.weight"])
        assert weights["text_linear.weight"].dtype == torch.int8
        assert {weights[f"{name}.weight_scb"].dtype for name in layers} == {torch.float32}
        assert weights["text_emb.weight"].dtype == torch.bfloat16


def hide_bitsandbytes(monkeypatch: pytest.MonkeyPatch, *, installed: bool) -> None:
    """It is none of the requirements; whether it is there is all that loading asks."""
    find = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> object:
        return (find("torch") if installed else None) if name == "bitsandbytes" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)


class TestTrouble:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return build_moshi(tmp_path / "kame")

    def test_a_file_cut_off_on_its_way(self, folder: Path) -> None:
        for name in (WEIGHTS, MIMI):
            path = folder / name
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) * 2 // 3])
            with pytest.raises(CheckpointError, match=rf"{name} is cut off: it has [\d,]+ bytes of [\d,]+"):
                loaded(folder)
            path.write_bytes(whole)
        loaded(folder)

    def test_weights_of_another_model(self, folder: Path) -> None:
        set_config(folder, dim=64)
        with pytest.raises(CheckpointError, match=rf"{WEIGHTS} does not fit.*emb.0.weight is \[257, 32\]"):
            loaded(folder)

    def test_files_exchanged(self, folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / "x")
        (folder / MIMI).rename(folder / WEIGHTS)
        (folder / "x").rename(folder / MIMI)
        with pytest.raises(CheckpointError, match=rf"{WEIGHTS} does not fit.*{MIMI} does not fit"):
            loaded(folder)

    def test_a_tokenizer_of_another_model(self, folder: Path) -> None:
        (folder / TOKENIZER).write_bytes(build_tokenizer(byte_fallback=True))
        with pytest.raises(CheckpointError, match=rf"{TOKENIZER} has \d+ tokens, the language model knows 256"):
            loaded(folder)
        (folder / TOKENIZER).write_text("Not found")
        with pytest.raises(CheckpointError, match=f"{TOKENIZER} is not a SentencePiece model"):
            loaded(folder)

    def test_memory_that_is_known_to_be_too_small(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        info = tmp_path / "meminfo"
        info.write_text("MemTotal:       8000 kB\nMemAvailable:    100 kB\n")
        monkeypatch.setattr(loading, "_MEMORY_INFO", info)
        with pytest.raises(UnavailableError, match=r"needs 0\.1 GB on cpu, and 0\.0 GB are free") as error:
            loaded(folder)
        assert error.value.code == "out_of_memory"

    @pytest.mark.parametrize(
        "failure",
        [
            torch.OutOfMemoryError("CUDA out of memory."),
            RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
            MemoryError(),
        ],
    )
    def test_memory_that_ends_while_loading(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
    ) -> None:
        def fail(*_: object) -> None:
            raise failure

        monkeypatch.setattr(loading, "_tensors", fail)
        with pytest.raises(UnavailableError, match=r"needs 0\.1 GB on cpu") as error:
            loaded(folder)
        assert error.value.code == "out_of_memory"
        assert error.value.retryable

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_no_gpu(self, folder: Path) -> None:
        with pytest.raises(UnavailableError, match="no NVIDIA GPU"):
            load_checkpoint(located(folder), device="cuda", dtype=torch.bfloat16)
