"""Finding and fetching Whisper models, with a hub on loopback and without any."""

import asyncio
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faster_whisper.utils import _MODELS
from huggingface_hub import constants

from app.engines import EngineRoom, PartState
from app.loaders import Loaders
from kame_core import hub_fetch
from kame_core.clock import RealClock
from kame_core.errors import UnavailableError
from kame_core.stt import whisper_files
from kame_core.stt.faster_whisper import FasterWhisperSpeechToText, fetch_whisper, locate_whisper
from kame_core.stt.whisper_files import REPOSITORIES
from tests.support.hugging_face_hub import Hub, use_hub
from tests.support.server import NoEngines, make_settings
from tests.support.tiny_whisper import Size, build_whisper

TINY = REPOSITORIES["tiny"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_whisper(tmp_path_factory.mktemp("whisper"), Size(256, 4, 4))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a hub that is nowhere."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    with socket.create_server(("127.0.0.1", 0)) as unused:
        use_hub(monkeypatch, f"http://127.0.0.1:{unused.getsockname()[1]}")
    return folder


def store(cache: Path, model: Path) -> Path:
    """Put a model into the cache as huggingface_hub does."""
    commit = "a" * 40
    repository = cache / ("models--" + TINY.replace("/", "--"))
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    return Path(shutil.copytree(model, repository / "snapshots" / commit))


def size_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def ignore(done: int, total: int | None) -> None:
    """Progress nobody looks at."""


# --- locating ---


def test_the_sizes_are_the_librarys_own() -> None:
    assert REPOSITORIES == _MODELS


def test_a_directory_with_a_model(model: Path, tmp_path: Path) -> None:
    assert locate_whisper(str(model)) == model
    assert locate_whisper(str(tmp_path)) is None
    assert locate_whisper("gigantic") is None


def test_a_size_in_the_cache(model: Path, cache: Path) -> None:
    assert locate_whisper("tiny") is None
    stored = store(cache, model)
    assert locate_whisper("tiny") == stored
    assert locate_whisper("base") is None


@pytest.mark.parametrize("lost", ["model.bin", "tokenizer.json", "vocabulary.json", "config.json"])
def test_an_incomplete_size_in_the_cache(model: Path, cache: Path, lost: str) -> None:
    (store(cache, model) / lost).unlink()
    assert locate_whisper("tiny") is None


# --- fetching ---


async def test_fetching_tells_progress_and_is_found_afterwards(
    model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[int, int | None]] = []
    async with Hub(model, TINY) as hub:
        use_hub(monkeypatch, hub.url)
        folder = await fetch_whisper("tiny", lambda *progress: told.append(progress), 30)
    total = size_bytes(model)
    assert locate_whisper("tiny") == folder
    assert (folder / "model.bin").read_bytes() == (model / "model.bin").read_bytes()
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {announced for _, announced in told} == {total}
    assert capfd.readouterr() == ("", "")
    stt = FasterWhisperSpeechToText("tiny", device="cpu")
    await stt.load()
    await stt.aclose()


class OnlyAnEar(NoEngines):
    """The ear as ever, and nothing else."""

    load_stt = Loaders.load_stt


async def test_an_ear_that_nothing_embedded_stands_in_for_is_fetched_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engines.LOAD_DEADLINE_S", 0.01)  # what has to be fetched is given more
    settings = make_settings(stt="auto", language="de", whisper_model="tiny", whisper_fetch=True)
    room = EngineRoom(settings, RealClock(), OnlyAnEar())
    told: list[tuple[str, float | None]] = []
    room.listen(lambda part: told.append((part.choice, part.progress)) if part.name == "stt" else None)
    async with Hub(build_whisper(tmp_path / "small"), TINY) as hub:
        use_hub(monkeypatch, hub.url)
        try:
            await room.load()
        finally:
            await room.aclose()
    ear = room.part("stt")
    assert (ear.state, ear.choice, ear.progress) == (PartState.READY, "faster-whisper tiny", None), ear.why
    assert ("faster-whisper tiny", 1.0) in told


async def test_another_language_that_may_not_be_fetched_says_what_to_do() -> None:
    room = EngineRoom(make_settings(stt="auto", language="de", whisper_model="tiny"), RealClock(), OnlyAnEar())
    try:
        await room.load()
    finally:
        await room.aclose()
    assert room.part("stt").state is PartState.FAILED
    assert "KAME_WHISPER_FETCH" in room.part("stt").why
    assert room.part("stt").why.endswith("or KAME_STT to openai.")


async def test_an_unknown_size_lists_the_right_ones() -> None:
    with pytest.raises(UnavailableError, match=r"'gigantic'.*base\.en.*turbo") as error:
        await fetch_whisper("gigantic", ignore, 30)
    assert not error.value.retryable


async def test_without_a_hub_it_fails_soon_and_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    async with asyncio.timeout(12):
        with pytest.raises(UnavailableError, match="cannot be reached") as error:
            await fetch_whisper("tiny", ignore, 3600)
    assert error.value.retryable
    assert capfd.readouterr() == ("", "")


async def test_a_hub_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper_files, "REACH_DEADLINE_S", 0.3)
    monkeypatch.setattr(hub_fetch, "REQUEST_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        use_hub(monkeypatch, f"http://127.0.0.1:{mute.getsockname()[1]}")
        async with asyncio.timeout(5):
            with pytest.raises(UnavailableError, match="does not answer") as error:
                await fetch_whisper("tiny", ignore, 3600)
    assert error.value.retryable


@pytest.mark.parametrize(("status", "retryable"), [(404, False), (403, False), (429, True), (503, True)])
async def test_a_hub_that_refuses(
    model: Path, monkeypatch: pytest.MonkeyPatch, status: int, retryable: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    async with Hub(model, TINY, status=status) as hub:
        use_hub(monkeypatch, hub.url)
        with pytest.raises(UnavailableError, match=f"status {status}") as error:
            await fetch_whisper("tiny", ignore, 30)
    assert error.value.retryable is retryable
    assert capfd.readouterr() == ("", "")


async def test_offline_mode_is_respected(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    async with Hub(model, TINY) as hub:
        use_hub(monkeypatch, hub.url)
        with pytest.raises(UnavailableError, match="HF_HUB_OFFLINE"):
            await fetch_whisper("tiny", ignore, 30)
        assert hub.requests == 0


@contextmanager
def no_threads_left(name: str) -> Iterator[None]:
    yield
    ends_s = time.monotonic() + 10
    while any(thread.name.startswith(name) for thread in threading.enumerate()):
        assert time.monotonic() < ends_s, "the download goes on"
        time.sleep(0.02)


async def test_a_download_that_takes_too_long_or_is_cancelled(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = asyncio.Event()
    async with Hub(model, TINY, held=held) as hub:
        use_hub(monkeypatch, hub.url)
        with pytest.raises(UnavailableError, match="not complete after 1 s"):
            await fetch_whisper("tiny", ignore, 1.0)
        told: list[int] = []
        task = asyncio.create_task(fetch_whisper("tiny", lambda done, _: told.append(done), 30))
        await asyncio.sleep(0.7)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert locate_whisper("tiny") is None
        held.set()
        before = len(told)
        await asyncio.sleep(0.5)
        assert len(told) == before
        with no_threads_left("hub-fetch"):
            pass
        assert await fetch_whisper("tiny", ignore, 30) == locate_whisper("tiny")
