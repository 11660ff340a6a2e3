"""The engine room: parts that load beside each other, fail alone, get better, and end together."""

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from app.engines import EngineRoom, Part, PartState
from app.loaders import Loaders
from app.places import Places
from kame_core.clock import RealClock
from kame_core.errors import UnavailableError
from kame_core.frontend.base import SlotOptions
from kame_core.frontend.echo import EchoEngine
from kame_core.frontend.host import LocalHost
from kame_core.options import Mode
from tests.support.scripted_ear import ScriptedEar
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.server import NoEngines, make_settings, running_server
from tests.support.slot_engines import RecordingEngine

if TYPE_CHECKING:
    from kame_core.backend.base import ChatModel
    from kame_core.engines import Engines
    from kame_core.frontend.base import FrontendHost
    from kame_core.tts.base import TextToSpeech


def room_with(loaders: Loaders, **settings: Any) -> EngineRoom:
    return EngineRoom(make_settings(**settings), RealClock(), loaders)


async def test_all_parts_load_and_conversations_can_be_held() -> None:
    room = room_with(ScriptedEar())
    seen: list[tuple[str, PartState]] = []
    room.listen(lambda part: seen.append((part.name, part.state)))
    with pytest.raises(UnavailableError) as early:
        room.require()
    assert early.value.code == "starting"
    assert early.value.retryable
    try:
        await room.load()
        assert room.ready
        assert room.require().frontend.traits.name == "reflex"
        assert {name for name, state in seen if state is PartState.READY} == {"frontend", "stt", "tts", "llm", "ice"}
        assert room.readiness()["ready"] is True
        assert room.described()["llm"]["name"] == "offline responder"
        assert "en-us" in room.voices
    finally:
        await room.aclose()
    with pytest.raises(UnavailableError):
        room.require()


async def test_one_failure_names_its_part_and_leaves_the_others() -> None:
    class NoBrain(ScriptedEar):
        async def load_llm(self, room: EngineRoom) -> "ChatModel":
            raise UnavailableError("The brain is out. Set KAME_LLM to offline.")

    room = room_with(NoBrain())
    try:
        await room.load()
        await asyncio.wait_for(room.settled(), 1)
        assert not room.ready
        assert room.transport_ready
        assert [part.name for part in room.parts if part.state is PartState.FAILED] == ["llm"]
        with pytest.raises(UnavailableError, match="The brain is out") as caught:
            room.require()
        assert caught.value.code == "engine_failed"
    finally:
        await room.aclose()


async def test_an_unforeseen_error_is_a_failed_part_too(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(NoEngines):
        async def load_llm(self, room: EngineRoom) -> "ChatModel":
            raise ZeroDivisionError

    room = room_with(Broken())
    await room.load()
    await room.aclose()
    assert room.part("llm").state is PartState.FAILED
    assert "ZeroDivisionError" in room.part("llm").why
    assert "loading llm failed" in caplog.text


async def test_a_missing_package_says_what_to_do() -> None:
    room = room_with(NoEngines())
    with pytest.raises(UnavailableError, match="pip install") as caught:
        await room.import_modules("no_such_package_anywhere")
    assert "no_such_package_anywhere" in caught.value.user_message
    await room.aclose()


async def test_a_better_ear_takes_over_while_calls_are_served() -> None:
    class Improving(ScriptedEar):
        async def improve_stt(self, room: EngineRoom, engines: "Engines") -> None:
            assert room.ready
            room.set("stt", progress=0.5)
            engines.stt = ScriptedSpeechToText("better")
            room.ready_part("stt", "better", why="It was fetched.")

    room = room_with(Improving())
    progress: list[float | None] = []
    room.listen(lambda part: progress.append(part.progress) if part.name == "stt" else None)
    try:
        await room.load()
        assert 0.5 in progress
        assert room.part("stt").choice == "better"
        assert progress[-1] is None
    finally:
        await room.aclose()


async def test_engines_end_youngest_first_and_one_that_fails_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    room = room_with(NoEngines())
    ended: list[str] = []

    async def end(name: str) -> None:
        ended.append(name)
        if name == "second":
            raise OSError

    for name in ("first", "second", "third"):
        room.own(lambda name=name: end(name))  # type: ignore[misc] # mypy cannot infer defaults of a lambda
    await room.aclose()
    await room.aclose()
    assert ended == ["third", "second", "first"]
    assert "did not close cleanly" in caplog.text


async def test_relay_only_without_a_relay_is_refused() -> None:
    room = room_with(NoEngines(), ice_transport_policy="relay", ice_servers="stun:127.0.0.1:3478")
    await room.load()
    await room.aclose()
    assert room.part("ice").state is PartState.FAILED
    assert "TURN" in room.part("ice").why


async def test_an_llm_needs_an_address_or_a_key() -> None:
    room = room_with(NoEngines(), llm="openai")
    with pytest.raises(UnavailableError, match="OPENAI_BASE_URL"):
        await Loaders().load_llm(room)
    await room.aclose()


async def test_a_named_llm_is_taken_without_asking_it() -> None:
    room = room_with(NoEngines(), llm="auto", openai_base_url="http://127.0.0.1:9/v1", llm_model="tiny")
    chat = await Loaders().load_llm(room)
    assert chat.name == "openai"
    assert room.part("llm").choice == "tiny at 127.0.0.1:9"
    await room.aclose()


class Beside(ScriptedEar):
    """A front end that takes turns itself, and places for the mode `cascaded` beside it."""

    async def load_frontend(self, room: EngineRoom, voice: "asyncio.Future[TextToSpeech | None]") -> "FrontendHost":
        host = LocalHost.threaded(EchoEngine(4))
        room.own(host.aclose)
        room.ready_part("frontend", "model", why=await self._cascade(room, voice, 2))
        return host


@pytest.mark.parametrize(("mode", "places"), [("tandem", 3), ("cascaded", 2)])
async def test_what_runs_beside_the_front_end_is_told_and_counted(mode: str, places: int) -> None:
    room = room_with(Beside(), mode=mode, capacity=3)
    try:
        await room.load()
        engines = room.require()
        assert "cascaded runs on reflex beside it, 2 calls at once" in str(room.readiness())
        assert [engines.host_of(mode).traits.name for mode in Mode] == ["echo", "echo", "reflex"]
        assert Places(room.settings, room, room.clock, lambda: 0, lambda: False).capacity == places
    finally:
        await room.aclose()


async def test_without_a_voice_the_model_serves_and_says_what_is_missing() -> None:
    class Mute(Beside):
        async def load_tts(self, room: EngineRoom) -> "TextToSpeech":
            raise UnavailableError("No voice in this test.")

    room = room_with(Mute())
    try:
        await room.load()
        assert room.ready
        assert "cascaded is not to be had" in room.part("frontend").why
        with pytest.raises(UnavailableError) as caught:
            room.require().host_of(Mode.CASCADED)
        assert caught.value.code == "mode_unavailable"
        assert room.require().host_of(Mode.TANDEM).capacity == 4
    finally:
        await room.aclose()


async def test_a_server_whose_front_end_fails_at_everything_says_so() -> None:
    def lose_the_gpu(_tick: int) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    class Losing(ScriptedEar):
        async def load_frontend(self, room: EngineRoom, voice: "asyncio.Future[TextToSpeech | None]") -> "FrontendHost":
            host = LocalHost.threaded(RecordingEngine(before_step=lose_the_gpu))
            room.own(host.aclose)
            room.ready_part("frontend", "model", why="")
            return host

    async with running_server(loaders=Losing()) as server, aiohttp.ClientSession() as http:

        async def status(path: str) -> int:
            async with http.get(server.url(path)) as response:
                return response.status

        host = server.room.require().frontend
        assert [await status(path) for path in ("/healthz", "/readyz")] == [200, 200]
        for _ in range(3):
            lease = await host.lease(SlotOptions())
            async with asyncio.timeout(5):
                assert (await anext(lease.outputs())).fault is not None
            await lease.aclose()
        assert [await status(path) for path in ("/healthz", "/readyz")] == [503, 503]
        (part,) = [part for part in server.room.parts if part.state is PartState.FAILED]
        assert (part.name, part.choice) == ("frontend", "model")
        assert "Start the server again" in part.why


def test_a_part_as_line_and_json() -> None:
    part = Part("stt", "Speech-to-text", "pocketsphinx", PartState.READY, 0.25, "Because.", "Do more.")
    assert part.as_line() == "  Speech-to-text   pocketsphinx                 ready 25%  Because."
    assert part.as_json()["note"] == "Because. Do more."
    assert part.as_json()["progress"] == 0.25


@pytest.mark.parametrize(
    ("ours", "theirs"), [("kame_core.backend.llm", "anyio._backends._asyncio"), ("kame_core.prosody", "numpy.ma")]
)
def test_what_libraries_would_import_in_the_middle_of_a_call_is_there_before(ours: str, theirs: str) -> None:
    """Where Python may not keep compiled modules, such an import stops everything for 0.2 s."""
    code = f"import sys, {ours}; sys.exit({theirs!r} not in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
