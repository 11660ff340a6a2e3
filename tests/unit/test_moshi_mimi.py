"""Mimi for many slots: each as if it were alone, from open to close."""

import copy
from dataclasses import dataclass, field

import pytest
import torch
from moshi.models.compression import MimiModel
from torch import Tensor

from kame_core.frontend.moshi.mimi import MimiBatch
from kame_core.frontend.moshi.packed_cpu import pack_for_cpu
from tests.support.recorded_step import checked_graphs
from tests.support.tiny_moshi import CODEBOOK_SIZE, build_lm, build_mimi

CODEBOOKS = 8
ALL_CODEBOOKS = 32
FRAME_SAMPLES = 1920


@pytest.fixture(scope="module")
def mimi() -> MimiModel:
    return build_mimi(ALL_CODEBOOKS)


def talk(seed: int, frames: int) -> Tensor:
    """A voice-like sound, float32 [frames, 1920]: a gliding tone that comes and goes, and breath."""
    random = torch.Generator().manual_seed(seed)
    pitch_hz = (100 + 400 * torch.rand(frames, generator=random)).repeat_interleave(FRAME_SAMPLES)
    loudness = torch.rand(frames, generator=random).repeat_interleave(FRAME_SAMPLES)
    tone = torch.sin(2 * torch.pi * torch.cumsum(pitch_hz, 0) / 24_000)
    return (0.3 * loudness * tone + 0.05 * torch.randn(frames * FRAME_SAMPLES, generator=random)).view(frames, -1)


@dataclass
class Trace:
    """What came out of one session."""

    codes: list[Tensor] = field(default_factory=list)
    pcm: list[Tensor] = field(default_factory=list)


def alone(mimi: MimiModel, sound: Tensor, capacity: int = 1, slot: int = 0, codebooks: int = CODEBOOKS) -> Trace:
    """A session by itself, in a batch of any size."""
    batch = MimiBatch(mimi, capacity, codebooks)
    trace = Trace()
    batch.open(slot)
    for frame in sound:
        pcm = torch.zeros(capacity, 1, FRAME_SAMPLES)
        pcm[slot] = frame
        codes = batch.encode(pcm)
        trace.codes.append(codes[slot, :, 0])
        trace.pcm.append(batch.decode(codes)[slot, 0])
    batch.close_all()
    return trace


@dataclass(frozen=True)
class Session:
    slot: int
    start_tick: int
    sound: Tensor
    pauses: frozenset[int] = frozenset()
    """Ticks in which it takes no part."""


SESSIONS = [
    Session(0, 0, talk(0, 34), frozenset({8, 9})),
    Session(1, 3, talk(1, 9)),
    Session(2, 6, talk(2, 26), frozenset({12, 13, 14, 15})),
    Session(1, 14, talk(3, 18)),  # in the slot of one that left
    Session(3, 11, talk(4, 24), frozenset({11, 20})),  # opened a tick before it takes part
]
LAG_FRAMES = 2


def together(mimi: MimiModel, capacity: int = 4) -> list[Trace]:
    """All sessions in one batch; the decoder is some frames behind the encoder, idle rows hold garbage."""
    batch = MimiBatch(mimi, capacity, CODEBOOKS)
    traces = [Trace() for _ in SESSIONS]
    random = torch.Generator().manual_seed(99)
    for tick in range(48):
        for session in SESSIONS:
            if tick == session.start_tick:
                batch.open(session.slot)
        live = {
            session.slot: (session, trace)
            for session, trace in zip(SESSIONS, traces, strict=True)
            if session.start_tick <= tick and len(trace.codes) < len(session.sound)
        }
        now = [slot for slot, (session, _) in live.items() if tick not in session.pauses]
        pcm = torch.randn(capacity, 1, FRAME_SAMPLES, generator=random)
        for slot in now:
            session, trace = live[slot]
            pcm[slot] = session.sound[len(trace.codes)]
        codes = batch.encode(pcm, now)
        for slot in now:
            live[slot][1].codes.append(codes[slot, :, 0])
        ready = [slot for slot in now if len(live[slot][1].codes) > LAG_FRAMES]
        late = torch.randint(-2, CODEBOOK_SIZE, (capacity, CODEBOOKS, 1), generator=random)
        for slot in ready:
            trace = live[slot][1]
            late[slot, :, 0] = trace.codes[len(trace.pcm)]
        voice = batch.decode(late, ready)
        for slot in ready:
            live[slot][1].pcm.append(voice[slot, 0])
        for slot, (session, trace) in live.items():
            if len(trace.codes) == len(session.sound):
                batch.close(slot)
    batch.close_all()
    return traces


def test_every_slot_is_as_if_alone(mimi: MimiModel) -> None:
    for session, trace in zip(SESSIONS, together(mimi), strict=True):
        same_size = alone(mimi, session.sound, 4, session.slot)
        single = alone(mimi, session.sound)
        codes = torch.stack(trace.codes)
        assert len(set(codes.flatten().tolist())) > 30  # not all the same by chance
        assert torch.equal(codes, torch.stack(same_size.codes))
        assert torch.equal(codes, torch.stack(single.codes))
        pcm = torch.stack(trace.pcm)
        assert pcm.std() > 0.01
        assert torch.equal(pcm, torch.stack(same_size.pcm[: len(pcm)]))
        torch.testing.assert_close(pcm, torch.stack(single.pcm[: len(pcm)]), rtol=0, atol=1e-5)


def test_its_graphs_are_the_same_work_on_the_same_memory_in_every_frame(mimi: MimiModel) -> None:
    with checked_graphs() as graphs:
        together(mimi)
    assert len(graphs) == 5  # two convolution stacks, two transformers, and who takes part
    assert min(graph.steps for graph in graphs) > 20


def test_the_first_codes_of_many_are_those_of_few(mimi: MimiModel) -> None:
    sound = talk(7, 12)
    many = torch.stack(alone(mimi, sound, codebooks=ALL_CODEBOOKS).codes)
    few = torch.stack(alone(mimi, sound, codebooks=CODEBOOKS).codes)
    assert many.shape == (12, ALL_CODEBOOKS)
    assert torch.equal(many[:, :CODEBOOKS], few)
    assert len(set(many[:, CODEBOOKS:].flatten().tolist())) > 30


def test_the_decoder_takes_as_many_codebooks_as_it_is_given(mimi: MimiModel) -> None:
    batch = MimiBatch(mimi, 1, ALL_CODEBOOKS)
    batch.open(0)
    for frame in talk(8, 6):
        codes = batch.encode(frame.view(1, 1, -1))
        voice = batch.decode(codes[:, :CODEBOOKS])
    batch.close_all()
    assert voice.shape == (1, 1, FRAME_SAMPLES)
    assert torch.equal(voice[0, 0], alone(mimi, talk(8, 6)).pcm[-1])


def test_silence_is_code_0_and_code_0_is_silence(mimi: MimiModel) -> None:
    trace = alone(mimi, torch.zeros(4, FRAME_SAMPLES))
    assert torch.stack(trace.codes).count_nonzero() == 0
    assert torch.stack(trace.pcm).count_nonzero() == 0


def test_one_slot_gone_mad_spoils_neither_the_others_nor_its_next_call(mimi: MimiModel) -> None:
    sound = talk(5, 16)
    wanted = alone(mimi, sound, 2, 1)
    batch = MimiBatch(mimi, 2, CODEBOOKS)
    batch.open(0)
    batch.open(1)
    beside = Trace()
    for frame in sound:
        pcm = torch.stack([torch.full_like(frame, 1e38), frame])[:, None]
        codes = batch.encode(pcm)
        beside.codes.append(codes[1, :, 0])
        beside.pcm.append(batch.decode(codes)[1, 0])
    states = [cache for cache in batch._caches if not cache[:, 0].isfinite().all()]
    assert states, "the slot's state should have overflowed"
    assert torch.equal(torch.stack(beside.codes), torch.stack(wanted.codes))
    assert torch.equal(torch.stack(beside.pcm), torch.stack(wanted.pcm))
    batch.close(0)
    batch.open(0)
    fresh = Trace()
    for frame in sound:
        codes = batch.encode(frame.expand(2, 1, -1))
        fresh.codes.append(codes[0, :, 0])
        fresh.pcm.append(batch.decode(codes)[0, 0])
    batch.close_all()
    assert torch.equal(torch.stack(fresh.codes), torch.stack(wanted.codes))
    assert torch.equal(torch.stack(fresh.pcm), torch.stack(wanted.pcm))


def test_samples_that_are_not_numbers_are_silence_or_full_scale(mimi: MimiModel) -> None:
    wild, tame = torch.zeros(3, FRAME_SAMPLES), torch.zeros(3, FRAME_SAMPLES)
    wild[1, ::3], wild[1, 1::3], wild[1, 2::3] = torch.nan, torch.inf, -torch.inf
    tame[1, 1::3], tame[1, 2::3] = 1.0, -1.0
    assert torch.equal(torch.stack(alone(mimi, wild).codes), torch.stack(alone(mimi, tame).codes))


def test_codes_outside_the_codebook_do_no_harm(mimi: MimiModel) -> None:
    batch = MimiBatch(mimi, 1, CODEBOOKS)
    batch.open(0)
    codes = torch.full((1, CODEBOOKS, 1), -2)
    codes[0, 0] = 2**40
    assert batch.decode(codes).isfinite().all()
    batch.close_all()


def test_nothing_grows(mimi: MimiModel) -> None:
    batch = MimiBatch(mimi, 2, CODEBOOKS)
    batch.open(0)

    def held_bytes() -> int:
        states = list(mimi.get_streaming_state().values())
        states += [state.kv_cache for state in states if getattr(state, "kv_cache", None) is not None]
        parts = [part for state in states for part in vars(state).values()]
        return sum(part.nbytes for part in parts if isinstance(part, Tensor))

    sound = talk(6, 60)[:, None, None].expand(-1, 2, -1, -1)
    sizes = []
    for frame in sound:
        batch.decode(batch.encode(frame))
        sizes.append(held_bytes())
    batch.close_all()
    assert set(sizes) == {sizes[0]}
    assert sizes[0] > 1000


def test_what_is_wrong_is_refused(mimi: MimiModel) -> None:
    with pytest.raises(ValueError, match="32 codebooks, not 33"):
        MimiBatch(mimi, 1, 33)
    batch = MimiBatch(mimi, 2, CODEBOOKS)
    batch.open(0)
    with pytest.raises(ValueError, match=r"pcm must be \[2, 1, 1920\]"):
        batch.encode(torch.zeros(2, 1, 960))
    with pytest.raises(ValueError, match="codes must be"):
        batch.decode(torch.zeros(1, 8, 1, dtype=torch.long))
    with pytest.raises(ValueError, match="codebooks, not 33"):
        batch.decode(torch.zeros(2, 33, 1, dtype=torch.long))
    with pytest.raises(ValueError, match="not open"):
        batch.encode(torch.zeros(2, 1, FRAME_SAMPLES), [1])
    with pytest.raises(ValueError, match="no slot 2"):
        batch.open(2)
    batch.close_all()
    batch.close_all()
    MimiBatch(mimi, 1, CODEBOOKS).close_all()  # free again


def test_packed_weights_give_the_same_codes_and_sound(mimi: MimiModel) -> None:
    packed = copy.deepcopy(mimi)
    assert pack_for_cpu(packed, least_parameters=500, least_conv_parameters=2000) > 10
    kinds = {type(module).__name__ for module in packed.modules()}
    assert {"_PackedLinear", "_PackedConv1d", "_PackedConvTranspose1d"} <= kinds
    for capacity in (1, 3):
        plain, quick = alone(mimi, talk(9, 20), capacity), alone(packed, talk(9, 20), capacity)
        assert torch.equal(torch.stack(quick.codes), torch.stack(plain.codes))
        error = torch.stack(quick.pcm) - torch.stack(plain.pcm)
        assert 20 * torch.log10(torch.stack(plain.pcm).std() / error.std()) > 100


def test_a_packed_language_model_computes_the_same() -> None:
    lm, packed = build_lm(), build_lm()
    assert pack_for_cpu(packed, least_parameters=500) > 20
    assert "_PackedGate" in {type(module).__name__ for module in packed.modules()}
    streams = torch.randint(0, CODEBOOK_SIZE, (2, 5, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain, quick = lm(streams), packed(streams)
    torch.testing.assert_close(quick.text_logits, plain.text_logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(quick.logits, plain.logits, rtol=0, atol=1e-5, equal_nan=True)


def test_only_float32_on_the_cpu_is_packed(mimi: MimiModel) -> None:
    with pytest.raises(ValueError, match="bfloat16"):
        pack_for_cpu(copy.deepcopy(mimi).to(torch.bfloat16))
