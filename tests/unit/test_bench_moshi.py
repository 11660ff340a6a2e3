import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from kame_core.audio import FRAME_SAMPLES, level_dbfs, silence
from kame_core.errors import CapacityError
from kame_core.frontend.base import (
    OracleAdopt,
    OracleFinish,
    OracleText,
    SlotInput,
    SlotOptions,
    SlotOutput,
    SpeechOrigin,
)
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint
from kame_core.frontend.moshi.config import MoshiConfig
from kame_core.frontend.moshi.engine import MoshiEngine
from kame_core.frontend.moshi.generation import Guidance
from kame_core.frontend.moshi.oracle_lm import OracleLM
from tests.bench.moshi_capacity import Outcome, climb, random_lm
from tests.bench.moshi_reader import write_reader
from tests.bench.moshi_reference import reference_talk
from tests.support.tiny_moshi import load_tiny_moshi

TEXT = "The answer is five, and seven times eight is fifty six."


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> LoadedCheckpoint:
    folder: Path = tmp_path_factory.mktemp("reader")
    write_reader(folder, "reduced", torch.device("cpu"))
    return load_tiny_moshi(folder)


def test_the_reader_is_silent_but_for_what_it_reads(reader: LoadedCheckpoint) -> None:
    engine = MoshiEngine(reader, 1)
    engine.open(0, SlotOptions(seed=1))
    sound = np.random.default_rng(0).normal(0, 0.05, FRAME_SAMPLES).astype(np.float32)

    def ticks(count: int) -> list[SlotOutput]:
        return [engine.step([SlotInput(0, sound)])[0] for _ in range(count)]

    try:
        assert not any(out.speaking for out in ticks(12))
        engine.feed(0, (OracleAdopt("a"), OracleText("a", TEXT), OracleFinish("a")), None)
        outputs = ticks(60)
        assert "".join(out.text for out in outputs).strip() == TEXT
        said = [out for out in outputs if out.text]
        assert all(out.origin is SpeechOrigin.ORACLE and level_dbfs(out.voice) > -40 for out in said)
        assert not any(out.speaking for out in outputs[-10:])
    finally:
        engine.shutdown()


def test_what_has_written_a_checkpoint_keeps_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[OracleLM]] = []

    def noted(config: MoshiConfig, device: torch.device) -> OracleLM:
        lm = random_lm(config, device)
        made.append(weakref.ref(lm))
        return lm

    emptied: list[bool] = []
    monkeypatch.setattr("tests.bench.moshi_reader.random_lm", noted)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(made[0]() is None))
    write_reader(tmp_path, "reduced", torch.device("cpu"), tied=False)
    assert emptied == [True]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no"), CapacityError("no")])
def test_where_memory_ends_what_was_measured_is_kept(
    reader: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    if isinstance(error, CapacityError):
        error.__cause__ = torch.OutOfMemoryError()

    def measured(model: LoadedCheckpoint, slots: int, *_: object) -> Outcome:
        if slots == 8:
            raise error
        return Outcome(slots, 1.0, 1.0, 1.0, 1.0)

    monkeypatch.setattr("tests.bench.moshi_capacity.measure", measured)
    assert [outcome.slots for outcome in climb(reader, Guidance(), "reduced")] == [1, 2, 4]
    monkeypatch.setattr(error, "__cause__", None)
    if isinstance(error, CapacityError):
        with pytest.raises(CapacityError):
            climb(reader, Guidance(), "reduced")


def test_the_references_call_reads_one_oracle_token_in_each_tick(reader: LoadedCheckpoint) -> None:
    tokens = reader.tokenizer.encode(TEXT)
    with reference_talk(reader, [reader.config.text_card, *tokens]) as talk:
        ticks = [talk.tick(silence(FRAME_SAMPLES)) for _ in range(len(tokens) + 20)]
    pad_id = reader.lm.text_padding_token_id
    written = [token for _, token in ticks]
    assert written[0] is None
    begin = written.index(tokens[0])
    assert written[begin : begin + len(tokens)] == tokens
    assert {token for token in written[:begin] + written[begin + len(tokens) :] if token is not None} == {pad_id}
    levels = [level_dbfs(voice) for voice, _ in ticks]
    assert min(levels[begin : begin + len(tokens)]) > -40
    assert max(levels[-8:]) < -45
