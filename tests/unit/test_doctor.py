"""The doctor: what it tries, what it says, and whether it thinks the server could serve."""

import socket
from pathlib import Path

import pytest

from app.doctor import Finding, diagnose, examine, table
from app.pages import Pages
from kame_core.clock import RealClock
from tests.support.openai_server import Behaviour, Fault, Messages, OpenAIServer
from tests.support.scripted_ear import QUESTION, ScriptedEar
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.server import NoEngines, make_settings


async def test_it_speaks_hears_and_asks() -> None:
    findings = {one.title: one for one in await examine(make_settings(), RealClock(), ScriptedEar())}
    assert list(findings) == [
        "Address",
        "Page",
        "Front end",
        "Speech-to-text",
        "Text-to-speech",
        "Language model",
        "Network",
    ]
    assert all(one.fine for one in findings.values()), findings
    assert "s of speech made in" in findings["Text-to-speech"].text
    assert f'heard "{QUESTION}"' in findings["Speech-to-text"].text
    assert "five" in findings["Language model"].text
    assert "OPENAI_API_KEY" in findings["Language model"].better


async def test_a_deaf_recogniser_is_found() -> None:
    findings = await examine(make_settings(), RealClock(), ScriptedEar(ScriptedSpeechToText("")))
    (ear,) = [one for one in findings if one.title == "Speech-to-text"]
    assert not ear.fine
    assert "understood nothing" in ear.text


async def brain(llm: OpenAIServer, **settings: str) -> Finding:
    named = make_settings(llm="openai", openai_base_url=llm.base_url, openai_api_key="k", llm_model="big", **settings)
    (found,) = [one for one in await examine(named, RealClock(), ScriptedEar()) if one.title == "Language model"]
    return found


async def test_a_wrong_key_is_found_where_another_model_would_answer() -> None:
    async with OpenAIServer(behaviour=Behaviour(fault=Fault.UNAUTHORIZED)) as llm:
        found = await brain(llm, llm_fallbacks="offline")
    assert not found.fine
    assert "key" in found.text
    assert not found.better


async def test_models_beside_the_first_are_asked_too() -> None:
    def answer(messages: Messages) -> str:
        llm.behaviour = Behaviour(fault=Fault.NOT_FOUND)  # for all but the first
        return "It is five."

    async with OpenAIServer(answer) as llm:
        found = await brain(llm, llm_early_model="small", llm_fallbacks="other,offline")
    assert found.fine
    assert "It is five." in found.text
    assert "small does not answer: " in found.better
    assert "other does not answer: " in found.better
    assert "offline" not in found.better
    assert [request.body["model"] for request in llm.requests] == ["big", "small", "other"]


async def test_it_says_that_the_server_could_not_serve(capsys: pytest.CaptureFixture[str]) -> None:
    assert await diagnose(make_settings(), NoEngines()) == 1
    printed = capsys.readouterr().out
    assert "BAD  Text-to-speech" in printed
    assert "No voice in this test." in printed
    assert "could not serve as it is set: look at front end, speech-to-text, text-to-speech, language model." in printed


async def test_it_says_that_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert await diagnose(make_settings(), ScriptedEar()) == 0
    printed = capsys.readouterr().out
    assert "All is well." in printed
    assert "BAD" not in printed


async def test_a_taken_port_is_a_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = make_settings(port=other.getsockname()[1])
        address = (await examine(settings, RealClock(), NoEngines()))[0]
    assert not address.fine
    assert "in use by another program" in address.text


async def test_an_open_door_is_pointed_out() -> None:
    address = (await examine(make_settings(host="0.0.0.0"), RealClock(), NoEngines()))[0]
    assert address.fine
    assert "KAME_API_KEY" in address.better
    address = (await examine(make_settings(host="0.0.0.0", api_key="k" * 16), RealClock(), NoEngines()))[0]
    assert address.better == ""


async def test_missing_page_files_are_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class EmptyPages(Pages):
        def __init__(self, version: str, examples: tuple[str, ...]) -> None:
            super().__init__(version, examples, root=tmp_path)

    monkeypatch.setattr("app.doctor.Pages", EmptyPages)
    page = (await examine(make_settings(), RealClock(), NoEngines()))[1]
    assert (page.title, page.fine) == ("Page", False)


def test_the_table_wraps_and_marks() -> None:
    findings = [Finding("Network", "direct", True, "word " * 30, "Do it."), Finding("Page", "-", False, "Gone.")]
    lines = table(findings, width=60).splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[0] == "ok   Network          direct"
    assert "Better: Do it." in lines[-3]
    assert lines[-2].startswith("BAD  Page")
