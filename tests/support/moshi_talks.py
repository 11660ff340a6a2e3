"""Made-up conversations in the slots of one batch of the reference's language model."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kame_core.frontend.moshi.generation import LMBatch, StepResult
from kame_core.frontend.moshi.sampling import GREEDY, SamplingOptions
from kame_core.frontend.moshi.slots import NOT_YET

CARD, TEXT_CARD, USER_CODEBOOKS, CONTEXT = 64, 200, 3, 24
SAMPLED = SamplingOptions(text_temperature=0.9, audio_temperature=0.9)
PAD = 3


@dataclass(frozen=True)
class Talk:
    """One conversation: what its user says and what its oracle has."""

    user: Tensor
    """int64 [USER_CODEBOOKS, steps]."""
    oracle: list[int]
    sampling: SamplingOptions = GREEDY
    seed: int = 0

    @property
    def steps(self) -> int:
        return len(self.oracle)


def talk(number: int, steps: int, sampling: SamplingOptions = GREEDY) -> Talk:
    """A made-up conversation, with pauses and new beginnings in its oracle."""
    dice = torch.Generator().manual_seed(number)
    oracle = torch.randint(0, TEXT_CARD + 1, (steps,), generator=dice)
    oracle[torch.rand(steps, generator=dice) < 0.4] = PAD
    return Talk(torch.randint(0, CARD, (USER_CODEBOOKS, steps), generator=dice), oracle.tolist(), sampling, number)


@dataclass(frozen=True)
class Place:
    """Where and when a conversation happens in a batch."""

    talk: Talk
    slot: int
    begin: int = 0


def tokens_of(result: StepResult, slot: int) -> list[int]:
    return [result.text_tokens[slot], *result.audio_codes[slot].tolist()]


def run(batch: LMBatch, *places: Place, until: int | None = None) -> list[list[list[int]]]:
    """What each conversation said, [steps, 1 + voice_codebooks]. Idle slots get garbage, full of the forbidden."""
    said: list[list[list[int]]] = [[] for _ in places]
    garbage = torch.Generator().manual_seed(99)
    for tick in range(until or max(place.begin + place.talk.steps for place in places)):
        codes = torch.randint(-5, CARD + 5, (batch.capacity, USER_CODEBOOKS, 1), generator=garbage)
        oracle = torch.randint(-5, TEXT_CARD + 5, (batch.capacity,), generator=garbage)
        stepped = {}
        for place in places:
            if tick == place.begin + place.talk.steps:
                batch.close(place.slot)
        for which, place in enumerate(places):
            at = tick - place.begin
            if at == 0:
                batch.open(place.slot, seed=place.talk.seed, sampling=place.talk.sampling)
            if 0 <= at < place.talk.steps:
                codes[place.slot, :, 0] = place.talk.user[:, at]
                oracle[place.slot] = place.talk.oracle[at]
                stepped[place.slot] = which
        result = batch.step(codes, oracle)
        assert not result.faults
        for slot in range(batch.capacity):
            if slot in stepped:
                said[stepped[slot]].append(tokens_of(result, slot))
            else:
                assert set(tokens_of(result, slot)) == {NOT_YET}
    for place in places:
        batch.close(place.slot)
    return said


def logits_of(linear: nn.Module, seen: list[Tensor]) -> None:
    """Keep what a head computes, each [rows, card]."""
    linear.register_forward_hook(lambda module, inputs, out: seen.append(out[:, 0].clone()))
