"""`/metrics` of a real server: after a real call, and who may read it."""

from typing import Any

import aiohttp
import pytest

from tests.support.rtc_client import CallRefusedError, RtcClient
from tests.support.scripted_ear import ScriptedEar
from tests.support.server import NoEngines, RunningServer, running_server
from tests.support.speech import say


async def scrape(server: RunningServer, **headers: str) -> dict[str, float]:
    """Values by name and labels, as they are written."""
    async with aiohttp.ClientSession() as http, http.get(server.url("/metrics"), headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        lines = (await response.text()).splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


async def test_a_call_with_an_answer_is_measured() -> None:
    async with running_server(loaders=ScriptedEar()) as server:
        async with RtcClient() as client:
            await client.connect_http(server.base_url)
            client.say(say("What is two plus three?"))
            await client.answered()
            await client.event("kame.turn.timing", 10)
            during = await scrape(server)
            assert await client.delete() == 200
        await server.calls.idle()
        after = await scrape(server)
    assert during["kame_calls_open"] == during["kame_conversations"] == 1
    assert during["kame_calls_capacity"] == 8
    assert during['kame_calls_opened_total{kind="conversation"}'] == 1
    assert during['kame_turn_latency_seconds_count{mode="tandem",moment="first_audio"}'] == 1
    assert during['kame_turn_latency_seconds_count{mode="tandem",moment="first_oracle_audio"}'] == 1
    assert during['kame_user_turns_total{kind="turn"}'] == 1
    assert during['kame_candidates_total{outcome="adopted"}'] >= 1
    assert during['kame_ticks_total{frontend="reflex"}'] > 10
    assert 0 < during['kame_tick_step_seconds{frontend="reflex",quantile="0.99"}'] < 1
    assert during["kame_loop_lag_seconds_count"] > 5
    assert during['kame_part_ready{part="stt",choice="scripted"}'] == 1
    assert after["kame_calls_open"] == 0
    assert after['kame_calls_ended_total{reason="hangup"}'] == 1
    assert after["kame_call_seconds_count"] == 1
    assert after['kame_rtp_packets_total{direction="in"}'] > 50
    assert after['kame_rtp_packets_total{direction="out"}'] > 50
    assert after["kame_voice_gap_seconds_count"] == 1
    assert not [name for name in after if "two" in name]


async def test_refused_calls_are_counted_by_their_code() -> None:
    async with running_server(loaders=NoEngines()) as server, RtcClient() as client:
        with pytest.raises(CallRefusedError):
            await client.connect_http(server.base_url)
        assert (await scrape(server))['kame_calls_refused_total{code="engine_failed"}'] == 1


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"metrics_key": "k" * 16}, "k" * 16),
        ({"metrics_key": "k" * 16, "api_key": "s" * 16}, "k" * 16),
        ({"api_key": "s" * 16}, "s" * 16),
    ],
)
async def test_with_a_key_only_who_has_it_may_read(settings: dict[str, Any], key: str) -> None:
    async with running_server(loaders=NoEngines(), load=False, **settings) as server, aiohttp.ClientSession() as http:
        for given in ("", "Bearer wrong", f"Bearer {key}x", f"Basic {key}", "Bearer ö"):
            async with http.get(server.url("/metrics"), headers={"Authorization": given}) as response:
                assert response.status == 401
                assert "kame_" not in await response.text()
        assert "kame_calls_open" in await scrape(server, Authorization=f"Bearer {key}")
