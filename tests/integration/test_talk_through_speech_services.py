"""A whole conversation whose ear and voice are services over the network, and break in the middle of it."""

import importlib.util
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from kame_core.clock import VirtualClock, run_virtual
from kame_core.engines import Engines
from kame_core.events import FinalTranscript, PartialTranscript, ResponseEnded, ResponseText, Trouble
from kame_core.frontend.reflex import reflex_host
from kame_core.options import ConversationOptions
from kame_core.registry import ConversationRegistry
from kame_core.stt.openai_realtime import OpenAIRealtimeSpeechToText
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.tts.fallback import FallbackTextToSpeech
from kame_core.tts.openai_speech import OpenAITextToSpeech
from kame_core.vad import SileroModel
from kame_core.workers import InlineWorkers
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.speech import say
from tests.support.speech_server import Fault, SpeechServer, speech_server
from tests.support.studio import Studio
from tests.support.transcription_server import Fault as HearingFault
from tests.support.transcription_server import ScriptedLanguage, TranscriptionServer, transcription_server

pytestmark = pytest.mark.skipif(importlib.util.find_spec("websockets") is None, reason="websockets is not installed")

QUESTION = "what is the capital of france"
ANSWER = "Paris is the capital of France. It lies on the river Seine, and two million people live there."
Scene = Callable[[Studio, SpeechServer, TranscriptionServer], Coroutine[Any, Any, None]]


def talk(scene: Scene) -> None:
    """Run a scene in virtual time."""

    async def main(clock: VirtualClock) -> None:
        ears = TranscriptionServer(ScriptedLanguage(QUESTION), settle_s=0.25)
        async with speech_server() as voices, transcription_server(ears):
            tts = FallbackTextToSpeech(
                OpenAITextToSpeech(voices.api), EspeakTextToSpeech(workers=InlineWorkers()), clock
            )
            engines = Engines(
                frontend=await reflex_host(tts, 2, clock=clock, parallel=4),
                stt=OpenAIRealtimeSpeechToText(ears.api),
                vad=SileroModel(),
                chat=ScriptedChatModel(Answer(ANSWER)),
                clock=clock,
                hearing=InlineWorkers(),
            )
            try:
                async with ConversationRegistry(engines) as registry:
                    conversation = await registry.open(ConversationOptions(opener=False))
                    await scene(Studio(conversation, registry, clock), voices, ears)
            finally:
                await engines.aclose()
            assert ears.open_sockets == 0

    run_virtual(main)


def answer_of(studio: Studio) -> str:
    """What the captions said the agent says."""
    return "".join(event.delta for event in studio.all(ResponseText)).strip()


def test_a_question_is_heard_and_answered() -> None:
    async def scene(studio: Studio, voices: SpeechServer, ears: TranscriptionServer) -> None:
        await studio.say(say(QUESTION))
        ended = await studio.listen_until(ResponseEnded)
        assert studio.one(FinalTranscript).text == QUESTION
        assert len({event.text for event in studio.all(PartialTranscript)}) >= 3
        assert answer_of(studio) == ANSWER
        assert ended.status == "completed"
        assert studio.all(Trouble) == []

    talk(scene)


def test_both_services_break_in_the_middle_and_the_talk_goes_on() -> None:
    async def scene(studio: Studio, voices: SpeechServer, ears: TranscriptionServer) -> None:
        ears.fault, ears.fault_count = HearingFault.DROP_ON_COMMIT, 1
        voices.fault = Fault.DROP_MIDWAY
        await studio.say(say(QUESTION))
        await studio.listen_until(ResponseEnded)
        assert studio.one(FinalTranscript).text == QUESTION
        assert answer_of(studio) == ANSWER
        assert len(ears.sessions) == 2
        assert studio.all(Trouble) == []

    talk(scene)


def test_both_services_are_gone_and_the_agent_still_speaks() -> None:
    async def scene(studio: Studio, voices: SpeechServer, ears: TranscriptionServer) -> None:
        await studio.say(say(QUESTION))
        await studio.listen_until(ResponseEnded)
        ears.fault, voices.fault = HearingFault.SERVER_ERROR, Fault.SERVER_ERROR
        for socket in list(ears.sockets):
            await socket.close()
        await studio.say(say(QUESTION))
        await studio.listen(12.0)
        assert {event.error.code for event in studio.all(Trouble)} == {"speech_api_failed"}
        ears.fault = HearingFault.NONE
        await studio.listen(3.0)
        before = len(studio.all(FinalTranscript))
        await studio.say(say(QUESTION))
        await studio.listen_until(ResponseEnded, count=len(studio.all(ResponseEnded)) + 1)
        assert studio.all(FinalTranscript)[before].text == QUESTION
        assert answer_of(studio).endswith(ANSWER)

    talk(scene)
