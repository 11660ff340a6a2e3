"""Which engines hear, think and speak, and where they are."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from app.setting_fields import PlaceSettings, Right, Words, http_url, lower_case, names
from kame_core.errors import InvalidRequestError


class EngineSettings(PlaceSettings):
    """Settings of front end, speech-to-text, text-to-speech and back end."""

    frontend: Annotated[Literal["auto", "reflex", "moshi", "echo"], Right("auto, reflex, moshi or echo", "NAME")] = (
        Field("auto", description="front end that hears and speaks: auto (reflex), reflex, moshi (GPU), echo")
    )
    moshi_weights: Annotated[
        str, Right("a repository such as SakanaAI/kame, or the path of a checkpoint directory", "PLACE")
    ] = Field(
        "SakanaAI/kame",
        min_length=1,
        max_length=500,
        description="checkpoint of the moshi front end: a Hugging Face repository, or a directory",
    )
    moshi_device: Annotated[str, Right("auto, cpu, cuda or cuda:1", "NAME")] = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="where the moshi front end computes: auto (a GPU where there is one), cpu, cuda, cuda:1",
    )
    moshi_slots: Annotated[
        int | None, Right("a number of calls, 1 or more; empty for as many as memory and speed allow", "CALLS")
    ] = Field(None, ge=1, le=1000, description="calls at once on the moshi front end; empty: measured at the start")
    moshi_guidance: Annotated[Literal["off", "same", "pad-null"], Right("off, same or pad-null", "NAME")] = Field(
        "off",
        description="classifier-free guidance, at twice the work: same (as KAME's), pad-null (follows the LLM harder)",
    )
    moshi_guidance_weight: Annotated[float, Right("a number above 0, at most 10", "NUMBER")] = Field(
        1.5, gt=0, le=10, description="how hard moshi_guidance pulls; 1 changes nothing"
    )
    moshi_clone_oracle: Annotated[bool, Right("true or false")] = Field(
        False, description="let plain Moshi weights hear the LLM, though they were not trained to"
    )
    stt: Annotated[
        Literal["auto", "pocketsphinx", "faster-whisper", "openai", "kyutai"],
        Right("auto, pocketsphinx, faster-whisper, openai or kyutai", "NAME"),
    ] = Field(
        "auto",
        description="speech-to-text: auto, pocketsphinx, faster-whisper, openai (realtime transcription), kyutai (in "
        "the moshi front end)",
    )
    kyutai_weights: Annotated[
        str, Right("a repository such as kyutai/stt-1b-en_fr-candle, or the path of a checkpoint directory", "PLACE")
    ] = Field(
        "kyutai/stt-1b-en_fr-candle",
        min_length=1,
        max_length=500,
        description="checkpoint for stt kyutai: a Hugging Face repository, or a directory",
    )
    stt_model: Annotated[str, Right("a transcription model the speech service knows", "NAME")] = Field(
        "", max_length=200, description="model of the speech service's transcription; empty: gpt-live-transcribe"
    )
    whisper_model: Annotated[
        str, Right("auto, a model size such as base.en, or the path of a model directory", "MODEL")
    ] = Field(
        "auto",
        min_length=1,
        max_length=500,
        description="Whisper model for faster-whisper: a size, a directory, or auto (base from 4 cores on, else tiny)",
    )
    whisper_fetch: Annotated[bool, Right("true or false")] = Field(
        True, description="fetch the Whisper model in the background where it is not on disk"
    )
    tts: Annotated[Literal["auto", "espeak", "openai", "pocket"], Right("auto, espeak, openai or pocket", "NAME")] = (
        Field("auto", description="text-to-speech: auto, espeak, openai (speech API), pocket (Kyutai's pocket-tts)")
    )
    tts_model: Annotated[str, Right("a model of the speech service, or pocket-tts's name or .yaml of one", "NAME")] = (
        Field(
            "",
            max_length=500,
            description="model of the openai voice (empty: gpt-4o-mini-tts) or of pocket-tts (empty: the language's)",
        )
    )
    voice: Annotated[str, Right("a name from the voice's list; empty for its default", "NAME")] = Field(
        "", max_length=100, description="voice the agent speaks with; empty: the engine's default"
    )
    speech_base_url: Annotated[str, Right("an address such as http://localhost:8000/v1", "URL")] = Field(
        "", description="OpenAI-compatible speech service for tts and stt openai; empty: the LLM's server"
    )
    speech_api_key: Annotated[SecretStr | None, Right("the key of the speech service", "KEY")] = Field(
        None, description="key of the speech service; empty: with an empty speech_base_url, the LLM server's"
    )
    llm: Annotated[Literal["auto", "openai", "offline"], Right("auto, openai or offline", "NAME")] = Field(
        "auto", description="back end: auto, openai (any OpenAI-compatible server), offline (embedded)"
    )
    llm_model: Annotated[str, Right("a model name the LLM server knows", "NAME")] = Field(
        "",
        max_length=200,
        validation_alias=names("KAME_LLM_MODEL", "OPENAI_MODEL"),
        description="model the LLM server is asked for; empty: gpt-4.1-mini at OpenAI, elsewhere the first chat model "
        "listed",
    )
    llm_early_model: Annotated[str, Right("a model name the LLM server knows, cheaper than llm_model", "NAME")] = Field(
        "",
        max_length=200,
        description="model asked while the user still speaks; llm_model answers the whole turn; empty: one for both",
    )
    llm_fallbacks: Annotated[
        Words, Right("MODEL, MODEL@URL or offline, separated by commas, the best first", "MODELS")
    ] = Field(
        (),
        description="models asked when the first fails: of the same server, of another one (MODEL@URL), or offline",
    )
    llm_fallback_api_key: Annotated[SecretStr | None, Right("the key of the servers in llm_fallbacks", "KEY")] = Field(
        None, description="key of the other servers named in llm_fallbacks"
    )
    llm_reasoning_effort: Annotated[
        Literal["", "none", "minimal", "low", "medium", "high"],
        Right("none, minimal, low, medium or high; empty for the model's own", "LEVEL"),
    ] = Field("", description="how long a reasoning model may think before it speaks; less is sooner")
    tools: Annotated[str, Right("package.module:name of a Toolbox", "NAME")] = Field(
        "",
        max_length=200,
        pattern=r"^$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="Python functions the LLM may call: package.module:name of a kame_core.backend.tools.Toolbox",
    )
    openai_base_url: Annotated[str, Right("an address such as http://localhost:11434/v1", "URL")] = Field(
        "",
        validation_alias=names("KAME_OPENAI_BASE_URL", "OPENAI_BASE_URL"),
        description="OpenAI-compatible server of the LLM",
    )
    openai_api_key: Annotated[SecretStr | None, Right("the key of the LLM server", "KEY")] = Field(
        None,
        validation_alias=names("KAME_OPENAI_API_KEY", "OPENAI_API_KEY"),
        description="key of the LLM server; better in the environment, where other users of the machine cannot see it",
    )

    _lower_engines = field_validator(
        "frontend", "moshi_guidance", "stt", "tts", "llm", "llm_reasoning_effort", mode="before"
    )(lower_case)
    _engine_urls = field_validator("openai_base_url", "speech_base_url")(http_url)

    @field_validator("llm_fallbacks")
    @classmethod
    def _fallbacks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from kame_core.backend.llm_servers import OFFLINE, LlmSettings, fallback_server  # here: it loads an HTTP client

        for entry in value:
            if entry == OFFLINE:
                continue
            try:
                fallback_server(entry, LlmSettings())
            except InvalidRequestError as error:
                raise ValueError(error.user_message.rstrip(".")) from None
        return value
