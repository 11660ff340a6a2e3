"""The wire `session`: a client's wishes merged over what this server offers, and what that means to a conversation."""

import copy
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from app.protocol import session_tools
from app.protocol.errors import ParameterError
from app.protocol.session_config import SessionConfig, SpeechControlConfig, TurnDetectionConfig
from app.protocol.validation import validate
from kame_core.errors import InvalidRequestError
from kame_core.options import ConversationOptions, TurnDetection
from kame_core.speech_control import SpeechControl

MAX_SESSION_BYTES = 48 * 1024
"""Largest session kept and echoed; a message on a data channel has to hold it."""
DEFAULT_VOICE = "default"
PATIENT_SILENCE_MS = 1_500
"""Pause that ends a turn with `semantic_vad` of eagerness `low`."""

Json = dict[str, Any]

_OWN_FIELDS = frozenset({"id", "object", "expires_at", "client_secret"})
"""Top-level fields only the server sets; a client that sends a whole session back may hold them."""
_OWN_KAME_FIELDS = frozenset({"not_honoured", "call_id", "conversation_id", "presets"})
_MERGED = frozenset(
    {
        ("audio",),
        ("audio", "input"),
        ("audio", "input", "format"),
        ("audio", "input", "noise_reduction"),
        ("audio", "input", "transcription"),
        ("audio", "input", "turn_detection"),
        ("audio", "output"),
        ("audio", "output", "format"),
        ("kame",),
        ("kame", "speech_control"),
    }
)
"""Objects whose fields are updated one by one; everything else is replaced whole."""
_NULLABLE = frozenset(
    {
        ("audio", "input", "noise_reduction"),
        ("audio", "input", "transcription"),
        ("audio", "input", "turn_detection"),
        ("tracing",),
        ("prompt",),
        ("include",),
    }
)
"""Fields for which null is a value; any other null brings the default back."""

NOT_HONOURED: Mapping[str, Callable[[Any], bool]] = {
    "tools": lambda value: any(tool.get("type") != "function" for tool in value or ()),
    "parallel_tool_calls": lambda value: value is not None,
    "prompt": lambda value: value is not None,
    "include": bool,
    "reasoning": bool,
    "tracing": lambda value: value is not None,
    "truncation": lambda value: value not in (None, "auto"),
    "audio.input.format": lambda value: (value or {}).get("type", "audio/pcm") != "audio/pcm",
    "audio.input.noise_reduction": lambda value: value is not None,
    "audio.input.transcription.model": lambda value: value not in (None, "default"),
    "audio.input.transcription.prompt": bool,
    "audio.input.turn_detection.threshold": lambda value: value is not None,
    "audio.input.turn_detection.prefix_padding_ms": lambda value: value is not None,
    "audio.input.turn_detection.idle_timeout_ms": lambda value: value is not None,
    "audio.output.format": lambda value: (value or {}).get("type", "audio/pcm") != "audio/pcm",
    "audio.output.speed": lambda value: value not in (None, 1),
}
"""Known fields without effect here, each with what tells that a client really wants something of it."""
_OF_MESSAGES = frozenset({"audio.input.format", "audio.output.format"})
"""Of these: in force where sound goes in messages, as over a WebSocket."""


@dataclass(frozen=True, slots=True)
class SessionDefaults:
    """What a session is before a client says anything, and what may be asked for."""

    model: str = "kame"
    options: ConversationOptions = field(default_factory=ConversationOptions)
    voices: frozenset[str] = frozenset()
    """Voices there are; any other name gives the default voice and is told in `kame.not_honoured`."""
    languages: frozenset[str] = frozenset()
    """Languages (first part of the tag, lower case) that are understood; empty: not known, so none is refused."""
    steerable: bool = True
    """The front end takes turns itself, so that `kame.speech_control` has something to hold back."""


@dataclass(frozen=True, slots=True)
class SessionState:
    """One call's session. Immutable; `updated` gives the next.

    Args:
        defaults: what the server offers.
        id: `sess_...`.
        expires_at: Unix time in seconds at which the call ends at the latest; None: it does not.
        config: JSON of the session so far, defaults included.
    """

    defaults: SessionDefaults
    id: str
    expires_at: int | None
    config: Json
    checked: SessionConfig

    @classmethod
    def new(cls, defaults: SessionDefaults, *, expires_at: int | None = None) -> "SessionState":
        """A session nobody has asked anything of."""
        config = _default_config(defaults)
        checked = validate(SessionConfig, config, "session.")
        return cls(defaults, _new_id(), expires_at, config, checked)

    def again(self, *, expires_at: int) -> "SessionState":
        """The same in another call of the same conversation."""
        return replace(self, id=_new_id(), expires_at=expires_at)

    def updated(self, patch: Mapping[str, Any]) -> "SessionState":
        """The session after a `session.update`: fields that are present change, all others stay.

        Raises:
            InvalidRequestError: `patch` is malformed or asks for what is not to be had (mostly `ParameterError`,
                with `param` below `session`).
        """
        if patch.get("type") not in (None, "realtime"):
            raise ParameterError(
                "Invalid value for 'session.type': this server offers sessions of type 'realtime' only.",
                param="session.type",
            )
        patch = {key: value for key, value in patch.items() if key not in _OWN_FIELDS}
        if isinstance(patch.get("kame"), dict):
            patch["kame"] = {key: value for key, value in patch["kame"].items() if key not in _OWN_KAME_FIELDS}
        config = _merge(self.config, patch, _default_config(self.defaults), ())
        checked = validate(SessionConfig, config, "session.")
        self._check_offer(checked)
        config = _with_one_language(config, patch)
        if len(json.dumps(config, ensure_ascii=False).encode()) > MAX_SESSION_BYTES:
            raise InvalidRequestError(
                f"The session would be larger than {MAX_SESSION_BYTES} bytes; shorten its instructions or tools.",
                code="session_too_large",
            )
        config["output_modalities"] = ["audio"]
        return replace(self, config=config, checked=validate(SessionConfig, config, "session."))

    @property
    def options(self) -> ConversationOptions:
        """What this session asks of a conversation."""
        config, defaults = self.checked, self.defaults.options
        voice = config.audio.output.voice
        return replace(
            defaults,
            mode=config.kame.mode,
            opener=config.kame.opener,
            greeting=config.kame.greeting,
            idle_prompt=config.kame.idle_prompt,
            idle_after_s=config.kame.idle_after_s,
            language=_base_language(config.kame.language),
            voice=voice if voice in self.defaults.voices else defaults.voice,
            instructions=config.instructions,
            turn_detection=_turn_detection(config.audio.input.turn_detection),
            max_output_tokens=config.max_output_tokens,
            preset=config.kame.preset,
            second_language=config.kame.second_language,
            context=config.kame.context,
            knowledge=config.kame.knowledge or defaults.knowledge,
            speech_control=_speech_control(config.kame.speech_control),
            tools=session_tools.declarations(config.tools),
            tool_choice=session_tools.choice(config.tool_choice) or "auto",
        )

    @property
    def transcribes(self) -> bool:
        """The client wants the user's words (`audio.input.transcription` is not null)."""
        return self.checked.audio.input.transcription is not None

    @property
    def max_output_tokens(self) -> int | Literal["inf"]:
        """As the client wrote it."""
        limit: int | Literal["inf"] = self.config["max_output_tokens"]
        return limit

    def not_honoured(self, in_force: ConversationOptions | None = None, *, in_messages: bool = False) -> list[str]:
        """Paths of fields that the client set and that have no effect.

        Args:
            in_force: the conversation's options, which may hold on to what it was opened with.
            in_messages: sound goes in messages, not over a track.
        """
        honoured = _OF_MESSAGES if in_messages else frozenset()
        paths = [
            path for path, wanted in NOT_HONOURED.items() if path not in honoured and wanted(_at(self.config, path))
        ]
        offered = {"", DEFAULT_VOICE, self.defaults.options.voice, *self.defaults.voices}
        kept = in_force is not None and in_force.voice != self.options.voice
        if kept or self.checked.audio.output.voice not in offered:
            paths.append("audio.output.voice")
        if in_force is not None and _base_language(in_force.language) != self.options.language:
            paths.append("kame.language")
        if not self.defaults.steerable and self.options.speech_control != SpeechControl():
            paths.append("kame.speech_control")
        if self.config["model"] != self.defaults.model:
            paths.append("model")
        known = SessionConfig.model_fields
        return sorted(paths + [name for name in self.config if name not in known])

    def render(
        self,
        *,
        resume: str | None = None,
        in_force: ConversationOptions | None = None,
        in_messages: bool = False,
    ) -> Json:
        """The session as clients see it, in the shape of `session.created` and `session.updated`.

        Args:
            resume: token with which a later call may go on with this conversation; put into `kame`.
            in_force: the conversation's options.
            in_messages: sound goes in messages, not over a track.
        """
        session: Json = json.loads(json.dumps(self.config))  # a copy, several times faster than copy.deepcopy
        kame = {key: value for key, value in session["kame"].items() if key not in ("resume", "transport")}
        kame["not_honoured"] = self.not_honoured(in_force, in_messages=in_messages)
        if resume is not None:
            kame["resume"] = resume
        session |= {"object": "realtime.session", "id": self.id, "kame": kame}
        if self.expires_at is not None:
            session["expires_at"] = self.expires_at
        return session

    def _check_offer(self, config: SessionConfig) -> None:
        if "audio" not in config.output_modalities:
            raise ParameterError(
                "Invalid value for 'session.output_modalities': this server always speaks and sends the transcript "
                'with it. Use ["audio"].',
                param="session.output_modalities",
            )
        transcription = config.audio.input.transcription
        if transcription is not None and transcription.language is not None:
            self._check_language(transcription.language, "session.audio.input.transcription.language")
        self._check_language(config.kame.language, "session.kame.language")
        session_tools.check_tools(config.tools, "session")
        session_tools.check_choice(config.tool_choice, config.tools, "session")

    def _check_language(self, language: str, param: str) -> None:
        offered = self.defaults.languages
        if offered and _base_language(language) not in offered:
            raise ParameterError(
                f"Invalid value for '{param}': this server understands {', '.join(sorted(offered))}.",
                param=param,
                code="unsupported_language",
            )


def _new_id() -> str:
    return f"sess_{secrets.token_urlsafe(16)}"


def _default_config(defaults: SessionDefaults) -> Json:
    options = defaults.options
    audio_format = {"type": "audio/pcm", "rate": 24_000}
    return {
        "type": "realtime",
        "model": defaults.model,
        "output_modalities": ["audio"],
        "instructions": options.instructions,
        "max_output_tokens": options.max_output_tokens,
        "tools": [],
        "tool_choice": "auto",
        "tracing": None,
        "audio": {
            "input": {
                "format": dict(audio_format),
                "noise_reduction": None,
                "transcription": {"model": "default", "language": options.language},
                "turn_detection": _turn_detection_config(options.turn_detection),
            },
            "output": {"format": dict(audio_format), "voice": options.voice or DEFAULT_VOICE, "speed": 1.0},
        },
        "kame": {
            "mode": str(options.mode),
            "opener": options.opener,
            "language": options.language,
            "preset": options.preset,
            "second_language": options.second_language,
            "context": options.context,
            "knowledge": "",  # the server's own is not for clients to read
            "greeting": options.greeting,
            "idle_prompt": options.idle_prompt,
            "idle_after_s": options.idle_after_s,
            "speech_control": asdict(options.speech_control),
        },
    }


def _turn_detection_config(options: TurnDetection | None) -> Json | None:
    if options is None:
        return None
    answers = {"create_response": options.create_response, "interrupt_response": options.interrupt_response}
    if options.silence_ms is None:
        return {"type": "semantic_vad", "eagerness": "auto", **answers}
    return {"type": "server_vad", "silence_duration_ms": options.silence_ms, **answers}


def _turn_detection(config: TurnDetectionConfig | None) -> TurnDetection | None:
    if config is None:
        return None
    if config.type == "server_vad":
        silence_ms = config.silence_duration_ms
    else:
        silence_ms = PATIENT_SILENCE_MS if config.eagerness == "low" else None
    return TurnDetection(
        silence_ms=silence_ms,
        create_response=config.create_response is not False,
        interrupt_response=config.interrupt_response is not False,
    )


def _speech_control(config: SpeechControlConfig) -> SpeechControl:
    return SpeechControl(
        input_hold_ms=config.input_hold_ms,
        wait_for_guidance=config.wait_for_guidance,
        repeat_unspoken=config.repeat_unspoken,
    )


def _merge(old: Json, patch: Mapping[str, Any], default: Json, path: tuple[str, ...]) -> Json:
    """`patch` over `old`. Objects of another `type` are replaced; null brings `default` back where it is no value."""
    merged = dict(old)
    for key, value in patch.items():
        here = (*path, key)
        if value is None and here not in _NULLABLE:
            if key in default:
                merged[key] = copy.deepcopy(default[key])
            else:
                merged.pop(key, None)
        elif here in _MERGED and isinstance(value, dict):
            below = old.get(key)
            if not isinstance(below, dict) or value.get("type", below.get("type")) != below.get("type"):
                below = {}
            standard = default.get(key)
            merged[key] = _merge(below, value, standard if isinstance(standard, dict) else {}, here)
        else:
            merged[key] = value
    return merged


def _with_one_language(config: Json, patch: Mapping[str, Any]) -> Json:
    """Whichever of the two places for the language was written last counts for both."""
    transcription = config["audio"]["input"]["transcription"]
    language = _at(patch, "kame.language") or _at(patch, "audio.input.transcription.language")
    if language is None:
        language = config["kame"]["language"]
    if transcription is not None:
        sound = config["audio"]["input"] | {"transcription": {**transcription, "language": language}}
        config = config | {"audio": config["audio"] | {"input": sound}}
    return config | {"kame": config["kame"] | {"language": language}}


def _base_language(tag: str) -> str:
    return tag.split("-")[0].lower()


def _at(config: Any, path: str) -> Any:
    for key in path.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return config
