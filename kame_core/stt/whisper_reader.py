"""One Whisper model in memory, and what of its readings is not believed."""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kame_core.audio import Samples, level_dbfs, silence
from kame_core.errors import SpeechToTextError
from kame_core.stt.whisper_files import missing_files

log = logging.getLogger(__name__)

RATE_HZ = 16_000
_MAX_CPU_THREADS = 8
"""Large hosts need the others for their calls."""
_BEAM_PARTIAL = 1
_BEAM_SETTLED = 5
"""Costs 0.1 s more than 1 with tiny and base: the encoder takes most of the time."""
_TOKENS_PER_S = 40
"""CTranslate2 generates half of what it is allowed; 20 a second is more than anybody speaks in any script."""
_MAX_TOKENS = 440
_SILENCE_DBFS = -65.0
_NO_SPEECH = 0.6
_LOW_LOGPROB = -1.0
_REPETITIVE = 2.4
"""This and the two above: thresholds of the Whisper paper, section 4.5 (gzip ratio, mean log probability)."""
_STOCK_NO_SPEECH = 0.25
_STOCK_LOGPROB = -0.7
_STOCK_PHRASES = frozenset(
    {
        "you", "bye", "bye bye", "thank you", "thank you very much", "thank you so much", "thank you for watching",
        "thanks for watching", "thank you for listening", "thanks for listening", "please subscribe",
        "see you next time", "see you in the next video", "subtitles by the amara org community",
    }
)  # fmt: skip
"""What Whisper makes of breath and noise: the ends of the videos it was trained on."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was understood of a piece of sound."""

    text: str
    language: str
    """Whisper's code of the language that was given or detected."""
    doubtful: bool = False
    """It repeats itself, as Whisper does when it has lost the thread."""
    language_share: float = 1.0
    """How probable that language is, of those it could be."""


class WhisperReader:
    """The loaded model. Every method, the construction too, takes seconds and belongs on one worker.

    Args:
        folder: a CTranslate2 Whisper model.
        device: "cpu", "cuda", or "auto": CUDA where it can be used, else the CPU.

    Raises:
        SpeechToTextError: `unavailable` without the package, `model_unusable` where the model does not run.
    """

    def __init__(self, folder: Path, device: str) -> None:
        try:
            import ctranslate2
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise SpeechToTextError(
                "The package faster-whisper is missing. Install the packages of requirements.txt again.",
                code="unavailable",
                retryable=False,
            ) from error
        missing = missing_files(folder)
        if missing:  # without its tokenizer faster-whisper would ask the hub
            raise SpeechToTextError(
                f"The Whisper model directory {folder.name} lacks {', '.join(missing)}. Convert the model with "
                "ct2-transformers-converter and its option --copy_files tokenizer.json preprocessor_config.json.",
                code="model_unusable",
                retryable=False,
            )
        plans = [("cpu", "int8")]
        if device == "cuda" or (device == "auto" and ctranslate2.get_cuda_device_count()):
            types = ctranslate2.get_supported_compute_types("cuda") if ctranslate2.get_cuda_device_count() else ()
            plans = [("cuda", "float16" if "float16" in types else "auto")] + (plans if device == "auto" else [])
        for number, (where, precision) in enumerate(plans, 1):
            try:
                self._model: Any = WhisperModel(
                    str(folder), device=where, compute_type=precision, cpu_threads=_cpu_threads()
                )
                self._transcribe(silence(RATE_HZ), "en", _BEAM_SETTLED)  # CUDA's libraries are only missed when used
            except Exception as error:  # the tokenizers package raises bare Exception
                if number < len(plans):
                    log.warning("Whisper does not run on %s (%s); trying the next", where, error)
                    continue
                raise SpeechToTextError(
                    f"The Whisper model {folder.name} cannot be loaded on {where} ({type(error).__name__}). Fetch or "
                    "convert it again, or choose another.",
                    code="model_unusable",
                    retryable=False,
                ) from error
            break
        self.running_on = f"{where} {precision}"
        self.languages = frozenset(str(code) for code in self._model.supported_languages)

    def read(self, pieces: Sequence[Samples], languages: tuple[str, ...], *, settled: bool) -> Reading:
        """Read float32 pieces, 16 kHz, in the likeliest of some `languages` (Whisper's codes; none: of all)."""
        sound = np.concatenate(pieces) if pieces else silence(0)
        if level_dbfs(sound) < _SILENCE_DBFS:
            return Reading("", languages[0] if len(languages) == 1 else "", language_share=0.0)
        beams = _BEAM_SETTLED if settled else _BEAM_PARTIAL
        language, share = (languages[0], 1.0) if len(languages) == 1 else self._detect(sound, languages)
        reading = self._transcribe(sound, language, beams)
        if reading.doubtful and settled:
            reading = self._transcribe(sound, language, beams, no_repeat_ngram_size=3)
        return replace(reading, language_share=share)

    def _detect(self, sound: Samples, languages: tuple[str, ...]) -> tuple[str, float]:
        """The likeliest of some languages (none: of all), and how likely it is among them."""
        _, _, probabilities = self._model.detect_language(sound)
        shares = {code: share for code, share in probabilities if not languages or code in languages}
        language = max(shares, key=lambda code: shares[code])
        return str(language), float(shares[language]) / max(1e-9, sum(shares.values()))

    def _transcribe(self, sound: Samples, language: str, beams: int, **options: Any) -> Reading:
        segments, _ = self._model.transcribe(
            sound,
            language=language,
            beam_size=beams,
            temperature=0.0,
            compression_ratio_threshold=None,  # judged here: repeating at a higher temperature takes seconds
            log_prob_threshold=_LOW_LOGPROB,
            no_speech_threshold=_NO_SPEECH,
            condition_on_previous_text=False,
            without_timestamps=True,
            vad_filter=False,
            max_new_tokens=min(_MAX_TOKENS, 16 + sound.size * _TOKENS_PER_S // RATE_HZ),
            **options,
        )
        spoken = [segment for segment in segments if not _is_hallucination(segment)]
        text = " ".join("".join(segment.text for segment in spoken).replace("\ufffd", "").split())
        doubtful = any(segment.compression_ratio > _REPETITIVE for segment in spoken)
        return Reading(text, language, doubtful)


def _is_hallucination(segment: Any) -> bool:
    phrase = " ".join(re.findall(r"\w+", segment.text.casefold()))
    unsure = segment.no_speech_prob > _STOCK_NO_SPEECH or segment.avg_logprob < _STOCK_LOGPROB
    return phrase in _STOCK_PHRASES and unsure


def _cpu_threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MAX_CPU_THREADS, cores - 1))
