import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from moshi.models.lm import LMGen, LMModel
from moshi.utils.compile import no_compile
from torch import Tensor, nn

from kame_core.errors import InvalidRequestError, UnavailableError
from kame_core.frontend.moshi.generation import Guidance, GuidanceMode, LMBatch, StepResult
from kame_core.frontend.moshi.oracle_lm import OracleLM, build_oracle_lm
from kame_core.frontend.moshi.sampling import GREEDY, SamplingOptions
from kame_core.frontend.moshi.slots import NOT_YET
from kame_core.frontend.moshi.step_graph import Step
from tests.support.kame_reference import CASES, CFG_WEIGHT, config, plain_lm, reference_lm, vectors, weights
from tests.support.recorded_step import OperationLog, record_step

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


@pytest.fixture
def lm() -> OracleLM:
    return reference_lm()


def logits_of(linear: nn.Module, seen: list[Tensor]) -> None:
    """Keep what a head computes, each [rows, card]."""
    linear.register_forward_hook(lambda module, inputs, out: seen.append(out[:, 0].clone()))


def spoil(module: nn.Module, row: int, when: Callable[[], bool], value: float = torch.nan) -> None:
    """From now on the module's output is not a number in one row whenever asked for."""

    def hook(module: nn.Module, inputs: object, out: Tensor) -> Tensor | None:
        if not when():
            return None
        spoilt = out.clone()
        spoilt[row] = value
        return spoilt

    module.register_forward_hook(hook)


# --- the reference ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_tokens_and_logits_are_the_references(lm: OracleLM, case: str) -> None:
    known = vectors(case)
    guidance = Guidance(GuidanceMode.SAME, CFG_WEIGHT) if case.endswith("cfg") else Guidance()
    seen: list[Tensor] = []
    logits_of(lm.text_linear, seen)
    batch = LMBatch(lm, 1, guidance)
    (said,) = run(batch, Place(Talk(known["user"][0], known["oracle"].tolist()), 0))
    assert said == known["tokens"].tolist()
    assert torch.equal(torch.stack([logits[0] for logits in seen]), known["text_logits"])


@pytest.mark.parametrize("by", [-1, 1])
def test_an_oracle_off_by_one_step_would_be_noticed(lm: OracleLM, by: int) -> None:
    known = vectors(CASES[0])
    oracle = known["oracle"].roll(by).tolist()[:40]
    (said,) = run(LMBatch(lm, 1), Place(Talk(known["user"][0, :, :40], oracle), 0))
    assert said != known["tokens"][:40].tolist()


@pytest.mark.parametrize("delays", [[0, 0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 0, 0, 0], [0, 2, 1, 3, 0, 3, 1]])
def test_without_oracle_embedding_it_says_what_moshis_own_generator_says(delays: list[int]) -> None:
    moshi = LMModel(**(config() | {"delays": delays})).eval()
    lm = build_oracle_lm(config() | {"delays": delays}, device="cpu", dtype=torch.float32, oracle=False)
    lm.load_state_dict(plain_lm().state_dict())
    moshi.load_state_dict(lm.state_dict())
    given = talk(1, 40)
    expected = []
    generator = LMGen(moshi, use_sampling=False)
    with no_compile(), generator.streaming(1):
        for step in range(given.steps):
            out = generator.step(given.user[None, :, step : step + 1])
            expected.append([NOT_YET] * 4 if out is None else out[0, :, 0].tolist())
    batch = LMBatch(lm, 1)
    assert batch.idle_oracle_id == -1
    assert batch.delay_steps == max(delays)
    (said,) = run(batch, Place(given, 0))  # it takes no notice of the oracle
    assert said == expected


def test_a_cloned_oracle_embedding_is_plain_moshi_until_it_is_used() -> None:
    plain, cloned = plain_lm(), reference_lm()
    cloned.load_state_dict(weights() | {"oracle_emb.weight": weights()["text_emb.weight"]})
    given = talk(2, 40)
    (expected,) = run(LMBatch(plain, 1), Place(given, 0))
    batch = LMBatch(cloned, 1, trained_for_oracle=False)
    idle = replace(given, oracle=[batch.idle_oracle_id] * given.steps)
    used = replace(idle, oracle=[*idle.oracle[:20], 17, *idle.oracle[21:]])
    padded = replace(idle, oracle=[PAD] * given.steps)
    said_idle, said_used, said_padded = (run(batch, Place(variant, 0))[0] for variant in (idle, used, padded))
    assert said_idle == expected
    assert said_used[:20] == expected[:20]
    assert said_used != expected
    assert said_padded != expected  # why idle is not pad
    assert LMBatch(reference_lm(), 1).idle_oracle_id == PAD


# --- many slots ------------------------------------------------------------------------------------------------------

PARTY = (
    Place(talk(10, 60), 0),
    Place(talk(11, 21), 1, 4),
    Place(talk(12, 40), 2, 9),
    Place(talk(13, 30), 1, 25),  # the same slot at once again
    Place(talk(14, 1), 3, 20),
    Place(talk(15, 26), 3, 29),
)
SAMPLED_PARTY = tuple(replace(place, talk=replace(place.talk, sampling=SAMPLED)) for place in PARTY)


def test_slots_of_a_batch_say_what_they_say_alone(lm: OracleLM) -> None:
    batch = LMBatch(lm, 4)
    together = run(batch, *PARTY)
    batch.shutdown()
    single = LMBatch(lm, 1)
    for place, said in zip(PARTY, together, strict=True):
        assert run(single, Place(place.talk, 0)) == [said]
    assert len({str(said) for said in together}) == len(PARTY)


@pytest.mark.parametrize("guidance", [Guidance(), Guidance(GuidanceMode.PAD_NULL, 2.0)])
def test_a_recorded_step_does_the_same(lm: OracleLM, guidance: Guidance) -> None:
    """Joins, leaves, settings and oracle all reach a step that is replayed as a CUDA graph is."""
    party = (*PARTY[:2], *SAMPLED_PARTY[2:])
    recorded = LMBatch(lm, 4, guidance, recorder=record_step)
    said = run(recorded, *party, until=34)
    recorded.shutdown()
    assert run(LMBatch(lm, 4, guidance), *party, until=34) == said


def test_sampled_slots_repeat_by_their_seed(lm: OracleLM) -> None:
    """Beside other company, in another slot, at another time; only the batch's size is the same."""
    batch = LMBatch(lm, 4)
    together = run(batch, *SAMPLED_PARTY)
    for which in (1, 2, 5):
        place = SAMPLED_PARTY[which]
        assert run(batch, Place(place.talk, (place.slot + 1) % 4)) == [together[which]]
    assert run(batch, Place(replace(SAMPLED_PARTY[1].talk, seed=77), 1)) != [together[1]]
    assert run(batch, Place(PARTY[1].talk, 1)) != [together[1]]


def test_bfloat16_slots_say_what_they_say_alone_in_a_batch_of_that_size() -> None:
    batch = LMBatch(reference_lm(torch.bfloat16), 4)
    for party in (PARTY, SAMPLED_PARTY):
        together = run(batch, *party, until=58)
        for which in (1, 3):
            assert run(batch, Place(party[which].talk, party[which].slot)) == [together[which]]


def test_without_a_seed_every_conversation_is_another(lm: OracleLM) -> None:
    batch = LMBatch(lm, 2)
    for slot in (0, 1):
        batch.open(slot, seed=None, sampling=SAMPLED)
    said = [batch.step(torch.zeros(2, USER_CODEBOOKS, 1, dtype=torch.long), [PAD, PAD]) for _ in range(12)]
    assert [tokens_of(result, 0) for result in said] != [tokens_of(result, 1) for result in said]


def test_guided_slots_say_what_they_say_alone(lm: OracleLM) -> None:
    for mode in (GuidanceMode.SAME, GuidanceMode.PAD_NULL):
        batch = LMBatch(lm, 3, Guidance(mode, 2.0))
        places = [Place(talk(20, 28), 2), Place(talk(21, 12), 0, 3), Place(talk(22, 6), 1, 7)]
        together = run(batch, *places)
        batch.shutdown()
        single = LMBatch(lm, 1, Guidance(mode, 2.0))
        assert [run(single, Place(place.talk, 0))[0] for place in places] == together
        single.shutdown()


# --- nothing of one conversation in the next -------------------------------------------------------------------------


def test_a_used_slot_begins_as_a_new_one(lm: OracleLM) -> None:
    """Bit by bit, and also when the one before broke down and left numbers that are none in its caches."""
    broken = False
    spoil(lm.transformer.layers[0], 1, lambda: broken)
    seen: list[Tensor] = []
    logits_of(lm.text_linear, seen)
    given, company = talk(30, 40), talk(31, 40)
    fresh = LMBatch(lm, 2)
    expected = run(fresh, Place(given, 1), Place(company, 0))
    expected_logits = [logits.clone() for logits in seen]
    fresh.shutdown()

    used = LMBatch(lm, 2)
    run(used, Place(talk(32, 60), 1), Place(talk(33, 60), 0))
    used.open(1, seed=1, sampling=SAMPLED)
    used.open(0, seed=1, sampling=SAMPLED)
    broken = True
    for _ in range(3):
        result = used.step(torch.ones(2, USER_CODEBOOKS, 1, dtype=torch.long), [5, 5])
        assert result.faults == {1}
    broken = False
    assert used.step(torch.ones(2, USER_CODEBOOKS, 1, dtype=torch.long), [5, 5]).faults == {1}  # it stays broken
    for slot in (0, 1):
        used.close(slot)
    assert used.step(torch.ones(2, USER_CODEBOOKS, 1, dtype=torch.long), [5, 5]).faults == frozenset()
    seen.clear()
    assert run(used, Place(given, 1), Place(company, 0)) == expected
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(seen, expected_logits, strict=True))


def test_a_closed_slot_holds_nothing_of_its_conversation(lm: OracleLM) -> None:
    batch = LMBatch(lm, 2)
    run(batch, Place(talk(40, 30), 0), Place(talk(41, 30), 1), until=29)
    for slot in (0, 1):
        batch.open(slot, seed=1, sampling=GREEDY)
    for _ in range(30):
        batch.step(torch.ones(2, USER_CODEBOOKS, 1, dtype=torch.long), [5, 5])
    batch.close(0)
    states = lm.get_streaming_state().values()
    caches = [state.kv_cache for state in states if hasattr(state, "kv_cache")]
    assert len(caches) == config()["num_layers"]
    for cache in caches:
        assert cache.cache[:, 1].abs().sum() > 0
        assert cache.cache[:, 0].abs().sum() == 0
    for _ in range(3):
        batch.step(torch.ones(2, USER_CODEBOOKS, 1, dtype=torch.long), [5, 5])
    assert [cache.end_offset.tolist() for cache in caches] == [[0, 33]] * len(caches)  # and it stands still


# --- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("head", ["text", "last codebook"])
def test_broken_logits_are_the_fault_of_one_slot(lm: OracleLM, head: str, value: float) -> None:
    places = [Place(talk(50 + slot, 20), slot) for slot in range(3)]
    sound = LMBatch(lm, 3)
    expected = run(sound, *places)
    sound.shutdown()
    step = 0
    linear = lm.text_linear if head == "text" else lm.linears[-1]
    spoil(linear, 1, lambda: step == 12, value)
    batch = LMBatch(lm, 3)
    for place in places:
        batch.open(place.slot, seed=0, sampling=GREEDY)
    for step in range(20):
        codes = torch.stack([place.talk.user[:, step : step + 1] for place in places])
        result = batch.step(codes, [place.talk.oracle[step] for place in places])
        assert result.faults == ({1} if step == 12 else set())
        assert [tokens_of(result, slot) for slot in (0, 2)] == [expected[slot][step] for slot in (0, 2)]
        if step == 12:
            assert result.ready == [True, False, True]
            assert set(tokens_of(result, 1)) == {NOT_YET}
            batch.close(1)


def test_what_comes_out_is_marked_and_fit_for_a_codec(lm: OracleLM) -> None:
    batch = LMBatch(lm, 2)
    batch.open(1, seed=0, sampling=GREEDY)
    ready = []
    for _ in range(3):
        result = batch.step(torch.zeros(2, USER_CODEBOOKS + 2, 1, dtype=torch.long), [PAD, PAD])
        ready.append(result.ready)
        codes = result.codec_input()
        assert codes.shape == (2, batch.voice_codebooks, 1)
        assert int(codes.min()) >= 0
        assert int(codes.max()) < CARD
    assert ready == [[False, False], [False, True], [False, True]]
    kept = tokens_of(result, 1)
    batch.step(torch.ones(2, USER_CODEBOOKS, 1, dtype=torch.long), [9, 9])
    assert tokens_of(result, 1) == kept  # a result is not overwritten by the next step


def test_ids_outside_the_vocabulary_end_no_conversation(lm: OracleLM) -> None:
    batch = LMBatch(lm, 1)
    batch.open(0, seed=0, sampling=GREEDY)
    for wild in (-(2**40), -7, TEXT_CARD + 1, 2**40):
        assert not batch.step(torch.full((1, USER_CODEBOOKS, 1), wild), [wild]).faults


def test_wrong_use_is_refused(lm: OracleLM) -> None:
    batch = LMBatch(lm, 2)
    batch.open(0, seed=0, sampling=GREEDY)
    with pytest.raises(ValueError, match="slot 0 is open"):
        batch.open(0, seed=0, sampling=GREEDY)
    right = torch.zeros(2, USER_CODEBOOKS, 1, dtype=torch.long)
    for codes, oracle in ((right[:1], [PAD, PAD]), (right[:, :2], [PAD, PAD]), (right.repeat(1, 1, 2), [PAD, PAD])):
        with pytest.raises(ValueError, match="codes must be"):
            batch.step(codes, oracle)
    with pytest.raises(ValueError, match="one oracle token"):
        batch.step(right, [PAD])
    batch.close(0)
    batch.close(0)
    batch.open(0, seed=0, sampling=GREEDY)


def test_after_shutdown_the_model_is_free(lm: OracleLM) -> None:
    given = talk(60, 10)
    batch = LMBatch(lm, 3)
    run(batch, Place(given, 2))
    batch.shutdown()
    batch.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        batch.step(torch.zeros(3, USER_CODEBOOKS, 1, dtype=torch.long), [PAD] * 3)
    assert not lm.is_streaming
    assert run(LMBatch(lm, 1), Place(given, 0)) == run(LMBatch(reference_lm(), 1), Place(given, 0))


def test_no_memory_for_so_many_slots_is_said_and_leaves_the_model_free(lm: OracleLM) -> None:
    def out_of_memory(step: Step) -> Step:
        step()
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UnavailableError, match="no memory for 5 conversations"):
        LMBatch(lm, 5, recorder=out_of_memory)
    run(LMBatch(lm, 1), Place(talk(61, 3), 0))


def test_models_that_cannot_converse_are_refused() -> None:
    only_hears = build_oracle_lm(
        config() | {"dep_q": 0, "depformer_weights_per_step": False}, device="meta", dtype=torch.float32
    )
    with pytest.raises(UnavailableError, match="cannot speak"):
        LMBatch(only_hears, 1)
    with pytest.raises(UnavailableError, match="pad-null"):
        LMBatch(plain_lm(), 1, Guidance(GuidanceMode.PAD_NULL))
    LMBatch(plain_lm(), 1, Guidance(GuidanceMode.PAD_NULL, 1.0))  # guides nothing
    with pytest.raises(InvalidRequestError):
        Guidance(GuidanceMode.SAME, 0.0)


# --- what it computes ------------------------------------------------------------------------------------------------


def test_pad_null_guidance_weighs_the_oracle_against_none(lm: OracleLM) -> None:
    """The step's two halves are what the model says to the same past with and without oracle, and both heads follow."""
    weight, given = 3.0, talk(70, CONTEXT - 1)
    streams: list[list[Tensor]] = []
    for embedding in (lm.text_emb, *lm.emb):
        streams.append([])
        embedding.register_forward_pre_hook(lambda module, inputs, to=streams[-1]: to.append(inputs[0].clone()))
    text_logits: list[Tensor] = []
    voice_logits: list[Tensor] = []
    logits_of(lm.text_linear, text_logits)
    logits_of(lm.linears[0], voice_logits)
    batch = LMBatch(lm, 1, Guidance(GuidanceMode.PAD_NULL, weight))
    (said,) = run(batch, Place(given, 0))
    batch.shutdown()
    fed = torch.stack([torch.cat(stream, dim=1) for stream in streams], dim=1)
    halves = torch.stack(text_logits, dim=1)
    assert fed.shape == (2, len(streams), given.steps)
    assert torch.equal(fed[0], fed[1])
    with torch.no_grad():
        for half, oracle in enumerate((given.oracle, [PAD] * given.steps)):
            _, expected = lm.forward_text(fed[:1], None, None, torch.tensor(oracle)[None, None])
            assert torch.allclose(halves[half], expected[0, 0], atol=1e-4)
    assert not torch.allclose(halves[0], halves[1], atol=1e-2)
    for channel, logits in ((0, halves), (1, torch.stack(voice_logits, dim=1))):
        guided = (logits[1] + weight * (logits[0] - logits[1])).argmax(-1).tolist()
        assert [tokens[channel] for tokens in said[1:]] == guided[:-1]


def test_a_step_waits_for_no_value_and_is_fetched_once(lm: OracleLM) -> None:
    batch = LMBatch(lm, 2)
    batch.open(0, seed=0, sampling=SAMPLED)
    codes, oracle = torch.zeros(2, USER_CODEBOOKS, 1, dtype=torch.long), torch.tensor([PAD, PAD])
    with OperationLog() as log:
        result = batch.step(codes, oracle)
    assert len(log.calls) > 100
    assert not log.host_waits
    assert (result.text_tokens, result.faults, result.ready) == ([NOT_YET] * 2, frozenset(), [False] * 2)


def tensor_bytes() -> tuple[int, int]:
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if type(thing) in (Tensor, nn.Parameter)]
    return len(tensors), sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def small_lm() -> OracleLM:
    torch.manual_seed(0)
    small = {"dim": 16, "num_layers": 1, "num_heads": 2, "n_q": 2, "dep_q": 1, "delays": [0, 0, 1], "context": 8}
    depth = {"depformer_num_layers": 1, "depformer_dim": 8, "depformer_dim_feedforward": 16}
    return build_oracle_lm(config() | small | depth, device="cpu", dtype=torch.float32)


def test_a_long_conversation_takes_no_more_memory_than_a_short_one() -> None:
    batch = LMBatch(small_lm(), 2)
    batch.open(0, seed=0, sampling=SAMPLED)

    def steps(count: int) -> Iterator[int]:
        for _ in range(count):
            result = batch.step(torch.ones(2, 1, 1, dtype=torch.long), [PAD, PAD])
            assert not result.faults
            yield result.text_tokens[0]

    assert len(list(steps(16))) == 16
    before = tensor_bytes()
    said = list(steps(500))
    assert tensor_bytes() == before
    assert len(set(said)) > 20
    assert all(0 <= token < TEXT_CARD for token in said)
