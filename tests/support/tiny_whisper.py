"""A tiny, randomly initialised Whisper that CTranslate2 loads: it reads random syllables, everything around is real.

Needs only what faster-whisper brings along: the weights are NumPy's, the tokenizer is byte-level without merges. The
layout is that of Whisper (Radford et al. 2022, https://arxiv.org/abs/2212.04356) as CTranslate2's converter writes it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ctranslate2.specs import whisper_spec
from faster_whisper.tokenizer import _LANGUAGE_CODES
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

Weights = npt.NDArray[np.float32]

_BIGGEST_TOKEN = "Ġfiller"
"""Stands for the empty string in the vocabulary, by which CTranslate2 knows a multilingual model."""
_SYLLABLES = [f"Ġ{first}{vowel}{last}" for first in "bdgklmnprst" for vowel in "aeiou" for last in "dklmnrst"]
"""The only words it knows."""
_MEL_BINS = 80
_AUDIO_POSITIONS = 1500
_TEXT_POSITIONS = 448


@dataclass(frozen=True, slots=True)
class Size:
    """Width and depth. The default builds in 40 ms; `BASE` has the size, and so the cost, of OpenAI's base."""

    width: int = 32
    layers: int = 1
    heads: int = 2


TINY = Size(384, 4, 6)
BASE = Size(512, 6, 8)


def build_whisper(
    folder: Path, size: Size | None = None, *, multilingual: bool = True, seed: int = 2, scale: float = 1.0
) -> Path:
    """Write a model directory (int8, 0.7 MB by default) and return it; `scale`: standard deviation of the weights."""
    size = size or Size()
    tokenizer = _tokenizer(multilingual)
    draw = _Draw(np.random.default_rng(seed), scale, size.width)
    spec = whisper_spec.WhisperSpec(size.layers, size.heads, size.layers, size.heads)
    draw.encoder(spec.encoder)
    vocabulary = tokenizer.get_vocab()
    spoken = [vocabulary[token] for token in (*_SYLLABLES, "<|endoftext|>")]
    draw.decoder(spec.decoder, len(vocabulary), spoken)
    by_id = sorted(vocabulary.items(), key=lambda entry: entry[1])
    spec.register_vocabulary(["" if token == _BIGGEST_TOKEN else token for token, _ in by_id])
    spec.config.lang_ids = sorted(tokenizer.token_to_id(f"<|{code}|>") for code in _LANGUAGE_CODES)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [tokenizer.token_to_id("<|endoftext|>")]
    spec.config.alignment_heads = [(size.layers - 1, head) for head in range(size.heads)]
    spec.validate()
    spec.optimize(quantization="int8")
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    tokenizer.save(str(folder / "tokenizer.json"))
    mel = {"feature_size": _MEL_BINS, "sampling_rate": 16_000, "hop_length": 160, "chunk_length": 30, "n_fft": 400}
    (folder / "preprocessor_config.json").write_text(json.dumps(mel))
    return folder


def _tokenizer(multilingual: bool) -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: number for number, piece in enumerate(letters + _SYLLABLES)}
    if multilingual:
        vocabulary[_BIGGEST_TOKEN] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tasks = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    names = ["endoftext", "startoftranscript", *_LANGUAGE_CODES, *tasks]
    names += [f"{step * 0.02:.2f}" for step in range(_AUDIO_POSITIONS + 1)]
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True, normalized=False) for name in names])
    return tokenizer


class _Draw:
    """Fills the parts of a specification with random weights."""

    def __init__(self, random: np.random.Generator, scale: float, width: int) -> None:
        self._random = random
        self._scale = scale
        self._width = width

    def encoder(self, encoder: Any) -> None:
        width = self._width
        encoder.conv1.weight, encoder.conv1.bias = self._weights(width, _MEL_BINS, 3), _zeros(width)
        encoder.conv2.weight, encoder.conv2.bias = self._weights(width, width, 3), _zeros(width)
        encoder.position_encodings.encodings = self._weights(_AUDIO_POSITIONS, width)
        self._norm(encoder.layer_norm)
        for layer in encoder.layer:
            self._self_attention(layer.self_attention)
            self._feed_forward(layer.ffn)

    def decoder(self, decoder: Any, vocabulary: int, spoken: list[int]) -> None:
        width = self._width
        decoder.embeddings.weight = self._weights(vocabulary, width)
        # apart from the embeddings, else it says the last token again; zero, so below the best, for what is not spoken
        projection = np.zeros((vocabulary, width), np.float32)
        projection[spoken] = self._weights(len(spoken), width)
        decoder.projection.weight = projection
        decoder.position_encodings.encodings = self._weights(_TEXT_POSITIONS, width)
        self._norm(decoder.layer_norm)
        for layer in decoder.layer:
            self._self_attention(layer.self_attention)
            self._norm(layer.attention.layer_norm)
            for part, outputs in zip(layer.attention.linear, (width, 2 * width, width), strict=True):
                self._linear(part, outputs, width)
            self._feed_forward(layer.ffn)

    def _self_attention(self, attention: Any) -> None:
        self._norm(attention.layer_norm)
        self._linear(attention.linear[0], 3 * self._width, self._width)
        self._linear(attention.linear[1], self._width, self._width)

    def _feed_forward(self, block: Any) -> None:
        self._norm(block.layer_norm)
        self._linear(block.linear_0, 4 * self._width, self._width)
        self._linear(block.linear_1, self._width, 4 * self._width)

    def _norm(self, norm: Any) -> None:
        norm.gamma, norm.beta = np.ones(self._width, np.float32), _zeros(self._width)

    def _linear(self, linear: Any, outputs: int, inputs: int) -> None:
        linear.weight, linear.bias = self._weights(outputs, inputs), _zeros(outputs)

    def _weights(self, *shape: int) -> Weights:
        return self._random.standard_normal(shape, np.float32) * np.float32(self._scale)


def _zeros(size: int) -> Weights:
    return np.zeros(size, np.float32)
