"""One spoken question in one mode: asked, listened to, and written down as a row."""

from dataclasses import dataclass

import numpy as np

from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from kame_core.compare.known_speech import KnownSpeechToText, SpokenWord
from kame_core.conversation import Conversation
from kame_core.engines import Engines
from kame_core.events import (
    CandidateAdopted,
    CandidateFinished,
    CandidateText,
    Event,
    FinalTranscript,
    ResponseEnded,
    Spent,
    TurnTiming,
)
from kame_core.options import Mode
from kame_core.subscription import Subscription
from kame_core.tts.base import TextToSpeech, WordMark

AUDIBLE = 0.01
_LEAD_S = 0.6
_ANSWER_DEADLINE_S = 25.0
_QUIET_S = 0.5
"""After an answer, before the next turn is asked."""
_FALLEN_SILENT_S = 3.0
"""A front end that takes turns itself may go on after a pause; after so long a silence it has said its answer."""
_SPEECHLESS_S = 10.0
"""... and after this it has nothing to say."""


@dataclass(frozen=True, slots=True)
class SpokenTurn:
    """A turn of the user as sound."""

    text: str
    sound: Samples
    """float32 [n] mono 24 kHz, without silence at the ends."""
    words: tuple[tuple[str, float], ...]
    """Each with the time of its end, in seconds from the first sample."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one turn."""

    mode: str
    category: str
    question: str
    understood: str
    answer: str
    """What was heard; empty: nothing."""
    oracle: str
    """The text the front end was given last; empty: none."""
    first_sound_ms: float | None
    """From the end of the question's sound to the first sound of the agent, as a listener hears it."""
    timing: TurnTiming | None
    """The engine's own time line."""
    score: float | None = None
    """0 or 1 for exact answers, 1 to 10 of a judge; None: not judged."""
    oracle_score: float | None = None
    """The same for the oracle's text as it was written."""


async def synthesise(tts: TextToSpeech, text: str, voice: str = "") -> SpokenTurn:
    """Let a voice say the user's turn.

    Raises:
        TextToSpeechError: it cannot.
    """
    pieces: list[Samples] = []
    marks: list[WordMark] = []
    async for chunk in tts.speak(text, voice):
        pieces.append(chunk.pcm)
        marks += chunk.marks
    sound = np.concatenate(pieces) if pieces else silence(0)
    loud = np.flatnonzero(np.abs(sound) > AUDIBLE)
    if not loud.size:
        return SpokenTurn(text, silence(0), ())
    first, last = int(loud[0]), int(loud[-1]) + 1
    ends = [mark.start_samples for mark in marks[1:]] + [last]
    words = tuple(
        (text[mark.start_char : mark.end_char].strip(".,?!"), (min(end, last) - first) / SAMPLE_RATE_HZ)
        for mark, end in zip(marks, ends, strict=True)
    )
    return SpokenTurn(text, sound[first:last], words)


class Listener:
    """Sends a user's sound into a conversation, 20 ms at a time, and hears what comes back.

    Use as an async context manager: it is attached to the conversation meanwhile.
    """

    def __init__(self, engines: Engines, conversation: Conversation) -> None:
        self._conversation = conversation
        self._clock = engines.clock
        self._stt = engines.stt
        self._host_of = engines.host_of
        self._events: Subscription = conversation.subscribe()
        self._next_s = self._clock.now()
        self.spent: Spent | None = None

    async def __aenter__(self) -> "Listener":
        self._conversation.playout.attach()
        await self._pass(silence(round(_LEAD_S * SAMPLE_RATE_HZ)))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._conversation.playout.detach()
        self._events.close()

    async def ask(self, mode: Mode, category: str, turn: SpokenTurn) -> Row:
        """Say a turn and wait for the end of its answer."""
        takes_turns = self._host_of(mode).traits.takes_turns
        said_s = self._next_s
        if isinstance(self._stt, KnownSpeechToText):
            self._stt.hears([SpokenWord(word, said_s + end_s) for word, end_s in turn.words])
        events, _ = await self._pass(turn.sound)
        speech_end_s = said_s + turn.sound.size / SAMPLE_RATE_HZ
        deadline_s = speech_end_s + _ANSWER_DEADLINE_S
        first_sound_s: float | None = None
        last_sound_s = speech_end_s
        answer: list[Event] = []
        while self._next_s < deadline_s and not self._conversation.closed:
            more, loud_s = await self._pass(silence(PIECE_SAMPLES))
            answer += more
            last_sound_s = last_sound_s if loud_s is None else loud_s
            first_sound_s = loud_s if first_sound_s is None else first_sound_s
            silent_s = self._next_s - last_sound_s
            patience_s = _FALLEN_SILENT_S if _answered(answer) else _SPEECHLESS_S
            if silent_s >= patience_s if takes_turns else _answered(events + answer):
                break
        events += answer
        more, _ = await self._pass(silence(round(_QUIET_S * SAMPLE_RATE_HZ)))
        events += more
        self.spent = next((event for event in reversed(events) if isinstance(event, Spent)), self.spent)
        return Row(
            mode.value,
            category,
            turn.text,
            " ".join(event.text for event in events if isinstance(event, FinalTranscript)),
            " ".join(event.text for event in events if isinstance(event, ResponseEnded) and event.text),
            _last_oracle(events),
            None if first_sound_s is None else round((first_sound_s - speech_end_s) * 1000, 1),
            next((event for event in reversed(events) if isinstance(event, TurnTiming)), None),
        )

    async def _pass(self, sound: Samples) -> tuple[list[Event], float | None]:
        """Send sound in real time; returns the events meanwhile and when the agent was first audible."""
        first_s: float | None = None
        events: list[Event] = []
        for begin in range(0, sound.size, PIECE_SAMPLES):
            await self._clock.sleep_until(self._next_s)
            piece = sound[begin : begin + PIECE_SAMPLES]
            self._conversation.push_audio(np.concatenate([piece, silence(PIECE_SAMPLES - piece.size)]))
            heard = self._conversation.playout.read(PIECE_SAMPLES)
            loud = np.flatnonzero(np.abs(heard) > AUDIBLE)
            if loud.size and first_s is None:
                first_s = self._next_s + int(loud[0]) / SAMPLE_RATE_HZ
            self._next_s += PIECE_SAMPLES / SAMPLE_RATE_HZ
            events += self._events.waiting()
        return events, first_s


def _answered(events: list[Event]) -> bool:
    return any(isinstance(event, ResponseEnded) and event.status != "cancelled" for event in events)


def _last_oracle(events: list[Event]) -> str:
    """The text of the candidate that was adopted last."""
    adopted = next((event.candidate_id for event in reversed(events) if isinstance(event, CandidateAdopted)), None)
    whole = [event.text for event in events if isinstance(event, CandidateFinished) and event.candidate_id == adopted]
    if whole:
        return whole[-1].strip()
    parts = [event.delta for event in events if isinstance(event, CandidateText) and event.candidate_id == adopted]
    return "".join(parts).strip()
