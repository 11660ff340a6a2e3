"""The trained checkpoint in tests/assets/tiny_kame says its oracle, and nothing else: from files to sound."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from kame_core.frontend.base import OracleAdopt, OracleFinish, OracleText, OracleUpdate
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint, load_checkpoint
from kame_core.frontend.moshi.files import locate_checkpoint
from kame_core.frontend.moshi.generation import LMBatch
from kame_core.frontend.moshi.mimi import MimiBatch
from kame_core.frontend.moshi.sampling import GREEDY, SamplingOptions
from kame_core.frontend.moshi.tokenizer import TextStream
from kame_core.oracle_cursors import OracleCursor

FOLDER = Path(__file__).parents[1] / "assets" / "tiny_kame"


@pytest.fixture(scope="module")
def kame() -> LoadedCheckpoint:
    files = locate_checkpoint(str(FOLDER))
    assert files is not None
    return load_checkpoint(files, device="cpu", dtype=torch.float32)


def spoken(text: str) -> list[OracleUpdate]:
    return [OracleAdopt("a"), OracleText("a", text), OracleFinish("a")]


@dataclass
class Heard:
    text: str = ""
    word_steps: list[int] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    """Root mean square of each 80 ms of the voice, full scale 1."""


def talk(
    kame: LoadedCheckpoint,
    sessions: list[dict[int, list[OracleUpdate]]],
    steps: int,
    sampling: SamplingOptions = GREEDY,
    noise: float = 0.0,
) -> list[Heard]:
    """Run sessions beside each other, each with its oracle updates by step, through codec, model and codec."""
    capacity = len(sessions)
    lm = LMBatch(kame.lm, capacity, trained_for_oracle=kame.trained_for_oracle)
    mimi = MimiBatch(kame.mimi, capacity, lm.user_codebooks)
    heard = [Heard() for _ in sessions]
    texts = [TextStream(kame.tokenizer) for _ in sessions]
    cursors = [OracleCursor(kame.tokenizer, kame.config.text_card, lm.idle_oracle_id) for _ in sessions]
    random = torch.Generator().manual_seed(3)
    try:
        for slot in range(capacity):
            lm.open(slot, seed=slot, sampling=sampling)
            mimi.open(slot)
        for step in range(steps):
            for cursor, updates in zip(cursors, sessions, strict=True):
                for update in updates.get(step, []):
                    cursor.apply(update)
            user = noise * torch.randn(capacity, 1, mimi.frame_samples, generator=random)
            result = lm.step(mimi.encode(user), [cursor.next_token() for cursor in cursors])
            assert not result.faults
            ready = [slot for slot in range(capacity) if result.ready[slot]]
            voice = mimi.decode(result.codec_input(), ready)
            for slot in ready:
                piece = texts[slot].push(result.text_tokens[slot])
                heard[slot].text += piece
                if piece:
                    heard[slot].word_steps.append(step)
                heard[slot].levels.append(float(voice[slot].square().mean().sqrt()))
    finally:
        lm.shutdown()
        mimi.close_all()
    return heard


PARIS = "Paris is the capital of France, and about two million people live there."
FIVE = "Well, the answer is five."


def test_the_fixture_is_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 2_000_000


def test_each_says_its_own_oracle_and_no_other(kame: LoadedCheckpoint) -> None:
    paris, five, silent = talk(kame, [{2: spoken(PARIS)}, {9: spoken(FIVE)}, {}], 60)
    assert paris.text == " " + PARIS
    assert five.text == " " + FIVE
    assert silent.text == ""


def test_words_it_never_learned(kame: LoadedCheckpoint) -> None:
    text = "Zebras quietly juggle 1879 yellow quinces, don't you?"
    (heard,) = talk(kame, [{0: spoken(text)}], 70, noise=0.1)
    assert heard.text == " " + text


def test_it_speaks_while_the_llm_still_writes(kame: LoadedCheckpoint) -> None:
    deltas = ["Ro", "me is", " the capital", " of Ita", "ly."]
    updates: dict[int, list[OracleUpdate]] = {4 + 5 * number: [OracleText("a", at)] for number, at in enumerate(deltas)}
    updates[2] = [OracleAdopt("a")]
    updates[40] = [OracleFinish("a")]
    (heard,) = talk(kame, [updates], 60)
    assert heard.text == " Rome is the capital of Italy."
    assert heard.word_steps[0] < 20


def test_a_newer_oracle_takes_the_word(kame: LoadedCheckpoint) -> None:
    (heard,) = talk(kame, [{0: spoken(PARIS)}], 12)
    before = heard.text
    newer: list[OracleUpdate] = [OracleAdopt("b"), OracleText("b", FIVE), OracleFinish("b")]
    (heard,) = talk(kame, [{0: spoken(PARIS), 12: newer}], 60)
    said = heard.text.removesuffix(" " + FIVE)
    assert said != heard.text
    assert said.startswith(before)
    assert (" " + PARIS).startswith(said)
    assert len(said) < len(PARIS) // 2


def test_it_says_nothing_without_an_oracle_however_long(kame: LoadedCheckpoint) -> None:
    steps = 5 * int(kame.config.lm["context"])
    silent, talked_at = talk(kame, [{}, {steps - 40: spoken(FIVE)}], steps, noise=0.05)
    assert silent.text == ""
    assert talked_at.text == " " + FIVE


def test_the_voice_sounds_when_it_speaks_and_only_then(kame: LoadedCheckpoint) -> None:
    speaks, silent = talk(kame, [{5: spoken(PARIS)}, {}], 80)
    levels = np.array(speaks.levels)
    first, last = speaks.word_steps[0] - 1, speaks.word_steps[-1] - 1  # the model's delay of one step
    assert max(silent.levels) < 1e-4
    assert levels[first : last + 1].min() > 0.01
    assert levels[: first - 1].max() < 1e-4
    assert levels[last + 10 :].max() < 0.1 * levels[first : last + 1].mean()


def test_sampling_changes_nothing_for_a_model_that_is_sure(kame: LoadedCheckpoint) -> None:
    heard = talk(kame, [{1: spoken(PARIS)}] * 3, 60, SamplingOptions())
    assert [session.text for session in heard] == [" " + PARIS] * 3
