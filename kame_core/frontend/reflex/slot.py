"""One conversation's reflex: opener, oracle's words, stock reply, under the commands of `UserState`."""

import logging

import numpy as np

from kame_core.audio import FRAME_SAMPLES
from kame_core.errors import FrontendError, KameError
from kame_core.frontend.base import (
    Floor,
    OracleAdopt,
    OracleClear,
    OracleProgress,
    OracleUpdate,
    SlotOptions,
    SlotOutput,
    SpeechOrigin,
    UserState,
)
from kame_core.frontend.reflex.clips import OpenerClips
from kame_core.frontend.reflex.opener import choose_opener
from kame_core.frontend.reflex.replies import choose_reply
from kame_core.frontend.reflex.speech import Segment, Speech
from kame_core.frontend.reflex.synthesis import Synthesiser
from kame_core.languages import ENGLISH_NAMES, language_of, primary_code
from kame_core.oracle_cursors import Phrase, PhraseCursor
from kame_core.scripts import SENTENCE_END

log = logging.getLogger(__name__)

_MOST_TEXTS_AHEAD = 3
_MOST_SECONDS_AHEAD = 20.0
_OPENER_AFTER_TICKS = 1
"""80 ms into the agent's turn without a word of the oracle, an opener covers the wait."""
_MOST_FAILURES = 3
_AUDIBLE = 0.003


class ReflexSlot:
    """The state of one slot. All methods run on the ticker's thread and return at once.

    A candidate belongs to the conversation's present question until `OracleClear` or the next `OracleAdopt`: a new
    turn, or the user taking the floor, drops it only if some of it was said already.
    """

    def __init__(self, slot: int, options: SlotOptions, synthesiser: Synthesiser, clips: OpenerClips) -> None:
        self._slot = slot
        self._language = options.language
        self._voice = voice_of(options)
        self._synthesiser = synthesiser
        self._clips = clips
        self._cursor = PhraseCursor()
        self._candidate_language = ""
        self._speech = Speech()
        self._user = UserState()
        self._spoken_chars = 0
        self._candidate_begun = False
        self._opened = False
        self._replied = False
        self._ticks_in_turn = 0
        self._has_floor = False
        self._openers = 0
        self._last_opener = ""
        self._replies = 0
        self._failures = 0
        self._fading_turn: int | None = None

    def close(self) -> None:
        """Drop everything."""
        self._speech.cut()

    def feed(self, oracle: tuple[OracleUpdate, ...], user: UserState | None) -> None:
        """Take in what is new; synthesis begins at once, whoever has the floor."""
        if user is not None:
            self._told(user)
        for update in oracle:
            self._updated(update)
        self._prepare()

    def step(self) -> SlotOutput:
        """One tick."""
        floor = self._user.floor
        self._open(floor)
        fading, self._fading_turn = self._fading_turn, None
        said = self._speech.take(FRAME_SAMPLES, opener_only=not self._has_floor, nothing_new=floor is Floor.LISTEN)
        if floor is Floor.SPEAK:
            self._ticks_in_turn += 1
        if said.spoken_chars is not None:
            self._spoken_chars = max(self._spoken_chars, said.spoken_chars)
        self._candidate_begun = (
            self._candidate_begun or self._speech.begun(SpeechOrigin.ORACLE) or bool(said.spoken_chars)
        )
        self._prepare()
        only_fading = fading is not None and said.origin is SpeechOrigin.NONE
        return SlotOutput(
            self._slot,
            said.voice,
            said.text,
            said.origin,
            self._progress(),
            speaking=said.origin is not SpeechOrigin.NONE and float(np.abs(said.voice).max()) > _AUDIBLE,
            pending=self._pending(),
            turn=fading if only_fading and fading is not None else self._user.turn,
            fault=self._fault(said.failures),
        )

    # --- what it is told ---

    def _told(self, user: UserState) -> None:
        before, self._user = self._user, user
        new_turn = user.turn != before.turn
        if new_turn or (user.floor is Floor.LISTEN and before.floor is not Floor.LISTEN):
            self._speech.cut(keep_unbegun_oracle=not self._candidate_begun)
            if self._speech.fading and self._fading_turn is None:
                self._fading_turn = before.turn
            if self._candidate_begun:
                self._forget_candidate(OracleClear())
        if new_turn:
            self._opened = self._replied = False
        if new_turn or user.floor is Floor.LISTEN:
            self._has_floor = False
            self._ticks_in_turn = 0
        if user.floor is Floor.SPEAK:  # a pause noticed after that takes nothing away: only LISTEN and a new turn do
            self._has_floor = True

    def _updated(self, update: OracleUpdate) -> None:
        match update:
            case OracleAdopt():
                self._speech.supersede()
                self._forget_candidate(update)
                self._candidate_language = update.language
            case OracleClear():
                self._speech.cut(keep_opener=True)
                if self._speech.fading and self._fading_turn is None:
                    self._fading_turn = self._user.turn
                self._forget_candidate(update)
            case _:
                self._cursor.apply(update)

    def _forget_candidate(self, update: OracleAdopt | OracleClear) -> None:
        self._cursor.apply(update)
        self._spoken_chars = 0
        self._candidate_begun = False

    # --- what it says ---

    def _prepare(self) -> None:
        """Hand texts to the synthesiser, a little ahead of the voice."""
        user = self._user
        if user.policy.alone and user.floor is Floor.SPEAK and not self._replied and self._cursor.candidate_id is None:
            self._replied = True
            reply = choose_reply(user.heard, self._replies, language=self._language)
            self._replies += 1
            self._speech.append(Segment(self._synthesiser.submit(reply, self._voice), SpeechOrigin.OWN))
        while self._speech.texts < _MOST_TEXTS_AHEAD and self._speech.waiting_s < _MOST_SECONDS_AHEAD:
            phrase = self._cursor.next_phrase(user.policy.whole_sentences)
            if phrase is None:
                return
            spaced = phrase.start_char == 0 or phrase.text[:1].isspace()
            utterance = self._synthesiser.submit(phrase.text, self._voice, self._other_language(phrase))
            self._speech.append(Segment(utterance, SpeechOrigin.ORACLE, phrase.start_char, spaced))

    def _other_language(self, phrase: Phrase) -> str:
        """The language of a sentence that is not in the slot's, which the slot's voice would read badly; else empty."""
        before = max((self._cursor.text.rfind(mark, 0, phrase.start_char) for mark in SENTENCE_END), default=-1)
        text = self._cursor.text[before + 1 : phrase.start_char] + phrase.text
        expected = self._candidate_language or self._language
        language = language_of(text, {expected: None, **ENGLISH_NAMES}, expected=expected)
        return "" if primary_code(language) == primary_code(self._language) else language

    def _open(self, floor: Floor) -> None:
        """Say an opener if this is the moment for one."""
        policy = self._user.policy
        if self._opened or not policy.opener or self._replied:
            return
        if floor is Floor.LISTEN or (floor is Floor.SPEAK and self._ticks_in_turn < _OPENER_AFTER_TICKS):
            return
        if self._cursor.candidate_id is not None and not (policy.covers_pause and floor is Floor.PAUSE):
            return
        text = choose_opener(self._user.heard, self._openers, self._last_opener, language=self._language)
        clip = self._clips.get(text, self._voice)
        if clip is None:
            return  # not synthesised yet: perhaps at the next tick
        self._opened = True
        self._openers += 1
        self._last_opener = text
        self._speech.opener = Segment(clip, SpeechOrigin.OPENER)

    # --- what it tells ---

    def _progress(self) -> OracleProgress:
        cursor = self._cursor
        return OracleProgress(cursor.candidate_id, cursor.read_chars, self._spoken_chars, cursor.exhausted)

    def _pending(self) -> bool:
        unread = self._cursor.text[self._cursor.read_chars :]
        return self._speech.pending or any(map(str.isalnum, unread))

    def _fault(self, failures: tuple[KameError | None, ...]) -> KameError | None:
        for failure in failures:
            self._failures = 0 if failure is None else self._failures + 1
            if failure is not None and self._failures >= _MOST_FAILURES:
                return FrontendError(
                    f"The voice failed {_MOST_FAILURES} times in a row. {failure.user_message}",
                    retryable=failure.retryable,
                )
        return None


def voice_of(options: SlotOptions) -> str:
    """The voice a slot speaks with: the one asked for, else the engine's own for English, else the language's."""
    if options.voice or options.language.lower().partition("-")[0] == "en":
        return options.voice
    return options.language
