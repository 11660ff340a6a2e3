"""A server's engines, all real but the recogniser, which understands what the test says was said."""

from typing import TYPE_CHECKING

from app.engines import EngineRoom
from app.loaders import Loaders
from kame_core.vad import SileroModel
from tests.support.scripted_stt import ScriptedSpeechToText

if TYPE_CHECKING:
    from kame_core.stt.base import SpeechToText

QUESTION = "what is two plus three"


class ScriptedEar(Loaders):
    """Loads the scripted recogniser in place of a real one."""

    def __init__(self, stt: ScriptedSpeechToText | None = None) -> None:
        self.stt = stt or ScriptedSpeechToText(QUESTION)

    async def load_stt(self, room: EngineRoom) -> "tuple[SpeechToText, SileroModel]":
        room.own(self.stt.aclose)
        room.ready_part("stt", "scripted", why="This is a test.")
        return self.stt, await room.work(SileroModel)
