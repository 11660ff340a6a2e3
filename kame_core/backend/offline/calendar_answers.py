"""Questions about the time, the date and the calendar."""

import calendar
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kame_core.backend.offline.dates import (
    FIRST_YEAR,
    LAST_YEAR,
    MONTHS,
    WEEKDAYS,
    Day,
    NoSuchDay,
    next_day,
    parse_day,
    speak_date,
    weekday_name,
)
from kame_core.backend.offline.gazetteer import CITIES_BEFORE_STATES, UK_COUNTRY_CAPITALS, Gazetteer, gazetteer
from kame_core.backend.offline.numbers import parse_year, speak_integer, speak_year
from kame_core.backend.offline.regions import Region
from kame_core.backend.offline.reply import Reply, sentence

_TIME = re.compile(
    r"(?:what is the (?:current |local |exact )?time|what time is it|what time it is|what is the time|the time|time|"
    r"current time|what time|what time do you have|(?:do you )?(?:have|got) the time|what hour is it|how late is it|"
    r"(?:give|show) me the time|say the time|what is the hour)(?: is it)?(?: right now| now| currently| at the moment)?"
    r"(?: (?:here|where you are))?(?: (?:in|for|at) (?P<place>.+?))?"
    r"(?: right now| now| at the moment| currently| today)?"
)
_DAYLESS = r"(?: of the week| of week)?"
_TODAY = re.compile(
    r"(?:what is (?:the |today 's |todays |the current )?date(?: is it)?|what date is it|what day is it|what is today|"
    r"what day of the week is it|(?:the )?date|today 's date|what is the day|which day is it|"
    r"what is (?:the )?day today|what weekday is it|give me the date|say the date)(?: today| now| right now)?"
)
_YEAR = re.compile(r"(?:what|which) year is (?:it|this)(?: now| right now)?|what is the (?:current )?year(?: now)?")
_MONTH = re.compile(r"(?:what|which) month is (?:it|this)(?: now| right now)?|what is the (?:current )?month(?: now)?")
_WHICH_DAY = re.compile(
    rf"(?:on )?(?:what|which) (?:day|weekday|date){_DAYLESS} (?:is it going to be|will it be|was it|is it|is|was|will|"
    r"does|did|are|be)(?: it)? (?P<x>.+?)(?: fall on| fall| be on| be| on| land on)?|"
    r"what (?:is|was|will be) (?P<x3>tomorrow|yesterday|the day (?:after tomorrow|before yesterday))"
    r"(?: 's)?(?: date| day)?|"
    r"what (?:is|was|will be) (?P<x6>\w+(?: \w+)* (?:from (?:now|today|tomorrow)|ago|later))|"
    r"what (?:is|was|will be) (?:the )?(?:date|day)(?: of the week)? (?:on |of |for )?(?P<x2>.+)|"
    r"when (?:is|was|does|will) (?P<x4>.+?)(?: be| fall| start| take place)?|"
    rf"(?:is|was|will) (?P<x5>.+?)(?: be)?(?: a| the| on a| on the| on)? "
    rf"(?P<guess>{'|'.join(WEEKDAYS)}|weekday|weekend)(?: today)?"
)
_UNTIL = re.compile(
    r"(?:how (?:many (?P<unit>days|weeks|months)|long|far)(?: are there| is it| are left| do i have| do we have|"
    r" is there| are there left| left| more| remain| days are there| is left)*|(?P<unit2>days|weeks)) "
    r"(?:until|till|to|before|til|away is|for) (?P<x>.+)"
)
_SINCE = re.compile(
    r"how (?:many (?P<unit>days|weeks)|long)(?: has it been| have passed| is it| ago| since| ago was| ago is|"
    r" are there| has passed| was it)* (?:since|ago was|ago is|was) (?P<x>.+)"
)
_BETWEEN = re.compile(
    r"how many (?P<unit>days|weeks)(?: are there| are| lie| is it)? (?P<order>between|from) (?P<x>.+?) "
    r"(?:and|to|until|till) (?P<y>.+)"
)
_DAYS_IN = re.compile(
    r"how many days (?:are in|are there in|in|does|has|is in)(?: the month of)? (?P<x>.+?)(?: have| has)?"
)
_DAYS_LEFT = re.compile(
    r"how many days (?:are |are there )?(?:left|remaining|remain)(?: in| of)? (?:the|this) (?P<part>year|month)"
)
_LEAP = re.compile(
    r"(?:is|was|will)(?: the year)? (?P<x>.+?) (?:be )?a leap year|(?P<next>when is the next leap year|"
    r"(?:what|which)(?: year)? is the next leap year|next leap year)"
)
_PLAIN_DAYS = ("today", "tomorrow", "yesterday")
_ZONE_WORDS = {"utc": "UTC", "gmt": "UTC", "greenwich": "UTC"}


def speak_clock_time(moment: datetime) -> str:
    """The time by a twelve hour clock: "three oh five in the afternoon"."""
    hour, minute = moment.hour, moment.minute
    if minute == 0 and hour in (0, 12):
        return "midnight" if hour == 0 else "noon"
    part = "at night" if hour < 5 or hour >= 22 else "in the morning" if hour < 12 else "in the afternoon"
    if 18 <= hour < 22:
        part = "in the evening"
    spoken_hour = speak_integer((hour - 1) % 12 + 1)
    if minute == 0:
        return f"{spoken_hour} oclock {part}".replace("oclock", "o'clock")
    spoken_minute = ("oh " if minute < 10 else "") + speak_integer(minute)
    return f"{spoken_hour} {spoken_minute} {part}"


def _zone_time(place: str, moment: datetime, *, guess: bool) -> str | None:
    """The time in a city, a country, a region or a US state."""
    plain = place.removeprefix("the ").strip()
    if plain in _ZONE_WORDS:
        return f"In Greenwich it is {speak_clock_time(moment.astimezone(ZoneInfo('UTC')))}"
    places = gazetteer()
    country = places.countries["GB"] if plain in UK_COUNTRY_CAPITALS else places.country(plain, near=guess)
    cities = places.find_cities(plain)
    if country is not None and not (cities and cities[0].country == country.code and cities[0].name == country.spoken):
        zones = _known_zones(places.zones.get(country.code, ()))
        if not zones:
            return None
        times = {moment.astimezone(zone).utcoffset() for zone in zones}
        capital = next((city for city in places.find_cities(country.capital) if city.country == country.code), None)
        if country.code == "US":
            capital = next(iter(places.find_cities("washington")), None)
        if len(times) == 1 or capital is None:
            subject, zone = country.spoken, zones[0]
            extra = "" if len(times) == 1 else ", other parts have another time"
        else:
            zone = ZoneInfo(capital.time_zone)
            subject, extra = capital.name, f", other parts of {country.spoken} have other times"
        return f"In {subject} it is {speak_clock_time(moment.astimezone(zone))}{extra}"
    state = None if plain in CITIES_BEFORE_STATES else places.state(plain)
    region = places.region(plain)
    if region is not None:
        return _region_time(places, region, moment)
    cities = () if state else cities or (places.find_cities(plain, near=True) if guess else ())
    if not cities:
        zones = _known_zones(places.zones.get(f"US.{places.state_codes[state]}", ())) if state else []
        if state and zones and len({moment.astimezone(zone).utcoffset() for zone in zones}) == 1:
            return f"In {state} it is {speak_clock_time(moment.astimezone(zones[0]))}"
        return f"{state} has more than one time zone, please name a city" if state else None
    local = _known_zones((cities[0].time_zone,))
    return f"In {cities[0].name} it is {speak_clock_time(moment.astimezone(local[0]))}" if local else None


def _region_time(places: Gazetteer, region: Region, moment: datetime) -> str | None:
    """The time in a region's capital, or in all of a country that has only one."""
    city, country = places.region_city(region), places.country(region.home)
    zones = _known_zones((city.time_zone,) if city else places.zones.get(country.code, ()) if country else ())
    if not zones or len({moment.astimezone(zone).utcoffset() for zone in zones}) > 1:
        return None
    return f"In {region.capital if city else region.spoken} it is {speak_clock_time(moment.astimezone(zones[0]))}"


def _known_zones(names: tuple[str, ...]) -> list[ZoneInfo]:
    zones: list[ZoneInfo] = []
    for name in names:
        try:
            zones.append(ZoneInfo(name))
        except (ZoneInfoNotFoundError, ValueError):
            continue
    return zones


def load_zones() -> None:
    """Read the time zones of all known cities once, about 0.1 s; zoneinfo keeps them."""
    for names in gazetteer().zones.values():
        _known_zones(names)


def _count(number: int, unit: str) -> str:
    return f"{speak_integer(number)} {unit}{'' if number == 1 else 's'}"


def _span(days: int, unit: str) -> str:
    """Days, or weeks and days."""
    if unit != "weeks" or days < 7:
        return _count(days, "day")
    weeks, rest = divmod(days, 7)
    return _count(weeks, "week") + (f" and {_count(rest, 'day')}" if rest else "")


def _name(day: Day, today: date) -> str:
    return day.name or day.spoken(today)


def _which_day(found: re.Match[str], plain: str, today: date) -> Reply | None:
    text = next(value for key, value in found.groupdict().items() if key.startswith("x") and value)
    day = parse_day("today" if text == "it" and found["guess"] else text, today)
    if isinstance(day, NoSuchDay):
        return Reply(day.reason)
    if day is None:
        return None
    if re.match(r"(?:on )?(?:what |which |when )?(?:day |date |day of the week )?was\b", plain) and day.on > today:
        if day.name.startswith("the coming "):
            day = Day(day.on - timedelta(days=7), day.name.replace("the coming", "last"))
        else:
            day = Day(day.before(today), day.name)
    verb = "was" if day.on < today else "is" if day.on == today or day.name else "will be"
    if found["guess"]:
        if day.name.split()[-1:] and day.name.split()[-1].lower() in WEEKDAYS:
            return None  # "is friday a weekday": about no day of the calendar
        kind = "weekend" if day.on.weekday() >= 5 else "weekday"
        verdict = "Yes" if found["guess"] in (weekday_name(day.on).lower(), kind) else "No"
        article = "" if day.name in _PLAIN_DAYS else "a "
        return Reply(sentence(f"{verdict}, {_name(day, today)} {verb} {article}{weekday_name(day.on)}"))
    templates = ("what day is {}",)
    if day.name:
        if day.name.split()[-1].lower() in WEEKDAYS:
            return Reply(sentence(f"{day.name} {verb} {day.spoken(today)}"), templates=templates)
        on = "" if day.name in _PLAIN_DAYS or day.name.startswith("day ") else "on "
        subject = f"the {day.name}" if day.name.startswith("day ") else day.name
        text = f"{subject} {verb} {on}{day.spoken(today, weekday=True)}"
    elif re.search(r"\b(?:days?|weeks?|months?|years?)(?: from| ago| later|$)", text) or text.startswith("in "):
        text = f"that {verb} {day.spoken(today, weekday=True)}"
    else:
        text = f"{day.spoken(today)}{',' if day.on.year != today.year else ''} {verb} a {weekday_name(day.on)}"
    return Reply(sentence(text), templates=templates)


def _until(found: re.Match[str], today: date) -> Reply | None:
    day = parse_day(found["x"], today)
    if isinstance(day, NoSuchDay):
        return Reply(day.reason)
    if day is None:
        return None
    days = (day.on - today).days
    name = _name(day, today)
    templates = ("how many days until {}",)
    if days < 0:
        return Reply(sentence(f"{name} was {_count(-days, 'day')} ago"), templates=templates)
    if days == 0:
        return Reply(sentence(f"{name} is today" if name != "today" else "That is today"), templates=templates)
    unit = found["unit"] or found["unit2"] or "days"
    verb = "is" if days == 1 and unit != "weeks" else "are"
    return Reply(sentence(f"There {verb} {_span(days, unit)} until {name}"), templates=templates)


def _since(found: re.Match[str], today: date) -> Reply | None:
    day = parse_day(found["x"], today)
    if isinstance(day, NoSuchDay):
        return Reply(day.reason)
    if day is None or day.before(today) >= today:
        return None
    past = day.before(today)
    name = day.name or speak_date(past, today)
    return Reply(sentence(f"{name} was {_span((today - past).days, found['unit'] or 'days')} ago"))


def _between(found: re.Match[str], today: date) -> Reply | None:
    first, second = parse_day(found["x"], today), parse_day(found["y"], today)
    if isinstance(first, NoSuchDay) or isinstance(second, NoSuchDay):
        return Reply(first.reason if isinstance(first, NoSuchDay) else second.reason)  # type: ignore[union-attr]
    if first is None or second is None:
        return None
    start, end = first.on, second.on
    if first.yearly and second.yearly and first.rule:
        start = first.rule(today.year)
    if second.rule:
        end = next_day(start, second.rule)
    second_name = second.name
    if end < start and second_name.rpartition(" ")[2].lower() in WEEKDAYS:
        end += timedelta(days=7 * ((start - end).days // 7 + 1))
        second_name = f"the {weekday_name(end)} after"
    elif end < start and first.rule and found["order"] == "from":
        start = first.before(end)
    span = _span(abs((end - start).days), found["unit"])
    verb = "is" if span.startswith("one ") and " and " not in span else "are"
    first_name, second_name = first.name or speak_date(start, today), second_name or speak_date(end, today)
    return Reply(sentence(f"From {first_name} to {second_name} there {verb} {span}"))


def _days_left(found: re.Match[str], today: date) -> Reply:
    month = 12 if found["part"] == "year" else today.month
    left = (date(today.year, month, calendar.monthrange(today.year, month)[1]) - today).days
    return Reply(
        sentence(f"After today there {'is' if left == 1 else 'are'} {_count(left, 'day')} left this {found['part']}")
    )


def _days_in(found: re.Match[str], today: date) -> Reply | None:
    text = found["x"]
    if text in ("this year", "the year", "the current year"):
        return Reply(sentence(f"This year has {_count(365 + calendar.isleap(today.year), 'day')}"))
    if text in ("this month", "the current month"):
        days = calendar.monthrange(today.year, today.month)[1]
        return Reply(sentence(f"{MONTHS[today.month - 1].title()} has {_count(days, 'day')}"))
    words = text.replace(" of ", " ").split()
    if words[0] not in MONTHS:
        year = parse_year(words)
        if year is None:
            return None
        return Reply(sentence(f"The year {speak_year(year)} has {_count(365 + calendar.isleap(year), 'day')}"))
    month = MONTHS.index(words[0]) + 1
    month_year = parse_year(words[1:]) if len(words) > 1 else None
    if len(words) > 1 and words[1:] in (["this", "year"], ["next", "year"]):
        month_year = today.year + (words[1] == "next")
    elif len(words) > 1 and month_year is None:
        return None
    templates = ("how many days are in {}",)
    if month == 2 and month_year is None:
        return Reply("February has twenty eight days, and twenty nine in a leap year.", templates=templates)
    days = calendar.monthrange(month_year or today.year, month)[1]
    in_year = f" {speak_year(month_year)}" if month_year else ""
    return Reply(sentence(f"{MONTHS[month - 1].title()}{in_year} has {_count(days, 'day')}"), templates=templates)


def _leap(found: re.Match[str], today: date) -> Reply | None:
    if found["next"]:
        coming = next(y for y in range(today.year + 1, today.year + 10) if calendar.isleap(y))
        return Reply(sentence(f"The next leap year is {speak_year(coming)}"))
    asked = today.year if found["x"] in ("this", "it", "this year") else parse_year(found["x"].split())
    if asked is None or not FIRST_YEAR <= asked <= LAST_YEAR:
        return None
    verb = "is{}" if asked == today.year else "was{}" if asked < today.year else "will{} be"
    verdict, negation = ("Yes", "") if calendar.isleap(asked) else ("No", " not")
    text = f"{verdict}, {speak_year(asked)} {verb.format(negation)} a leap year"
    return Reply(sentence(text), templates=("is {} a leap year",))


def answer_calendar(plain: str, now: Callable[[], datetime], *, guess: bool = True) -> Reply | None:
    """The answer to a question about time or date, else None.

    Args:
        plain: a normalised question.
        now: the time here, with its zone.
        guess: misspelt places may be taken for the nearest.
    """
    plain = plain.replace("oclock", "time")
    found = _TIME.fullmatch(plain)
    if found:
        moment = now()
        if not found["place"] or found["place"] in ("here", "my place", "this place"):
            return Reply(sentence(f"It is {speak_clock_time(moment)}"), templates=("what time is it in {}",))
        text = _zone_time(found["place"], moment, guess=guess)
        return Reply(sentence(text), templates=("what time is it in {}",)) if text else None
    today = now().date()
    if _TODAY.fullmatch(plain):
        text = f"Today is {speak_date(today, today, weekday=True, year='date' in plain)}"
        return Reply(sentence(text), templates=("what day is {}",))
    if _YEAR.fullmatch(plain):
        return Reply(sentence(f"It is {speak_year(today.year)}"))
    if _MONTH.fullmatch(plain):
        return Reply(sentence(f"It is {MONTHS[today.month - 1].title()}"))
    for pattern, answer in (
        (_LEAP, _leap),
        (_BETWEEN, _between),
        (_UNTIL, _until),
        (_SINCE, _since),
        (_DAYS_LEFT, _days_left),
        (_DAYS_IN, _days_in),
    ):
        found = pattern.fullmatch(plain)
        reply = answer(found, today) if found else None
        if reply is not None:
            return reply
    found = _WHICH_DAY.fullmatch(plain)
    return _which_day(found, plain, today) if found else None
