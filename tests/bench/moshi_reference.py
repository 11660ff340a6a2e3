"""One call as the published KAME server computes it, to measure our own batches against.

Its tick, all in series: Mimi's encoder with a batch of one, one step of moshi's own `LMGen` with one oracle token,
Mimi's decoder, and the sound fetched from the device. One process of it serves one call.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from moshi.models.compression import MimiModel
from moshi.models.lm import LMGen

from kame_core.audio import Samples, silence
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint
from kame_core.frontend.moshi.oracle_lm import OracleLM


class OracleLMGen(LMGen):
    """moshi's generator for one call, whose main transformer also gets the oracle token of the step."""

    def __init__(self, lm: OracleLM) -> None:
        super().__init__(lm)
        self._oracle = torch.full((1, 1, 1), lm.text_padding_token_id, device=lm.device)

    def _init_streaming_state(self, batch_size: int) -> Any:
        state = super()._init_streaming_state(batch_size)
        graphed = state.graphed_main

        def main(*arguments: Any) -> Any:
            return graphed(*arguments, self._oracle)

        state.graphed_main = main  # type: ignore[assignment]
        return state

    def set_oracle(self, token: int) -> None:
        """For the next step."""
        self._oracle.fill_(token)


class ReferenceTalk:
    """One call, from sound to sound; see `reference_talk`.

    Args:
        generator: streaming.
        mimi: streaming.
        oracle: read from the first tick on, one token for each; padding follows.
    """

    def __init__(self, generator: OracleLMGen, mimi: MimiModel, oracle: Sequence[int]) -> None:
        self._generator = generator
        self._mimi = mimi
        self._oracle = oracle
        self._pad_id: int = generator.lm_model.text_padding_token_id
        self._device = next(mimi.parameters()).device
        self._ticks = 0

    @torch.no_grad()
    def tick(self, mic: Samples) -> tuple[Samples, int | None]:
        """One frame.

        Args:
            mic: float32 [1920] mono 24 kHz.

        Returns:
            The voice, float32 [1920], and the text token; silence and None in the first ticks.
        """
        codes = self._mimi.encode(torch.from_numpy(mic)[None, None].to(self._device))
        self._generator.set_oracle(self._oracle[self._ticks] if self._ticks < len(self._oracle) else self._pad_id)
        self._ticks += 1
        tokens = self._generator.step(codes)
        if tokens is None:
            return silence(mic.size), None
        voice: Samples = self._mimi.decode(tokens[:, 1:]).cpu().numpy()[0, 0]
        return voice, int(tokens[0, 0, 0])


@contextmanager
def reference_talk(model: LoadedCheckpoint, oracle: Sequence[int]) -> Iterator[ReferenceTalk]:
    """A call that reads this oracle, with the model's weights; they may be used otherwise afterwards."""
    generator = OracleLMGen(model.lm)
    with model.mimi.streaming(1), generator.streaming(1):
        yield ReferenceTalk(generator, model.mimi, oracle)
