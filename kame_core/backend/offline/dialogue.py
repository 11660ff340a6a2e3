"""One text in the light of what was said before: which skill answers, follow-ups, repetition, honest fallbacks."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from kame_core.backend.base import ChatMessage
from kame_core.backend.offline.arithmetic import answer_arithmetic, continues_sum, sounds_like_sum
from kame_core.backend.offline.calendar_answers import answer_calendar
from kame_core.backend.offline.places import answer_places
from kame_core.backend.offline.reply import Reply, count_words
from kame_core.backend.offline.smalltalk import (
    BAD_SUM,
    FALLBACKS,
    JOKES,
    NOT_HEARD,
    NOTHING_SAID,
    REPEAT,
    answer_smalltalk,
)
from kame_core.backend.offline.units import answer_units
from kame_core.backend.offline.wording import MAX_CHARS, normalise, split_sentences, strip_politeness

MAX_WORDS = 30
MAX_QUESTION_WORDS = 40
REMEMBERED_TURNS, REMEMBERED_CHARS = 12, 250
"""How many earlier user turns a follow-up may refer to, and about how long they may be all together: they are read
anew at each partial transcript, on the event loop."""

_FOLLOW_UP = re.compile(
    r"(?:(?:and|or|but|also|then|so) )?"
    r"(?:(?:what|how) (?:about|of|is (?:it|that|there)(?= (?:in|of|for) ))|and|the same) ?"
    r"(?:of |in |for |with |to |on |from |the one (?:of|in) )*(?P<x>.+)|(?:and |or |of |in |for |to )+(?P<x2>.+)|"
    r"i (?:meant|mean|said) (?P<x3>.+)"
)
_BRACKET = re.compile(r"[()]")
_ASIDE = re.compile(r"\([^()]*\)|[()]")
_UNFINISHED = re.compile(
    r"\b(?:of|in|the|a|an|to|and|plus|minus|times|by|over|is|are|until|between|point|percent|than|or|for|from|what|"
    r"convert|divided|multiplied|square|root|what's|what time)$"
)


@dataclass(frozen=True, slots=True)
class Memory:
    """What earlier turns left behind."""

    last: Reply | None = None
    """The last answer that a follow-up can build on."""
    turns: int = 0
    jokes: int = 0
    said: str = ""
    """The agent's last words."""


def _skills(plain: str, now: Callable[[], datetime], memory: Memory, *, guess: bool) -> Reply | None:
    value = memory.last.value if memory.last else None
    reply = answer_smalltalk(plain, memory.turns, memory.jokes)
    reply = reply or answer_calendar(plain, now, guess=guess) or answer_units(plain)
    return reply or answer_arithmetic(plain, value) or answer_places(plain, guess=guess)


def _follow_up(plain: str, now: Callable[[], datetime], memory: Memory, *, guess: bool) -> Reply | None:
    """The last question again with another word: "and of Spain"."""
    if memory.last is None:
        return None
    found = _FOLLOW_UP.fullmatch(plain)
    subject = next(filter(None, found.groups())) if found else plain
    if not found and (not guess or len(plain.split()) > 3):
        return None
    subject = re.sub(r" (?:then|instead|please)$", "", subject)
    value = memory.last.value
    if value is not None and found:
        reply = answer_arithmetic(subject, value)
        if reply is not None:
            return reply
    for template in memory.last.templates:
        reply = _skills(template.replace("{}", subject), now, replace(memory, last=None), guess=guess and bool(found))
        if reply is not None and reply.sure:
            return reply
    return None


def answer_sentence(text: str, now: Callable[[], datetime], memory: Memory, *, guess: bool) -> Reply | None:
    """The answer to one sentence, or None if nothing here understands it."""
    plain = normalise(text)
    if not plain or len(text) > MAX_CHARS or count_words(plain) > MAX_QUESTION_WORDS:
        return None
    if _BRACKET.search(plain):
        reply = answer_arithmetic(strip_politeness(plain), memory.last.value if memory.last else None)
        if reply is not None or sounds_like_sum(plain):
            return reply
        # Another question says the same without what is between them, or with it as if they were not there.
        aside = answer_sentence(_ASIDE.sub(" ", plain), now, memory, guess=guess)
        if aside is not None and aside.sure:
            return aside
        plain = " ".join(_BRACKET.sub(" ", plain).split())
    stripped = strip_politeness(plain)
    again = [words for words in (plain, stripped) if REPEAT.fullmatch(words) and words != "tell me"]
    if again and (guess or "again" in plain):
        if memory.jokes and plain == "again":
            return answer_smalltalk("another", memory.turns, memory.jokes)
        return Reply(memory.said or NOTHING_SAID)
    tries = dict.fromkeys((plain, stripped, re.sub(r"^(?:and|then|so|but) ", "", stripped)))
    unsure: Reply | None = None
    for words in tries:
        reply = _skills(words, now, memory, guess=guess)
        if reply is not None and reply.sure:
            return reply
        unsure = unsure or reply
    return _follow_up(stripped, now, memory, guess=guess) or unsure


def answer_text(text: str, now: Callable[[], datetime], memory: Memory, *, guess: bool = True) -> Reply | None:
    """The answer to a whole turn: as one sentence, or of its sentences the last two that are understood."""
    whole = answer_sentence(text, now, memory, guess=guess)
    if whole is not None and whole.sure:
        return whole
    pieces = split_sentences(text)
    if len(pieces) == 1:
        return whole
    replies: list[Reply] = []
    talk: Reply | None = None
    for piece in pieces[-4:]:
        reply = answer_sentence(piece, now, memory, guess=guess)
        if reply is None or not reply.sure:
            continue
        if reply.value is None and not reply.templates and answer_smalltalk(strip_politeness(normalise(piece))):
            talk = reply  # "hello", "thank you" beside a question need no answer of their own
            continue
        replies.append(reply)
        memory = replace(memory, last=reply)
    if not replies:
        return talk or whole
    texts = [reply.text for reply in replies[-2:]]
    if sum(map(count_words, texts)) > MAX_WORDS:
        texts = texts[-1:]
    return replace(replies[-1], text=" ".join(texts))


def remember(messages: Sequence[ChatMessage], now: Callable[[], datetime]) -> Memory:
    """What the dialogue before the last user message left behind."""
    said = next((message.content for message in reversed(messages) if message.role == "assistant"), "")
    users = [message.content for message in messages if message.role == "user"]
    told = sum(joke[:24] in message.content for message in messages if message.role == "assistant" for joke in JOKES)
    memory = Memory(turns=len(users), jokes=told, said=" ".join(said.split()[:60]))
    turns: list[tuple[str, Reply | None]] = []
    chars = 0
    for text in reversed(users[-REMEMBERED_TURNS:]):
        reply = answer_text(text, now, memory)
        turns.append((text, reply))
        chars += len(text)
        if chars > REMEMBERED_CHARS or (_leaves_something(reply) and not continues_sum(normalise(text))):
            break  # a turn that stands alone: what was before it does not matter
    for text, alone in reversed(turns):
        reply = alone if memory.last is None else answer_text(text, now, memory)
        if _leaves_something(reply):
            memory = replace(memory, last=reply)
    return memory


def _leaves_something(reply: Reply | None) -> bool:
    return reply is not None and (reply.value is not None or bool(reply.templates))


def answer(messages: Sequence[ChatMessage], now: Callable[[], datetime], *, complete: bool) -> Reply | None:
    """The answer to the last user message.

    Args:
        messages: the dialogue; instructions are ignored.
        now: the time here, with its zone.
        complete: the message is a whole turn. Otherwise only what is beyond doubt is answered, the rest gets None.
    """
    index = next((i for i in range(len(messages) - 1, -1, -1) if messages[i].role == "user"), None)
    if index is None:
        return None
    text = messages[index].content
    plain = normalise(text)
    if not complete and (not plain or _UNFINISHED.search(plain)):
        return None
    memory = remember(messages[:index], now)
    reply = answer_text(text, now, memory, guess=complete)
    if not complete:
        return reply if reply is not None and reply.sure else None
    if reply is not None:
        return reply
    if not plain or not any(character.isalnum() for character in plain):
        return Reply(NOT_HEARD, sure=False)
    if sounds_like_sum(plain):
        return Reply(BAD_SUM, sure=False)
    return Reply(FALLBACKS[memory.turns % len(FALLBACKS)], sure=False)
