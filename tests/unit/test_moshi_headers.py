"""Headers of checkpoint files against what the model expects, here and on a hub."""

import asyncio
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor

from kame_core.errors import UnavailableError
from kame_core.frontend.moshi.config import CheckpointError
from kame_core.frontend.moshi.files import locate_checkpoint
from kame_core.frontend.moshi.headers import CheckpointReport, check_checkpoint
from kame_core.frontend.moshi.safetensors_header import read_header
from kame_core.workers import ThreadWorkers
from tests.support.moshi_loading import set_config
from tests.support.range_hub import RangeHub
from tests.support.tiny_moshi import (
    LORA,
    MIMI,
    MIMI_CONFIG,
    QUANTIZED_WEIGHTS,
    TOKENIZER,
    WEIGHTS,
    Variant,
    build_moshi,
)

REPOSITORY = "someone/tiny-kame"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_moshi(tmp_path_factory.mktemp("kame"), Variant(lora=True))


@pytest.fixture
def checkpoint(built: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(built, tmp_path / "kame"))


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


class TestVariants:
    def test_kame(self, tmp_path: Path) -> None:
        report = check_checkpoint(str(build_moshi(tmp_path, Variant(dtype=torch.bfloat16))))
        report.require()
        assert (report.trained_for_oracle, report.quantized, report.fused, report.lora) == (True, False, False, False)
        assert report.weights.dtypes == ("BF16",)
        assert report.weights.parameters == sum(tensor.numel() for tensor in load_file(tmp_path / WEIGHTS).values())
        assert report.memory_bytes(4) == 4 * report.weights.parameters
        assert report.notes == ()

    def test_plain_moshi_with_fused_attention(self, tmp_path: Path) -> None:
        report = check_checkpoint(str(build_moshi(tmp_path, Variant(oracle=False, fused=True))))
        report.require()
        assert (report.trained_for_oracle, report.fused) == (False, True)
        assert "cannot follow an LLM" in report.notes[0]

    def test_lora(self, built: Path) -> None:
        report = check_checkpoint(str(built))
        report.require()
        assert report.lora

    @pytest.mark.parametrize("fused", [False, True])
    def test_8_bit(self, tmp_path: Path, fused: bool) -> None:
        report = check_checkpoint(str(build_moshi(tmp_path, Variant(quantized=True, fused=fused))))
        report.require()
        assert report.quantized
        assert report.weights.name == QUANTIZED_WEIGHTS
        assert report.memory_bytes(4) < 0.7 * 4 * report.weights.parameters

    def test_a_file_is_as_good_as_its_directory(self, built: Path) -> None:
        (built / "other.safetensors").write_bytes((built / WEIGHTS).read_bytes())
        report = check_checkpoint(str(built / "other.safetensors"))
        report.require()
        assert report.weights.name == "other.safetensors"

    def test_unknown_keys_are_noted(self, checkpoint: Path) -> None:
        set_config(checkpoint, colour="blue")
        report = check_checkpoint(str(checkpoint))
        report.require()
        assert "colour" in report.notes[0]


def drop(name: str) -> Callable[[dict[str, Tensor]], None]:
    return lambda tensors: tensors.__delitem__(name)


def add(name: str, *shape: int) -> Callable[[dict[str, Tensor]], None]:
    return lambda tensors: tensors.__setitem__(name, torch.zeros(shape))


def halve(name: str) -> Callable[[dict[str, Tensor]], None]:
    return lambda tensors: tensors.__setitem__(name, tensors[name][: tensors[name].shape[0] // 2].clone())


def retype(name: str, dtype: torch.dtype) -> Callable[[dict[str, Tensor]], None]:
    return lambda tensors: tensors.__setitem__(name, tensors[name].to(dtype))


IN_PROJECTION = "transformer.layers.1.self_attn.in_projs.0"


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        (WEIGHTS, drop("out_norm.alpha"), r"out_norm.alpha \[1, 1, 32\] is missing"),
        (WEIGHTS, halve("text_emb.weight"), r"text_emb.weight is \[128, 32\], the model's is \[257, 32\]"),
        (WEIGHTS, halve("oracle_emb.weight"), r"oracle_emb.weight is \[128, 32\], the model's is \[257, 32\]"),
        (WEIGHTS, add("emb.4.weight", 257, 32), r"the model has no emb.4.weight \[257, 32\]"),
        (WEIGHTS, halve(f"{IN_PROJECTION}.weight"), r"in_projs.0.weight is \[48, 32\], the model's is \[96, 32\]"),
        (WEIGHTS, retype("text_emb.weight", torch.int32), "text_emb.weight is of type I32"),
        (MIMI, drop("downsample.conv.conv.conv.weight"), r"downsample.conv.conv.conv.weight .* is missing"),
        (LORA, drop("text_linear.lora_A.weight"), "text_linear.lora_A.weight is missing"),
        (LORA, drop("text_linear.lora_B.weight"), "text_linear.lora_B.weight is missing"),
        (LORA, halve("text_linear.lora_B.weight"), r"B \[128, 4\] times A \[4, 32\] is not \[256, 32\]"),
        (LORA, add("text_linear_2.lora_A.weight", 4, 32), "the model has no text_linear_2"),
        (LORA, add("out_norm.alpha", 1, 1, 16), r"out_norm.alpha is \[1, 1, 16\]"),
    ],
)
def test_a_mismatch_names_file_weight_and_shapes(
    checkpoint: Path, file: str, change: Callable[[dict[str, Tensor]], None], says: str
) -> None:
    rewrite(checkpoint / file, change)
    report = check_checkpoint(str(checkpoint))
    assert len(report.problems) == 1
    with pytest.raises(CheckpointError, match=rf"{file} does not fit.*{says}"):
        report.require()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"dim": 64},
            rf"{WEIGHTS} does not fit.*emb.0.weight is \[257, 32\], the model's is \[257, 64\].*and \d+ more",
        ),
        ({"card": 128}, "256; the language model needs 2 of 128"),
        ({"n_q": 16, "delays": [0] * 17}, "8 codebooks of 256; the language model needs 14 of 256"),
        ({"quantize": True}, f"quantize = true, but {WEIGHTS} does not hold"),
        ({"mimi_config_name": None}, f"{MIMI} does not fit"),
    ],
)
def test_a_configuration_of_another_model(checkpoint: Path, changes: dict[str, Any], says: str) -> None:
    set_config(checkpoint, **changes)
    with pytest.raises(CheckpointError, match=says):
        check_checkpoint(str(checkpoint)).require()


def test_8_bit_weights_need_their_configuration(tmp_path: Path) -> None:
    set_config(build_moshi(tmp_path, Variant(quantized=True)), quantize=None)
    with pytest.raises(CheckpointError, match="does not say quantize = true"):
        check_checkpoint(str(tmp_path)).require()


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"gating": "nonsense"}, "No model can be built"), ({"norm": "none"}, "No model can be built")],
)
def test_values_no_model_can_be_built_from(checkpoint: Path, changes: dict[str, Any], says: str) -> None:
    set_config(checkpoint, **changes)
    with pytest.raises(CheckpointError, match=says):
        check_checkpoint(str(checkpoint))


@pytest.mark.parametrize(
    ("config", "says"),
    [("{}", "lacks channels"), ("[1", "not a configuration"), ("3", "not a configuration")],
)
def test_a_bad_codec_configuration(checkpoint: Path, config: str, says: str) -> None:
    (checkpoint / MIMI_CONFIG).write_text(config)
    with pytest.raises(CheckpointError, match=rf"{MIMI_CONFIG}.*{says}"):
        check_checkpoint(str(checkpoint))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("sample_rate", 16_000, "sample_rate = 16000, .* sample_rate = 24000: mono at 24 kHz"),
        ("frame_rate", 25, r"frame_rate = 25, .* frame_rate = 12\.5: .* frames of 80 ms"),
        ("channels", 2, "channels = 2, .* channels = 1"),
    ],
)
def test_a_codec_for_other_sound(checkpoint: Path, key: str, value: float, says: str) -> None:
    path = checkpoint / MIMI_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    for check in (check_checkpoint, locate_checkpoint):  # the doctor's way, and that of loading
        with pytest.raises(CheckpointError, match=f"{MIMI_CONFIG} says {says}"):
            check(str(checkpoint))


def test_a_codec_whose_parts_do_not_make_its_frames(checkpoint: Path) -> None:
    path = checkpoint / MIMI_CONFIG
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"seanet": config["seanet"] | {"ratios": [8, 6, 5]}}))
    with pytest.raises(CheckpointError, match=f"No codec can be built|{MIMI} does not fit"):
        check_checkpoint(str(checkpoint)).require()


def test_missing_files_are_named(checkpoint: Path) -> None:
    (checkpoint / TOKENIZER).unlink()
    (checkpoint / MIMI).unlink()
    with pytest.raises(CheckpointError, match=f"lacks {MIMI}, {TOKENIZER}"):
        check_checkpoint(str(checkpoint))


@pytest.mark.parametrize("location", ["nowhere", "/no/such/folder", "a/b/c", "http://host/x/y"])
def test_a_location_that_is_none(location: str) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        check_checkpoint(location)


def header(entries: object) -> bytes:
    raw = json.dumps(entries).encode()
    return struct.pack("<Q", len(raw)) + raw


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it has 0 bytes"),
        (b"1234567", "it has 7 bytes"),
        (b"<html>429 Too many requests</html>", "does not begin with a header"),
        (struct.pack("<Q", 5000) + b"{", "ends within its header"),
        (struct.pack("<Q", 4) + b"\xff{}}", "makes no sense"),
        (header([1]), "makes no sense"),
        (header({"a": {"dtype": "F32"}}), "makes no sense"),
        (header({"a": ENTRY}) + b"1234567", "cut off: it has .* bytes of"),
        (header({"a": ENTRY}) + b"123456789", "longer than its header says"),
        (header({"a": {**ENTRY, "shape": [3]}}) + b"12345678", "size of a does not fit its shape"),
    ],
)
def test_damaged_files(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"m.safetensors .*{says}.*Fetch it again"):
        read_header(path)


def test_a_header_longer_than_the_first_read(tmp_path: Path) -> None:
    tensors = {f"layer.{number}.{'name' * 20}": torch.zeros(1) for number in range(2000)}
    save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt"})
    assert set(read_header(tmp_path / "m.safetensors").tensors) == set(tensors)


class TestOnAHub:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    async def check(
        self, hub: RangeHub, monkeypatch: pytest.MonkeyPatch, location: str = REPOSITORY
    ) -> CheckpointReport:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        workers = ThreadWorkers("check")
        try:
            async with asyncio.timeout(30):
                return await workers.run(check_checkpoint, location)
        finally:
            workers.close()

    async def test_only_headers_are_fetched(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        folder = build_moshi(tmp_path / "kame", dim=128)
        async with RangeHub(folder, REPOSITORY) as hub:
            report = await self.check(hub, monkeypatch)
        report.require()
        assert report.trained_for_oracle
        assert report.weights == read_header(folder / WEIGHTS)
        assert hub.sent_bytes[WEIGHTS] < 200_000 < report.weights.size_bytes
        assert TOKENIZER not in hub.sent_bytes
        assert capfd.readouterr() == ("", "")

    async def test_a_file_of_another_repository(self, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with RangeHub(checkpoint, REPOSITORY) as hub:
            here = checkpoint.parent / "here"
            here.mkdir()
            (checkpoint / "config.json").rename(here / "config.json")
            set_config(
                here,
                moshi_name=f"hf://{REPOSITORY}/{WEIGHTS}",
                mimi_name=f"hf://{REPOSITORY}/{MIMI}",
                mimi_config_name=f"hf://{REPOSITORY}/{MIMI_CONFIG}",
                tokenizer_name=str(checkpoint / TOKENIZER),
                lora_name=None,
            )
            report = await self.check(hub, monkeypatch, str(here))
        report.require()
        assert report.weights.name == WEIGHTS

    async def test_a_repository_that_lacks_a_file(self, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (checkpoint / MIMI).unlink()
        async with RangeHub(checkpoint, REPOSITORY) as hub:
            with pytest.raises(CheckpointError, match=f"lacks {REPOSITORY}/{MIMI}"):
                await self.check(hub, monkeypatch)

    async def test_a_repository_that_is_none(self, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with RangeHub(checkpoint, REPOSITORY) as hub:
            with pytest.raises(UnavailableError, match="refused the checkpoint nobody/nothing") as error:
                await self.check(hub, monkeypatch, "nobody/nothing")
        assert not error.value.retryable
