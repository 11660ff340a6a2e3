"""Days as people name them: dates, holidays, weekdays, "in three weeks"; and how a date is said."""

import calendar
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from kame_core.backend.offline.numbers import parse_ordinal, parse_year, speak_ordinal, speak_year, whole_number

MONTHS = [name.lower() for name in calendar.month_name][1:]
WEEKDAYS = [name.lower() for name in calendar.day_name]
_MONTH_NUMBERS = {name: i + 1 for i, name in enumerate(MONTHS)} | {
    name[:3]: i + 1 for i, name in enumerate(MONTHS) if name not in ("may", "march")
}
_MONTH_NUMBERS["sept"] = 9
FIRST_YEAR, LAST_YEAR = 1583, 9998
"""Years of the Gregorian calendar that are computed with."""


@dataclass(frozen=True, slots=True)
class Day:
    """A day somebody named."""

    on: date
    name: str = ""
    """As it is said: "Christmas"; empty: by its date."""
    yearly: bool = False
    """No year was said; `on` is the next such day, today included."""
    rule: Callable[[int], date] | None = None
    """The day in another year, where `yearly`."""

    def spoken(self, today: date, *, weekday: bool = False) -> str:
        """The date in words, with the year if it is not today's."""
        return speak_date(self.on, today, weekday=weekday)

    def before(self, today: date) -> date:
        """The last such day up to today."""
        if self.rule is None or not self.yearly or self.on <= today:
            return self.on
        return self.rule(today.year) if self.rule(today.year) <= today else self.rule(today.year - 1)


@dataclass(frozen=True, slots=True)
class NoSuchDay:
    """A date that does not exist."""

    reason: str


def speak_date(day: date, today: date, *, weekday: bool = False, year: bool | None = None) -> str:
    """A date like "Sunday, November twenty second, twenty twenty six"; the year if it is not today's, unless told."""
    text = f"{MONTHS[day.month - 1].title()} {speak_ordinal(day.day)}"
    if weekday:
        text = f"{WEEKDAYS[day.weekday()].title()}, {text}"
    if year if year is not None else day.year != today.year:
        text += f", {speak_year(day.year)}"
    return text


def weekday_name(day: date) -> str:
    """The day of the week: "Sunday"."""
    return WEEKDAYS[day.weekday()].title()


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (anonymous algorithm, Nature 1876; Meeus, Astronomical Algorithms)."""
    golden = year % 19
    century, rest = divmod(year, 100)
    leap_centuries, century_rest = divmod(century, 4)
    correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - leap_centuries - correction + 15) % 30
    weekday = (32 + 2 * century_rest + 2 * (rest // 4) - epact - rest % 4) % 7
    shift = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * shift + 114, 31)
    return date(year, month, day + 1)


def _nth_weekday(year: int, month: int, weekday: int, n: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))


def _fixed(month: int, day: int) -> Callable[[int], date]:
    return lambda year: date(year, month, day)


_HOLIDAYS: tuple[tuple[str, str, Callable[[int], date]], ...] = (
    (r"christmas eve", "Christmas Eve", _fixed(12, 24)),
    (r"christmas(?: day)?", "Christmas", _fixed(12, 25)),
    (r"boxing day", "Boxing Day", _fixed(12, 26)),
    (r"new years? eve", "New Year's Eve", _fixed(12, 31)),
    (r"(?:the )?new years?(?: day)?", "New Year's Day", _fixed(1, 1)),
    (r"halloween", "Halloween", _fixed(10, 31)),
    (r"(?:saint |st )?valentines?(?: day)?", "Valentine's Day", _fixed(2, 14)),
    (r"(?:saint |st )?patricks? day", "Saint Patrick's Day", _fixed(3, 17)),
    (r"april fools?(?: day)?", "April Fools' Day", _fixed(4, 1)),
    (r"(?:american )?independence day", "Independence Day", _fixed(7, 4)),
    (r"labor day", "Labor Day", lambda year: _nth_weekday(year, 9, 0, 1)),
    (r"(?:easter|easter sunday)", "Easter Sunday", easter),
    (r"good friday", "Good Friday", lambda year: easter(year) - timedelta(days=2)),
    (r"easter monday", "Easter Monday", lambda year: easter(year) + timedelta(days=1)),
    (r"(?:american |us )?thanksgiving(?: day)?", "Thanksgiving", lambda year: _nth_weekday(year, 11, 3, 4)),
    (r"(?:the )?end of the year", "the end of the year", _fixed(12, 31)),
)
_COMPILED_HOLIDAYS = tuple((re.compile(pattern), name, rule) for pattern, name, rule in _HOLIDAYS)


def add_months(day: date, months: int) -> date:
    """The same day some months later, or the last of a shorter month.

    Raises:
        ValueError: outside the years of `date`.
    """
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def next_day(today: date, rule: Callable[[int], date]) -> date:
    """The next day of a yearly rule, today included."""
    this_year = rule(today.year)
    return this_year if this_year >= today else rule(today.year + 1)


def parse_day(text: str, today: date) -> Day | NoSuchDay | None:
    """The day a normalised phrase names, seen from today; None if it names none."""
    text = re.sub(r" 's\b", "s", text)
    text = re.sub(r"^(?:on |the day of |be on |it be on )", "", text)
    try:
        return _relative(text, today) or _weekday(text, today) or _holiday(text, today) or _calendar_date(text, today)
    except (ValueError, OverflowError):
        return None


def _relative(text: str, today: date) -> Day | None:
    simple = {
        "today": 0,
        "now": 0,
        "tomorrow": 1,
        "yesterday": -1,
        "the day after tomorrow": 2,
        "day after tomorrow": 2,
        "the day before yesterday": -2,
        "day before yesterday": -2,
    }
    if text in simple:
        return Day(today + timedelta(days=simple[text]), name=text.removeprefix("the ") if simple[text] else "today")
    found = re.fullmatch(
        r"(?:in )?(?P<n>.+?) (?P<unit>day|week|month|year)s?"
        r"(?: (?P<side>from now|from today|ago|before today|later|from tomorrow))?",
        text,
    )
    if not found or not (found["side"] or text.startswith("in ")):
        return None
    n = 1 if found["n"] in ("a", "one") else whole_number(found["n"].split())
    if n is None or n != int(n) or n > 100_000:
        return None
    count = int(n) * (-1 if found["side"] in ("ago", "before today") else 1)
    start = today + timedelta(days=1) if found["side"] == "from tomorrow" else today
    if found["unit"] in ("day", "week"):
        return Day(start + timedelta(days=count * (7 if found["unit"] == "week" else 1)))
    return Day(add_months(start, count * (12 if found["unit"] == "year" else 1)))


def _weekday(text: str, today: date) -> Day | None:
    found = re.fullmatch(r"(?:(next|this|last|coming|the next|the coming) )?(\w+)", text)
    if not found or found[2] not in WEEKDAYS:
        return None
    ahead = (WEEKDAYS.index(found[2]) - today.weekday()) % 7
    if found[1] == "last":
        return Day(today - timedelta(days=(7 - ahead) if ahead else 7), name=f"last {found[2].title()}")
    if ahead == 0 and found[1] not in (None, "this"):
        ahead = 7
    return Day(today + timedelta(days=ahead), name=f"the coming {found[2].title()}" if ahead else found[2].title())


def _year_at_end(text: str, today: date) -> tuple[str, int | None]:
    for phrase, shift in ((" this year", 0), (" next year", 1), (" last year", -1)):
        if text.endswith(phrase):
            return text.removesuffix(phrase), today.year + shift
    words = re.sub(r" (?:in|of) (?:the year )?", " ", text).split()
    for i in range(1, len(words)):
        year = parse_year(words[i:])
        if year is not None and (i >= 2 or words[0] not in MONTHS):
            return " ".join(words[:i]), year
    return text, None


def _holiday(text: str, today: date) -> Day | None:
    plain, year = _year_at_end(text, today)
    for pattern, name, rule in _COMPILED_HOLIDAYS:
        if pattern.fullmatch(plain):
            if year is not None:
                return Day(rule(year), name=name) if FIRST_YEAR <= year <= LAST_YEAR else None
            return Day(next_day(today, rule), name=name, yearly=True, rule=rule)
    return None


def _calendar_date(text: str, today: date) -> Day | NoSuchDay | None:
    text, year = _year_at_end(text, today)
    words = text.removeprefix("the ").split()
    if words and words[0] in _MONTH_NUMBERS:
        month = _MONTH_NUMBERS[words[0]]
        rest = words[2:] if words[1:2] == ["the"] else words[1:]
        parsed = parse_ordinal(rest)
        if parsed is None or parsed[1] != len(rest):
            return None
        number = parsed[0]
    else:
        parsed = parse_ordinal(words)
        if parsed is None:
            return None
        rest = words[parsed[1] :]
        rest = rest[1:] if rest[:1] == ["of"] else rest
        if len(rest) != 1 or rest[0] not in _MONTH_NUMBERS:
            return None
        number, month = parsed[0], _MONTH_NUMBERS[rest[0]]
    if year is not None and not FIRST_YEAR <= year <= LAST_YEAR:
        return None
    longest = calendar.monthrange(2024 if year is None else year, month)[1]
    if not 1 <= number <= longest:
        name = MONTHS[month - 1].title()
        in_year = f" in {speak_year(year)}" if year is not None and month == 2 else ""
        return NoSuchDay(f"{name} has no {speak_ordinal(number)}{in_year}.") if number <= 99 else None
    if year is not None:
        return Day(date(year, month, number))
    if (month, number) == (2, 29):
        leap = next(y for y in range(today.year, today.year + 9) if calendar.isleap(y) and date(y, 2, 29) >= today)
        return Day(date(leap, 2, 29))
    rule = _fixed(month, number)
    return Day(next_day(today, rule), yearly=True, rule=rule)
