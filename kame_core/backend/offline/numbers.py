"""Numbers as they are spoken in American English, and back. Exact: values are fractions, never floats."""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Final

from kame_core.backend.offline.wording import word_list

_SMALL: Final = word_list(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS: Final = word_list("twenty thirty forty fifty sixty seventy eighty ninety")
_SCALES: Final = word_list(
    "thousand million billion trillion quadrillion quintillion sextillion septillion octillion nonillion decillion"
)
_ORDINAL_SMALL: Final = word_list(
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth"
)

UNITS_BY_WORD: Final = {word: value for value, word in enumerate(_SMALL)} | {"oh": 0, "nought": 0, "naught": 0}
TENS_BY_WORD: Final = {word: 10 * (i + 2) for i, word in enumerate(_TENS)} | {"fourty": 40}
SCALES_BY_WORD: Final = {word: 1000 ** (i + 1) for i, word in enumerate(_SCALES)}
_FRACTION_WORDS: Final = {
    "half": 2,
    "halves": 2,
    "quarter": 4,
    "quarters": 4,
    "third": 3,
    "thirds": 3,
    **{word: n for n, word in enumerate(_ORDINAL_SMALL) if 4 <= n <= 12},
    **{word + "s": n for n, word in enumerate(_ORDINAL_SMALL) if 4 <= n <= 12},
    "hundredth": 100,
    "hundredths": 100,
    "thousandth": 1000,
    "thousandths": 1000,
}
MAX_SPOKEN_SCALE: Final = 10**36
"""Numbers from here on have no everyday name."""

Parsed = tuple[Fraction, int]
"""A value and the index after its last word."""


# --- words to values ---


def _digits(word: str) -> Fraction | None:
    whole, dot, decimals = word.partition(".")
    if not word.isascii() or not (whole + decimals).isdigit() or (dot and not decimals) or len(word) > 40:
        return None
    return Fraction(Decimal(word))


def _below_hundred(words: Sequence[str], i: int) -> tuple[int, int] | None:
    if i >= len(words):
        return None
    word = words[i]
    if word in TENS_BY_WORD:
        unit = UNITS_BY_WORD.get(words[i + 1]) if i + 1 < len(words) else None
        if unit is not None and 1 <= unit <= 9:
            return TENS_BY_WORD[word] + unit, i + 2
        return TENS_BY_WORD[word], i + 1
    if word in UNITS_BY_WORD and word != "oh":
        return UNITS_BY_WORD[word], i + 1
    return None


def _below_thousand(words: Sequence[str], i: int) -> tuple[int, int] | None:
    start = _below_hundred(words, i)
    if start is None:
        # "a hundred"; "hundred" alone
        after = i + 1 if i < len(words) and words[i] == "a" else i
        if after >= len(words) or words[after] != "hundred":
            return None
        value, i = 100, after + 1
    else:
        value, i = start
        if i >= len(words) or words[i] != "hundred" or value == 0:
            return value, i
        value, i = value * 100, i + 1
    rest = _below_hundred(words, i + 1 if i < len(words) and words[i] == "and" else i)
    if rest is not None and rest[0] > 0:
        return value + rest[0], rest[1]
    return value, i


def parse_cardinal(words: Sequence[str], i: int = 0) -> tuple[int, int] | None:
    """The longest whole number said in words at `i`: its value and the index after it."""
    total, bound, position = 0, None, i
    found = False
    while True:
        here = position
        if found and here < len(words) and words[here] == "and":
            here += 1
        group = _below_thousand(words, here)
        if group is None:
            # "a thousand", "thousand" alone: only at the start
            after = here + 1 if here < len(words) and words[here] == "a" else here
            if found or after >= len(words) or words[after] not in SCALES_BY_WORD:
                break
            group = (1, after)
        value, after = group
        scale = SCALES_BY_WORD.get(words[after]) if after < len(words) else None
        if scale is not None and value > 0:
            if bound is not None and scale >= bound:
                break
            if value >= 1000 and found:
                break
            total, bound, position, found = total + value * scale, scale, after + 1, True
            continue
        if not found:
            return value, after
        if bound is not None and 0 < value < min(bound, 1000):
            return total + value, after
        break
    return (total, position) if found else None


def _decimals(words: Sequence[str], i: int) -> tuple[str, int]:
    """Digits after "point": one by one, or once as "fourteen" or "twenty five"."""
    text = ""
    while i < len(words):
        word = words[i]
        value = UNITS_BY_WORD.get(word)
        if word == "o":
            value = 0
        if value is not None and value <= 9:
            text += str(value)
        elif word.isascii() and word.isdigit() and len(text) + len(word) <= 40:
            text += word
        elif not text:
            pair = _below_hundred(words, i)
            return (str(pair[0]), pair[1]) if pair else ("", i)
        else:
            break
        i += 1
    return text, i


def parse_number(words: Sequence[str], i: int = 0) -> Parsed | None:
    """The longest number at `i`, in words or digits: whole, decimal, fraction, mixed, with scale or "dozen".

    Returns:
        The exact value and the index after its last word, or None. Signs are not read here.
    """
    if i >= len(words):
        return None
    value: Fraction | None = None
    position, in_words = i, True
    from_digits = _digits(words[i])
    if from_digits is not None:
        value, position, in_words = from_digits, i + 1, False
    else:
        cardinal = parse_cardinal(words, i)
        if cardinal is not None:
            value, position = Fraction(cardinal[0]), cardinal[1]
    if position < len(words) and words[position] == "point":
        text, after = _decimals(words, position + 1)
        if text:
            value = (value or Fraction(0)) + Fraction(int(text), 10 ** len(text))
            position, in_words = after, False
    if value is not None:
        return _with_tail(words, value, position, in_words=in_words)
    # "a half", "half", "a dozen", "a couple"
    here = i + 1 if words[i] in ("a", "an") else i
    if here < len(words):
        if words[here] in ("half", "quarter") or (here > i and words[here] in _FRACTION_WORDS):
            return Fraction(1, _FRACTION_WORDS[words[here]]), here + 1
        if words[here] == "dozen":
            return Fraction(12), here + 1
    return None


def _with_tail(words: Sequence[str], value: Fraction, i: int, *, in_words: bool) -> Parsed:
    """The number with what may follow it: "3.5 million", "two dozen", "two thirds", "two and a half"."""
    rest = words[i : i + 4]
    if rest and not in_words and rest[0] in SCALES_BY_WORD:
        return value * SCALES_BY_WORD[rest[0]], i + 1
    if rest and not in_words and rest[0] == "hundred" and value.denominator == 1 and 0 < value < 100:
        return value * 100, i + 1
    if rest and rest[0] == "dozen":
        return value * 12, i + 1
    if rest and rest[0] in _FRACTION_WORDS and value.denominator == 1 and (value != 1) == rest[0].endswith("s"):
        return value / _FRACTION_WORDS[rest[0]], i + 1
    if len(rest) >= 3 and rest[0] == "and" and rest[2] in _FRACTION_WORDS:
        top = 1 if rest[1] in ("a", "an") else UNITS_BY_WORD.get(rest[1])
        if top is not None and 0 < top < _FRACTION_WORDS[rest[2]] and (top != 1) == rest[2].endswith("s"):
            return value + Fraction(top, _FRACTION_WORDS[rest[2]]), i + 3
    return value, i


def whole_number(words: Sequence[str]) -> Fraction | None:
    """The value if all the words are one number."""
    parsed = parse_number(words)
    return parsed[0] if parsed and parsed[1] == len(words) else None


def parse_ordinal(words: Sequence[str], i: int = 0) -> tuple[int, int] | None:
    """An ordinal below one hundred ("twenty second", "4th"), or as spoken carelessly a cardinal, at `i`."""
    if i >= len(words):
        return None
    word = words[i]
    if word[:-2].isdigit() and word[-2:] in ("st", "nd", "rd", "th") and len(word) <= 5:
        return int(word[:-2]), i + 1
    if word in _ORDINAL_SMALL:
        return _ORDINAL_SMALL.index(word), i + 1
    for tens, value in TENS_BY_WORD.items():
        if word == tens[:-1] + "ieth":
            return value, i + 1
        if word == tens and i + 1 < len(words) and words[i + 1] in _ORDINAL_SMALL[1:10]:
            return value + _ORDINAL_SMALL.index(words[i + 1]), i + 2
    if word.isascii() and word.isdigit() and len(word) <= 2:
        return int(word), i + 1
    return _below_hundred(words, i)


def parse_year(words: Sequence[str]) -> int | None:
    """A year if all the words are one: "twenty twenty seven", "nineteen oh five", "two thousand five", "2027"."""
    plain = whole_number(words)
    if plain is not None and plain.denominator == 1 and 1000 <= plain <= 9999:
        return int(plain)
    first = _below_hundred(words, 0)
    if first is None or not 10 <= first[0] <= 99:
        return None
    rest = list(words[first[1] :])
    if rest[:1] in (["oh"], ["o"]) and len(rest) == 2 and 1 <= UNITS_BY_WORD.get(rest[1], 0) <= 9:
        return first[0] * 100 + UNITS_BY_WORD[rest[1]]
    second = _below_hundred(rest, 0)
    if second is not None and second[1] == len(rest) and 10 <= second[0] <= 99:
        return first[0] * 100 + second[0]
    return None


# --- values to words ---


def speak_integer(value: int) -> str:
    """A whole number in words, no hyphens, no "and". `abs(value)` must be below `MAX_SPOKEN_SCALE`.

    Raises:
        ValueError: the number has no everyday name.
    """
    if value < 0:
        return "minus " + speak_integer(-value)
    if value >= MAX_SPOKEN_SCALE:
        raise ValueError("too large to be named")
    if value < 1000:
        return _speak_below_thousand(value)
    words: list[str] = []
    for power in range(len(_SCALES), -1, -1):
        group = value // 1000**power % 1000
        if group:
            words.append(_speak_below_thousand(group))
            if power:
                words.append(_SCALES[power - 1])
    return " ".join(words)


def _speak_below_thousand(value: int) -> str:
    if value < 20:
        return _SMALL[value]
    if value < 100:
        tens, unit = divmod(value, 10)
        return _TENS[tens - 2] + (" " + _SMALL[unit] if unit else "")
    hundreds, rest = divmod(value, 100)
    return _SMALL[hundreds] + " hundred" + (" " + _speak_below_thousand(rest) if rest else "")


def speak_ordinal(value: int) -> str:
    """A whole number from 0 on as an ordinal: "twenty second"."""
    if value < 0:
        return "minus " + speak_ordinal(-value)
    words = speak_integer(value).split()
    last = words[-1]
    if last in _SMALL:
        words[-1] = _ORDINAL_SMALL[_SMALL.index(last)]
    elif last in _TENS:
        words[-1] = last[:-1] + "ieth"
    else:
        words[-1] = last + "th"
    return " ".join(words)


def speak_year(year: int) -> str:
    """A year as it is said: "twenty twenty six", "nineteen oh five", "two thousand five"."""
    century, rest = divmod(year, 100)
    if not 1000 <= year <= 9999 or (century % 10 == 0 and rest < 10):
        return speak_integer(year)
    if rest == 0:
        return speak_integer(century) + " hundred"
    return speak_integer(century) + (" oh " if rest < 10 else " ") + speak_integer(rest)


def speak_decimal(value: Decimal) -> str:
    """A decimal number digit by digit after the point; trailing zeros are not said."""
    text = format(abs(value), "f")
    whole, _, decimals = text.partition(".")
    decimals = decimals.rstrip("0")
    spoken = speak_integer(int(whole))
    if decimals:
        spoken += " point " + " ".join(_SMALL[int(digit)] for digit in decimals)
    return ("minus " if value < 0 and (int(whole) or decimals) else "") + spoken


def _rounded(value: Fraction, digits: int) -> Decimal:
    context = Context(prec=digits, rounding=ROUND_HALF_EVEN, Emax=10**6, Emin=-(10**6))
    return context.divide(Decimal(value.numerator), Decimal(value.denominator))


def _exact_decimal(value: Fraction, max_decimals: int) -> Decimal | None:
    for places in range(max_decimals + 1):
        if (value * 10**places).denominator == 1:
            return Decimal((value * 10**places).numerator).scaleb(-places, Context(prec=400))
    return None


def _scientific(value: Fraction, digits: int) -> str:
    rounded = _rounded(value, digits)
    exponent = rounded.adjusted()
    mantissa = rounded.scaleb(-exponent)
    power = "minus " + speak_integer(-exponent) if exponent < 0 else speak_integer(exponent)
    return f"{speak_decimal(mantissa)} times ten to the power of {power}"


def speak_number(value: Fraction, *, significant: int = 4, max_words: int = 20) -> tuple[str, bool]:
    """A number as words, and whether they say it exactly.

    Whole numbers are said whole as long as they take at most `max_words`; what has up to four decimals is said with
    all of them; the rest is rounded to `significant` digits, but never coarser than whole below a million.
    """
    magnitude = abs(value)
    if value.denominator == 1 and magnitude < MAX_SPOKEN_SCALE:
        text = speak_integer(int(value))
        if len(text.split()) <= max_words:
            return text, True
    if magnitude >= MAX_SPOKEN_SCALE:
        return _scientific(value, 3), False
    if magnitude >= 1_000_000:
        return speak_large(value, significant)
    exact = _exact_decimal(value, 4 if magnitude < 10_000 else 2)
    if exact is not None:
        return speak_decimal(exact), True
    if magnitude < Fraction(1, 10_000):
        return _scientific(value, 3), False
    whole_digits = len(str(int(magnitude))) if magnitude >= 1 else 0
    return speak_decimal(_rounded(value, max(significant, whole_digits))), False


def speak_large(value: Fraction | int, significant: int = 3) -> tuple[str, bool]:
    """A number rounded to significant digits and said with its largest scale: "one point four billion"."""
    value = Fraction(value)
    magnitude = abs(value)
    rounded = _rounded(value, significant)
    exact = Fraction(rounded) == value
    if magnitude < 1_000_000:
        return speak_decimal(rounded.quantize(Decimal(1)) if rounded == rounded.to_integral_value() else rounded), exact
    power = min(abs(rounded).adjusted() // 3, len(_SCALES))
    return f"{speak_decimal(rounded.scaleb(-3 * power))} {_SCALES[power - 1]}", exact
