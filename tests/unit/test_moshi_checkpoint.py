"""Loading checkpoints of every kind, from disk and from a hub; and what is said of those that cannot be loaded."""

import asyncio
import importlib.util
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from moshi.models import loaders
from moshi.models.lm import LMModel
from moshi.utils.compile import no_compile
from moshi.utils.quantize import QLinear
from safetensors.torch import load_file, save_file

from kame_core import hub_download
from kame_core.errors import UnavailableError
from kame_core.frontend.moshi import checkpoint as loading
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint, load_checkpoint
from kame_core.frontend.moshi.config import CheckpointError
from kame_core.frontend.moshi.files import CheckpointFiles, fetch_checkpoint, locate_checkpoint
from tests.support.range_hub import RangeHub
from tests.support.tiny_moshi import (
    LM,
    LORA,
    MIMI,
    MIMI_CONFIG,
    PAD_ID,
    TOKENIZER,
    WEIGHTS,
    Variant,
    build_moshi,
    build_tokenizer,
)

REPOSITORY = "someone/tiny-kame"
CODES = torch.randint(0, 256, (2, 5, 10), generator=torch.Generator().manual_seed(1))
ORACLE = torch.randint(4, 257, (2, 1, 10), generator=torch.Generator().manual_seed(2))


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    use_hub(monkeypatch, "http://127.0.0.1:9")


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


def located(folder: Path) -> CheckpointFiles:
    files = locate_checkpoint(str(folder))
    assert files is not None
    return files


def loaded(folder: Path, dtype: torch.dtype = torch.float32, **options: Any) -> LoadedCheckpoint:
    return load_checkpoint(located(folder), device="cpu", dtype=dtype, **options)


def text_logits(lm: LMModel, *oracle: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), no_compile():
        logits: torch.Tensor = lm(CODES, None, *oracle).text_logits
    return logits


def set_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


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

    def test_a_directory_that_lacks_a_file(self, folder: Path) -> None:
        (folder / MIMI).unlink()
        with pytest.raises(CheckpointError, match=f"lacks the file {MIMI}"):
            locate_checkpoint(str(folder))

    def test_no_checkpoint_there(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="There is no checkpoint"):
            locate_checkpoint(str(tmp_path / "nothing"))

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


def ignore(done: int, total: int | None) -> None:
    """Progress nobody looks at."""


class TestFromAHub:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return build_moshi(tmp_path / "kame", Variant(lora=True))

    async def test_fetched_once_with_progress(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "README.md").write_text("not needed")
        told: list[tuple[int, int | None]] = []
        assert locate_checkpoint(REPOSITORY) is None
        async with RangeHub(folder, REPOSITORY) as hub:
            use_hub(monkeypatch, hub.url)
            files = await fetch_checkpoint(REPOSITORY, lambda *progress: told.append(progress), 30)
            requests = hub.requests
            assert await fetch_checkpoint(REPOSITORY, ignore, 30) == files
            assert hub.requests == requests
            assert "README.md" not in hub.sent_bytes
        names = [WEIGHTS, MIMI, MIMI_CONFIG, TOKENIZER, LORA]
        needed = sum((folder / name).stat().st_size for name in [*names, "config.json"])
        assert told[-1] == (needed, needed)
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert locate_checkpoint(REPOSITORY) == files
        assert capfd.readouterr() == ("", "")
        there = load_checkpoint(files, device="cpu", dtype=torch.float32)
        assert torch.equal(text_logits(there.lm), text_logits(loaded(folder).lm))

    async def test_a_repository_without_config_is_moshi_7b(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "config.json").unlink()
        async with RangeHub(folder, REPOSITORY) as hub:
            use_hub(monkeypatch, hub.url)
            files = await fetch_checkpoint(REPOSITORY, ignore, 30)
        assert files.config.lm["dim"] == 4096
        assert files.lora is None
        assert locate_checkpoint(REPOSITORY) == files
        with pytest.raises(CheckpointError, match=f"{WEIGHTS} does not fit"):
            load_checkpoint(files, device="cpu", dtype=torch.float32)

    async def test_broken_off_half_way_and_resumed(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(hub_download, "_RETRY_WAIT_S", 0.01)
        whole = (folder / WEIGHTS).stat().st_size
        async with RangeHub(folder, REPOSITORY, breaks_after_bytes={WEIGHTS: whole // 2}) as hub:
            use_hub(monkeypatch, hub.url)
            with pytest.raises(UnavailableError, match=f"the checkpoint {REPOSITORY}.*has arrived is kept") as error:
                await fetch_checkpoint(REPOSITORY, ignore, 30)
            assert error.value.retryable
            assert "put the checkpoint on disk" in error.value.user_message
            assert locate_checkpoint(REPOSITORY) is None
            assert hub.sent_bytes[WEIGHTS] == whole // 2
            hub.breaks_after_bytes.clear()
            files = await fetch_checkpoint(REPOSITORY, ignore, 30)
            assert hub.sent_bytes[WEIGHTS] == whole
        assert files.weights.read_bytes() == (folder / WEIGHTS).read_bytes()
        assert capfd.readouterr() == ("", "")

    async def test_damaged_on_its_way(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with RangeHub(folder, REPOSITORY, damages=MIMI) as hub:
            use_hub(monkeypatch, hub.url)
            for _ in range(2):  # nothing of it is kept
                with pytest.raises(UnavailableError, match="arrived damaged") as error:
                    await fetch_checkpoint(REPOSITORY, ignore, 30)
                assert error.value.retryable
            assert hub.sent_bytes[MIMI] == 2 * (folder / MIMI).stat().st_size
            assert hub.sent_bytes[WEIGHTS] == (folder / WEIGHTS).stat().st_size
        assert locate_checkpoint(REPOSITORY) is None

    async def test_no_room_on_the_disk(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = type(shutil.disk_usage(folder))(10**9, 10**9, 1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        async with RangeHub(folder, REPOSITORY) as hub:
            use_hub(monkeypatch, hub.url)
            with pytest.raises(UnavailableError, match=r"cannot be stored.*more are needed.*free space"):
                await fetch_checkpoint(REPOSITORY, ignore, 30)

    async def test_files_of_another_repository(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = tmp_path / "tuned"
        here.mkdir()
        for name in (WEIGHTS, MIMI_CONFIG, LORA):
            shutil.move(folder / name, here / name)
        shutil.copy(folder / "config.json", here)
        set_config(here, mimi_name=f"hf://{REPOSITORY}/{MIMI}", tokenizer_name=f"hf://{REPOSITORY}/{TOKENIZER}")
        assert locate_checkpoint(str(here)) is None
        async with RangeHub(folder, REPOSITORY) as hub:
            use_hub(monkeypatch, hub.url)
            files = await fetch_checkpoint(str(here), ignore, 30)
            assert set(hub.sent_bytes) == {MIMI, TOKENIZER}
        assert locate_checkpoint(str(here)) == files
        assert load_checkpoint(files, device="cpu", dtype=torch.float32).lm.text_padding_token_id == PAD_ID

    async def test_a_repository_that_lacks_a_file(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / TOKENIZER).unlink()
        async with RangeHub(folder, REPOSITORY) as hub:
            use_hub(monkeypatch, hub.url)
            with pytest.raises(UnavailableError, match=f"has no file {TOKENIZER}"):
                await fetch_checkpoint(REPOSITORY, ignore, 30)
            assert WEIGHTS not in hub.sent_bytes

    async def test_a_repository_that_names_a_file_of_this_machine(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = tmp_path / "words.model"
        (folder / TOKENIZER).rename(words)
        set_config(folder, tokenizer_name=f"file://{words}")
        async with RangeHub(folder, REPOSITORY) as hub:
            use_hub(monkeypatch, hub.url)
            files = await fetch_checkpoint(REPOSITORY, ignore, 30)
        assert files.tokenizer == words

    async def test_a_file_missing_elsewhere_is_noticed_before_gigabytes_are_fetched(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = tmp_path / "tuned"
        here.mkdir()
        shutil.copy(folder / "config.json", here)
        set_config(
            here, moshi_name=f"hf://{REPOSITORY}/{WEIGHTS}", mimi_name=f"hf://{REPOSITORY}@main/none.safetensors"
        )
        async with RangeHub(folder, REPOSITORY) as hub:
            use_hub(monkeypatch, hub.url)
            with pytest.raises(UnavailableError, match=r"has no file none\.safetensors"):
                await fetch_checkpoint(str(here), ignore, 30)
            assert WEIGHTS not in hub.sent_bytes

    async def test_no_hub(self) -> None:
        with pytest.raises(UnavailableError, match="cannot be reached") as error:
            await fetch_checkpoint(REPOSITORY, ignore, 3600)
        assert error.value.retryable

    async def test_offline(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(UnavailableError, match="HF_HUB_OFFLINE"):
            await fetch_checkpoint(REPOSITORY, ignore, 30)
        assert await fetch_checkpoint(str(folder), ignore, 30) == located(folder)

    async def test_a_hub_too_slow_and_the_next_try(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with RangeHub(folder, REPOSITORY, stalls=True) as hub:
            use_hub(monkeypatch, hub.url)
            with pytest.raises(UnavailableError, match="was not complete after") as error:
                await fetch_checkpoint(REPOSITORY, ignore, 1)
        assert error.value.retryable
        async with RangeHub(folder, REPOSITORY) as hub:
            use_hub(monkeypatch, hub.url)
            assert await fetch_checkpoint(REPOSITORY, ignore, 30) == locate_checkpoint(REPOSITORY)
        ends_s = time.monotonic() + 20
        while any(thread.name.startswith("hub-fetch") for thread in threading.enumerate()):
            assert time.monotonic() < ends_s, "a download goes on"
            await asyncio.sleep(0.02)
