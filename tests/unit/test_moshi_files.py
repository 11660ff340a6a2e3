"""Files of checkpoints: found on disk, fetched from a hub, and what is said where that fails."""

import asyncio
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from kame_core import hub_download
from kame_core.errors import UnavailableError
from kame_core.frontend.moshi.checkpoint import load_checkpoint
from kame_core.frontend.moshi.config import CheckpointError
from kame_core.frontend.moshi.files import fetch_checkpoint, locate_checkpoint
from tests.support.hugging_face_hub import use_hub
from tests.support.moshi_loading import loaded, located, set_config, text_logits
from tests.support.range_hub import RangeHub
from tests.support.tiny_moshi import LORA, MIMI, MIMI_CONFIG, PAD_ID, TOKENIZER, WEIGHTS, Variant, build_moshi

REPOSITORY = "someone/tiny-kame"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    use_hub(monkeypatch, "http://127.0.0.1:9")


class TestOnDisk:
    def test_a_directory_that_lacks_a_file(self, tmp_path: Path) -> None:
        folder = build_moshi(tmp_path / "kame")
        (folder / MIMI).unlink()
        with pytest.raises(CheckpointError, match=f"lacks the file {MIMI}"):
            locate_checkpoint(str(folder))

    def test_no_checkpoint_there(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="There is no checkpoint"):
            locate_checkpoint(str(tmp_path / "nothing"))


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
