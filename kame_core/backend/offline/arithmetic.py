"""Questions about numbers: sums as people ask for them, what is even, prime or a percentage of another."""

import math
import re
from fractions import Fraction

from kame_core.backend.offline.numbers import speak_number, whole_number
from kame_core.backend.offline.reply import Reply, count_words, sentence
from kame_core.backend.offline.sums import ImpossibleSumError, Sum, parse_sum, say

MAX_RESTATED_WORDS = 14

_LEAD = re.compile(
    r"(?:(?:what|which|was|whats|s|is|are|does|do|much|how|the|and|then|now|so|calculate|compute|evaluate|solve|"
    r"work out|figure out|give me|say|answer|result of|value of|you get|i get|we get|if|when|you|i|we|have|"
    r"about) )+"
)
_TAIL = re.compile(r"(?: (?:is what|is how much|is|equals what|equals|equal to|equal|make|makes|come to|in total))+$")
_COMMANDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?:the )?(?:sum|total) of (.+)"), "plus"),
    (re.compile(r"(?:the )?product of (.+)"), "times"),
    (re.compile(r"(?:the )?difference (?:between|of) (.+)"), "minus"),
    (re.compile(r"(?:the )?quotient of (.+)"), "divided by"),
    (re.compile(r"add (?:up )?(.+)"), "plus"),
    (re.compile(r"multiply (.+)"), "times"),
    (re.compile(r"divide (.+)"), "divided by"),
    (re.compile(r"(?:subtract|take|take away|remove) (.+)"), "from"),
)
_JOINS = {"plus": ("and", "to", "with", "plus"), "times": ("by", "and", "with", "times"), "minus": ("and", "from")}
_NUMBER_HINT = re.compile(
    r"\b(?:plus|times|minus|divided by|multiplied|percent of|square root|squared|cubed|to the power)\b"
)


def _command(plain: str) -> str | None:
    """A sum for "add two and three"; None if it is no such command, or can be split in more than one way."""
    plain = plain.replace(" away from ", " from ")
    for pattern, operator in _COMMANDS:
        found = pattern.fullmatch(plain)
        if not found:
            continue
        words = found[1].split()
        joins = _JOINS.get(operator, ("by", "and") if operator == "divided by" else ("from",))
        splits = [
            (first, second)
            for i, word in enumerate(words)
            if word in joins
            for first, second in [(words[:i], words[i + 1 :])]
            if whole_number(first) is not None and whole_number(second) is not None
        ]
        if operator == "plus" and not splits and words.count("and") >= 2:
            parts = " ".join(words).split(" and ")
            if all(whole_number(part.split()) is not None for part in parts) and "hundred" not in words:
                return " plus ".join(parts)
        if len(splits) != 1:
            return None
        first, second = splits[0]
        if operator == "from":
            first, second, operator = second, first, "minus"
        return f"{' '.join(first)} {operator} {' '.join(second)}"
    return None


def _about_numbers(plain: str) -> Reply | None:
    """Even, odd, prime; what percent one number is of another; remainders."""
    found = re.fullmatch(r"is (.+?) (?:an? )?(even|odd|prime)(?: number)?(?: or (?:even|odd))?", plain)
    if found:
        value = whole_number(found[1].split())
        if value is None or value.denominator != 1 or value > 10**8:
            return None
        number = int(value)
        if found[2] == "prime":
            divisor = _smallest_divisor(number)
            verdict = "a prime number" if divisor == number and number > 1 else "not a prime number"
            why = f", it can be divided by {say(Fraction(divisor))}" if 1 < divisor < number else ""
            return Reply(sentence(f"{say(value)} is {verdict}{why}"))
        return Reply(sentence(f"{say(value)} is {'even' if number % 2 == 0 else 'odd'}"))
    found = re.fullmatch(
        r"(?:what|how many) percent(?:age)? of (?P<whole>.+?) (?:is|are) (?P<part>.+)|"
        r"(?P<part2>.+?) is what percent(?:age)? of (?P<whole2>.+)|"
        r"what percent(?:age)? is (?P<part3>.+?) of (?P<whole3>.+)",
        plain,
    )
    if found:
        groups = [group for group in ("", "2", "3") if found["whole" + group]]
        whole = whole_number(found["whole" + groups[0]].split())
        part = whole_number(found["part" + groups[0]].split())
        if whole is None or part is None or whole == 0:
            return None
        share, exact = speak_number(part / whole * 100)
        return Reply(sentence(f"{say(part)} is {'' if exact else 'about '}{share} percent of {say(whole)}"))
    found = re.fullmatch(r"(?:what is )?the remainder (?:of|when) (.+?)(?: is)? divided by (.+)", plain)
    if found:
        top, bottom = whole_number(found[1].split()), whole_number(found[2].split())
        if top is None or bottom is None or bottom == 0:
            return None
        text = f"{say(top)} divided by {say(bottom)} leaves a remainder of {say(top % bottom)}"
        return Reply(sentence(text), value=top % bottom)
    return None


def _smallest_divisor(number: int) -> int:
    if number % 2 == 0:
        return 2
    return next((d for d in range(3, math.isqrt(max(number, 0)) + 1, 2) if number % d == 0), number)


_CONTINUATIONS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?:square|cube) (?:it|that)"), ""),
    (re.compile(r"(?:halve|half) (it|that)"), r"half of \1"),
    (re.compile(r"(multiply|divide) (it|that) by (.+)"), r"\2 \1 by \3"),
    (re.compile(r"add (.+) to (?:it|that)"), r"it plus \1"),
    (re.compile(r"(?:subtract|take) (.+) from (?:it|that)"), r"it minus \1"),
    (re.compile(r"(?:subtract|take away) (.+)"), r"it minus \1"),
    (re.compile(r"((?:add|plus|minus|times|divided? by|multipl(?:y|ied) by|over|squared|cubed)\b.*)"), r"it \1"),
)


def _continued(body: str) -> str:
    """A sum that goes on from the last result, which is called "it"."""
    for pattern, sum_text in _CONTINUATIONS:
        if pattern.fullmatch(body):
            return pattern.sub(sum_text, body) if sum_text else f"it {body.split()[0]}d"
    return body


def continues_sum(plain: str) -> bool:
    """Whether it would go on from a last result, if there were one: "minus five times two"."""
    lead = _LEAD.match(plain + " ")
    body = plain[lead.end() :] if lead else plain
    return _continued(body) != body


def answer_arithmetic(plain: str, last: Fraction | None = None) -> Reply | None:
    """The answer to a sum.

    Args:
        plain: a normalised question.
        last: result of the sum before, for "and plus four" and "double it".
    """
    extra = _about_numbers(plain)
    if extra is not None:
        return extra
    body = _TAIL.sub("", plain)
    lead = _LEAD.match(body + " ")
    if lead and not re.match(r"(?:what|how) .*\b(?:in|of the)\b .*(?:day|week|year)", body):
        body = body[lead.end() :].strip() if lead.end() < len(body) else ""
    body = _command(body) or body
    if last is not None:
        body = _continued(body)
    words = body.split()
    if not words or len(words) > 60:
        return None
    try:
        term = parse_sum(words, last)
    except ImpossibleSumError as error:
        return Reply(error.user_message)
    if term is None or term.operations == 0:
        return None
    return _say_result(term)


def _say_result(term: Sum) -> Reply:
    spoken, said_exactly = speak_number(term.value)
    result = ("" if said_exactly and term.exact else "about ") + spoken
    restated = count_words(term.spoken) <= MAX_RESTATED_WORDS and count_words(term.spoken + result) < 30
    restated = restated and "(" not in term.spoken  # which cannot be heard
    pause = "," if "," in term.spoken else ""
    text = f"{term.spoken}{pause} is {result}" if restated else f"that makes {result}"
    return Reply(sentence(text), value=term.value)


def sounds_like_sum(plain: str) -> bool:
    """Whether it seems to be a sum, though it could not be read."""
    return _NUMBER_HINT.search(plain) is not None
