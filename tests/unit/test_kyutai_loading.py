"""Loading speech-to-text into the moshi front end, and what is said where it cannot be."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kame_core.frontend.base import SlotOptions
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint
from kame_core.frontend.moshi.config import CheckpointError
from kame_core.frontend.moshi.load import MoshiOptions, load_moshi
from kame_core.frontend.moshi.oracle_lm import build_oracle_lm
from kame_core.stt.kyutai import KyutaiSpeechToText
from kame_core.stt.kyutai_files import parse_kyutai_config
from tests.support.tiny_kyutai import DELAY, MIMI, PUBLISHED, STT_1B, TOKENIZER, WEIGHTS, build_kyutai, loaded
from tests.support.tiny_moshi import build_mimi, build_moshi, build_tokenizer, load_tiny_moshi


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A front end's checkpoint, and one for speech-to-text trained with the same codec."""
    root = tmp_path_factory.mktemp("checkpoints")
    return build_moshi(root / "moshi"), build_kyutai(root / "kyutai")


@pytest.fixture(scope="module")
def moshi(folders: tuple[Path, Path]) -> LoadedCheckpoint:
    return load_tiny_moshi(folders[0])


@pytest.fixture
def kyutai(folders: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy that may be spoiled."""
    return Path(shutil.copytree(folders[1], tmp_path / "kyutai"))


@pytest.fixture
def stt(folders: tuple[Path, Path]) -> KyutaiSpeechToText:
    return KyutaiSpeechToText(loaded(folders[1]))


async def test_a_front_end_is_loaded_with_ears(folders: tuple[Path, Path], stt: KyutaiSpeechToText) -> None:
    loaded_moshi = await load_moshi(MoshiOptions(str(folders[0]), "cpu", 1), lambda _: None, 60.0, stt)
    try:
        await (await stt.open("en")).aclose()
        lease = await loaded_moshi.host.lease(SlotOptions())
        await lease.aclose()
    finally:
        await loaded_moshi.host.aclose()


def test_a_model_tells_what_it_is(folders: tuple[Path, Path]) -> None:
    model = loaded(folders[1])
    assert model.foresees_turn_ends
    assert model.config.delay_frames == DELAY


@pytest.mark.parametrize(
    ("own", "tensors", "delay_frames"),
    [
        (STT_1B, 135, 6),
        (
            {
                "text_card": 4000,
                "num_heads": 32,
                "num_layers": 48,
                "context": 375,
                "tokenizer_name": "tokenizer_en_audio_4000.model",
                "stt_config": {"audio_delay_seconds": 2.5, "audio_silence_prefix_seconds": 1.0},
            },
            323,
            31,
        ),
    ],
    ids=["stt-1b-en_fr-candle", "stt-2.6b-en"],
)
def test_the_published_models_have_as_many_tensors_as_their_files(
    own: dict[str, Any], tensors: int, delay_frames: int
) -> None:
    config = parse_kyutai_config(json.dumps({**PUBLISHED, **own}))
    lm = build_oracle_lm(config.lm, device="meta", dtype=torch.bfloat16, oracle=False)
    assert len(lm.state_dict()) == tensors
    assert config.delay_frames == delay_frames


def test_a_truncated_file_is_said(kyutai: Path) -> None:
    path = kyutai / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=WEIGHTS):
        loaded(kyutai)


def test_weights_of_another_shape_are_said(kyutai: Path) -> None:
    weights = load_file(kyutai / WEIGHTS)
    weights["text_linear.weight"] = weights["text_linear.weight"][:-1].clone()
    save_file(weights, kyutai / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"text_linear\.weight"):
        loaded(kyutai)


def test_a_configuration_that_no_model_can_be_built_from_is_said(tmp_path: Path) -> None:
    folder = build_kyutai(tmp_path / "odd", num_legs=4)
    with pytest.raises(CheckpointError, match="num_legs"):
        loaded(folder)


def test_a_tokenizer_of_another_checkpoint_is_said(kyutai: Path) -> None:
    (kyutai / TOKENIZER).write_bytes(build_tokenizer(byte_fallback=True))
    with pytest.raises(CheckpointError, match="tokens"):
        loaded(kyutai)


def test_a_model_trained_with_another_codec_is_refused(
    tmp_path: Path, moshi: LoadedCheckpoint, folders: tuple[Path, Path]
) -> None:
    other = build_kyutai(tmp_path / "other", build_mimi(seed=5))
    with pytest.raises(CheckpointError, match=f"codebooks in {MIMI} differ"):
        loaded(other).listen(moshi.mimi, 1)
    poor = build_mimi(4)
    with pytest.raises(CheckpointError, match="codebooks of"):
        loaded(folders[1]).listen(poor, 1)
    loaded(folders[1]).listen(moshi.mimi, 1).shutdown()


def test_older_names_of_the_same_codec_are_known(kyutai: Path, moshi: LoadedCheckpoint) -> None:
    weights = load_file(kyutai / MIMI)
    save_file({name.replace("embedding_sum", "embed_sum"): tensor for name, tensor in weights.items()}, kyutai / MIMI)
    loaded(kyutai).listen(moshi.mimi, 1).shutdown()


def test_attention_weights_in_one_piece_are_loaded(kyutai: Path, moshi: LoadedCheckpoint) -> None:
    weights = load_file(kyutai / WEIGHTS)
    fused = {
        name.replace("in_projs.0.weight", "in_proj_weight").replace("out_projs.0.weight", "out_proj.weight"): tensor
        for name, tensor in weights.items()
    }
    assert fused.keys() != weights.keys()
    save_file(fused, kyutai / WEIGHTS)
    loaded(kyutai)
