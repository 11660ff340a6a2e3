"""The server's choice of speech-to-text: kyutai goes with the moshi front end, and says so where it cannot be had."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.doctor import examine
from app.engines import EngineRoom, PartState
from app.settings import Settings
from app.settings_sources import load_settings
from kame_core.clock import RealClock
from kame_core.options import ConversationOptions
from kame_core.registry import ConversationRegistry
from tests.support.tiny_kyutai import WEIGHTS, build_kyutai
from tests.support.tiny_moshi import build_mimi, build_moshi

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return build_moshi(root / "moshi"), build_kyutai(root / "kyutai")


def settings_for(moshi: Path, kyutai: Path, **changes: Any) -> Settings:
    chosen = {
        "frontend": "moshi",
        "moshi_weights": str(moshi),
        "moshi_device": "cpu",
        "moshi_slots": 1,
        "stt": "kyutai",
        "kyutai_weights": str(kyutai),
        "tts": "espeak",
        "llm": "offline",
        **changes,
    }
    return load_settings(chosen, env_file=None)


async def room_of(moshi: Path, kyutai: Path, **changes: Any) -> EngineRoom:
    """All engines loaded, or known to have failed."""
    room = EngineRoom(settings_for(moshi, kyutai, **changes), RealClock())
    async with asyncio.timeout(DEADLINE_S):
        await room.load()
    return room


async def test_a_server_hears_through_its_front_end(folders: tuple[Path, Path]) -> None:
    room = await room_of(*folders)
    try:
        assert room.ready, room.readiness()
        assert room.part("stt").choice == "kyutai"
        assert room.languages == {"en", "fr"}
        async with ConversationRegistry(room.require()) as registry:
            conversation = await registry.open(ConversationOptions())
            await conversation.aclose()
    finally:
        await room.aclose()


async def test_without_the_moshi_front_end_it_is_refused(folders: tuple[Path, Path]) -> None:
    room = await room_of(*folders, frontend="reflex")
    try:
        part = room.part("stt")
        assert part.state is PartState.FAILED
        assert "KAME_FRONTEND" in part.why
        assert room.part("frontend").state is PartState.READY
    finally:
        await room.aclose()


async def test_a_checkpoint_that_cannot_be_loaded_does_not_hold_up_the_front_end(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(folders[1], tmp_path / "broken"))
    (broken / WEIGHTS).write_bytes(b"no weights")
    room = await room_of(folders[0], broken)
    try:
        assert room.part("stt").state is PartState.FAILED
        assert WEIGHTS in room.part("stt").why
        assert room.part("frontend").state is PartState.READY
    finally:
        await room.aclose()


async def test_a_language_it_does_not_know_is_refused_at_the_start(folders: tuple[Path, Path]) -> None:
    room = await room_of(*folders, language="ja")
    try:
        assert room.part("stt").state is PartState.FAILED
        assert "en and fr" in room.part("stt").why
    finally:
        await room.aclose()


async def test_another_codec_is_refused_with_the_front_end(folders: tuple[Path, Path], tmp_path: Path) -> None:
    room = await room_of(folders[0], build_kyutai(tmp_path / "other", build_mimi(seed=9)))
    try:
        assert room.part("frontend").state is PartState.FAILED
        assert "codec" in room.part("frontend").why
    finally:
        await room.aclose()


async def test_the_doctor_tries_it_through_the_front_end(folders: tuple[Path, Path]) -> None:
    findings = await examine(settings_for(*folders), RealClock())
    (finding,) = [finding for finding in findings if finding.title == "Speech-to-text"]
    assert finding.fine
    assert 'Tried: heard "' in finding.text
