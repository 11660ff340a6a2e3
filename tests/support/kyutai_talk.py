"""Talk to Kyutai's speech-to-text: what is said is read back half a second later, and time passes only in its steps."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from kame_core.frontend.moshi.tokenizer import MoshiTokenizer
from kame_core.stt.base import RecognizerUpdate
from kame_core.stt.kyutai_ear import ConversationEar
from kame_core.stt.kyutai_listener import KyutaiListener
from kame_core.stt.kyutai_lm import SttBatch, SttStep
from tests.support.tiny_kyutai import CODEBOOKS, DELAY, build_listening_lm
from tests.support.tiny_moshi import CODEBOOK_SIZE, PAD_ID, TEXT_CARD, build_tokenizer

PAUSE = 2
"""Frames of silence after which the voice detection notices a pause: 160 ms."""


@cache
def _tokenizer() -> MoshiTokenizer:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.write_bytes(build_tokenizer())
        tokenizer = MoshiTokenizer(path)
    assert tokenizer.size <= TEXT_CARD
    return tokenizer


class TimedBatch(SttBatch):
    """Time passes while the model steps, and at no other moment."""

    now_s = 0.0
    step_s = 0.004

    def _stepped(self, codes: Tensor) -> SttStep:
        self.now_s += self.step_s
        return super()._stepped(codes)


class Talk:
    """Several people talk to one listener; what they say is spelt in the model's own tokens, one a frame."""

    def __init__(self, capacity: int = 2) -> None:
        self.tokenizer = _tokenizer()
        self.spare_s = 1.0
        self.batch = TimedBatch(build_listening_lm(), capacity, torch.zeros(CODEBOOKS, 4, dtype=torch.long))
        self.listener = KyutaiListener(
            self.batch, self.tokenizer, frozenset({0, PAD_ID}), DELAY, lambda: self.batch.now_s
        )
        self._garbage = torch.Generator().manual_seed(1)
        self.updates: dict[int, list[RecognizerUpdate]] = {slot: [] for slot in range(capacity)}

    def frame(self, codes: dict[int, int]) -> None:
        """One frame of each slot."""
        heard = torch.randint(0, CODEBOOK_SIZE, (self.batch.capacity, CODEBOOKS, 1), generator=self._garbage)
        for slot, code in codes.items():
            heard[slot, 0, 0] = code
        for slot, updates in self.listener.hear(heard, self.spare_s).items():
            self.updates[slot] += updates

    def say(self, text: str, slot: int = 0) -> None:
        """Say words without pauses between them."""
        for token in self.tokenizer.encode(text):
            self.frame({slot: token})

    def quiet(self, frames: int, slot: int = 0) -> None:
        for _ in range(frames):
            self.frame({slot: 0})

    def listen(self, slot: int = 0) -> None:
        self.listener.tell(slot, ConversationEar.listen)

    def flush(self, utterance: int = 0, slot: int = 0) -> None:
        self.listener.tell(slot, partial(ConversationEar.flush, utterance=utterance))

    def commit(self, utterance: int, slot: int = 0) -> None:
        self.listener.tell(slot, partial(ConversationEar.commit, utterance=utterance))

    def news(self, slot: int = 0) -> list[RecognizerUpdate]:
        """What has come since the last call."""
        news, self.updates[slot] = self.updates[slot], []
        return news

    def texts(self, slot: int = 0) -> list[str]:
        return [update.text for update in self.news(slot)]


@contextmanager
def talking() -> Iterator[Talk]:
    talk = Talk()
    yield talk
    talk.listener.shutdown()
