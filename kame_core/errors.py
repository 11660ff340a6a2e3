"""The one root of all errors a user or an operator can meet."""


class KameError(Exception):
    """An error with a stable code and a sentence for the person who meets it.

    Args:
        user_message: what is wrong and what to do next, in plain words; never holds conversation content.
        code: stable identifier in snake_case, for programs.
        retryable: whether trying the same again later can work.
    """

    code = "internal_error"
    retryable = False

    def __init__(self, user_message: str, *, code: str | None = None, retryable: bool | None = None) -> None:
        super().__init__(user_message)
        self.user_message = user_message
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.user_message!r}, code={self.code!r}, retryable={self.retryable})"


class CapacityError(KameError):
    """No slot is free."""

    code = "server_full"
    retryable = True


class ConversationClosedError(KameError):
    """The conversation has ended."""

    code = "conversation_closed"


class InvalidRequestError(KameError):
    """What the client asked for is malformed or makes no sense now."""

    code = "invalid_request"


class FrontendError(KameError):
    """The front end could not go on with a slot."""

    code = "frontend_failed"


class SpeechToTextError(KameError):
    """A recogniser failed."""

    code = "stt_failed"
    retryable = True


class TextToSpeechError(KameError):
    """A voice failed."""

    code = "tts_failed"
    retryable = True


class ChatModelError(KameError):
    """The LLM refused, failed, or did not answer in time."""

    code = "llm_failed"
    retryable = True


class UnavailableError(KameError):
    """A package, model file or service that was asked for is not here."""

    code = "unavailable"
