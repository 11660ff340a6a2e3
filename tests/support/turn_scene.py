"""The rules of turn-taking alone, fed as the ear feeds them (a window every 32 ms)."""

from dataclasses import dataclass, field

from kame_core.options import TurnDetection
from kame_core.prosody import NOTHING_KNOWN, Prosody
from kame_core.turn_decisions import Decision
from kame_core.turns import Turns


@dataclass
class Scene:
    turns: Turns
    now_ms: int = 0
    silence_ms: int = 0
    voice: Prosody = NOTHING_KNOWN
    log: list[tuple[int, Decision]] = field(default_factory=list)

    def speak(self, duration_ms: int) -> None:
        self._pass(duration_ms, voiced=True)

    def hush(self, duration_ms: int) -> None:
        self._pass(duration_ms, voiced=False)

    def _pass(self, duration_ms: int, *, voiced: bool) -> None:
        for _ in range(duration_ms // 32):
            self.now_ms += 32
            self.silence_ms = 0 if voiced else self.silence_ms + 32
            speaking = voiced or self.silence_ms <= 64
            self._note(self.turns.ear(self.now_ms, speaking=speaking, silence_ms=self.silence_ms, voice=self.voice))

    def read(self, text: str, *, settled: bool = False) -> None:
        self._note(self.turns.transcript(self.now_ms, text, settled=settled))

    def _note(self, decisions: list[Decision]) -> None:
        self.log += [(self.now_ms, decision) for decision in decisions]

    def kinds(self) -> list[type]:
        return [type(decision) for _, decision in self.log]

    def at(self, kind: type) -> int:
        return next(at_ms for at_ms, decision in self.log if isinstance(decision, kind))

    def last(self, kind: type) -> Decision:
        return next(decision for _, decision in reversed(self.log) if isinstance(decision, kind))


ADAPTIVE = TurnDetection()


def scene(detection: TurnDetection | None = ADAPTIVE, *, observes: bool = False) -> Scene:
    return Scene(Turns(detection, observes=observes))


def over_an_answer(detection: TurnDetection | None = ADAPTIVE) -> Scene:
    """In the midst of a long answer, when an echo canceller has long converged."""
    talk = scene(detection)
    talk.turns.agent(True)
    for _ in range(12):
        talk.hush(448)
        talk.turns.agent_says(talk.now_ms, " blah")
    return talk
