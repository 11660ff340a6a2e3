"""Spoken sums, worked out exactly: fractions all the way, decimals only for roots.

Grammar (precedence as written, no parentheses; the answer repeats how the sum was understood):
`sum := product ((plus | minus) product)*`, `product := power ((times | over | percent of | ...) power)*`.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

from kame_core.backend.offline.numbers import parse_number, parse_ordinal, speak_number, whole_number
from kame_core.backend.offline.reply import Reply, count_words, sentence
from kame_core.errors import KameError

MAX_DIGITS = 300
"""Results with more digits are not worked out."""
MAX_RESTATED_WORDS = 14

_ADD = {"plus": 1, "add": 1, "minus": -1, "less": -1, "subtract": -1}
_TIMES = ("times", "multiplied by", "multiply by", "multiplied with", "time")
_OVER = ("divided by", "divide by", "over", "divided with", "by")
_ROOTS = {"square root of": 2, "squared root of": 2, "square root": 2, "cube root of": 3, "cubic root of": 3}
_SCALERS = {
    "half of": (Fraction(1, 2), "half of"),
    "double": (Fraction(2), "double"),
    "twice": (Fraction(2), "twice"),
    "triple": (Fraction(3), "triple"),
}
_HOMOPHONES = {"to": 2, "too": 2, "for": 4, "fore": 4, "won": 1, "ate": 8, "tree": 3, "tin": 10}
_LAST = frozenset(("it", "that", "this", "result", "answer"))

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


class _ImpossibleError(KameError):
    """A sum without an answer; the message is what is said."""

    code = "no_result"


@dataclass(frozen=True, slots=True)
class _Term:
    value: Fraction
    spoken: str
    exact: bool = True
    operations: int = 0


class _Parser:
    """Recursive descent over words; every method returns None where its rule does not fit."""

    def __init__(self, words: Sequence[str], last: Fraction | None) -> None:
        self._words = words
        self._last = last
        self._i = 0

    def parse(self) -> _Term | None:
        term = self._sum()
        return term if term is not None and self._i == len(self._words) else None

    def _take(self, phrase: str) -> bool:
        words = phrase.split()
        if list(self._words[self._i : self._i + len(words)]) != words:
            return False
        self._i += len(words)
        return True

    def _sum(self) -> _Term | None:
        left = self._product()
        while left is not None and self._i < len(self._words) and self._words[self._i] in _ADD:
            sign = _ADD[self._words[self._i]]
            self._i += 1
            right = self._product()
            if right is None:
                return None
            pause = "," if left.operations and right.operations else ""
            spoken = f"{left.spoken}{pause} {'plus' if sign > 0 else 'minus'} {right.spoken}"
            left = _join(left, right, left.value + sign * right.value, spoken)
        return left

    def _product(self) -> _Term | None:
        left = self._power()
        while left is not None:
            if any(self._take(word) for word in _TIMES):
                right = self._power()
                if right is None:
                    return None
                left = _join(left, right, left.value * right.value, f"{left.spoken} times {right.spoken}")
            elif any(self._take(word) for word in _OVER):
                right = self._power()
                if right is None:
                    return None
                if right.value == 0:
                    raise _ImpossibleError("Nothing can be divided by zero.")
                left = _join(left, right, left.value / right.value, f"{left.spoken} divided by {right.spoken}")
            elif self._take("modulo") or self._take("mod"):
                right = self._power()
                if right is None:
                    return None
                if right.value == 0:
                    raise _ImpossibleError("Nothing can be divided by zero.")
                left = _join(left, right, left.value % right.value, f"{left.spoken} modulo {right.spoken}")
            else:
                return left
        return None

    def _power(self) -> _Term | None:
        base = self._atom()
        while base is not None:
            if self._take("squared"):
                base = _power(base, Fraction(2), f"{base.spoken} squared")
            elif self._take("cubed"):
                base = _power(base, Fraction(3), f"{base.spoken} cubed")
            elif self._take("factorial"):
                base = _factorial(base)
            elif self._take("to the power of") or self._take("to the power") or self._take("raised to the power of"):
                exponent = self._power()  # towers of powers are read from the right
                if exponent is None:
                    return None
                base = _power(base, exponent.value, f"{base.spoken} to the power of {exponent.spoken}")
            elif self._take("to the") or self._take("raised to the"):
                parsed = parse_ordinal(self._words, self._i)
                if parsed is None:
                    return None
                self._i = parsed[1]
                self._take("power")
                spoken = f"{base.spoken} to the power of {_say(Fraction(parsed[0]))}"
                base = _power(base, Fraction(parsed[0]), spoken)
            else:
                return base
        return None

    def _atom(self) -> _Term | None:
        self._take("the")
        for phrase, degree in _ROOTS.items():
            if self._take(phrase):
                inner = self._power()
                return None if inner is None else _root(inner, degree)
        for phrase, exponent in (("square of", 2), ("cube of", 3)):
            if self._take(phrase):
                inner = self._atom()
                return None if inner is None else _power(inner, Fraction(exponent), f"the {phrase} {inner.spoken}")
        for phrase, (factor, spoken) in _SCALERS.items():
            if self._take(phrase) or self._take("a " + phrase):
                inner = self._power()
                return None if inner is None else _join(inner, inner, inner.value * factor, f"{spoken} {inner.spoken}")
        if self._take("minus") or self._take("negative"):
            inner = self._atom()
            return (
                None if inner is None else _Term(-inner.value, f"minus {inner.spoken}", inner.exact, inner.operations)
            )
        return self._number()

    def _number(self) -> _Term | None:
        if self._last is not None and self._i < len(self._words) and self._words[self._i] in _LAST:
            self._i += 1
            return _Term(self._last, _say(self._last))
        parsed = parse_number(self._words, self._i)
        if parsed is None:
            return self._misheard_number()
        start, (value, self._i) = self._i, parsed
        if self._take("percent of"):
            whole = self._power()
            if whole is None:
                return None
            return _join(whole, whole, value * whole.value / 100, f"{_say(value)} percent of {whole.spoken}")
        if value.denominator > 1 and self._take("of"):
            whole = self._power()
            if whole is None:
                return None
            heard = " ".join(self._words[start : self._words.index("of", start)])
            spoken = _say(value) if any(character.isdigit() for character in heard) else heard
            return _join(whole, whole, value * whole.value, f"{spoken} of {whole.spoken}")
        return _Term(value, _say(value))

    def _misheard_number(self) -> _Term | None:
        """A word that only sounds like a number, where a number must stand: "two plus too"."""
        if self._i >= len(self._words) or self._words[self._i] not in _HOMOPHONES:
            return None
        after = self._words[self._i + 1] if self._i + 1 < len(self._words) else "plus"
        if len(self._words) < 3 or after not in {*_ADD, "times", "divided", "multiplied", "over"}:
            return None
        value = Fraction(_HOMOPHONES[self._words[self._i]])
        self._i += 1
        return _Term(value, _say(value))


def _say(value: Fraction) -> str:
    return speak_number(value)[0]


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_DIGITS * 3.33:
        raise _ImpossibleError("That number is too long for me to work out and say.")
    return value


def _join(left: _Term, right: _Term, value: Fraction, spoken: str) -> _Term:
    operations = left.operations + (right.operations if right is not left else 0) + 1
    return _Term(_bounded(value), spoken, left.exact and right.exact, operations)


def _power(base: _Term, exponent: Fraction, spoken: str) -> _Term:
    if base.value == 0 and exponent <= 0:
        raise _ImpossibleError("Zero to that power has no defined value.")
    if exponent.denominator > 1:
        if base.value < 0:
            raise _ImpossibleError("That power of a negative number is not a real number.")
        if exponent.denominator not in (2, 3) or abs(exponent) > 100:
            raise _ImpossibleError("I cannot work out that power.")
        powered = _power(base, Fraction(exponent.numerator), spoken)
        root = _root(powered, exponent.denominator)
        return _Term(root.value, spoken, root.exact, base.operations + 1)
    size = max(base.value.numerator.bit_length(), base.value.denominator.bit_length())
    if abs(base.value) != 1 and abs(exponent) * size > MAX_DIGITS * 6:
        raise _ImpossibleError("That number is too long for me to work out and say.")
    n = int(exponent % 2) if abs(base.value) == 1 else int(exponent)
    return _Term(_bounded(base.value**n), spoken, base.exact, base.operations + 1)


def _root(inner: _Term, degree: int) -> _Term:
    spoken = f"the {'square' if degree == 2 else 'cube'} root of {inner.spoken}"
    value = inner.value
    if value < 0 and degree == 2:
        raise _ImpossibleError("A negative number has no real square root.")
    top, bottom = _integer_root(abs(value.numerator), degree), _integer_root(value.denominator, degree)
    if top is not None and bottom is not None:
        return _Term(Fraction(top if value >= 0 else -top, bottom), spoken, inner.exact, inner.operations + 1)
    context = Context(prec=40, Emax=10**6, Emin=-(10**6))
    decimal = context.divide(Decimal(abs(value.numerator)), Decimal(value.denominator))
    root = context.power(decimal, context.divide(Decimal(1), Decimal(degree)))
    return _Term(Fraction(root) * (1 if value >= 0 else -1), spoken, False, inner.operations + 1)


def _integer_root(value: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(value)
        return root if root * root == value else None
    low, high = 0, 1 << (value.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**3 < value else (low, middle)
    return low if low**3 == value else None


def _factorial(base: _Term) -> _Term:
    if base.value.denominator != 1 or base.value < 0:
        raise _ImpossibleError("Only whole numbers from zero on have a factorial.")
    if base.value > 150:
        raise _ImpossibleError("That number is too long for me to work out and say.")
    return _Term(Fraction(math.factorial(int(base.value))), f"{base.spoken} factorial", base.exact, base.operations + 1)


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
            why = f", it can be divided by {_say(Fraction(divisor))}" if 1 < divisor < number else ""
            return Reply(sentence(f"{_say(value)} is {verdict}{why}"))
        return Reply(sentence(f"{_say(value)} is {'even' if number % 2 == 0 else 'odd'}"))
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
        return Reply(sentence(f"{_say(part)} is {'' if exact else 'about '}{share} percent of {_say(whole)}"))
    found = re.fullmatch(r"(?:what is )?the remainder (?:of|when) (.+?)(?: is)? divided by (.+)", plain)
    if found:
        top, bottom = whole_number(found[1].split()), whole_number(found[2].split())
        if top is None or bottom is None or bottom == 0:
            return None
        text = f"{_say(top)} divided by {_say(bottom)} leaves a remainder of {_say(top % bottom)}"
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
        term = _Parser(words, last).parse()
    except _ImpossibleError as error:
        return Reply(error.user_message)
    if term is None or term.operations == 0:
        return None
    return _say_result(term)


def _say_result(term: _Term) -> Reply:
    spoken, said_exactly = speak_number(term.value)
    result = ("" if said_exactly and term.exact else "about ") + spoken
    restated = count_words(term.spoken) <= MAX_RESTATED_WORDS and count_words(term.spoken + result) < 30
    pause = "," if "," in term.spoken else ""
    text = f"{term.spoken}{pause} is {result}" if restated else f"that makes {result}"
    return Reply(sentence(text), value=term.value)


def sounds_like_sum(plain: str) -> bool:
    """Whether it seems to be a sum, though it could not be read."""
    return _NUMBER_HINT.search(plain) is not None
