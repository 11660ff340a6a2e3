"""Speech-to-text with Kyutai's streaming model, inside the front end: same GPU, same package, same codes.

Kyutai STT (https://kyutai.org/next/stt) hears Mimi's codes, as Moshi does. A front end that encodes the user's sound
anyway lets it listen, and what is understood comes with the slot's frames (`SlotOutput.heard`). So a recogniser here is
a remote control: sound does not pass through it. It works in one process with its front end.
"""

import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from kame_core.audio import SAMPLE_RATE_HZ, Samples
from kame_core.errors import SpeechToTextError
from kame_core.stt.base import Recognizer, RecognizerUpdate
from kame_core.stt.kyutai_ear import ConversationEar
from kame_core.stt.outbox import Outbox

if TYPE_CHECKING:  # these bring in torch, which conversations do without
    from moshi.models.compression import MimiModel

    from kame_core.stt.kyutai_listener import KyutaiListener
    from kame_core.stt.kyutai_model import KyutaiModel

_RESUMED_SAMPLES = SAMPLE_RATE_HZ * 3 // 20
"""After a pause began up to 100 ms more of it are pushed; more is speech again."""
_ANY_LANGUAGE = ("", "auto", "und", "mul")


@runtime_checkable
class SlotRecognizer(Recognizer, Protocol):
    """A recogniser whose readings come with the frames of a slot; its own `updates` has none."""

    def attach(self, slot: int) -> None:
        """From now on this is the slot's recogniser; called once, before anything else."""

    def hear_alone(self, alone: bool) -> None:
        """Whether the front end's own model hears silence meanwhile. For any moment; repeating it changes nothing."""


class KyutaiRecognizer:
    """One conversation's ear; see `Recognizer`. Opened by `KyutaiSpeechToText`; used on the loop only."""

    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, listener: "KyutaiListener") -> None:
        self._listener = listener
        self._slot: int | None = None
        self._outbox = Outbox()
        self._utterance = 0
        self._speech = False
        self._flushed = False
        self._pushed_samples = 0
        self._alone = False

    def attach(self, slot: int) -> None:
        """From now on this is the slot's recogniser."""
        self._slot = slot

    def hear_alone(self, alone: bool) -> None:
        """Whether the front end's own model hears silence meanwhile."""
        if alone is not self._alone:
            self._alone = alone
            self._tell(partial(ConversationEar.hear_alone, alone=alone))

    def push(self, samples: Samples) -> None:
        """Speech is heard. Its sound is not needed: the slot has it already."""
        self._pushed_samples += samples.size
        if not self._speech:
            self._speech = True
            self._tell(ConversationEar.listen)
        elif self._flushed and self._pushed_samples > _RESUMED_SAMPLES:
            self._flushed = False
            self._tell(ConversationEar.resume)

    def flush(self) -> None:
        """A pause began: what was said is read to its end within the slot's next frames."""
        self._flushed = True
        self._pushed_samples = 0
        self._tell(partial(ConversationEar.flush, utterance=self._utterance))

    def commit(self) -> None:
        """Begin the next utterance; readings of older ones no longer come."""
        self._utterance += 1
        self._speech = self._flushed = False
        self._tell(partial(ConversationEar.commit, utterance=self._utterance))

    def updates(self) -> AsyncIterator[RecognizerUpdate]:
        """None: they come with the slot's frames. Ends at `aclose`."""
        return self._outbox

    async def aclose(self) -> None:
        """Let go of the slot; idempotent."""
        self._slot = None
        self._outbox.close()

    def _tell(self, what: Callable[[ConversationEar], None]) -> None:
        if self._slot is not None:
            self._listener.tell(self._slot, what)


class KyutaiSpeechToText:
    """Opens recognisers on what a front end hears.

    Args:
        model: used here alone.
        language: spoken where `open` is given none.
    """

    name = "kyutai"

    def __init__(self, model: "KyutaiModel", *, language: str = "") -> None:
        self._model: KyutaiModel | None = model
        self._language = language
        self._listener: KyutaiListener | None = None
        self.slot_bytes = model.slot_bytes
        """Memory that each of a front end's slots takes here."""

    @property
    def languages(self) -> frozenset[str]:
        """What is understood; empty: not known."""
        return self._model.config.languages if self._model is not None else frozenset()

    def listen(self, mimi: "MimiModel", capacity: int) -> "KyutaiListener":
        """Listen to a front end; for its loader, on any thread, see `KyutaiModel.listen`. The newest one counts.

        Raises:
            SpeechToTextError: it has been closed.
            CheckpointError: the codec is not the one that the model was trained with.
            UnavailableError: there is no memory for so many slots.
        """
        if self._model is None:
            raise SpeechToTextError("The recogniser has been closed.", retryable=False)
        self._listener = self._model.listen(mimi, capacity)
        return self._listener

    async def open(self, language: str) -> KyutaiRecognizer:
        """A recogniser, to be attached to its conversation's slot.

        Raises:
            SpeechToTextError: no front end is listened to, or the model does not know the language
                (`unsupported_language`).
        """
        if self._model is None or self._listener is None:
            raise SpeechToTextError(
                "Kyutai's speech-to-text hears through the moshi front end, which is not running.", retryable=False
            )
        self.require_language(language or self._language)
        return KyutaiRecognizer(self._listener)

    def require_language(self, language: str) -> None:
        """Pass where the model knows a language tag such as "en-GB", or which it knows cannot be told.

        Raises:
            SpeechToTextError: it does not.
        """
        primary = re.split("[-_]", language.strip().lower())[0]
        if primary not in _ANY_LANGUAGE and self.languages and primary not in self.languages:
            raise SpeechToTextError(
                f"This speech-to-text model does not know the language {language!r}. It knows "
                f"{' and '.join(sorted(self.languages))}.",
                code="unsupported_language",
                retryable=False,
            )

    async def aclose(self) -> None:
        """Free the model, as soon as the front end has let go of its listener; idempotent."""
        self._model = self._listener = None
