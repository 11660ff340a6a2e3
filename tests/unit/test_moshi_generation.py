"""The batched generator: tokens of the reference, in many slots as alone, and what a step computes."""

import gc
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from moshi.models.lm import LMGen, LMModel
from moshi.utils.compile import no_compile
from torch import Tensor, nn

from kame_core.frontend.moshi.generation import Guidance, GuidanceMode, LMBatch
from kame_core.frontend.moshi.oracle_lm import OracleLM, build_oracle_lm
from kame_core.frontend.moshi.slots import NOT_YET
from tests.support.kame_reference import CASES, CFG_WEIGHT, config, plain_lm, reference_lm, vectors, weights
from tests.support.moshi_talks import (
    CONTEXT,
    PAD,
    SAMPLED,
    TEXT_CARD,
    USER_CODEBOOKS,
    Place,
    Talk,
    logits_of,
    run,
    talk,
    tokens_of,
)
from tests.support.recorded_step import OperationLog, SameWork, record_step


@pytest.fixture
def lm() -> OracleLM:
    return reference_lm()


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


@pytest.mark.parametrize(
    "guidance", [Guidance(), Guidance(GuidanceMode.SAME, 1.7), Guidance(GuidanceMode.PAD_NULL, 2.0)]
)
def test_every_step_is_the_same_work_on_the_same_memory(lm: OracleLM, guidance: Guidance) -> None:
    """Whoever joins, leaves or begins anew, and also when the context window has been filled: as a graph needs it."""
    same = SameWork()
    batch = LMBatch(lm, 4, guidance, recorder=same)
    run(batch, *PARTY[:2], *SAMPLED_PARTY[2:], until=CONTEXT + 12)
    assert same.steps == CONTEXT + 12


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
