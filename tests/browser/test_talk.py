"""A person talks to the page: real Chromium, real sound both ways, judged from the page's side."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kame_core.audio import SAMPLE_RATE_HZ, Samples, level_dbfs
from tests.support.chromium import CAPTURE_RATE_HZ, talk_page
from tests.support.held_up import HeldUp
from tests.support.page_speech import speak, spoken, spoken_page
from tests.support.repeats import HELD_UP_MS
from tests.support.server import ServerProcess, no_calls, open_calls
from tests.support.speech import microphone
from tests.support.understanding import CAPITALS, understood

pytestmark = pytest.mark.asyncio(loop_scope="session")  # as the servers


def longest_hole_ms(sound: Samples, level: float = 1e-4) -> float:
    """Longest stretch of digital near-silence between the first and the last sound."""
    loud = np.flatnonzero(np.abs(sound) > level)
    return float(np.max(np.diff(loud))) / CAPTURE_RATE_HZ * 1000 if loud.size > 1 else 0.0


def said_by(state: dict[str, Any], who: str) -> str:
    """The captions of one side, joined."""
    return " ".join(caption["text"] for caption in state["captions"] if caption["who"] == who)


@pytest.mark.alone
async def test_a_spoken_question_is_answered_aloud(server: ServerProcess, tmp_path: Path, held_up: HeldUp) -> None:
    async with spoken_page(server.base_url, tmp_path) as talk:
        await talk.talk()
        await speak(talk, "what is the capital of france")
        state = await talk.until(
            "s.timing !== null && s.captions.some((c) => c.who === 'agent' && c.final && !c.interrupted)", 25
        )
        await asyncio.sleep(0.5)
        asked = [caption["text"] for caption in state["captions"] if caption["who"] == "you" and caption["final"]]
        if held_up.worst_ms < HELD_UP_MS:  # else what is heard has holes, and times are not the server's own
            assert asked[0].lower().startswith("what is the capital of france")
            assert 0 < state["timing"]["first_audio_ms"] < 1500
        assert "Paris is the capital of France" in said_by(state, "agent")
        assert any(candidate["state"] in ("adopted", "finished") for candidate in state["candidates"])
        sound = await talk.sound()
        assert level_dbfs(sound) > -45
        assert {"capital", "france"} <= set(understood(sound, CAPITALS))
        stats = await talk.stats()
        audible_concealment = stats["concealedSamples"] - stats["silentConcealedSamples"]
        assert stats["packetsLost"] == 0
        assert 1000 * audible_concealment / 48_000 < 60 + 2 * held_up.worst_ms, held_up.worst_ms
        assert talk.errors == []


@pytest.mark.alone
async def test_the_sound_check_says_back_what_it_hears_without_holes(
    server: ServerProcess, tmp_path: Path, held_up: HeldUp
) -> None:
    seconds = np.arange(30 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    # A steady voice-like buzz; browsers' noise suppression would take a pure tone away.
    buzz = sum(np.sin(2 * np.pi * 140 * k * seconds) / k for k in range(1, 12)) * (
        0.6 + 0.4 * np.sin(2 * np.pi * 3 * seconds)
    )
    async with talk_page(server.base_url, microphone((0.1 * buzz).astype(np.float32)), tmp_path) as talk:
        await talk.until("s.ready", 60)
        await talk.page.get_by_test_id("settings-open").click()
        await talk.page.get_by_test_id("sound-check").click()
        await talk.until("s.callId !== null", 15)
        await talk.page.wait_for_function(f"128 * captured.blocks.length > {4 * CAPTURE_RATE_HZ}")
        sound = await talk.sound()
        middle = sound[2 * CAPTURE_RATE_HZ : 4 * CAPTURE_RATE_HZ]
        assert level_dbfs(middle) > -45
        assert longest_hole_ms(middle) < 60 + 2 * held_up.worst_ms, held_up.worst_ms


async def test_speaking_over_the_agent_stops_it(server_with_llm: ServerProcess, tmp_path: Path) -> None:
    async with spoken_page(server_with_llm.base_url, tmp_path) as talk:
        await talk.talk()
        await speak(talk, "what is the capital of france")
        await talk.until("s.captions.some((c) => c.who === 'agent' && c.text.includes('oceans'))", 25)
        await speak(talk, "stop what about the capital of spain")
        state = await talk.until("s.captions.some((c) => c.who === 'agent' && c.interrupted)", 25)
        cut = next(caption for caption in state["captions"] if caption["interrupted"])
        assert len(cut["text"]) > 0
        assert "by far" not in cut["text"]
        state = await talk.until("s.captions.filter((c) => c.who === 'you' && c.final).length >= 2", 15)
        assert talk.errors == []


async def test_a_backchannel_does_not_stop_it(server_with_llm: ServerProcess, tmp_path: Path) -> None:
    async with spoken_page(server_with_llm.base_url, tmp_path) as talk:
        await talk.page.evaluate(FOLLOW)
        await talk.talk()
        await speak(talk, "what is the capital of france")
        await talk.until("s.captions.some((c) => c.who === 'agent' && c.text.includes('oceans'))", 25)
        await speak(talk, "aha")
        state = await talk.until(
            "s.captions.some((c) => c.who === 'agent' && c.final && c.text.includes('by far'))", 40
        )
        assert not any(caption["interrupted"] for caption in state["captions"])
        await talk.until("s.state === 'listening'", 5)
        seen = await talk.page.evaluate("followed")
        heard_s = [blocks * 128 / CAPTURE_RATE_HZ for blocks, _ in seen]
        shown = np.array([characters for _, characters in seen])
        loud = np.flatnonzero(np.abs(await talk.sound()) > 0.02) / CAPTURE_RATE_HZ
        begin_s, end_s = loud[0], loud[-1]
        # In the middle of the answer, at whatever of it has been heard, about as much of it stands in the captions.
        for part in (0.25, 0.5, 0.75):
            now = int(np.searchsorted(heard_s, begin_s + part * (end_s - begin_s)))
            assert abs(shown[now] / shown[-1] - part) < 0.15, (part, shown[now], shown[-1])
        assert talk.errors == []


FOLLOW = """() => {
  window.followed = [];
  setInterval(() => {
    const said = window.kameState().captions.filter((one) => one.who === 'agent').map((one) => one.text).join('');
    window.followed.push([window.captured.blocks.length, said.length]);
  }, 50);
}"""
"""How much had been heard, in blocks of 128 samples, and how many characters were shown, again and again."""


async def test_muted_nothing_is_heard_and_unmuted_it_is(server: ServerProcess, tmp_path: Path) -> None:
    async with spoken_page(server.base_url, tmp_path) as talk:
        await talk.talk()
        await talk.page.get_by_test_id("mute").click()
        assert (await talk.state())["muted"]
        await speak(talk, "what is the capital of france")
        await spoken(talk)
        await asyncio.sleep(1.5)
        assert (await talk.state())["captions"] == []
        await talk.page.get_by_test_id("mute").click()
        await speak(talk, "what is two plus three")
        state = await talk.until("s.captions.some((c) => c.who === 'you' && c.final)", 20)
        assert "capital" not in state["captions"][0]["text"]


async def test_a_closed_tab_frees_the_slot(server: ServerProcess, tmp_path: Path) -> None:
    async with talk_page(server.base_url, microphone(1.0), tmp_path) as talk:
        await talk.talk()
        assert await open_calls(server.base_url) == 1
        await talk.page.close(run_before_unload=True)
        await no_calls(server.base_url)


async def test_a_typed_question_is_answered_and_the_call_ends_on_demand(server: ServerProcess, tmp_path: Path) -> None:
    async with talk_page(server.base_url, microphone(1.0), tmp_path) as talk:
        await talk.talk()
        await talk.page.get_by_test_id("message").fill("what is seven times eight")
        await talk.page.get_by_test_id("send").click()
        state = await talk.until("s.captions.some((c) => c.who === 'agent' && c.final)", 15)
        assert (
            "fifty six"
            in " ".join(caption["text"] for caption in state["captions"] if caption["who"] == "agent").lower()
        )
        await talk.page.keyboard.press("Escape")
        await talk.until("s.state === 'ended' || s.state === 'idle'", 5)
        await no_calls(server.base_url)
        # What was said can be read until another call stands.
        await talk.page.evaluate(
            """() => { navigator.mediaDevices.getUserMedia =
                () => Promise.reject(new DOMException('As the test wants it', 'NotFoundError')); }"""
        )
        await talk.page.get_by_test_id("talk").click()
        failed = await talk.until("s.error?.code === 'microphone_missing'", 5)
        assert failed["captions"] == state["captions"]


async def test_a_refused_microphone_is_explained(server: ServerProcess, tmp_path: Path) -> None:
    async with talk_page(server.base_url, microphone(1.0), tmp_path, arguments=("--deny-permission-prompts",)) as talk:
        await talk.page.evaluate(
            """() => { navigator.mediaDevices.getUserMedia =
                () => Promise.reject(new DOMException('As the test wants it', window.refusal)); }"""
        )
        await talk.until("s.ready", 60)
        for refusal, code, button in (
            ("NotAllowedError", "microphone_denied", "talk"),
            ("NotFoundError", "microphone_missing", "trouble-retry"),
            ("NotReadableError", "microphone_busy", "trouble-retry"),
        ):
            await talk.page.evaluate("(name) => { window.refusal = name; }", refusal)
            await talk.page.get_by_test_id(button).click()
            state = await talk.until(f"s.error?.code === '{code}'", 5)
            assert "microphone" in (state["error"]["title"] + state["error"]["text"]).lower()
        assert await open_calls(server.base_url) == 0


async def test_an_insecure_address_is_explained(server: ServerProcess, tmp_path: Path) -> None:
    async with talk_page(server.base_url, microphone(1.0), tmp_path) as talk:
        await talk.page.add_init_script("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
        await talk.page.add_init_script("Object.defineProperty(window, 'isSecureContext', {value: false})")
        await talk.page.reload()
        await talk.until("s.ready", 60)
        await talk.page.get_by_test_id("talk").click()
        state = await talk.until("s.error !== null", 5)
        assert "https" in (state["error"]["title"] + state["error"]["text"]).lower()
