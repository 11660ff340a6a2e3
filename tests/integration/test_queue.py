"""The queue of a full server for clients that take waiting for an answer, not for an error."""

import aiohttp

from tests.support.rtc_client import RtcClient
from tests.support.server import NoEngines, running_server

CALLS = "/v1/realtime/calls?transport=echo"


async def test_who_prefers_to_wait_is_told_a_place_and_no_error() -> None:
    async with (
        running_server(loaders=NoEngines(), capacity=1) as server,
        aiohttp.ClientSession() as http,
        RtcClient() as talking,
        RtcClient() as waiting,
    ):
        await talking.connect_http(server.base_url, query="?transport=echo")
        offer = await waiting.offer()
        headers = {"Content-Type": "application/sdp", "Prefer": "wait=5, respond-async"}
        async with http.post(server.url(CALLS + "&ticket=new"), data=offer, headers=headers) as response:
            assert (response.status, response.headers["Preference-Applied"]) == (202, "respond-async")
            place = await response.json()
            assert (place["position"], place["waiting"], place["ready"]) == (1, 1, False)
            location = response.headers["Location"]
        async with http.get(server.url(location)) as response:
            assert await response.json() == place
        async with http.post(server.url(CALLS), data=offer, headers=headers) as response:
            assert response.status == 503  # without a ticket nobody waits
            assert response.headers["Retry-After"]
        headers.pop("Prefer")
        async with http.post(server.url(f"{CALLS}&ticket={place['ticket']}"), data=offer, headers=headers) as response:
            assert response.status == 503
            assert (await response.json())["error"]["kame"]["ticket"] == place["ticket"]
