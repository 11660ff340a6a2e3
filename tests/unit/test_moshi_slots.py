import random

import pytest
import torch

from kame_core.frontend.moshi.slots import NOT_YET, SlotStreams

TEXT_START, AUDIO_START = 100, 50


class WrittenOut:
    """One slot's streams by definition, from the complete past: channel k of a step carries its token `delay` ago."""

    def __init__(self, delays: list[int], own: int) -> None:
        self.delays, self.own = delays, own
        self.heard: list[list[int]] = []
        self.said: list[list[int]] = []

    def inputs(self, codes: list[int]) -> list[int]:
        self.heard.append(codes)
        step = len(self.heard) - 1
        column = []
        for channel, delay in enumerate(self.delays):
            if step <= delay:
                column.append(TEXT_START if channel == 0 else AUDIO_START)
            elif channel < self.own:
                column.append(self.said[step - 1][channel])
            else:
                column.append(self.heard[step - delay][channel - self.own])
        return column

    def aligned(self, tokens: list[int]) -> list[int]:
        self.said.append(tokens)
        frame = len(self.said) - 1 - max(self.delays)
        if frame < 0:
            return [NOT_YET] * self.own
        return [self.said[frame + self.delays[channel]][channel] for channel in range(self.own)]


@pytest.mark.parametrize("delays", [[0, 0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 0], [0, 2, 0, 1, 3], [1, 0, 2, 0, 2, 1]])
@pytest.mark.parametrize("seed", range(3))
def test_slots_are_delayed_each_by_its_own_clock(delays: list[int], seed: int) -> None:
    capacity, own = 4, 3
    initial = torch.full((1, len(delays), 1), AUDIO_START)
    initial[:, 0] = TEXT_START
    slots = SlotStreams(capacity, delays, own - 1, initial)
    expected: dict[int, WrittenOut] = {}
    dice = random.Random(seed)
    stepped = 0
    for _ in range(60):
        slot = dice.randrange(capacity)
        if slot in expected and dice.random() < 0.15:
            slots.end(slot)
            del expected[slot]
        elif slot not in expected and dice.random() < 0.5:
            slots.begin(slot)
            expected[slot] = WrittenOut(delays, own)
        codes = torch.randint(0, 40, (capacity, len(delays) - own))
        said = torch.randint(0, 40, (capacity, own))
        slots.hear(codes)
        inputs = slots.inputs()[:, :, 0]
        slots.say(said)
        aligned = slots.aligned()
        for slot in range(capacity):
            if slot in expected:
                assert inputs[slot].tolist() == expected[slot].inputs(codes[slot].tolist())
                assert aligned[slot].tolist() == expected[slot].aligned(said[slot].tolist())
                stepped += 1
            else:
                assert torch.equal(inputs[slot], initial[0, :, 0])
                assert aligned[slot].tolist() == [NOT_YET] * own
    assert stepped > 60


def test_a_closed_slot_holds_nothing() -> None:
    slots = SlotStreams(2, [0, 1, 1], 1, torch.full((1, 3, 1), AUDIO_START))
    for slot in (0, 1):
        slots.begin(slot)
    for _ in range(4):
        slots.hear(torch.full((2, 1), 7))
        slots.say(torch.full((2, 2), 9))
    slots.end(0)
    kept = [value for value in vars(slots).values() if isinstance(value, torch.Tensor) and value.shape[0] == 2]
    assert any((value[1] == 7).any() for value in kept)
    assert not any((value[0] == 7).any() or (value[0] == 9).any() for value in kept)
    assert slots.steps.tolist() == [0, 4]
