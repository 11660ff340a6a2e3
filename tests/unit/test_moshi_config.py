"""Reading config.json: what it says, and what is said of a bad one."""

import json
from typing import Any

import pytest

from kame_core.frontend.moshi.config import CheckpointError, FileReference, default_config, parse_config
from tests.support.tiny_moshi import LM


def text(**changes: Any) -> str:
    return json.dumps({**LM, **changes})


def test_files_are_told_from_arguments_of_the_model() -> None:
    config = parse_config(
        text(
            moshi_name="weights.safetensors",
            mimi_name="hf://kyutai/moshiko-pytorch-bf16/mimi.safetensors",
            tokenizer_name="file:///models/words.model",
            mimi_config_name="mimi.json",
            lora=True,
            lora_name="hf://someone/tuned/adapters/lora.safetensors",
            lora_scaling=3.5,
            model_type="moshi",
            lm_gen_config={"temp": 0.6},
            model_id={"sig": "1"},
        )
    )
    assert dict(config.lm) == dict(LM)
    assert config.weights == FileReference("weights.safetensors")
    assert config.mimi == FileReference("mimi.safetensors", "kyutai/moshiko-pytorch-bf16")
    assert config.tokenizer == FileReference("/models/words.model")
    assert config.mimi_config == FileReference("mimi.json")
    assert config.lora == FileReference("adapters/lora.safetensors", "someone/tuned")
    assert config.lora_scaling == 3.5
    assert config.generation == {"temp": 0.6}
    assert (config.voice_codebooks, config.user_codebooks, config.text_card) == (2, 2, 256)
    assert not config.quantized


def test_names_have_defaults() -> None:
    config = parse_config(text())
    assert str(config.weights) == "model.safetensors"
    assert str(config.mimi) == "tokenizer-e351c8d8-checkpoint125.safetensors"
    assert str(config.tokenizer) == "tokenizer_spm_32k_3.model"
    assert config.lora is None


def test_a_repository_without_config_holds_moshi_7b() -> None:
    config = default_config()
    assert (config.lm["dim"], config.lm["num_layers"], config.lm["context"]) == (4096, 32, 3000)
    assert (config.voice_codebooks, config.user_codebooks, config.text_card) == (8, 8, 32_000)


def test_unknown_keys_are_left_out_and_told() -> None:
    config = parse_config(text(oracle_colour="blue", architectures=["X"]))
    assert config.unknown_keys == ("architectures", "oracle_colour")
    assert dict(config.lm) == dict(LM)


def test_what_is_null_is_not_there() -> None:
    config = parse_config(text(lora=None, lora_name=None, mimi_name=None, stt_config=None, fuser=None, model_id=None))
    assert config == parse_config(text())


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        ("[1]", "no JSON object"),
        ("{}", "'n_q'"),
        (text(dim="wide"), "'dim'"),
        (text(dim=-1), "'dim'"),
        (text(context=True), "'context'"),
        (text(delays=[0, 1]), "delays has 2 entries, n_q = 4 needs 5"),
        (text(dim=33), "dim = 33 is no multiple of num_heads = 2"),
        (text(depformer_dim=17), "depformer_dim = 17"),
        (text(dep_q=0), "both sides need one"),
        (text(dep_q=4), "both sides need one"),
        (text(existing_text_padding_id=256), "outside text_card"),
        (text(model_type="hibiki"), "translates speech"),
        (text(tts_config={"audio_delay": 1}), "reads text aloud"),
        (text(stt_config={"audio_delay_seconds": 1}), "writes down speech"),
        (text(conditioners={"description": {}}), "wants conditions"),
        (text(demux_second_stream=True), "two texts"),
        (text(moshi_name="model.pt"), r"moshi_name = 'model.pt'.*Only .safetensors"),
        (text(mimi_name="mimi.bin"), "mimi_name = 'mimi.bin'"),
        (text(lora_name="lora.pt"), "lora_name"),
        (text(tokenizer_name="hf://nothing/here"), "Write hf://organisation/repository/file"),
        (text(tokenizer_name="file://"), "Write a file name"),
    ],
)
def test_what_is_wrong_is_said(broken: str | bytes, says: str) -> None:
    with pytest.raises(CheckpointError, match=says) as error:
        parse_config(broken, "config.json of a/b")
    assert error.value.code == "checkpoint_unusable"
    assert not error.value.retryable
