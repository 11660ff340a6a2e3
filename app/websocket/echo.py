"""The sound check where sound goes in messages: what a client sends comes back, without a conversation."""

import secrets
from collections.abc import Callable
from typing import Any

from app.protocol import client_events as client
from app.protocol import server_events as wire
from app.protocol.errors import error_event
from app.protocol.kame_events import PongEvent
from app.protocol.session import SessionState
from app.protocol.sound import SoundInput
from app.protocol.sound_formats import SoundReader, SoundWriter, formats_of
from app.protocol.stateless import trouble
from app.protocol.validation import parse_object
from kame_core.audio import Samples
from kame_core.errors import InvalidRequestError, KameError
from kame_core.events import Event, Trouble

RESPONSE_ID = "resp_echo"
ITEM_ID = "item_echo"


class EchoCodec:
    """Takes `input_audio_buffer.append` and `kame.ping`; all it says are `response.output_audio.delta` of one response.

    Args:
        send: puts a message on the channel, and says whether it may be left out.
        sound: where the client's sound goes.
    """

    voice_open = False  # sent as it is read, in real time: it is the client's own time

    def __init__(
        self,
        send: Callable[[dict[str, Any], bool], None],
        sound: SoundInput,
        *,
        call_id: str,
        session: SessionState,
    ) -> None:
        self._send = send
        self._sound = sound
        self._call_id = call_id
        formats = formats_of(session.config)
        self._reader = SoundReader(formats.input)
        self._writer = SoundWriter(formats.output)
        self._session = session

    def opened(self) -> None:
        """Messages can be exchanged: greet the client."""
        session = self._session.render(in_messages=True)
        session["kame"] |= {"call_id": self._call_id}
        self._emit({"type": "session.created", "session": session})

    def speak(self, samples: Samples) -> None:
        """What comes back, float32 [n] mono 24 kHz."""
        self._emit(wire.audio_delta(RESPONSE_ID, ITEM_ID, self._writer.write(samples)))

    def handle_event(self, event: Event) -> None:
        """Only why the call ends is told."""
        if isinstance(event, Trouble):
            for message in trouble(event):
                self._emit(message.payload)

    def handle_text(self, raw: str) -> None:
        """Never raises: a wrong message is answered with `error`."""
        try:
            event = client.client_event(parse_object(raw))
            match event:
                case client.InputAudioAppend():
                    self._sound.push(self._reader.read(event.audio))
                case client.Ping():
                    self._emit(PongEvent(t=event.t).model_dump())
                case _:
                    raise InvalidRequestError(
                        "A sound check only takes 'input_audio_buffer.append' and 'kame.ping'.",
                        code="unsupported_in_sound_check",
                    )
        except KameError as error:
            self._emit(error_event(error))

    def _emit(self, message: dict[str, Any]) -> None:
        self._send({"event_id": f"event_{secrets.token_urlsafe(12)}", **message}, False)
