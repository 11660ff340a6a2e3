"""Speech-to-text checkpoints: found, fetched, and refused in plain words."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from kame_core.errors import UnavailableError
from kame_core.frontend.moshi.config import CheckpointError
from kame_core.stt.kyutai_files import fetch_kyutai, locate_kyutai, parse_kyutai_config
from tests.support.hugging_face_hub import use_hub
from tests.support.range_hub import RangeHub
from tests.support.tiny_kyutai import DELAY, LM, MIMI, TOKENIZER, WEIGHTS, build_kyutai

REPOSITORY = "kyutai/stt-tiny-en_fr"
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_kyutai(tmp_path_factory.mktemp("kyutai") / "tiny")


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    use_hub(monkeypatch, "http://127.0.0.1:9")


def config(**changes: Any) -> str:
    described: dict[str, Any] = {
        **LM,
        "tokenizer_name": "tokenizer_en_audio_4000.model",
        "model_type": "stt",
        "stt_config": {"audio_delay_seconds": 2.5, "audio_silence_prefix_seconds": 1.0},
        **changes,
    }
    return json.dumps({key: value for key, value in described.items() if value != "left out"})


def no_progress(done: int, total: int | None) -> None:
    """Nobody looks."""


# --- config.json ---


def test_a_published_configuration_is_read() -> None:
    read = parse_kyutai_config(
        config(delays=[0] * 9, lm_gen_config={"temp": 0.0}, conditioners={}, model_id={"sig": "a"})
    )
    assert (read.delay_frames, read.prefix_frames) == (31, 12)
    assert read.languages == {"en"}
    assert read.paddings == {0, 3}
    assert dict(read.lm) == dict(LM)
    assert read.slot_bytes(2) == 2 * LM["num_layers"] * LM["context"] * LM["dim"] * 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stt_config": "left out"}, "'stt_config'"),
        ({"stt_config": {"audio_delay_seconds": -1}}, "'stt_config.audio_delay_seconds'"),
        ({"dep_q": 8}, "a model that speaks"),
        ({"delays": [0] * 8 + [1]}, "a model that speaks"),
        ({"delays": [0] * 5}, "delays has 5 entries"),
        ({"conditioners": {"description": {}}}, "conditions"),
        ({"context": 10}, "longer than the model remembers"),
        ({"n_q": "eight"}, "'n_q'"),
        ({"moshi_name": "model.pt"}, r"Only \.safetensors"),
        ({"tokenizer_name": "hf://somewhere"}, "hf://organisation/repository/file"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_said(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        parse_kyutai_config(config(**changes))


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(CheckpointError, match="not valid JSON"):
        parse_kyutai_config(b"{\xff")
    with pytest.raises(CheckpointError, match="does not describe"):
        parse_kyutai_config("[]")


# --- on this machine ---


def test_a_directory_is_found(folder: Path) -> None:
    files = locate_kyutai(str(folder))
    assert files is not None
    assert (files.weights, files.mimi, files.tokenizer) == (folder / WEIGHTS, folder / MIMI, folder / TOKENIZER)
    assert files.config.delay_frames == DELAY
    assert files.config.languages == {"en", "fr"}


@pytest.mark.parametrize("name", [WEIGHTS, MIMI, TOKENIZER, "config.json"])
def test_a_directory_that_lacks_a_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        locate_kyutai(str(folder))


def test_what_is_neither_directory_nor_repository_is_refused() -> None:
    with pytest.raises(CheckpointError, match="Name a directory, or a repository"):
        locate_kyutai("no such/place/anywhere")


def test_a_repository_that_was_never_fetched_is_not_here() -> None:
    assert locate_kyutai(REPOSITORY) is None


# --- from the hub ---


async def test_a_repository_is_fetched_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int | None]] = []
    async with RangeHub(folder, REPOSITORY) as hub:
        use_hub(monkeypatch, hub.url)
        files = await fetch_kyutai(REPOSITORY, lambda done, total: seen.append((done, total)), DEADLINE_S)
        requests = hub.requests
        again = await fetch_kyutai(REPOSITORY, no_progress, DEADLINE_S)
        assert hub.requests == requests
    assert again == files == locate_kyutai(REPOSITORY)
    assert files.weights.read_bytes() == (folder / WEIGHTS).read_bytes()
    done, total = seen[-1]
    assert done == total
    assert total is not None
    assert total >= sum((folder / name).stat().st_size for name in (WEIGHTS, MIMI, TOKENIZER))


async def test_a_codec_of_another_repository_is_fetched_from_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**described, "mimi_name": f"hf://{REPOSITORY}/{MIMI}"}))
    async with RangeHub(folder, REPOSITORY) as hub:
        use_hub(monkeypatch, hub.url)
        files = await fetch_kyutai(str(folder), no_progress, DEADLINE_S)
        assert set(hub.sent_bytes) == {MIMI}
    assert files.weights == folder / WEIGHTS
    assert files.mimi.read_bytes() == (folder / MIMI).read_bytes()


async def test_a_repository_that_lacks_a_file_is_refused_before_anything_big(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / TOKENIZER).unlink()
    async with RangeHub(folder, REPOSITORY) as hub:
        use_hub(monkeypatch, hub.url)
        with pytest.raises(UnavailableError, match=TOKENIZER):
            await fetch_kyutai(REPOSITORY, no_progress, DEADLINE_S)
        assert set(hub.sent_bytes) == {"config.json"}


async def test_a_hub_that_cannot_be_reached_is_said() -> None:
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await fetch_kyutai(REPOSITORY, no_progress, DEADLINE_S)
