import math

import pytest
import torch
from torch import Tensor

from kame_core.errors import InvalidRequestError
from kame_core.frontend.moshi.sampling import GREEDY, MOST_TOP_K, BatchSampler, Head, SamplingOptions
from tests.support.recorded_step import OperationLog, record_step

CPU = torch.device("cpu")


def sampler_of(*slots: tuple[SamplingOptions, int], streams: int = 3) -> BatchSampler:
    sampler = BatchSampler(len(slots), streams, CPU)
    for slot, (options, seed) in enumerate(slots):
        sampler.set(slot, options, seed)
    return sampler


def draws(sampler: BatchSampler, logits: Tensor, steps: int, *, head: Head = Head.TEXT, stream: int = 0) -> Tensor:
    """Tokens [steps, capacity] for the same logits again and again."""
    capacity = logits.shape[0]
    drawn = []
    for step in range(steps):
        keys = sampler.noise_keys(torch.full((capacity,), step))
        drawn.append(sampler.sample(logits, head, keys[:, :, stream]))
    return torch.stack(drawn)


@pytest.mark.parametrize(
    ("temperature", "top_k", "card"), [(0.7, 25, 40), (1.0, 3, 40), (1.6, 40, 40), (0.8, 250, 9), (1.0, 250, 400)]
)
def test_draws_follow_the_softmax_of_the_likeliest(temperature: float, top_k: int, card: int) -> None:
    slots, steps = 200, 100
    options = SamplingOptions(text_temperature=temperature, text_top_k=top_k)
    sampler = sampler_of(*[(options, seed) for seed in range(slots)])
    logits = torch.randn(card, generator=torch.Generator().manual_seed(card)) * 2
    counts = torch.bincount(draws(sampler, logits.expand(slots, -1), steps).flatten(), minlength=card).double()
    kept = torch.full((card,), -torch.inf).scatter(0, logits.topk(min(top_k, card)).indices, 0.0) + logits
    expected = (kept / temperature).softmax(-1).double() * slots * steps
    assert counts[kept.isinf()].sum() == 0
    often = expected >= 5  # the chi-square approximation needs that
    chi_square = ((counts - expected)[often] ** 2 / expected[often]).sum().item()
    degrees = int(often.sum()) - 1
    assert chi_square < degrees + 4 * math.sqrt(2 * degrees)


def test_greedy_takes_the_first_of_the_likeliest() -> None:
    logits = torch.tensor([[1.0, 5.0, 5.0, 2.0], [9.0, 9.0, 9.0, 9.0]])
    assert draws(sampler_of((GREEDY, 1), (GREEDY, 2)), logits, 5).tolist() == [[1, 0]] * 5


def test_every_slot_goes_by_its_own_settings() -> None:
    wild = SamplingOptions(text_temperature=5.0, text_top_k=2, audio_temperature=0.0)
    narrow = SamplingOptions(text_temperature=5.0, text_top_k=1, audio_temperature=5.0, audio_top_k=8)
    sampler = sampler_of((wild, 7), (narrow, 7), (GREEDY, 7))
    logits = torch.arange(8.0).expand(3, -1)
    text = draws(sampler, logits, 60)
    assert [set(text[:, slot].tolist()) for slot in range(3)] == [{6, 7}, {7}, {7}]
    audio = draws(sampler, logits, 60, head=Head.AUDIO)
    assert [len(set(audio[:, slot].tolist())) > 4 for slot in range(3)] == [False, True, False]
    sampler.set(0, GREEDY, 7)
    assert set(draws(sampler, logits, 20)[:, 0].tolist()) == {7}


def test_a_slots_draws_depend_on_its_seed_and_steps_alone() -> None:
    options = SamplingOptions(text_temperature=1.0, text_top_k=250)
    logits = torch.zeros(1, 2000)
    alone = draws(sampler_of((options, 42)), logits, 30)[:, 0]
    among = draws(sampler_of((options, 1), (GREEDY, 2), (options, 42)), logits.expand(3, -1), 30)
    assert torch.equal(among[:, 2], alone)
    assert not torch.equal(among[:, 0], alone)
    other_stream = draws(sampler_of((options, 42)), logits, 30, stream=1)[:, 0]
    assert (other_stream == alone).sum() <= 2
    assert len(set(alone.tolist())) > 20  # and every step draws anew


@pytest.mark.parametrize("seed", [0, -1, 2**31, 2**64 + 5])
def test_any_integer_is_a_seed(seed: int) -> None:
    options = SamplingOptions()
    logits = torch.zeros(2, 200)
    drawn = draws(sampler_of((options, seed), (options, seed + 1)), logits, 12)
    assert not torch.equal(drawn[:, 0], drawn[:, 1])


def test_noise_of_neighbouring_steps_streams_and_seeds_is_unrelated() -> None:
    """Two draws from 16 equally likely tokens agree as often as chance has it, whatever they are neighbours in."""
    options = SamplingOptions(text_temperature=1.0, text_top_k=16)
    seeds, steps = 100, 100
    sampler = sampler_of(*[(options, seed) for seed in range(seeds)])
    logits = torch.zeros(seeds, 16)
    first, second = (draws(sampler, logits, steps, stream=stream) for stream in (0, 1))
    for a, b in ((first, second), (first[1:], first[:-1]), (first[:, 1:], first[:, :-1]), (first[1:], second[:-1])):
        count, agree = a.numel(), int((a == b).sum())
        assert abs(agree - count / 16) < 4.5 * math.sqrt(count / 16 * 15 / 16)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_broken_logits_give_a_token_of_the_vocabulary_and_leave_other_slots_alone(broken: float) -> None:
    options = SamplingOptions()
    sampler = sampler_of((options, 1), (options, 2), (GREEDY, 3))
    logits = torch.randn(3, 30, generator=torch.Generator().manual_seed(0))
    sound = draws(sampler, logits, 10)
    for slots in ([0, 2], [0, 1, 2]):
        spoilt = logits.clone()
        spoilt[slots] = broken
        drawn = draws(sampler, spoilt, 10)
        assert int(drawn.min()) >= 0
        assert int(drawn.max()) < 30
        if slots == [0, 2]:
            assert torch.equal(drawn[:, 1], sound[:, 1])


def test_a_draw_can_be_recorded_and_settings_change_behind_it() -> None:
    options = SamplingOptions(text_temperature=1.0)
    sampler = sampler_of((options, 1), (GREEDY, 2))
    steps, logits, out = torch.zeros(2, dtype=torch.long), torch.randn(2, 90), torch.zeros(2, dtype=torch.long)

    def draw() -> None:
        out.copy_(sampler.sample(logits, Head.TEXT, sampler.noise_keys(steps)[:, :, 0]))
        steps.add_(1)

    replay = record_step(draw)
    for change in range(6):
        if change == 3:
            sampler.set(0, GREEDY, 1)
            sampler.set(1, options, 5)
        logits.copy_(torch.randn(2, 90))
        expected = sampler.sample(logits, Head.TEXT, sampler.noise_keys(steps)[:, :, 0])
        replay()
        assert torch.equal(out, expected)


def test_nothing_waits_for_a_value() -> None:
    sampler = sampler_of((SamplingOptions(), 1))
    with OperationLog() as log:
        draws(sampler, torch.zeros(1, 2048), 2)
    assert log.calls
    assert not log.host_waits


@pytest.mark.parametrize(
    "wrong",
    [
        {"text_temperature": -0.1},
        {"audio_temperature": math.nan},
        {"audio_temperature": math.inf},
        {"text_top_k": 0},
        {"audio_top_k": MOST_TOP_K + 1},
    ],
)
def test_impossible_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidRequestError):
        SamplingOptions(**wrong)  # type: ignore[arg-type]
