"""Word errors and response times of the embedded recogniser on synthetic and real speech.

    python -m tests.bench.stt_accuracy [--voices N] [--errors]

Sound arrives at its own pace while the reading takes the processor time it takes: the table's times are what a caller
would see on a core of their own, whatever else this machine does meanwhile.
"""

import argparse
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples, resample
from kame_core.stt.question_model import question_model
from kame_core.stt.sphinx_decoder import Reading, SphinxDecoder
from tests.support.speech import recordings, say, speech_segments, spoken_part, word_errors
from tests.support.spoken_questions import FORESEEN, HELD_OUT, OPEN_SPEECH, VOICES

_RATE_HZ = 16_000
_PIECE_SAMPLES = 320


@dataclass(frozen=True, slots=True)
class Spoken:
    """One utterance to be read."""

    text: str
    samples16k: Samples
    voice: str


@dataclass(frozen=True, slots=True)
class Result:
    """What became of it."""

    spoken: Spoken
    reading: Reading
    errors: int
    first_partial_s: float | None
    """From the first sample, of which 0.3 s are pre-roll."""
    settle_s: float
    """From the flush."""
    load: float
    """Processor time over duration, reading at the pause included."""


def synthetic(texts: Iterable[str], voices: Sequence[tuple[str, int]] = VOICES) -> list[Spoken]:
    """Every text in every voice, cut as voice activity detection cuts it in a conversation."""
    return [
        Spoken(text, spoken_part(resample(say(text, voice, rate), SAMPLE_RATE_HZ, _RATE_HZ)), f"{voice} {rate}")
        for voice, rate in voices
        for text in texts
    ]


def real() -> list[Spoken]:
    """The real recordings, where there are any; each is one utterance with its long pauses cut."""
    return [
        Spoken(recording.text, np.concatenate(speech_segments(recording.samples16k)), recording.name)
        for recording in recordings()
    ]


def read(decoder: SphinxDecoder, spoken: Spoken) -> Result:
    """Read one utterance at its own pace."""
    decoder.commit()
    now_s = busy_s = 0.0
    first_partial_s: float | None = None
    for begin in range(0, spoken.samples16k.size, _PIECE_SAMPLES):
        arrived_s = (begin + _PIECE_SAMPLES) / _RATE_HZ
        decoder.push(spoken.samples16k[begin : begin + _PIECE_SAMPLES])
        now_s = max(now_s, arrived_s)
        while now_s < arrived_s + _PIECE_SAMPLES / _RATE_HZ:
            began_s = time.process_time()
            worked = decoder.work()
            took_s = time.process_time() - began_s
            now_s, busy_s = now_s + took_s, busy_s + took_s
            if first_partial_s is None and decoder.partial:
                first_partial_s = now_s
            if not worked:
                break
    duration_s = spoken.samples16k.size / _RATE_HZ
    began_s = time.process_time()
    reading = next(reading for reading in decoder.settle() if reading is not None)
    took_s = time.process_time() - began_s
    return Result(
        spoken,
        reading,
        word_errors(spoken.text, reading.text),
        first_partial_s,
        max(now_s, duration_s) - duration_s + took_s,
        (busy_s + took_s) / duration_s,
    )


def error_rate(results: Sequence[Result]) -> float:
    """Word errors over words said."""
    return sum(result.errors for result in results) / sum(len(result.spoken.text.split()) for result in results)


def _row(name: str, results: Sequence[Result]) -> str:
    settle = sorted(result.settle_s for result in results)
    firsts = [result.first_partial_s for result in results if result.first_partial_s is not None]
    exact = sum(result.errors == 0 for result in results)
    general = sum(result.reading.by == "general" for result in results)
    return (
        f"{name:22} {100 * error_rate(results):5.1f} % {exact:4}/{len(results):<4} {general:4} "
        f"{statistics.median(firsts) - 0.3 if firsts else float('nan'):6.2f} s {settle[len(settle) // 2]:5.2f} s "
        f"{settle[int(len(settle) * 0.95)]:5.2f} s {statistics.mean(result.load for result in results):5.2f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", type=int, default=len(VOICES), help="how many of the voices to use")
    parser.add_argument("--errors", action="store_true", help="print what was misread")
    options = parser.parse_args()
    decoder = SphinxDecoder(question_model())
    print(f"{'':22} errors   exact      general  first  settled p50   p95   load")
    voices = VOICES[: options.voices]
    for name, texts in (("foreseen", FORESEEN), ("held out", HELD_OUT), ("open speech", OPEN_SPEECH)):
        results = [read(decoder, spoken) for spoken in synthetic(texts, voices)]
        print(_row(name, results), flush=True)
        for voice, rate in voices:
            print(_row(f"  {voice} {rate}", [r for r in results if r.spoken.voice == f"{voice} {rate}"]), flush=True)
        _print_errors(results if options.errors else [])
    results = [read(decoder, spoken) for spoken in real()]
    if results:
        print(_row("real recordings", results))
        _print_errors(results if options.errors else [])


def _print_errors(results: Sequence[Result]) -> None:
    for result in results:
        if result.errors:
            print(f"    {result.spoken.voice}: {result.spoken.text} | {result.reading.text} ({result.reading.by})")


if __name__ == "__main__":
    main()
