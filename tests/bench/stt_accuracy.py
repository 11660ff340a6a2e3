"""Word errors and response times of the speech-to-text engines on synthetic and real speech.

    python -m tests.bench.stt_accuracy [--voices N] [--errors] [--out docs/bench]

pocketsphinx: sound arrives at its own pace while the reading takes the processor time it takes, so the times are what a
caller would see on a core of their own, whatever else this machine does meanwhile. The other engines are measured as
they are used, by the clock: faster-whisper where its model is on disk, the speech service where one is set.
"""

import argparse
import asyncio
import os
import platform
import re
import statistics
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from app.settings_sources import load_settings
from kame_core.audio import SAMPLE_RATE_HZ, Samples, resample
from kame_core.hearing import PRE_ROLL_MS
from kame_core.stt.base import SpeechToText
from kame_core.stt.faster_whisper import FasterWhisperSpeechToText, locate_whisper
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
    """From the first sample, pre-roll included."""
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
    first_s = statistics.median(firsts) - PRE_ROLL_MS / 1000 if firsts else float("nan")
    return (
        f"{name:22} {100 * error_rate(results):5.1f} % {exact:4}/{len(results):<4} {general:4} "
        f"{first_s:6.2f} s {settle[len(settle) // 2]:5.2f} s "
        f"{settle[int(len(settle) * 0.95)]:5.2f} s {statistics.mean(result.load for result in results):5.2f}"
    )


# --- engines that are measured by the clock ---


async def listen(stt: SpeechToText, spoken: Spoken) -> Result:
    """Speak one utterance to an engine in real time."""
    loop = asyncio.get_running_loop()
    recognizer = await stt.open("en")
    try:
        sound = resample(spoken.samples16k, _RATE_HZ, recognizer.sample_rate_hz)
        piece = recognizer.sample_rate_hz // 50
        began_s, busy_s = loop.time(), time.process_time()
        first: list[float] = []
        settled: asyncio.Future[str] = loop.create_future()

        async def read_updates() -> None:
            async for update in recognizer.updates():
                if update.text and not first:
                    first.append(loop.time() - began_s)
                if update.settled and not settled.done():
                    settled.set_result(update.text)

        reading = asyncio.create_task(read_updates())
        for begin in range(0, sound.size, piece):
            await asyncio.sleep(max(0.0, began_s + (begin + piece) / recognizer.sample_rate_hz - loop.time()))
            recognizer.push(sound[begin : begin + piece])
        recognizer.flush()
        flushed_s = loop.time()
        async with asyncio.timeout(60):
            text = plain_words(await settled)
        took_s = loop.time() - flushed_s
        load = (time.process_time() - busy_s) * _RATE_HZ / spoken.samples16k.size
    finally:
        await recognizer.aclose()
    await reading
    errors = word_errors(spoken.text, text)
    return Result(spoken, Reading(text, stt.name), errors, first[0] if first else None, took_s, load)


def plain_words(text: str) -> str:
    """Without punctuation and capitals, as the references are written."""
    words = re.sub(r"[^\w' ]+", " ", text.casefold()).split()
    return " ".join({"mr": "mister", "mrs": "missus", "dr": "doctor"}.get(word, word) for word in words)


async def others(spoken: Sequence[Spoken]) -> AsyncIterator[tuple[str, list[Result]]]:
    """Every other engine that runs here, on the same speech."""
    settings = load_settings()
    folder = locate_whisper(settings.whisper_name)
    engines: list[tuple[str, SpeechToText]] = []
    if folder is not None:
        engines.append((f"faster-whisper {settings.whisper_name}", FasterWhisperSpeechToText(folder)))
    key = settings.speech_api_key or (None if settings.speech_base_url else settings.openai_api_key)
    if settings.speech_base_url or key is not None:
        from kame_core.backend.llm_servers import OPENAI_BASE_URL
        from kame_core.speech_api import SpeechApi
        from kame_core.stt.openai_realtime import OpenAIRealtimeSpeechToText

        url = settings.speech_base_url or settings.openai_base_url or OPENAI_BASE_URL
        api = SpeechApi(url, key.get_secret_value() if key is not None else "")
        service = OpenAIRealtimeSpeechToText(api, model=settings.stt_model)
        engines.append((f"{service.model} at {api.place}", service))
    for name, stt in engines:
        try:
            yield name, [await listen(stt, one) for one in spoken]
        finally:
            await stt.aclose()


# --- the table ---

_HEAD = (
    "| engine | speech | utterances | word errors | faultless | first partial | settled p50 | settled p95 | load |\n"
    "|---|---|---|---|---|---|---|---|---|"
)
_REPORT = """# Speech-to-text

Measured on {day} by `python -m tests.bench.stt_accuracy --voices {voices} --out docs/bench`
({machine}, {cores} cores, Python {python}).

{table}

*Word errors*: substitutions, insertions and deletions over words said. *First partial*: from the beginning of the
speech. *Settled*: from the pause to the reading that the turn is answered by. *Load*: processor time over the duration
of the speech, on one core. pocketsphinx's times are processor times with sound arriving at its own pace: what a caller
sees on a core of their own.

Half an hour of talk for every engine, memory and lost words: [stt-endurance.md](stt-endurance.md).

The synthetic questions are espeak-ng's, in {voices} voices: *foreseen* and *held out* are of the offline responder's
kinds, the latter worded by somebody who has not seen the templates; *open* is anything. The real recordings are
{recordings}.

{missing}
"""


def _cells(engine: str, speech: str, results: Sequence[Result]) -> str:
    settle = sorted(result.settle_s for result in results)
    firsts = [result.first_partial_s for result in results if result.first_partial_s is not None]
    cells = [
        engine,
        speech,
        str(len(results)),
        f"{100 * error_rate(results):.1f} %",
        str(sum(result.errors == 0 for result in results)),
        f"{1000 * max(0.0, statistics.median(firsts) - PRE_ROLL_MS / 1000):.0f} ms" if firsts else "–",
        f"{1000 * settle[len(settle) // 2]:.0f} ms",
        f"{1000 * settle[int(len(settle) * 0.95)]:.0f} ms",
        f"{statistics.mean(result.load for result in results):.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def report(rows: Sequence[str], engines: Sequence[str], voices: int, folder: Path) -> None:
    """Write the table."""
    missing = [
        text
        for name, text in (
            ("faster-whisper", "faster-whisper: no Whisper model is on this machine's disk."),
            (" at ", "The speech service (`KAME_STT=openai`): none is set here."),
        )
        if not any(name in engine for engine in engines)
    ]
    names = [recording.name for recording in recordings()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stt.md").write_text(
        _REPORT.format(
            day=date.today().isoformat(),
            voices=voices,
            machine=platform.machine(),
            cores=os.cpu_count(),
            python=platform.python_version(),
            table="\n".join([_HEAD, *rows]),
            recordings=f"`{'`, `'.join(names)}`" if names else "not on this machine",
            missing="\n".join(["Not measured here:", "", *(f"- {text}" for text in missing)]) if missing else "",
        ).rstrip()
        + "\n"
    )


async def _measure_others(spoken: Sequence[Spoken], *, errors: bool) -> list[tuple[str, list[Result]]]:
    measured = []
    async for name, results in others(spoken):
        print(_row(name, results), flush=True)
        _print_errors(results if errors else [])
        measured.append((name, results))
    return measured


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", type=int, default=len(VOICES), help="how many of the voices to use")
    parser.add_argument("--errors", action="store_true", help="print what was misread")
    parser.add_argument("--out", type=Path, help="folder to write stt.md into")
    options = parser.parse_args()
    decoder = SphinxDecoder(question_model())
    print(f"{'':22} errors   exact      general  first  settled p50   p95   load")
    voices = VOICES[: options.voices]
    rows = []
    for name, texts in (("foreseen", FORESEEN), ("held out", HELD_OUT), ("open", OPEN_SPEECH)):
        results = [read(decoder, spoken) for spoken in synthetic(texts, voices)]
        rows.append(_cells("pocketsphinx", name, results))
        print(_row(name, results), flush=True)
        for voice, rate in voices:
            print(_row(f"  {voice} {rate}", [r for r in results if r.spoken.voice == f"{voice} {rate}"]), flush=True)
        _print_errors(results if options.errors else [])
    spoken = real()
    engines = ["pocketsphinx"]
    if spoken:
        results = [read(SphinxDecoder(question_model()), one) for one in spoken]
        rows.append(_cells("pocketsphinx", "real recordings", results))
        print(_row("real recordings", results))
        _print_errors(results if options.errors else [])
        for name, measured in asyncio.run(_measure_others(spoken, errors=options.errors)):
            engines.append(name)
            rows.append(_cells(name, "real recordings", measured))
    if options.out is not None:
        report(rows, engines, len(voices), options.out)


def _print_errors(results: Sequence[Result]) -> None:
    for result in results:
        if result.errors:
            print(f"    {result.spoken.voice}: {result.spoken.text} | {result.reading.text} ({result.reading.by})")


if __name__ == "__main__":
    main()
