"""Sound in messages, for transports without an audio track: where it goes, and where the agent's voice belongs among
the messages that tell of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from app.protocol import server_events as wire
from app.protocol.server_events import Outgoing
from app.protocol.sound_formats import PCM, Pcm, SoundWriter
from kame_core import events
from kame_core.audio import FRAME_S, SAMPLE_RATE_HZ, Samples

MAX_SOUND_MESSAGE_CHARS = 1024 * 1024
"""Longest `input_audio_buffer.append`, about 16 s; reading a longer one would hold up the loop."""
_ITEMS_MOST = 16
_FRAME_MS = round(FRAME_S * 1000)

V = TypeVar("V")


class SoundInput(Protocol):
    """Where the sound of a client's messages goes."""

    def push(self, pcm: Pcm) -> None:
        """Sound, int16 [n] mono 24 kHz, behind what came before.

        Raises:
            InvalidRequestError: `input_audio_buffer_full`.
        """

    def after(self, action: Callable[[], None], *, settled: bool) -> None:
        """Do this when all that was pushed before has been handed on; `settled`: and has had time to be understood.

        Raises:
            InvalidRequestError: `input_audio_buffer_full`; too many actions wait.
        """

    def clear(self) -> None:
        """Forget what was pushed behind the last action and was not handed on yet."""


def may_hold_sound(raw: str) -> bool:
    """Whether a long message can be read quickly: one flat object of a few strings, as those with sound are."""
    return len(raw) <= MAX_SOUND_MESSAGE_CHARS and raw.count("{") == 1 and "[" not in raw and raw.count('"') <= 32


@dataclass(slots=True)
class _Spoken:
    """One agent's item: how much of its sound was sent, and where in it words begin."""

    sent_samples: int = 0
    last_samples: int = 0
    """Length of the newest piece."""
    words: list[tuple[int, str]] = field(default_factory=list)
    """Position in ms, and text."""


class VoiceInMessages:
    """Puts the agent's voice among the messages that tell of it, in the order in which clients need them.

    What is read from the voice reaches `speak` at once, the events that reading caused a moment later; so the newest
    piece is kept until it is known whether a response began in it. A user who speaks beside the agent without taking
    the turn is not told of before the agent's voice stops: OpenAI's clients take `speech_started` for an interruption,
    and would stop playing.

    Args:
        kind: the format's type.
    """

    def __init__(self, kind: str = PCM) -> None:
        self._writer = SoundWriter(kind)
        self._ids: tuple[str, str] | None = None
        self._newest: Samples | None = None
        self._items: dict[str, _Spoken] = {}
        self._response_items: dict[str, str] = {}
        self._untold: dict[str, list[Outgoing]] = {}

    def set_format(self, kind: str) -> None:
        """Code sound so from now on."""
        if kind != self._writer.kind:
            self._writer = SoundWriter(kind)

    @property
    def open(self) -> bool:
        """A response is being spoken."""
        return self._ids is not None

    def speak(self, samples: Samples) -> list[Outgoing]:
        """The voice that was just read, float32 [n] mono 24 kHz; none of it is sent between responses."""
        self._newest = samples
        return self._delta(samples)

    def told(self, event: events.Event, messages: list[Outgoing]) -> list[Outgoing]:
        """The messages of an event, with sound and without what must wait."""
        match event:
            case events.ResponseStarted():
                _bounded(self._response_items, event.response_id, event.item_id)
            case events.VoiceStarted() if event.response_id in self._response_items:
                return [*messages, *self._begin(event.response_id, self._response_items[event.response_id])]
            case events.ResponseText():
                first = [] if self.open else self._begin(event.response_id, event.item_id)  # of a resumed conversation
                self._note_word(event)
                return [*first, *messages]
            case events.VoiceStopped() if self._ids is not None and self._ids[0] == event.response_id:
                self._ids = None
                untold = [message for held in self._untold.values() for message in held]
                self._untold.clear()
                return [*untold, *messages]
            case events.SpeechStarted() if self.open:
                _bounded(self._untold, event.item_id, messages)
                return []
            case events.SpeechStopped() | events.UserTurnDropped() if event.item_id in self._untold:
                if isinstance(event, events.UserTurnDropped):
                    del self._untold[event.item_id]
                else:
                    self._untold[event.item_id] = []
                return [m for m in messages if m.payload["type"] != "input_audio_buffer.speech_stopped"]
        return messages

    def heard(self, item_id: str, audio_end_ms: int) -> str | None:
        """What of an agent's item lies before this place in its sound; None: not known (any more)."""
        spoken = self._items.get(item_id)
        if spoken is None:
            return None
        return "".join(text for at_ms, text in spoken.words if at_ms + _FRAME_MS <= audio_end_ms).strip()

    def _begin(self, response_id: str, item_id: str) -> list[Outgoing]:
        self._ids = (response_id, item_id)
        if item_id not in self._items:
            _bounded(self._items, item_id, _Spoken())
        return [] if self._newest is None else self._delta(self._newest)

    def _note_word(self, event: events.ResponseText) -> None:
        spoken = self._items.get(event.item_id)
        if spoken is not None:
            at_samples = max(0, spoken.sent_samples - spoken.last_samples)
            spoken.words.append((at_samples * 1000 // SAMPLE_RATE_HZ, event.delta))

    def _delta(self, samples: Samples) -> list[Outgoing]:
        if self._ids is None:
            return []
        response_id, item_id = self._ids
        spoken = self._items[item_id]
        spoken.sent_samples += samples.size
        spoken.last_samples = samples.size
        return [Outgoing(wire.audio_delta(response_id, item_id, self._writer.write(samples)))]


def _bounded(memory: dict[str, V], key: str, value: V) -> None:
    memory[key] = value
    while len(memory) > _ITEMS_MOST:
        del memory[next(iter(memory))]
