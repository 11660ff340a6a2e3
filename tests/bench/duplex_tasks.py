"""The dialogues of Full-Duplex-Bench v1.0's tasks, synthesised with espeak-ng, and what is measured in them.

Take-over rate (TOR): the share of dialogues in which the agent's voice takes the turn: it says more than three words,
or for a second or more. An opener does neither. Wanted at the end of a turn and after an interruption, unwanted in a
pause.
"""

import functools
import math
import statistics
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from kame_core.compare.known_speech import KnownSpeechToText, SpokenWord
from kame_core.events import CandidateStarted, Ducked, FinalTranscript, ResponseEnded, ResponseText, Restored
from kame_core.wording import EnglishWording
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.duplex_dialogues import BACKCHANNELS, INTERRUPTIONS, LONG_ANSWER, PAUSED, TURNS, VOICES
from tests.support.speech import say
from tests.support.spoken_pauses import say_parts
from tests.support.studio import Studio, in_studio

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
_SLOWEST_WPM = 80
"""espeak-ng speaks no slower."""
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
    """It was not cut."""
    went_on: bool
    """It was not cut, or went on with the same answer by itself."""
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

    async def say(self, text: str, *, understood: str | None = None, drawn_out: float = 1.0) -> tuple[int, int]:
        """Returns when the first and the last sound were, in ms of the conversation.

        Args:
            text: for the voice.
            understood: for the recogniser, where that reads something else.
            drawn_out: how many times slower than the voice's rate.
        """
        name, rate_wpm = self._voice
        sound = trimmed(say(text, name, max(_SLOWEST_WPM, round(rate_wpm / drawn_out))))
        return await self.utter(sound, text if understood is None else understood)

    async def say_with_pauses(self, parts: list[str], pause_s: float) -> list[tuple[int, int]]:
        """One sentence with pauses in it; for each part the same."""
        spans = []
        for number, sound in enumerate(await say_parts(parts, *self._voice)):
            if number:
                await self.studio.listen(pause_s)
            spans.append(await self.utter(trimmed(sound), parts[number]))
        return spans

    async def utter(self, sound: Samples, text: str) -> tuple[int, int]:
        """Let the studio hear this."""
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


@functools.cache
def _wording() -> EnglishWording:
    return EnglishWording()


def play(voice: tuple[str, int], act: Callable[[Speaker], Coroutine[None, None, T]], answer: str = SHORT_ANSWER) -> T:
    """Play one dialogue in a conversation of its own."""
    stt = KnownSpeechToText()

    async def scene(studio: Studio) -> T:
        await studio.listen(0.5)
        return await act(Speaker(studio, stt, voice))

    chat = ScriptedChatModel(Answer(answer, FIRST_TOKEN_S, TOKEN_DELAY_S))
    return in_studio(scene, chat=chat, stt=stt, ending=_wording())


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


def pause_task(number: int, text: str, pause_s: float, *, final_melody: bool = False) -> Pause:
    """Pauses within a turn: who takes the turn there?

    Args:
        text: `|` where the speaker pauses.
        final_melody: each part is said with the melody of a finished sentence.
    """
    parts = [part.strip() for part in text.split("|")]

    async def act(speaker: Speaker) -> Pause:
        if final_melody:
            spans: list[tuple[int, int]] = []
            for part in parts:
                await speaker.studio.listen(pause_s if spans else 0.0)
                spans.append(await speaker.say(part))
        else:
            spans = await speaker.say_with_pauses(parts, pause_s)
        paused_ms, end_ms = spans[0][1], spans[-1][1]
        spoke = voiced_s(speaker.studio, paused_ms, end_ms) is not None
        # Where there are several pauses, the turn may be taken in any of them.
        took = any(took_over(speaker.studio, begin[1], end[1]) for begin, end in pairwise(spans))
        return Pause(number % 2 == 1, pause_s, took, spoke)

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


def backchannel_task(number: int, noise: tuple[str, str, float], voice: tuple[str, int]) -> Backchannel:
    """A listener's noise over the agent's answer."""
    spoken, understood, drawn_out = noise

    async def act(speaker: Speaker) -> Backchannel:
        studio = speaker.studio
        await until_speaking(speaker, 18)
        begin_ms, _ = await speaker.say(spoken, understood=understood, drawn_out=drawn_out)
        await studio.listen(3.0)
        cut = any(event.at_ms > begin_ms and event.status == "cancelled" for event in studio.all(ResponseEnded))
        answered = any(event.at_ms > begin_ms for event in studio.all(FinalTranscript))
        now_ms = studio.conversation.now_ms()
        speaks = voiced_s(studio, now_ms - 500, now_ms) is not None
        return Backchannel(number % 2 == 1, not cut, speaks and not answered, lowered_ms(studio, begin_ms) / 1000)

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
    anywhere: list[Pause]
    """Pauses between any two words."""
    long_pauses: list[Pause]
    misleading: list[Pause]
    """The same with the melody of finished sentences before each pause."""
    turns: list[TurnTaking]
    interruptions: list[Interruption]
    backchannels: list[Backchannel]
    echoes: list[Echo]


def cut_anywhere(number: int, text: str) -> str:
    """A sentence with a pause between two of its words, chosen by no rule of grammar."""
    words = text.split()
    at = 2 + number * 7 % (len(words) - 2)
    return " ".join([*words[:at], "|", *words[at:]])


def measure() -> Results:
    """All tasks, on all cores."""
    drawn = pauses_of(len(PAUSED))
    whole = [(number, text) for number, text in enumerate(TURNS) if len(text.split()) >= 4]
    drawn_anywhere = pauses_of(len(whole))
    some = list(enumerate(PAUSED))[::5]
    long = [(number, text, s) for s in LONG_PAUSES_S for number, text in some]
    noises = [(n, noise, VOICES[(n + k) % len(VOICES)]) for k in (0, 3) for n, noise in enumerate(BACKCHANNELS)]
    echoes = [(gain_db, voice) for gain_db in ECHO_GAINS_DB for voice in VOICES[:2]]
    with ProcessPoolExecutor() as pool:

        def run(task: Callable[..., T], cases: Iterable[tuple[object, ...]]) -> list[Future[T]]:
            return [pool.submit(task, *case) for case in cases]

        pauses = run(pause_task, [(number, text, drawn[number]) for number, text in enumerate(PAUSED)])
        anywhere = run(
            pause_task, [(n, cut_anywhere(n, text), s) for (n, text), s in zip(whole, drawn_anywhere, strict=True)]
        )
        long_pauses = run(pause_task, long)
        misleading = run(misleading_task, long)
        turns = run(turn_task, enumerate(TURNS))
        interruptions = run(interruption_task, enumerate(INTERRUPTIONS))
        backchannels = run(backchannel_task, noises)
        echoed = run(echo_task, echoes)
        return Results(
            _all(pauses),
            _all(anywhere),
            _all(long_pauses),
            _all(misleading),
            _all(turns),
            _all(interruptions),
            _all(backchannels),
            _all(echoed),
        )


def _all(futures: list[Future[T]]) -> list[T]:
    return [future.result() for future in futures]


def misleading_task(number: int, text: str, pause_s: float) -> Pause:
    """Pauses before which the voice falls as at the end of a turn."""
    return pause_task(number, text, pause_s, final_melody=True)
