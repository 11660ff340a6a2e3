"""One client's OpenAI Realtime session over one conversation: client events in, server events out.

Transport-free: it is given text messages and the conversation's events, and hands JSON objects to `send`. Where the
transport has no audio track, sound goes through here too, in messages.
"""

import logging
import secrets
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from app.protocol import client_events as client
from app.protocol import response_params
from app.protocol import server_events as wire
from app.protocol.client_events import ClientEvent
from app.protocol.conversation_port import ConversationPort
from app.protocol.errors import ParameterError, error_event
from app.protocol.kame_events import EngineEvent, PongEvent
from app.protocol.outbound import Outbound
from app.protocol.server_events import Outgoing
from app.protocol.session import SessionState
from app.protocol.sound import MAX_SOUND_MESSAGE_CHARS, SoundInput, VoiceInMessages, may_hold_sound
from app.protocol.sound_formats import Formats, SoundReader, formats_of
from app.protocol.validation import MAX_MESSAGE_CHARS, parse_object
from kame_core.audio import Samples
from kame_core.backend.presets import listed
from kame_core.errors import InvalidRequestError, KameError
from kame_core.events import Event, ModeRefused, ResponseEnded
from kame_core.options import ItemReference

_log = logging.getLogger(__name__)

_ASKED_MOST = 16
_CUTS_MOST = 16
_BEHIND_SOUND = (client.InputAudioCommit, client.InputAudioClear, client.ItemCreate, client.ResponseCreate)
"""What refers to the sound sent before it, and waits until that was heard."""
_ROOT = "root"

Send = Callable[[dict[str, Any], bool], None]
"""Takes a message and whether it may be left out on a congested channel; must not block or raise."""


class RealtimeCodec:
    """The session of one call. Used from the event loop's thread only; no method blocks.

    Args:
        conversation: what the client talks with; its options are those of `session` already.
        send: puts a message on the channel.
        call_id: `rtc_...`; only named in `session.created`.
        session: the session the call was opened with.
        sound: where the sound of the client's messages goes; None: sound goes over an audio track, both ways.

    Raises:
        ParameterError: the session's sound formats are not to be had in messages.
    """

    def __init__(
        self,
        conversation: ConversationPort,
        send: Send,
        *,
        call_id: str,
        session: SessionState,
        sound: SoundInput | None = None,
    ) -> None:
        formats = formats_of(session.config) if sound is not None else None
        self._conversation = conversation
        self._send = send
        self._call_id = call_id
        self._session = session
        self._asked: dict[str, dict[str, Any]] = {}
        self._sound = sound
        self._reader = None if formats is None else SoundReader(formats.input)
        self._voice = None if formats is None else VoiceInMessages(formats.output)
        self._cuts: dict[str, str] = {}
        self._outbound = Outbound(conversation.id, self._response_fields, lambda: self._session.transcribes)

    @property
    def session(self) -> SessionState:
        """The session as it is now."""
        return self._session

    def opened(self, *, resume: str | None = None, engine: EngineEvent | None = None) -> None:
        """The channel is open: greet the client.

        Args:
            resume: token for a later call, put into `session.kame.resume`.
            engine: what answers.
        """
        session = self._rendered(resume)
        session["kame"] |= {
            "call_id": self._call_id,
            "conversation_id": self._conversation.id,
            "presets": list(listed()),
        }
        self._emit(Outgoing({"type": "session.created", "session": session}))
        if engine is not None:
            self._emit(Outgoing(engine.model_dump()))

    @property
    def voice_open(self) -> bool:
        """The voice that is read now goes to the client in messages."""
        return self._voice is not None and self._voice.open

    def speak(self, samples: Samples) -> None:
        """The voice that was just read, float32 [n] mono 24 kHz; only where sound goes in messages."""
        for message in self._voice.speak(samples) if self._voice is not None else ():
            self._emit(message)

    def handle_event(self, event: Event) -> None:
        """Tell the client what happened."""
        messages = self._outbound.translate(event)
        for message in messages if self._voice is None else self._voice.told(event, messages):
            self._emit(message)
        if isinstance(event, ModeRefused):
            self._session = self._session.updated({"kame": {"mode": event.mode}})
            self._tell_session()
        if isinstance(event, ResponseEnded) and event.item_id in self._cuts:
            self._cut(event.item_id, self._cuts.pop(event.item_id))

    def handle_text(self, raw: str) -> None:
        """Do what a client's message asks, or answer with an `error` event. Never raises; the session stays open."""
        event_id: str | None = None
        try:
            long = self._sound is not None and may_hold_sound(raw)
            data = parse_object(raw, max_size=MAX_SOUND_MESSAGE_CHARS if long else MAX_MESSAGE_CHARS)
            event_id = _linkable(data.get("event_id"))
            event = client.client_event(data)
            if len(raw) > MAX_MESSAGE_CHARS and not isinstance(event, client.InputAudioAppend):
                raise InvalidRequestError(
                    f"The message is larger than {MAX_MESSAGE_CHARS} bytes.", code="request_too_large"
                )
            if self._sound is not None and isinstance(event, _BEHIND_SOUND):
                self._handle_behind_sound(event, event_id, self._sound)
            else:
                self._handle(event)
        except Exception as error:
            self._answer_error(error, event_id)

    def _handle_behind_sound(self, event: ClientEvent, event_id: str | None, sound: SoundInput) -> None:
        def handle() -> None:
            try:
                self._handle(event)
            except Exception as error:
                self._answer_error(error, event_id)

        if isinstance(event, client.InputAudioClear):
            sound.clear()
        sound.after(handle, settled=isinstance(event, client.InputAudioCommit))

    def _answer_error(self, error: Exception, event_id: str | None) -> None:
        if not isinstance(error, KameError):  # our own fault; the other calls and this session go on
            place = traceback.extract_tb(error.__traceback__)[-1]  # no message: it could hold what was said
            _log.error("client event not handled: %s at %s:%s", type(error).__name__, place.name, place.lineno)
            error = KameError("The server failed to handle this event.", code="internal_error")
        self._emit(Outgoing(error_event(error, event_id)))

    def _handle(self, event: ClientEvent) -> None:
        conversation = self._conversation
        match event:
            case client.SessionUpdate():
                self._update_session(event.session)
            case client.ItemCreate():
                self._create_item(event)
            case client.ItemRetrieve():
                self._emit(Outgoing(wire.item_retrieved(self._existing_item(event.item_id))))
            case client.ItemDelete():
                self._existing_item(event.item_id)
                conversation.delete_item(event.item_id)
            case client.ItemTruncate():
                self._truncate(event)
            case client.ResponseCreate():
                self._create_response(event.response or client.ResponseParams())
            case client.ResponseCancel():
                conversation.cancel_response(event.response_id)
            case client.OutputAudioClear():
                conversation.clear_voice()
            case client.InputAudioCommit():
                conversation.commit_input()
            case client.InputAudioClear():
                conversation.clear_input()
                self._emit(Outgoing(wire.input_cleared()))
            case client.InputAudioAppend() if self._sound is not None and self._reader is not None:
                self._sound.push(self._reader.read(event.audio))
            case client.InputAudioAppend():
                raise ParameterError(
                    "On this transport sound comes over the audio track; 'input_audio_buffer.append' is not used.",
                    param="type",
                    code="unsupported_on_transport",
                )
            case client.Ping():
                self._emit(Outgoing(PongEvent(t=event.t).model_dump()))
            case _:  # pragma: no cover - every class of CLIENT_EVENTS is above; a test goes through them all
                raise KameError("The server failed to handle this event.", code="internal_error")

    def _update_session(self, patch: Mapping[str, Any]) -> None:
        session = self._session.updated(patch)
        formats = formats_of(session.config) if self._sound is not None else None
        if session.options != self._conversation.options:
            self._conversation.set_options(session.options)
        self._session = session
        if formats is not None:
            self._set_formats(formats)
        self._tell_session()

    def _set_formats(self, formats: Formats) -> None:
        if self._reader is not None and self._reader.kind != formats.input:
            self._reader = SoundReader(formats.input)
        if self._voice is not None:
            self._voice.set_format(formats.output)

    def _tell_session(self) -> None:
        self._emit(Outgoing({"type": "session.updated", "session": self._rendered()}))

    def _rendered(self, resume: str | None = None) -> dict[str, Any]:
        in_messages = self._sound is not None
        return self._session.render(resume=resume, in_force=self._conversation.options, in_messages=in_messages)

    def _create_item(self, event: client.ItemCreate) -> None:
        is_output = event.item.type == "function_call_output"
        call_id, output = client.function_output(event.item) if is_output else ("", "")
        role, text = (None, "") if is_output else client.typed_text(event.item)
        previous = event.previous_item_id
        if previous == _ROOT:
            raise ParameterError(
                "Invalid value for 'previous_item_id': putting an item at the beginning is not supported; name an "
                "item, or leave it out to append.",
                param="previous_item_id",
            )
        if previous is not None:
            self._existing_item(previous, "previous_item_id")
        if event.item.id is not None and self._conversation.item(event.item.id) is not None:
            raise ParameterError("There is an item with this id already.", param="item.id", code="item_exists")
        if role is None:
            self._conversation.add_function_output(call_id, output, event.item.id, previous)
        else:
            self._conversation.add_text(text, role, event.item.id, previous)

    def _existing_item(self, item_id: str, param: str = "item_id") -> dict[str, Any]:
        item = self._conversation.item(item_id)
        if item is None:
            raise ParameterError("There is no item with this id.", param=param, code="item_not_found")
        return wire.wire_item(item)

    def _truncate(self, event: client.ItemTruncate) -> None:
        """Over a track the server itself counts what was heard, and acknowledges only. Sound in messages is played when
        the client likes: what it did not play of what was sent is taken out of the transcript.
        """
        item = self._existing_item(event.item_id)
        if item.get("role") != "assistant":
            raise ParameterError("Only the agent's messages can be truncated.", param="item_id")
        if event.content_index != 0:
            raise ParameterError("Invalid value for 'content_index': use 0.", param="content_index")
        heard = None if self._voice is None else self._voice.heard(event.item_id, event.audio_end_ms)
        if heard is not None:
            self._cut(event.item_id, heard)
        self._emit(Outgoing(wire.item_truncated(event.item_id, event.audio_end_ms)))

    def _cut(self, item_id: str, heard: str) -> None:
        item = self._conversation.item(item_id)
        if item is not None and item.status == "in_progress":  # its end would write over it
            self._cuts[item_id] = heard
            while len(self._cuts) > _CUTS_MOST:
                del self._cuts[next(iter(self._cuts))]
        elif item is not None and len(heard) < len(item.text):
            self._conversation.transcript.update(item_id, text=heard)

    def _create_response(self, params: client.ResponseParams) -> None:
        if response_params.is_aside(params):
            aside = response_params.written(params)
            for place, part in enumerate(aside.input or ()):
                if isinstance(part, ItemReference):
                    self._existing_item(part.item_id, f"response.input[{place}].id")
            response_id = self._conversation.create_aside(aside)
        else:
            wishes = response_params.spoken(params, self._session.checked.tools)
            response_id = self._conversation.create_response(wishes)
        own = {"metadata": params.metadata, "max_output_tokens": params.max_output_tokens}
        self._asked[response_id] = {name: value for name, value in own.items() if value is not None}
        while len(self._asked) > _ASKED_MOST:
            del self._asked[next(iter(self._asked))]

    def _response_fields(self, response_id: str) -> dict[str, Any]:
        fields = {"metadata": None, "max_output_tokens": self._session.max_output_tokens}
        return fields | self._asked.get(response_id, {})

    def _emit(self, message: Outgoing) -> None:
        event_id = f"event_{secrets.token_urlsafe(12)}"
        self._send({"event_id": event_id, **message.payload}, message.droppable)


def _linkable(event_id: Any) -> str | None:
    return event_id if isinstance(event_id, str) and len(event_id) <= 512 else None


__all__ = ["EngineEvent", "RealtimeCodec", "Send"]
