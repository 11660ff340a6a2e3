"""Half an hour of talk for every speech-to-text engine: does anything grow, drift or get lost?

    python -m tests.bench.stt_endurance [--minutes 30] [--engines NAME ...] [--out docs/bench]

A user's turn every nine seconds, one after the other as fast as the engine reads them. The engines are those of the
conformance tests, on the same small models: what they understand is known, or the same for the same sound.
"""

import argparse
import asyncio
import gc
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from kame_core.audio import Samples
from kame_core.stt.base import Recognizer
from tests.support.ears import Reader, ears
from tests.support.processes import memory_mib

ENGINES = ("pocketsphinx", "faster-whisper", "openai", "kyutai")
TURN_S = 9.0
"""From the beginning of a turn to that of the next: a question, a pause, an answer."""
TEXTS = ("what is two plus three", "what is the capital of france", "and what is the population of japan")
_WARM_UP_TURNS = 6
_PIECE_S = 0.02
_SETTLE_DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Endurance:
    """What became of one engine."""

    engine: str
    turns: int
    speech_s: float
    took_s: float
    begin_mib: float
    """After the first turns, when all is loaded."""
    end_mib: float
    begin_settle_ms: float
    """Median from flush to settled reading in the first quarter."""
    end_settle_ms: float
    """... in the last."""
    words: int
    lost_words: int
    """Not understood as when they were said first (or as they were said at all, where that is known)."""
    late_readings: int
    """Of an utterance that was over."""
    tasks: int
    """More than at the beginning."""


async def endure(name: str, minutes: float, folder: Path) -> Endurance:
    """Talk to an engine for so many minutes of its time."""
    turns = max(4 * _WARM_UP_TURNS, round(minutes * 60 / TURN_S))
    settle_s: list[float] = []
    speech_s = begin_mib = 0.0
    words = lost = late = tasks = 0
    async with ears(name, folder) as tested:
        recognizer = await tested.stt.open("en")
        reader = Reader(recognizer)
        sounds = [tested.say(text) for text in TEXTS]
        expected = list(TEXTS) if tested.exact else [""] * len(TEXTS)
        began_s = time.monotonic()
        for turn in range(turns):
            if turn == _WARM_UP_TURNS:
                gc.collect()
                begin_mib, tasks = memory_mib(), len(asyncio.all_tasks())
            which = turn % len(TEXTS)
            speech_s += sounds[which].size / recognizer.sample_rate_hz
            await _speak(recognizer, sounds[which])
            flushed_s = time.monotonic()
            recognizer.flush()
            settled = await reader.settled(1, _SETTLE_DEADLINE_S)
            settle_s.append(time.monotonic() - flushed_s)
            late += sum(update.utterance != turn for update in reader.updates)
            expected[which] = expected[which] or settled.text
            heard, said = settled.text.split(), expected[which].split()
            words += len(said)
            lost += sum(word != other for word, other in zip(said, heard + [""] * len(said), strict=False))
            recognizer.commit()
            reader.updates.clear()
            tested.be_quiet(recognizer, TURN_S - sounds[which].size / recognizer.sample_rate_hz)
        took_s = time.monotonic() - began_s
        gc.collect()
        end_mib, tasks = memory_mib(), len(asyncio.all_tasks()) - tasks
        await recognizer.aclose()
    quarter = turns // 4
    return Endurance(
        name,
        turns,
        speech_s,
        took_s,
        begin_mib,
        end_mib,
        1000 * statistics.median(settle_s[_WARM_UP_TURNS:][:quarter]),
        1000 * statistics.median(settle_s[-quarter:]),
        words,
        lost,
        late,
        tasks,
    )


async def _speak(recognizer: Recognizer, sound: Samples) -> None:
    """In pieces of 20 ms, as fast as they are taken."""
    piece = round(_PIECE_S * recognizer.sample_rate_hz)
    for at in range(0, sound.size, piece):
        recognizer.push(sound[at : at + piece])
        await asyncio.sleep(0)


_HEAD = (
    "| engine | turns | speech | took | memory | settled, median | words | lost | late readings | tasks left |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)
_REPORT = """# Speech-to-text: half an hour

Measured on {day} by `python -m tests.bench.stt_endurance --minutes {minutes:g} --out docs/bench`
({machine}, {cores} cores, Python {python}).

{table}

{minutes:g} minutes of talk with a turn every {turn_s:g} s, turn after turn as fast as the engine reads.
*Memory*: of the process and those it started, after the first {warm_up} turns and at the end.
*Settled*: from the pause to the reading, in the first and in the last quarter; other work on the machine
shows in it, growth of anything would, too. *Lost*: words that were not understood as they were said, or
where the model is a random one, not as the same sound was read the first time. *Late readings*: of turns that
were over.

The engines are those of the conformance tests: pocketsphinx as it is; faster-whisper and Kyutai's on tiny models; the
speech service is a local one whose words are tones.
"""


def _row(result: Endurance) -> str:
    cells = (
        result.engine,
        f"{result.turns}",
        f"{result.speech_s:.0f} s",
        f"{result.took_s:.0f} s",
        f"{result.begin_mib:.0f} → {result.end_mib:.0f} MiB",
        f"{result.begin_settle_ms:.0f} → {result.end_settle_ms:.0f} ms",
        f"{result.words}",
        f"{result.lost_words}",
        f"{result.late_readings}",
        f"{result.tasks}",
    )
    return "| " + " | ".join(cells) + " |"


def report(rows: Sequence[str], minutes: float, folder: Path) -> None:
    """Write the table."""
    folder.mkdir(parents=True, exist_ok=True)
    text = _REPORT.format(
        day=date.today().isoformat(),
        minutes=minutes,
        machine=platform.machine(),
        cores=os.cpu_count(),
        python=platform.python_version(),
        table="\n".join([_HEAD, *rows]),
        turn_s=TURN_S,
        warm_up=_WARM_UP_TURNS,
    )
    (folder / "stt-endurance.md").write_text(text)


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="of talk")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--out", type=Path, help="folder to write stt-endurance.md into")
    options = parser.parse_args()
    rows = []
    print(_HEAD)
    for name in options.engines:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(_row(asyncio.run(endure(name, options.minutes, Path(folder)))))
        print(rows[-1], flush=True)
    if options.out is not None:
        report(rows, options.minutes, options.out)


if __name__ == "__main__":
    main()
