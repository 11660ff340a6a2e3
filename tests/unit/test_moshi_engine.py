"""The moshi front end as an engine: one oracle token per tick, slots that know nothing of each other, and trouble."""

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kame_core.audio import FRAME_SAMPLES, Samples, level_dbfs, silence
from kame_core.errors import CapacityError, UnavailableError
from kame_core.frontend.base import (
    OracleAdopt,
    OracleClear,
    OracleFinish,
    OracleProgress,
    OracleText,
    OracleUpdate,
    SlotInput,
    SlotOptions,
    SlotOutput,
    SpeechOrigin,
    UserState,
)
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint, load_checkpoint
from kame_core.frontend.moshi.engine import MoshiEngine
from kame_core.frontend.moshi.files import locate_checkpoint
from kame_core.frontend.moshi.generation import Guidance, GuidanceMode
from kame_core.frontend.moshi.load import MoshiOptions, device_of, load_moshi, sampling_of, slot_bytes
from kame_core.frontend.moshi.mimi import MimiBatch
from kame_core.frontend.moshi.oracle_lm import NO_ORACLE_ID
from kame_core.frontend.moshi.sampling import GREEDY
from kame_core.frontend.moshi.utterances import MOST_WORDS, UtteranceCursor
from tests.support.tiny_moshi import PAD_ID, TEXT_CARD, Variant, build_moshi

FOLDER = Path(__file__).parents[1] / "assets" / "tiny_kame"
PARIS = "Paris is the capital of France, and about two million people live there."
FIVE = "Well, the answer is five."
LONG = (
    "Yes, it is so, and it was so, in the best of times. I am so happy that it is so, and you are so, too, as we are."
)
OPTIONS = SlotOptions(seed=1)


def loaded(folder: Path, *, clone_oracle: bool = False) -> LoadedCheckpoint:
    files = locate_checkpoint(str(folder))
    assert files is not None
    return load_checkpoint(files, device="cpu", dtype=torch.float32, clone_oracle=clone_oracle)


@pytest.fixture(scope="module")
def kame() -> LoadedCheckpoint:
    return loaded(FOLDER)


@dataclass
class Watch:
    """Time that passes when the test says so: a busy machine is no slow model."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def engine(kame: LoadedCheckpoint, watch: Watch) -> Iterator[MoshiEngine]:
    made = MoshiEngine(kame, 2, sampling=GREEDY, now_s=watch)
    yield made
    made.shutdown()


def spoken(text: str, candidate_id: str = "a") -> tuple[OracleUpdate, ...]:
    return (OracleAdopt(candidate_id), OracleText(candidate_id, text), OracleFinish(candidate_id))


def run(
    engine: MoshiEngine, slots: Sequence[int], ticks: int, mic: Callable[[int], Samples] | None = None
) -> dict[int, list[SlotOutput]]:
    outputs: dict[int, list[SlotOutput]] = {slot: [] for slot in slots}
    for tick in range(ticks):
        sound = silence(FRAME_SAMPLES) if mic is None else mic(tick)
        for out in engine.step([SlotInput(slot, sound) for slot in slots]):
            outputs[out.slot].append(out)
    return outputs


def text_of(outputs: list[SlotOutput]) -> str:
    return "".join(out.text for out in outputs)


# --- what it says ---


def test_each_slot_says_its_own_oracle_and_tells_how_far_it_is(engine: MoshiEngine) -> None:
    assert engine.traits.takes_turns
    assert engine.traits.follows_oracle
    assert engine.traits.oracle_style == "utterance"
    engine.open(0, OPTIONS)
    engine.open(1, OPTIONS)
    engine.feed(0, spoken(PARIS), None)
    engine.feed(1, spoken(FIVE), UserState(turn=7))
    said = run(engine, [0, 1], 54)
    assert text_of(said[0]) == f" {PARIS}"
    assert text_of(said[1]) == f" {FIVE}"
    assert {out.turn for out in said[1]} == {7}
    reads = [out.oracle.read_chars for out in said[0]]
    spoke = [out.oracle.spoken_chars for out in said[0]]
    assert reads == sorted(reads)
    assert reads[-1] == len(PARIS)
    assert spoke == sorted(spoke)
    assert spoke[-1] == len(PARIS)
    assert all(behind <= ahead for behind, ahead in zip(spoke, reads, strict=True))
    assert said[0][-1].oracle.finished
    assert not said[0][-1].pending
    assert said[0][3].pending
    words = [out for out in said[0] if out.text]
    assert {out.origin for out in words} == {SpeechOrigin.ORACLE}
    assert all(out.speaking and level_dbfs(out.voice) > -45 for out in words)
    assert said[0][0].origin is SpeechOrigin.NONE
    assert not said[0][-1].speaking


def test_a_long_answer_is_read_as_successive_utterances(engine: MoshiEngine) -> None:
    engine.open(0, OPTIONS)
    engine.feed(0, spoken(LONG), None)
    starts = 0
    outputs = []
    for _ in range(110):
        outputs += run(engine, [0], 1)[0]
        starts += engine._oracle[0] == TEXT_CARD
    assert text_of(outputs) == f" {LONG}"
    assert starts == 2
    assert outputs[-1].oracle.finished


def test_a_cleared_oracle_is_not_said(engine: MoshiEngine) -> None:
    engine.open(0, OPTIONS)
    engine.feed(0, spoken(PARIS), None)
    before = text_of(run(engine, [0], 14)[0])
    assert before
    engine.feed(0, (OracleClear(),), None)
    after = run(engine, [0], 16)[0]
    assert len(before + text_of(after)) < len(PARIS) // 2
    assert not after[0].pending
    assert after[0].oracle.candidate_id is None


def test_nothing_of_a_conversation_is_left_in_its_slot(engine: MoshiEngine) -> None:
    noise = np.random.default_rng(5).normal(0, 0.1, (26, FRAME_SAMPLES)).astype(np.float32)

    def fresh() -> list[SlotOutput]:
        engine.open(0, OPTIONS)
        engine.feed(0, spoken(FIVE), None)
        return run(engine, [0], 26, lambda tick: noise[tick])[0]

    first = fresh()
    engine.close(0)
    engine.open(0, SlotOptions(seed=9))
    engine.feed(0, spoken(LONG), UserState(turn=3))
    run(engine, [0], 16, lambda tick: noise[-tick])  # ends in the middle of it
    engine.close(0)
    again = fresh()
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.voice, other.voice)
        assert replace(one, voice=other.voice) == other
    engine.close(0)
    engine.open(0, OPTIONS)
    assert text_of(run(engine, [0], 12)[0]) == ""


def test_plain_moshi_has_no_oracle_and_says_so(tmp_path: Path) -> None:
    plain = MoshiEngine(loaded(build_moshi(tmp_path, Variant(oracle=False))), 1)
    assert not plain.traits.follows_oracle
    assert plain.traits.name == "moshi"
    plain.open(0, OPTIONS)
    plain.feed(0, spoken(PARIS), None)
    assert len(run(plain, [0], 4)[0]) == 4
    plain.shutdown()


def test_an_untrained_oracle_idles_on_none(tmp_path: Path) -> None:
    cloned = MoshiEngine(loaded(build_moshi(tmp_path, Variant(oracle=False)), clone_oracle=True), 1)
    assert cloned.traits.follows_oracle
    cloned.open(0, OPTIONS)
    run(cloned, [0], 2)
    assert cloned._oracle == [NO_ORACLE_ID]
    cloned.shutdown()


# --- trouble ---


def test_numbers_that_are_not_finite_end_only_their_own_slot(engine: MoshiEngine) -> None:
    engine.open(0, OPTIONS)
    engine.open(1, OPTIONS)
    engine.feed(1, spoken(FIVE), None)
    head = run(engine, [0, 1], 5)
    for cache in engine._lm._caches:
        cache.cache[:, 0] = torch.nan
    broken, well = engine.step([SlotInput(slot, silence(FRAME_SAMPLES)) for slot in (0, 1)])
    assert broken.fault is not None
    assert broken.fault.code == "model_failed"
    assert well.fault is None
    engine.close(0)
    rest = run(engine, [1], 22)[1]
    assert text_of([*head[1], well, *rest]) == f" {FIVE}"
    engine.open(0, OPTIONS)  # the next one in the broken slot is well
    engine.feed(0, spoken(FIVE), None)
    assert text_of(run(engine, [0, 1], 26)[0]) == f" {FIVE}"


def test_no_memory_for_a_slot_refuses_that_call_only(engine: MoshiEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(slot: int) -> None:
        raise torch.OutOfMemoryError

    engine.open(0, OPTIONS)
    engine.feed(0, spoken(FIVE), None)
    head = run(engine, [0], 6)[0]
    with monkeypatch.context() as patch:
        patch.setattr(engine._mimi, "open", full)
        with pytest.raises(CapacityError, match="no memory") as caught:
            engine.open(1, OPTIONS)
    assert caught.value.retryable
    assert text_of(head + run(engine, [0], 24)[0]) == f" {FIVE}"
    engine.open(1, OPTIONS)  # what was begun was taken back
    assert len(run(engine, [0, 1], 1)) == 2


def test_a_model_that_does_not_keep_up_takes_no_more_calls(
    engine: MoshiEngine, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = engine._mimi.decode

    def slow(codes: Tensor, slots: Sequence[int] | None = None) -> Tensor:
        watch.now_s += 0.1
        return decode(codes, slots)

    monkeypatch.setattr(engine._mimi, "decode", slow)
    engine.open(0, OPTIONS)
    run(engine, [0], 30)
    with pytest.raises(CapacityError, match="does not keep up"):
        engine.open(1, OPTIONS)
    engine.close(0)
    engine.open(1, OPTIONS)  # alone it may try


def test_shutdown_frees_and_the_model_can_be_used_again(kame: LoadedCheckpoint) -> None:
    first = MoshiEngine(kame, 3)
    times = first.warm_up()
    assert 0 < times.p50_ms <= times.p95_ms
    caches = [weakref.ref(cache.cache) for cache in first._lm._caches]
    assert len(caches) == kame.config.lm["num_layers"]
    first.shutdown()
    first.shutdown()
    gc.collect()
    assert [cache() for cache in caches] == [None] * len(caches)
    second = MoshiEngine(kame, 3)
    second.warm_up()
    second.shutdown()


# --- loading ---


async def test_loading_measures_and_tells() -> None:
    shares: list[float | None] = []
    moshi = await load_moshi(MoshiOptions(str(FOLDER), "cpu", slots=1), shares.append, 60)
    try:
        assert moshi.host.capacity == 1
        assert moshi.device == "the CPU"
        assert moshi.dtype == "float32"
        assert moshi.trained_for_oracle
        assert moshi.times.p95_ms > 0
        assert shares
        assert shares[-1] == 0.9
    finally:
        await moshi.host.aclose()


async def test_without_a_number_slots_are_taken_away_until_a_step_is_short_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kame_core.frontend.moshi.load._USABLE_STEP_MS", 1e-6)
    moshi = await load_moshi(MoshiOptions(str(FOLDER), "cpu"), lambda _: None, 60)
    assert moshi.host.capacity == 1
    await moshi.host.aclose()
    asked = await load_moshi(MoshiOptions(str(FOLDER), "cpu", slots=3), lambda _: None, 60)
    assert asked.host.capacity == 3
    await asked.host.aclose()


@pytest.mark.parametrize("part", [MimiBatch, MoshiEngine])
async def test_where_memory_ends_there_are_fewer_slots(
    monkeypatch: pytest.MonkeyPatch, part: type[MimiBatch | MoshiEngine]
) -> None:
    """In making room for conversations, or in the first step; a number that was asked for is not lowered."""
    name = "_warm_up" if part is MimiBatch else "warm_up"
    plain = getattr(part, name)

    def limited(made: MimiBatch | MoshiEngine) -> object:
        if made.capacity > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(made)

    monkeypatch.setattr(part, name, limited)
    moshi = await load_moshi(MoshiOptions(str(FOLDER), "cpu"), lambda _: None, 60)
    assert moshi.host.capacity == 1
    await moshi.host.aclose()
    with pytest.raises(UnavailableError, match=r"no memory for .* 3 conversations") as caught:
        await load_moshi(MoshiOptions(str(FOLDER), "cpu", slots=3), lambda _: None, 60)
    assert caught.value.code == "out_of_memory"


async def test_a_missing_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(engine: MoshiEngine) -> None:
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")

    monkeypatch.setattr(MoshiEngine, "warm_up", build)
    with pytest.raises(UnavailableError, match="apt-get install gcc"):
        await load_moshi(MoshiOptions(str(FOLDER), "cpu", slots=1), lambda _: None, 60)


def test_guidance_and_sampling_and_memory_as_configured(kame: LoadedCheckpoint) -> None:
    lm = kame.config.lm
    config = replace(kame.config, generation={"temp": 0.5, "top_k_text": 9, "unknown": 1})
    sampling = sampling_of(config)
    assert (sampling.audio_temperature, sampling.text_top_k, sampling.text_temperature) == (0.5, 9, 0.7)
    with pytest.raises(UnavailableError, match="lm_gen_config"):
        sampling_of(replace(config, generation={"temp": -1}))
    with pytest.raises(UnavailableError, match="no device 'tpu9'"):
        device_of("tpu9")
    cache = 2 * int(lm["num_layers"]) * int(lm["context"]) * int(lm["dim"]) * 2
    both = slot_bytes(config, Guidance(GuidanceMode.SAME), 2) - slot_bytes(config, Guidance(), 2)
    assert both == cache


# --- utterances ---


class Letters:
    """One token for each word, so that tokens can be read."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def encode(self, text: str) -> list[int]:
        for word in text.split()[len(self.words) :]:
            self.words.append(word)
        return list(range(len(text.split())))


START, PAD = 9000, 9001


def read(cursor: UtteranceCursor, ticks: int, *, aloud: str = "") -> list[int]:
    tokens = []
    for _ in range(ticks):
        tokens.append(cursor.next_token())
    for word in aloud.split():
        cursor.said(f" {word}")
    return tokens


def cursor_with(*updates: OracleUpdate) -> UtteranceCursor:
    cursor = UtteranceCursor(Letters(), START, PAD)
    for update in updates:
        cursor.apply(update)
    return cursor


def test_a_short_candidate_is_start_and_its_tokens() -> None:
    cursor = cursor_with(*spoken("one two three."))
    assert read(cursor, 6) == [START, 0, 1, 2, PAD, PAD]
    assert cursor.progress.finished
    assert not cursor.pending


def test_words_wait_until_they_are_complete() -> None:
    cursor = cursor_with(OracleAdopt("a"), OracleText("a", "one tw"))
    assert read(cursor, 3) == [START, 0, PAD]
    cursor.apply(OracleText("a", "o three"))
    assert read(cursor, 2) == [1, PAD]
    cursor.apply(OracleText("b", " foreign"))
    cursor.apply(OracleFinish("b"))
    assert read(cursor, 1) == [PAD]
    cursor.apply(OracleFinish("a"))
    assert read(cursor, 2) == [2, PAD]


def sentence(words: int, name: str) -> str:
    return " ".join([f"{name}{n}" for n in range(words - 1)] + [f"{name}end."])


def utterances(text: str, *, aloud: bool = True) -> list[int]:
    """Words of each utterance of a candidate that is read, and said, to its end."""
    cursor = cursor_with(*spoken(text))
    lengths: list[int] = []
    waiting = text.split()
    for _ in range(2000):
        token = cursor.next_token()
        if token == START:
            lengths.append(0)
        elif token != PAD:
            lengths[-1] += 1
        elif aloud and waiting and not cursor.progress.finished:
            cursor.said(f" {waiting.pop(0)}")
        if cursor.progress.finished:
            break
    return lengths


def test_utterances_end_with_sentences_and_hold_thirty_words_at_most() -> None:
    assert utterances(" ".join([sentence(10, "a"), sentence(10, "b"), sentence(10, "c"), sentence(5, "d")])) == [30, 5]
    assert utterances(" ".join([sentence(14, "a"), sentence(20, "b")])) == [14, 20]
    assert utterances(sentence(70, "a")) == [30, 30, 10]
    clauses = " ".join(["one"] * 24) + " two, " + sentence(20, "b")
    assert utterances(clauses) == [25, 20]
    assert MOST_WORDS == 30


def test_the_next_utterance_waits_for_the_voice_but_not_for_ever() -> None:
    text = " ".join([sentence(14, "a"), sentence(20, "b")])
    cursor = cursor_with(*spoken(text))
    assert read(cursor, 15)[0] == START
    assert read(cursor, 40) == [PAD] * 40  # it has not said them
    read(cursor, 0, aloud=sentence(14, "a"))
    assert read(cursor, 2) == [START, 0]
    silent = utterances(text, aloud=False)
    assert silent == [14, 20]


def test_signs_no_oracle_had_are_left_out() -> None:
    letters = Letters()
    cursor = UtteranceCursor(letters, START, PAD)
    for update in spoken('He said: "well" — (perhaps) *that* is it! Now; then…'):
        cursor.apply(update)
    read(cursor, 20)
    assert letters.words == ["He", "said,", "well", "perhaps", "that", "is", "it.", "Now,", "then."]
    assert cursor.progress.finished


def test_the_voice_is_followed_where_it_leaves_words_out_and_not_where_it_says_others() -> None:
    text = "The capital of France is Paris, of course."
    cursor = cursor_with(*spoken(text))
    read(cursor, 12)
    assert not cursor.said(" Well")
    assert cursor.progress.spoken_chars == 0
    assert cursor.said(" the")
    assert cursor.said(" cap")
    assert cursor.said("ital")
    assert cursor.said(" is")  # it left out two words
    assert cursor.progress.spoken_chars == len("The capital of France is")
    assert not cursor.said(" Berlin")
    assert cursor.said(" course")
    assert cursor.said(".")
    assert cursor.progress.spoken_chars == len(text)


def going_on(first: str, ticks: int, *, aloud: str = "") -> UtteranceCursor:
    """A cursor that has read so much of a candidate that is still growing."""
    cursor = cursor_with(OracleAdopt("a"), OracleText("a", first))
    read(cursor, ticks, aloud=aloud)
    return cursor


def test_a_newer_candidate_that_repeats_what_was_read_goes_on_behind_it() -> None:
    cursor = going_on("Blue, or green or ", 4, aloud="Blue,")
    assert (cursor.progress.read_chars, cursor.progress.spoken_chars) == (14, 5)
    cursor.apply(OracleAdopt("b"))
    cursor.apply(OracleText("b", "blue or "))  # as far as it has come it says the same
    assert read(cursor, 2) == [PAD, PAD]  # and the rest of the older one counts no longer
    progress = cursor.progress
    assert (progress.candidate_id, progress.read_chars, progress.spoken_chars) == ("b", 7, 4)
    cursor.apply(OracleText("b", " green, as a rule."))
    assert read(cursor, 3) == [3, 4, PAD]  # "as", "a"; the last word may still grow
    cursor.apply(OracleFinish("b"))
    assert read(cursor, 2) == [5, PAD]
    assert cursor.said(" or")
    assert cursor.progress.spoken_chars == 7
    assert cursor.progress.finished


def test_the_same_answer_again_is_not_read_again() -> None:
    cursor = cursor_with(*spoken("one two three."))
    read(cursor, 6, aloud="one two three.")
    for update in spoken("One two three.", "b"):
        cursor.apply(update)
    assert read(cursor, 3) == [PAD] * 3
    assert cursor.progress == OracleProgress("b", 14, 14, True)


@pytest.mark.parametrize(
    ("newer", "words"), [("blue and green or red.", 5), ("Blue or.", 2), ("Red, or green or blue.", 5)]
)
def test_a_newer_candidate_that_says_something_else_is_read_from_its_beginning(newer: str, words: int) -> None:
    cursor = going_on("Blue, or green or ", 4, aloud="Blue, or")
    for update in spoken(newer, "b"):
        cursor.apply(update)
    assert cursor.progress.spoken_chars == 0
    assert read(cursor, words + 2) == [START, *range(words), PAD]


def test_what_was_read_long_ago_and_never_said_is_read_again() -> None:
    for ticks, first in ((10, PAD), (40, START)):
        cursor = cursor_with(*spoken("one two three."))
        read(cursor, ticks)
        for update in spoken("one two three.", "b"):
            cursor.apply(update)
        assert read(cursor, 1) == [first]


def test_of_many_candidates_for_the_same_answer_each_word_is_read_once() -> None:
    """As an LLM writes them while the user still speaks: each begins anew, and is given up for the next one."""
    text = " ".join([sentence(14, "a"), sentence(20, "b")])
    cursor = cursor_with()
    tokens = []
    aloud = text.split()
    for number, words in enumerate((3, 9, 14, 6, 20, 34)):
        name = f"candidate {number}"
        cursor.apply(OracleAdopt(name))
        for word in text.split()[:words]:
            cursor.apply(OracleText(name, f"{word} "))
            tokens.append(cursor.next_token())
            if tokens[-1] == PAD and aloud:
                cursor.said(f" {aloud.pop(0)}")
    cursor.apply(OracleFinish(name))
    tokens += read(cursor, 40)
    assert [token for token in tokens if token != PAD] == [START, *range(14), START, *range(20)]
    assert cursor.progress.read_chars == len(text)


def test_pad_is_the_checkpoints(kame: LoadedCheckpoint) -> None:
    engine = MoshiEngine(kame, 1)
    engine.open(0, OPTIONS)
    engine.feed(0, spoken("Yes"), None)
    fed = []
    for _ in range(6):
        engine.step([SlotInput(0, silence(FRAME_SAMPLES))])
        fed.append(engine._oracle[0])
    assert fed[0] == TEXT_CARD
    assert fed[1 : 1 + len(kame.tokenizer.encode("Yes"))] == kame.tokenizer.encode("Yes")
    assert fed[-1] == PAD_ID
    engine.shutdown()
