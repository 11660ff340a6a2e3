"""The embedded engines in one call, for scripts and notebooks: no server, no key, no download, no GPU."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np

from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from kame_core.backend.offline import OfflineResponder
from kame_core.clock import RealClock
from kame_core.conversation import Conversation
from kame_core.engines import Engines
from kame_core.events import ResponseEnded
from kame_core.frontend.reflex import reflex_host
from kame_core.stt.pocketsphinx import PocketsphinxSpeechToText
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.vad import SileroModel
from kame_core.wording import EnglishWording
from kame_core.workers import ThreadWorkers


@asynccontextmanager
async def embedded_engines(capacity: int = 1) -> AsyncIterator[Engines]:
    """Reflex front end, pocketsphinx, espeak-ng and the offline responder, ready to be talked to."""
    clock = RealClock()
    responder = OfflineResponder()
    hearing = ThreadWorkers("hearing")
    await hearing.run(responder.load)
    engines = Engines(
        frontend=await reflex_host(EspeakTextToSpeech(), capacity),
        stt=PocketsphinxSpeechToText(),
        vad=SileroModel(),
        chat=responder,
        clock=clock,
        hearing=hearing,
        ending=await hearing.run(EnglishWording),
    )
    try:
        yield engines
    finally:
        await engines.aclose()


async def talk(conversation: Conversation, sound: Samples, patience_s: float = 10.0) -> Samples:
    """Say something to a conversation in real time and record what it says.

    Args:
        sound: float32 [n] mono 24 kHz.
        patience_s: how long to wait for the answer's end after the sound's.

    Returns:
        The agent's voice on the same time line, from the sound's first sample to the end of the answer.
    """
    clock = conversation.clock
    start_s = clock.now()
    pieces: list[Samples] = []
    conversation.playout.attach()
    answered = False
    try:
        async with conversation.subscribe() as events:
            limit = sound.size + round(patience_s * SAMPLE_RATE_HZ)
            for position in range(0, limit, PIECE_SAMPLES):
                await clock.sleep_until(start_s + position / SAMPLE_RATE_HZ)
                piece = sound[position : position + PIECE_SAMPLES]
                conversation.push_audio(np.concatenate([piece, silence(PIECE_SAMPLES - piece.size)]))
                pieces.append(conversation.playout.read(PIECE_SAMPLES))
                for event in events.waiting():
                    answered |= isinstance(event, ResponseEnded) and event.status == "completed"
                if conversation.closed or (answered and position > sound.size):
                    break
    finally:
        conversation.playout.detach()
    return np.concatenate(pieces)
