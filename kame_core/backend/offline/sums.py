"""The grammar of spoken sums, worked out exactly: fractions all the way, decimals only for roots.

Precedence as written; the answer repeats how the sum was understood. Parentheses are words of their own:
`sum := product ((plus | minus) product)*`, `product := power ((times | over | percent of | ...) power)*`,
`power := minus power | atom (squared | to the power of power | ...)*`,
`atom := number | root of power | "(" sum ")" | ...`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

from kame_core.backend.offline.numbers import parse_number, parse_ordinal, speak_number
from kame_core.errors import KameError

MAX_DIGITS = 300
"""Results with more digits are not worked out."""
_ADD = {"plus": 1, "add": 1, "minus": -1, "less": -1, "subtract": -1}
_TIMES = ("times", "multiplied by", "multiply by", "multiplied with", "time")
_OVER = ("divided by", "divide by", "over", "divided with", "by")
_ROOTS = {"sqrt": 2, "square root of": 2, "squared root of": 2, "square root": 2, "cube root of": 3, "cubic root of": 3}
_SCALERS = {
    "half of": (Fraction(1, 2), "half of"),
    "double": (Fraction(2), "double"),
    "twice": (Fraction(2), "twice"),
    "triple": (Fraction(3), "triple"),
}
_HOMOPHONES = {"to": 2, "too": 2, "for": 4, "fore": 4, "won": 1, "ate": 8, "tree": 3, "tin": 10}
_LAST = frozenset(("it", "that", "this", "result", "answer"))


class ImpossibleSumError(KameError):
    """A sum without an answer; the message is what is said."""

    code = "no_result"


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum as understood, and what it makes."""

    value: Fraction
    spoken: str
    exact: bool = True
    operations: int = 0
    """0: it is only a number."""


def parse_sum(words: Sequence[str], last: Fraction | None = None) -> Sum | None:
    """The sum that all the words make up; None if they are none.

    Args:
        words: of a normalised question, without what leads up to the sum.
        last: result of the sum before, which they may call "it".

    Raises:
        ImpossibleSumError: it has no answer, or one that is too long.
    """
    return _Parser(words, last).parse()


class _Parser:
    """Recursive descent over words; every method returns None where its rule does not fit."""

    def __init__(self, words: Sequence[str], last: Fraction | None) -> None:
        self._words = words
        self._last = last
        self._i = 0

    def parse(self) -> Sum | None:
        term = self._sum()
        return term if term is not None and self._i == len(self._words) else None

    def _take(self, phrase: str) -> bool:
        words = phrase.split()
        if list(self._words[self._i : self._i + len(words)]) != words:
            return False
        self._i += len(words)
        return True

    def _sum(self) -> Sum | None:
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

    def _product(self) -> Sum | None:
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
                    raise ImpossibleSumError("Nothing can be divided by zero.")
                left = _join(left, right, left.value / right.value, f"{left.spoken} divided by {right.spoken}")
            elif self._take("modulo") or self._take("mod"):
                right = self._power()
                if right is None:
                    return None
                if right.value == 0:
                    raise ImpossibleSumError("Nothing can be divided by zero.")
                left = _join(left, right, left.value % right.value, f"{left.spoken} modulo {right.spoken}")
            else:
                return left
        return None

    def _power(self) -> Sum | None:
        if self._take("minus") or self._take("negative"):
            inner = self._power()  # the sign comes last: -3^2 is -9
            return None if inner is None else Sum(-inner.value, f"minus {inner.spoken}", inner.exact, inner.operations)
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
                spoken = f"{base.spoken} to the power of {say(Fraction(parsed[0]))}"
                base = _power(base, Fraction(parsed[0]), spoken)
            else:
                return base
        return None

    def _signed(self) -> Sum | None:
        """An atom with its own sign: the square of -3 is 9."""
        sign = -1 if self._take("minus") or self._take("negative") else 1
        inner = self._atom()
        if inner is None or sign > 0:
            return inner
        return Sum(-inner.value, f"minus {inner.spoken}", inner.exact, inner.operations)

    def _atom(self) -> Sum | None:
        self._take("the")
        for phrase, degree in _ROOTS.items():
            if self._take(phrase):
                inner = self._power()
                return None if inner is None else _root(inner, degree)
        for phrase, exponent in (("square of", 2), ("cube of", 3)):
            if self._take(phrase):
                inner = self._signed()
                return None if inner is None else _power(inner, Fraction(exponent), f"the {phrase} {inner.spoken}")
        for phrase, (factor, spoken) in _SCALERS.items():
            if self._take(phrase) or self._take("a " + phrase):
                inner = self._power()
                return None if inner is None else _join(inner, inner, inner.value * factor, f"{spoken} {inner.spoken}")
        if self._take("factorial of"):
            inner = self._atom()
            return None if inner is None else _factorial(inner)
        if self._take("("):
            inner = self._sum()
            if inner is None or not self._take(")"):
                return None
            plain = inner.operations == 0 and inner.value >= 0
            return inner if plain else Sum(inner.value, f"({inner.spoken})", inner.exact, inner.operations)
        return self._number()

    def _number(self) -> Sum | None:
        if self._last is not None and self._i < len(self._words) and self._words[self._i] in _LAST:
            self._i += 1
            return Sum(self._last, say(self._last))
        parsed = parse_number(self._words, self._i)
        if parsed is None:
            return self._misheard_number()
        start, (value, self._i) = self._i, parsed
        if self._take("percent of"):
            whole = self._power()
            if whole is None:
                return None
            return _join(whole, whole, value * whole.value / 100, f"{say(value)} percent of {whole.spoken}")
        if value.denominator > 1 and self._take("of"):
            whole = self._power()
            if whole is None:
                return None
            heard = " ".join(self._words[start : self._words.index("of", start)])
            spoken = say(value) if any(character.isdigit() for character in heard) else heard
            return _join(whole, whole, value * whole.value, f"{spoken} of {whole.spoken}")
        return Sum(value, say(value))

    def _misheard_number(self) -> Sum | None:
        """A word that only sounds like a number, where a number must stand: "two plus too"."""
        if self._i >= len(self._words) or self._words[self._i] not in _HOMOPHONES:
            return None
        after = self._words[self._i + 1] if self._i + 1 < len(self._words) else "plus"
        if len(self._words) < 3 or after not in {*_ADD, "times", "divided", "multiplied", "over"}:
            return None
        value = Fraction(_HOMOPHONES[self._words[self._i]])
        self._i += 1
        return Sum(value, say(value))


def say(value: Fraction) -> str:
    """A number in words, rounded where it has to be."""
    return speak_number(value)[0]


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_DIGITS * 3.33:
        raise ImpossibleSumError("That number is too long for me to work out and say.")
    return value


def _join(left: Sum, right: Sum, value: Fraction, spoken: str) -> Sum:
    operations = left.operations + (right.operations if right is not left else 0) + 1
    return Sum(_bounded(value), spoken, left.exact and right.exact, operations)


def _power(base: Sum, exponent: Fraction, spoken: str) -> Sum:
    if base.value == 0 and exponent <= 0:
        raise ImpossibleSumError("Zero to that power has no defined value.")
    if exponent.denominator > 1:
        if base.value < 0:
            raise ImpossibleSumError("That power of a negative number is not a real number.")
        if exponent.denominator not in (2, 3) or abs(exponent) > 100:
            raise ImpossibleSumError("I cannot work out that power.")
        powered = _power(base, Fraction(exponent.numerator), spoken)
        root = _root(powered, exponent.denominator)
        return Sum(root.value, spoken, root.exact, base.operations + 1)
    size = max(base.value.numerator.bit_length(), base.value.denominator.bit_length())
    if abs(base.value) != 1 and abs(exponent) * size > MAX_DIGITS * 6:
        raise ImpossibleSumError("That number is too long for me to work out and say.")
    n = int(exponent % 2) if abs(base.value) == 1 else int(exponent)
    return Sum(_bounded(base.value**n), spoken, base.exact, base.operations + 1)


def _root(inner: Sum, degree: int) -> Sum:
    spoken = f"the {'square' if degree == 2 else 'cube'} root of {inner.spoken}"
    value = inner.value
    if value < 0 and degree == 2:
        raise ImpossibleSumError("A negative number has no real square root.")
    top, bottom = _integer_root(abs(value.numerator), degree), _integer_root(value.denominator, degree)
    if top is not None and bottom is not None:
        return Sum(Fraction(top if value >= 0 else -top, bottom), spoken, inner.exact, inner.operations + 1)
    context = Context(prec=40, Emax=10**6, Emin=-(10**6))
    decimal = context.divide(Decimal(abs(value.numerator)), Decimal(value.denominator))
    root = context.power(decimal, context.divide(Decimal(1), Decimal(degree)))
    return Sum(Fraction(root) * (1 if value >= 0 else -1), spoken, False, inner.operations + 1)


def _integer_root(value: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(value)
        return root if root * root == value else None
    low, high = 0, 1 << (value.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**3 < value else (low, middle)
    return low if low**3 == value else None


def _factorial(base: Sum) -> Sum:
    if base.value.denominator != 1 or base.value < 0:
        raise ImpossibleSumError("Only whole numbers from zero on have a factorial.")
    if base.value > 150:
        raise ImpossibleSumError("That number is too long for me to work out and say.")
    return Sum(Fraction(math.factorial(int(base.value))), f"{base.spoken} factorial", base.exact, base.operations + 1)
