"""The codec where sound goes in messages, over the real conversation in virtual time."""

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.protocol.realtime import RealtimeCodec
from app.protocol.session import SessionDefaults, SessionState
from app.protocol.sound import MAX_SOUND_MESSAGE_CHARS, may_hold_sound
from app.protocol.sound_formats import Pcm, base64_of, pcm_of
from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, Samples, from_int16, to_int16
from kame_core.events import Event, FinalTranscript, ResponseEnded, ResponseText, VoiceStarted
from kame_core.options import ConversationOptions, TurnDetection
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio
from tests.support.wire_conversation import Client, RecordingConversation

QUESTION = "what is the capital of france"
LONG = "Paris is the capital of France, and it lies on the Seine, where it has been for a very long time indeed."
DELTA = "response.output_audio.delta"


class Inbox:
    """A `SoundInput` that keeps what it gets and does what it is asked at once, or later."""

    def __init__(self, *, holds: bool = False) -> None:
        self.sound: list[Pcm] = []
        self.held: list[Callable[[], None]] = []
        self.cleared = 0
        self._holds = holds

    def push(self, pcm: Pcm) -> None:
        self.sound.append(pcm)

    def after(self, action: Callable[[], None], *, settled: bool) -> None:
        if self._holds:
            self.held.append(action)
        else:
            action()

    def clear(self) -> None:
        self.cleared += 1


class Wire:
    """A client whose sound comes in messages, on a studio's conversation."""

    def __init__(self, studio: Studio) -> None:
        self._client = Client()
        self._studio = studio
        self.messages: list[dict[str, Any]] = []
        session = SessionState.new(SessionDefaults(options=studio.conversation.options))
        self._codec = RealtimeCodec(
            studio.conversation, self._client.receive, call_id="rtc_1", session=session, sound=Inbox()
        )
        studio.watch = self._tell

    def send(self, **message: Any) -> None:
        self._codec.handle_text(json.dumps(message))
        self.messages += self._client.take()

    def _tell(self, news: list[Event]) -> None:
        self._codec.speak(self._studio.heard[-1])  # what was read reaches the codec before the events of reading it
        for event in news:
            self._codec.handle_event(event)
        self.messages += self._client.take()

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.messages]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    def voice(self, item_id: str) -> Samples:
        pieces = [pcm_of(message["delta"]) for message in self.of(DELTA) if message["item_id"] == item_id]
        return from_int16(np.concatenate(pieces))


def test_the_whole_voice_of_a_response_lies_between_its_messages() -> None:
    async def scene(studio: Studio) -> None:
        wire = Wire(studio)
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        await studio.listen_until(ResponseEnded)
        await studio.listen(0.5)
        (done,) = wire.of("response.done")
        response = done["response"]
        deltas = wire.of(DELTA)
        assert {delta["response_id"] for delta in deltas} == {response["id"]}
        kinds = wire.kinds
        assert kinds.index("output_audio_buffer.started") < kinds.index(DELTA)
        last = len(kinds) - 1 - kinds[::-1].index(DELTA)
        assert kinds.index("response.content_part.added") < kinds.index(DELTA) < last
        assert last < kinds.index("response.output_audio.done")
        sent = wire.voice(response["output"][0]["id"])
        played = np.concatenate(studio.heard)
        begin = int(np.flatnonzero(np.abs(played) > 1e-3)[0])
        end = int(np.flatnonzero(np.abs(played) > 1e-3)[-1])
        loud = np.flatnonzero(np.abs(sent) > 1e-3)
        assert loud[-1] - loud[0] == end - begin
        assert np.allclose(sent[loud[0] : loud[-1]], played[begin:end], atol=1e-3)

    in_studio(scene, chat=ScriptedChatModel(Answer(LONG, first_token_delay_s=0.3)), stt=ScriptedSpeechToText(QUESTION))


def test_an_interruption_is_told_and_what_was_not_played_is_not_heard() -> None:
    async def scene(studio: Studio) -> None:
        wire = Wire(studio)
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        await studio.listen_until(ResponseText, count=6)
        await studio.listen(1.0)
        assert wire.kinds.count("input_audio_buffer.speech_started") == 1
        await studio.say(say("stop that please and tell me something else"))
        ended = await studio.listen_until(ResponseEnded)
        await studio.listen(0.2)
        assert ended.reason == "turn_detected"
        kinds = wire.kinds
        cut = kinds.index("output_audio_buffer.cleared")
        assert kinds[: cut + 3].count("input_audio_buffer.speech_started") == 2
        item_id = ended.item_id
        sent_ms = wire.voice(item_id).size * 1000 // SAMPLE_RATE_HZ
        wire.send(type="conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=sent_ms)
        kept = studio.conversation.transcript.get(item_id)
        assert kept is not None
        assert kept.text == ended.text
        wire.send(type="conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=sent_ms // 2)
        kept = studio.conversation.transcript.get(item_id)
        assert kept is not None
        assert 0 < len(kept.text) < len(ended.text)
        assert ended.text.startswith(kept.text)

    in_studio(scene, chat=ScriptedChatModel(Answer(LONG, first_token_delay_s=0.2)), stt=ScriptedSpeechToText(QUESTION))


def test_speech_beside_the_agent_is_not_told_as_an_interruption() -> None:
    """OpenAI's clients stop playing at `speech_started`."""

    async def scene(studio: Studio) -> None:
        wire = Wire(studio)
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        await studio.listen_until(VoiceStarted)
        await studio.listen(0.5)
        await studio.say(say("and what is the capital of spain"))
        await studio.listen_until(FinalTranscript, count=2)
        await studio.listen_until(ResponseEnded, count=2)
        await studio.listen(0.5)
        kinds = [k for k in wire.kinds if k.startswith(("input_audio_buffer.speech", "output_audio_buffer"))]
        speaks = False
        for kind in kinds:
            assert not (speaks and kind == "input_audio_buffer.speech_started"), kinds
            speaks = kind == "output_audio_buffer.started" or (speaks and not kind.startswith("output_audio_buffer"))
        started, stopped = (kinds.count(f"input_audio_buffer.speech_{what}") for what in ("started", "stopped"))
        assert started == stopped >= 1
        assert wire.kinds.count("input_audio_buffer.committed") == 2

    options = ConversationOptions(turn_detection=TurnDetection(interrupt_response=False))
    chat = ScriptedChatModel(Answer(LONG, first_token_delay_s=0.2))
    stt = ScriptedSpeechToText(QUESTION, "and what is the capital of spain")
    in_studio(scene, chat=chat, stt=stt, options=options)


# --- what clients send ---


def codec(sound: Inbox) -> tuple[Client, RealtimeCodec, RecordingConversation]:
    client, conversation = Client(), RecordingConversation()
    session = SessionState.new(SessionDefaults(options=conversation.options))
    return (
        client,
        RealtimeCodec(conversation, client.receive, call_id="rtc_1", session=session, sound=sound),
        conversation,
    )


def test_what_refers_to_sound_waits_for_it_and_the_rest_does_not() -> None:
    inbox = Inbox(holds=True)
    client, wire, conversation = codec(inbox)
    tone = np.linspace(-1, 1, PIECE_SAMPLES, dtype=np.float32)
    for message in (
        {"type": "input_audio_buffer.append", "audio": base64_of(tone)},
        {"type": "input_audio_buffer.commit"},
        {"type": "response.create", "event_id": "mine"},
        {"type": "kame.ping", "t": 1},
    ):
        wire.handle_text(json.dumps(message))
    assert np.array_equal(np.concatenate(inbox.sound), to_int16(tone))
    assert conversation.calls == []
    assert client.types() == ["kame.pong"]
    conversation.active_response = "resp_0"
    for action in inbox.held:
        action()
    assert [call[0] for call in conversation.calls] == ["commit_input", "create_response"]
    (error,) = client.take()
    assert error["error"]["event_id"] == "mine"


def test_a_clear_forgets_sound_at_once() -> None:
    inbox = Inbox()
    client, wire, conversation = codec(inbox)
    wire.handle_text(json.dumps({"type": "input_audio_buffer.clear"}))
    assert inbox.cleared == 1
    assert conversation.calls == [("clear_input",)]
    assert client.types() == ["input_audio_buffer.cleared"]


def test_the_session_says_how_sound_is_coded_from_now_on() -> None:
    inbox = Inbox()
    client, wire, _ = codec(inbox)
    formats = {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcma"}}}
    loud = base64.b64encode(bytes([0x80, 0x00] * 400)).decode()
    append = json.dumps({"type": "input_audio_buffer.append", "audio": loud})
    wire.handle_text(append)
    wire.handle_text(json.dumps({"type": "session.update", "session": {"type": "realtime", "audio": formats}}))
    wire.handle_text(append)
    assert [sound.size for sound in inbox.sound] == [400, pytest.approx(2400, abs=60)]  # 16 bits, then 8 at 8 kHz
    (updated,) = client.take()
    assert updated["session"]["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert updated["session"]["audio"]["output"]["format"] == {"type": "audio/pcma"}
    assert updated["session"]["kame"]["not_honoured"] == []
    wrong = {"input": {"format": {"type": "audio/pcm", "rate": 8000}}}
    wire.handle_text(json.dumps({"type": "session.update", "session": {"type": "realtime", "audio": wrong}}))
    (refused,) = client.take()
    assert refused["error"]["code"] == "unsupported_audio_format"
    wire.handle_text(append)
    assert inbox.sound[-1].size == 2400  # as it was


@pytest.mark.parametrize("body", ['"x":[' + "1," * 40_000 + "1]", '"a":{' * 2 + '"x":1}}', '"x":"y",' * 10_000])
def test_long_messages_are_read_only_where_that_is_quick(body: str) -> None:
    raw = '{"type":"input_audio_buffer.append",' + body + "}"
    assert not may_hold_sound(raw)
    sound = base64.b64encode(bytes(200_000)).decode()
    assert may_hold_sound(json.dumps({"type": "input_audio_buffer.append", "audio": sound}))
    assert not may_hold_sound("x" * (MAX_SOUND_MESSAGE_CHARS + 1))
