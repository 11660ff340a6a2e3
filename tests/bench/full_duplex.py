"""Turn-taking as Full-Duplex-Bench v1.0 measures it, on dialogues synthesised with espeak-ng, in virtual time.

Take-over rate (TOR): the share of dialogues in which the agent's voice takes the turn: it says more than three words,
or for a second or more. An opener does neither. Wanted at the end of a turn and after an interruption, unwanted in a
pause.

    python -m tests.bench.full_duplex [--out docs/bench]
"""

import argparse
import math
import statistics
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeVar

import matplotlib as mpl
import numpy as np

from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from kame_core.compare.known_speech import PARTIAL_LAG_S, SETTLE_S, KnownSpeechToText, SpokenWord
from kame_core.events import CandidateStarted, Ducked, ResponseEnded, ResponseText, Restored
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.duplex_dialogues import BACKCHANNELS, INTERRUPTIONS, LONG_ANSWER, PAUSED, TURNS, VOICES
from tests.support.speech import say
from tests.support.studio import Studio, in_studio

mpl.use("Agg")

T = TypeVar("T")

AUDIBLE = 0.01
FIRST_TOKEN_S = 0.4
TOKEN_DELAY_S = 0.03
SHORT_ANSWER = "Most people would say that it depends on the day and on the place."
PAUSE_MEDIAN_S = 0.5
PAUSE_SPREAD = 0.6
"""Pauses within turns are distributed log-normally (Heldner and Edlund, Journal of Phonetics 38, 2010)."""
PAUSE_BOUNDS_S = (0.25, 2.0)
LONG_PAUSES_S = (0.4, 0.7, 1.0, 1.3, 1.6, 2.0)
TAKES_WORDS = 4
TAKES_S = 1.0
ECHO_DELAY_S = 0.16
ECHO_GAINS_DB = (-12, -20, -30)


@dataclass(frozen=True, slots=True)
class Pause:
    """A turn with a pause in it."""

    held_out: bool
    pause_s: float
    took_over: bool
    spoke: bool
    """Perhaps only an opener."""


@dataclass(frozen=True, slots=True)
class TurnTaking:
    """A turn that is to be answered; seconds after its last sound."""

    held_out: bool
    took_over: bool
    first_sound_s: float | None
    first_answer_s: float | None


@dataclass(frozen=True, slots=True)
class Interruption:
    """A sentence said over the agent; seconds."""

    held_out: bool
    ducked_s: float | None
    """From its first sound until the voice was lowered."""
    stopped_s: float | None
    """... until the voice was silent."""
    took_over: bool
    """It was answered."""
    response_s: float | None
    """From its end to the first sound of the answer."""


@dataclass(frozen=True, slots=True)
class Backchannel:
    """A listener's noise over the agent."""

    held_out: bool
    kept_on: bool
    ducked_s: float


@dataclass(frozen=True, slots=True)
class Echo:
    """The agent's voice comes back into the microphone while it answers."""

    gain_db: int
    cut_itself: bool
    asked_for_itself: int
    """Requests to the LLM for words of its own."""
    ducked: float
    """Share of the time its voice was lowered."""


class Speaker:
    """A user who says words with a voice, and whose words are known to the recogniser."""

    def __init__(self, studio: Studio, stt: KnownSpeechToText, voice: tuple[str, int]) -> None:
        self.studio = studio
        self._stt = stt
        self._voice = voice

    async def say(self, text: str) -> tuple[int, int]:
        """Returns when the first and the last sound were, in ms of the conversation."""
        sound = trimmed(say(text, *self._voice))
        begin_s = self.studio.clock.now()
        self._stt.hears(timed(text, begin_s, sound.size / SAMPLE_RATE_HZ))
        begin_ms = self.studio.conversation.now_ms()
        await self.studio.say(sound)
        return begin_ms, begin_ms + round(sound.size * 1000 / SAMPLE_RATE_HZ)


def trimmed(sound: Samples) -> Samples:
    """Without silence at the ends."""
    loud = np.flatnonzero(np.abs(sound) > AUDIBLE)
    return sound[loud[0] : loud[-1] + 1]


def timed(text: str, begin_s: float, length_s: float) -> list[SpokenWord]:
    """Words with ends in proportion to their letters."""
    words = text.split()
    sizes = np.cumsum([len(word) + 1.5 for word in words])
    return [SpokenWord(word, begin_s + length_s * size / sizes[-1]) for word, size in zip(words, sizes, strict=True)]


def play(voice: tuple[str, int], act: Callable[[Speaker], Coroutine[None, None, T]], answer: str = SHORT_ANSWER) -> T:
    """Play one dialogue in a conversation of its own."""
    stt = KnownSpeechToText()

    async def scene(studio: Studio) -> T:
        await studio.listen(0.5)
        return await act(Speaker(studio, stt, voice))

    return in_studio(scene, chat=ScriptedChatModel(Answer(answer, FIRST_TOKEN_S, TOKEN_DELAY_S)), stt=stt)


# --- what the agent's voice did ---


def voiced_s(studio: Studio, begin_ms: int, end_ms: int) -> tuple[float, float] | None:
    """First and last audible moment of the agent's voice within a time, in seconds of the conversation."""
    pieces = studio.heard[begin_ms // 20 : math.ceil(end_ms / 20)]
    loud = [index for index, piece in enumerate(pieces) if np.abs(piece).max() > AUDIBLE]
    if not loud:
        return None
    first = begin_ms // 20 * 20
    return (first + loud[0] * 20) / 1000, (first + (loud[-1] + 1) * 20) / 1000


def took_over(studio: Studio, begin_ms: int, end_ms: int) -> bool:
    """Full-Duplex-Bench's rule, with the agent's words as it says them in a recogniser's place."""
    span = voiced_s(studio, begin_ms, end_ms)
    words = [event for event in studio.all(ResponseText) if begin_ms <= event.at_ms < end_ms]
    said = sum(len(event.delta.split()) for event in words)
    return span is not None and (span[1] - span[0] >= TAKES_S or said >= TAKES_WORDS)


def lowered_ms(studio: Studio, since_ms: int) -> int:
    """How long the agent's voice was lowered without being cut."""
    downs = [event.at_ms for event in studio.all(Ducked) if event.at_ms >= since_ms]
    ups = [event.at_ms for event in studio.all(Restored) if event.at_ms >= since_ms]
    return sum(up - down for down, up in zip(downs, ups, strict=False))


# --- the tasks ---


def pauses_of(count: int) -> list[float]:
    """Quantiles of the distribution, in an order that goes with no list."""
    normal = statistics.NormalDist()
    quantiles = [math.exp(PAUSE_SPREAD * normal.inv_cdf((n + 0.5) / count)) * PAUSE_MEDIAN_S for n in range(count)]
    bounded = [min(max(pause_s, PAUSE_BOUNDS_S[0]), PAUSE_BOUNDS_S[1]) for pause_s in quantiles]
    return [bounded[(n * 13 + 5) % count] for n in range(count)]


def pause_task(number: int, text: str, pause_s: float) -> Pause:
    """A pause within a turn: who takes the turn there?"""
    before, after = (part.strip() for part in text.split("|"))

    async def act(speaker: Speaker) -> Pause:
        _, paused_ms = await speaker.say(before)
        await speaker.studio.listen(pause_s)
        _, end_ms = await speaker.say(after)
        spoke = voiced_s(speaker.studio, paused_ms, end_ms) is not None
        return Pause(number % 2 == 1, pause_s, took_over(speaker.studio, paused_ms, end_ms), spoke)

    return play(VOICES[number % len(VOICES)], act)


def turn_task(number: int, text: str) -> TurnTaking:
    """The end of a turn: is it taken, and when?"""

    async def act(speaker: Speaker) -> TurnTaking:
        studio = speaker.studio
        _, end_ms = await speaker.say(text)
        await studio.listen(4.0)
        limit_ms = studio.conversation.now_ms()
        span = voiced_s(studio, end_ms, limit_ms)
        answer = next((event.at_ms for event in studio.all(ResponseText) if event.origin != "opener"), None)
        return TurnTaking(
            number % 2 == 1,
            took_over(studio, end_ms, limit_ms),
            None if span is None else max(0.0, span[0] - end_ms / 1000),
            None if answer is None else (answer - end_ms) / 1000,
        )

    return play(VOICES[number % len(VOICES)], act)


async def until_speaking(speaker: Speaker, words: int) -> None:
    """Have the agent give a long answer, and wait until it is in the midst of it."""
    await speaker.say("tell me everything about it please")
    await speaker.studio.listen_until(ResponseText, count=words)


def interruption_task(number: int, text: str) -> Interruption:
    """A sentence over the agent's answer."""

    async def act(speaker: Speaker) -> Interruption:
        studio = speaker.studio
        await until_speaking(speaker, 18)
        begin_ms, end_ms = await speaker.say(text)
        await studio.listen(4.0)
        limit_ms = studio.conversation.now_ms()
        cut = next((event.at_ms for event in studio.all(ResponseEnded) if event.at_ms > begin_ms), None)
        ducked = next((event.at_ms for event in studio.all(Ducked) if event.at_ms >= begin_ms), None)
        stopped_s = None
        if cut is not None and cut < end_ms + 1500:
            last = voiced_s(studio, begin_ms, cut + 20)
            stopped_s = None if last is None else last[1] - begin_ms / 1000
        after_ms = max(end_ms, (cut or 0) + 40)
        span = voiced_s(studio, after_ms, limit_ms)
        return Interruption(
            number % 2 == 1,
            None if ducked is None else (ducked - begin_ms) / 1000,
            stopped_s,
            stopped_s is not None and took_over(studio, after_ms, limit_ms),
            None if span is None else span[0] - end_ms / 1000,
        )

    return play(VOICES[number % len(VOICES)], act, LONG_ANSWER)


def backchannel_task(number: int, text: str, voice: tuple[str, int]) -> Backchannel:
    """A listener's noise over the agent's answer."""

    async def act(speaker: Speaker) -> Backchannel:
        studio = speaker.studio
        await until_speaking(speaker, 18)
        begin_ms, _ = await speaker.say(text)
        await studio.listen(3.0)
        cut = any(event.at_ms > begin_ms and event.status == "cancelled" for event in studio.all(ResponseEnded))
        return Backchannel(number % 2 == 1, not cut, lowered_ms(studio, begin_ms) / 1000)

    return play(voice, act, LONG_ANSWER)


def echo_task(gain_db: int, voice: tuple[str, int]) -> Echo:
    """No headphones, and an echo canceller that does nothing: the worst case."""
    stt = KnownSpeechToText()
    delay = round(ECHO_DELAY_S * SAMPLE_RATE_HZ / PIECE_SAMPLES)

    async def scene(studio: Studio) -> Echo:
        speaker = Speaker(studio, stt, voice)
        await studio.listen(0.5)
        await speaker.say("tell me everything about it please")
        began = len(studio.events)
        told = 0
        for _ in range(round(12 / 0.02)):
            echo = studio.heard[-delay] * np.float32(10 ** (gain_db / 20)) if len(studio.heard) > delay else None
            for event in studio.all(ResponseText)[told:]:
                told += 1
                heard_s = studio.clock.now() + ECHO_DELAY_S + 0.25
                stt.hears([SpokenWord(word.strip(",."), heard_s) for word in event.delta.split()])
            await studio.say(silence(PIECE_SAMPLES) if echo is None else echo)
        cut = any(isinstance(event, ResponseEnded) and event.status == "cancelled" for event in studio.events[began:])
        asked = [e for e in studio.events[began:] if isinstance(e, CandidateStarted) and "everything" not in e.partial]
        return Echo(gain_db, cut, len(asked), lowered_ms(studio, 0) / 12_000)

    return in_studio(scene, chat=ScriptedChatModel(Answer(LONG_ANSWER, FIRST_TOKEN_S, TOKEN_DELAY_S)), stt=stt)


@dataclass(frozen=True, slots=True)
class Results:
    """All of a run."""

    pauses: list[Pause]
    long_pauses: list[Pause]
    turns: list[TurnTaking]
    interruptions: list[Interruption]
    backchannels: list[Backchannel]
    echoes: list[Echo]


def measure() -> Results:
    """All tasks."""
    drawn = pauses_of(len(PAUSED))
    return Results(
        [pause_task(number, text, drawn[number]) for number, text in enumerate(PAUSED)],
        [pause_task(number, text, s) for s in LONG_PAUSES_S for number, text in list(enumerate(PAUSED))[::3]],
        [turn_task(number, text) for number, text in enumerate(TURNS)],
        [interruption_task(number, text) for number, text in enumerate(INTERRUPTIONS)],
        [backchannel_task(n, text, voice) for voice in VOICES[:2] for n, text in enumerate(BACKCHANNELS)],
        [echo_task(gain_db, voice) for gain_db in ECHO_GAINS_DB for voice in VOICES[:2]],
    )


REPORT = """# Full duplex

Made on {day} by `python -m tests.bench.full_duplex`: {dialogues} dialogues in virtual time, each in a conversation of
its own. The user is espeak-ng in {voices} voices, talking to the whole engine in mode `tandem`: Silero voice detection,
turn rules, planner, oracle and the reflex front end with its openers. Only the recogniser and the LLM are stand-ins:
every word is understood {partial_lag:.0f} ms after it was said, a pause is read {settle:.0f} ms after it was noticed,
there are no punctuation marks; the LLM's first token takes {first_token:.0f} ms.

The measures are those of [Full-Duplex-Bench](https://arxiv.org/abs/2503.04721) v1.0. **TOR** (take-over rate): share
of dialogues in which the agent takes the turn; a reply of at most three words and less than a second does not.
**Latency**: from the user's last sound to the agent's first. The benchmark's own recordings are not here, so figures of
other systems can only be compared with care.

| task | measure | all | looked at | held out | goal |
|---|---|---|---|---|---|
{rows}

*Held out* are the sentences because of which no rule was changed. Pauses within a turn are drawn from a log-normal
distribution (median {median:.1f} s, sigma {spread}, {low} to {high} s), as pauses within turns are distributed in
recorded conversations (Heldner and Edlund 2010). Longer ones are where it gets hard; half of the sentences could end
where they pause. TOR by the length of the pause:

{long_pauses}

**Echo**: the agent's voice comes back into the microphone after {echo_delay:.0f} ms for 12 s, with nobody speaking and
no echo cancellation at all, and its words are recognised perfectly.

| echo | cuts itself | asks the LLM about its own words | voice lowered |
|---|---|---|---|
{echoes}

![Take-over rate over the length of the pause, and cumulative latencies](full-duplex.svg)
"""


def share(values: list[bool]) -> str:
    """As a rate."""
    return f"{sum(values) / len(values):.2f}" if values else "–"


def middle(values: list[float]) -> str:
    """Median and 95th percentile in ms."""
    if not values:
        return "–"
    return f"{statistics.median(values) * 1000:.0f} / {float(np.percentile(values, 95)) * 1000:.0f} ms"


H = TypeVar("H", Pause, TurnTaking, Interruption, Backchannel)


def row(task: str, measure: str, outcomes: list[H], value: Callable[[list[H]], str], goal: str) -> str:
    """One line of the table: all, then the two halves."""
    halves = [[outcome for outcome in outcomes if outcome.held_out is held_out] for held_out in (False, True)]
    return f"| {task} | {measure} | {value(outcomes)} | {value(halves[0])} | {value(halves[1])} | {goal} |"


def known(values: Iterable[float | None]) -> list[float]:
    """Without what did not happen."""
    return [value for value in values if value is not None]


def table(results: Results) -> str:
    """The main table."""
    median = "p50 / p95"
    return "\n".join(
        [
            row("pause", "TOR ↓", results.pauses, lambda a: share([p.took_over for p in a]), "≤ 0.10"),
            row("pause", "opener given", results.pauses, lambda a: share([p.spoke for p in a]), ""),
            row("turn end", "TOR ↑", results.turns, lambda a: share([t.took_over for t in a]), "≥ 0.95"),
            row(
                "turn end",
                f"latency, {median}",
                results.turns,
                lambda a: middle(known(t.first_sound_s for t in a)),
                "",
            ),
            row(
                "turn end",
                "latency, mean",
                results.turns,
                lambda a: f"{statistics.mean(known(t.first_sound_s for t in a) or [0]) * 1000:.0f} ms" if a else "–",
                "≤ 500 ms",
            ),
            row(
                "turn end",
                f"first word of the answer, {median}",
                results.turns,
                lambda a: middle(known(t.first_answer_s for t in a)),
                "",
            ),
            row("interruption", "TOR ↑", results.interruptions, lambda a: share([i.took_over for i in a]), ""),
            row(
                "interruption",
                f"voice lowered after, {median}",
                results.interruptions,
                lambda a: middle(known(i.ducked_s for i in a)),
                "p95 ≤ 300 ms",
            ),
            row(
                "interruption",
                f"voice stopped after, {median}",
                results.interruptions,
                lambda a: middle(known(i.stopped_s for i in a)),
                "p95 ≤ 700 ms",
            ),
            row(
                "interruption",
                f"latency, {median}",
                results.interruptions,
                lambda a: middle(known(i.response_s for i in a)),
                "",
            ),
            row("backchannel", "agent goes on", results.backchannels, lambda a: share([b.kept_on for b in a]), ""),
            row(
                "backchannel",
                f"voice lowered for, {median}",
                results.backchannels,
                lambda a: middle([b.ducked_s for b in a if b.kept_on]),
                "p95 ≤ 700 ms",
            ),
        ]
    )


def report(results: Results, folder: Path) -> None:
    """Write tables and plot."""
    folder.mkdir(parents=True, exist_ok=True)
    by_length = [[p.took_over for p in results.long_pauses if p.pause_s == s] for s in LONG_PAUSES_S]
    echoes = [[echo for echo in results.echoes if echo.gain_db == gain_db] for gain_db in ECHO_GAINS_DB]
    text = REPORT.format(
        day=date.today().isoformat(),
        dialogues=sum(
            len(part)
            for part in (
                results.pauses,
                results.long_pauses,
                results.turns,
                results.interruptions,
                results.backchannels,
                results.echoes,
            )
        ),
        voices=len(VOICES),
        partial_lag=PARTIAL_LAG_S * 1000,
        settle=SETTLE_S * 1000,
        first_token=FIRST_TOKEN_S * 1000,
        rows=table(results),
        median=PAUSE_MEDIAN_S,
        spread=PAUSE_SPREAD,
        low=PAUSE_BOUNDS_S[0],
        high=PAUSE_BOUNDS_S[1],
        long_pauses="\n".join(
            [
                "| pause | " + " | ".join(f"{s:.1f} s" for s in LONG_PAUSES_S) + " |",
                "|---" * (len(LONG_PAUSES_S) + 1) + "|",
                "| TOR | " + " | ".join(share(values) for values in by_length) + " |",
            ]
        ),
        echo_delay=ECHO_DELAY_S * 1000,
        echoes="\n".join(
            f"| {group[0].gain_db} dB | {sum(e.cut_itself for e in group)} of {len(group)} | "
            f"{sum(e.asked_for_itself for e in group)} requests | "
            f"{statistics.mean(e.ducked for e in group):.0%} of the time |"
            for group in echoes
        ),
    )
    (folder / "full-duplex.md").write_text(text)
    plot(results, folder / "full-duplex.svg")


def plot(results: Results, path: Path) -> None:
    """Two panels."""
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "full-duplex"
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    rates = [statistics.mean(p.took_over for p in results.long_pauses if p.pause_s == s) for s in LONG_PAUSES_S]
    left.plot(LONG_PAUSES_S, rates, "o-", color="#c2410c", label="every pause of this length")
    drawn = statistics.mean(pause.took_over for pause in results.pauses)
    left.axhline(drawn, color="#0f766e", linestyle="--", label="pauses as they are distributed")
    left.axhline(0.1, color="#bbb", linewidth=1, label="goal")
    left.set_ylim(0, 1)
    left.set_xlabel("pause within a turn (s)")
    left.set_ylabel("take-over rate")
    left.legend(fontsize=8, loc="upper left")
    for label, values, colour in (
        ("turn end: first sound", known(t.first_sound_s for t in results.turns), "#c2410c"),
        ("turn end: first word of the answer", known(t.first_answer_s for t in results.turns), "#0f766e"),
        ("interruption: voice stopped", known(i.stopped_s for i in results.interruptions), "#4a5a70"),
    ):
        ordered = sorted(values)
        right.step(ordered, np.arange(1, len(ordered) + 1) / len(ordered), where="post", color=colour, label=label)
    right.axvline(0.5, color="#bbb", linewidth=1)
    right.set_xlim(0, None)
    right.set_xlabel("seconds")
    right.set_ylabel("share of dialogues")
    right.legend(fontsize=8, loc="lower right")
    for panel in (left, right):
        panel.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("docs/bench"))
    arguments = parser.parse_args()
    report(measure(), arguments.out)


if __name__ == "__main__":
    main()
