"""A tiny pocket-tts model with random weights: it babbles, everything around it is the real package."""

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, write_wav

_SENTENCES = ["the quick brown fox jumps over the lazy dog", "pack my box with five dozen jugs 0123456789 . , ! ? '"]


def build_pocket(folder: Path, *, ends: bool = True) -> tuple[Path, Path]:
    """Write a model's configuration, its tokenizer and a voice's recording; returns configuration and recording.

    Args:
        ends: it ends every text after half a second, else only at the longest allowed.
    """
    import sentencepiece

    yaml: Any = importlib.import_module("yaml")  # comes with the package
    configs: Any = importlib.import_module("pocket_tts.utils.config")
    tokenizer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 50),
        model_writer=tokenizer,
        vocab_size=80,
        model_type="bpe",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(tokenizer.getvalue())
    config = yaml.safe_load((configs.CONFIGS_DIR / "english_2m_2026-10.yaml").read_text())
    del config["weights_path"], config["weights_path_without_voice_cloning"]
    config["flow_lm"]["lookup_table"] |= {"n_bins": 80, "tokenizer_path": str(folder / "tokenizer.model")}
    config["default_eos_threshold"] = -1e6 if ends else 1e6
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    voice = np.random.default_rng(1).standard_normal(SAMPLE_RATE_HZ, np.float32) * np.float32(0.05)
    write_wav(folder / "voice.wav", voice)
    return folder / "tiny.yaml", folder / "voice.wav"
