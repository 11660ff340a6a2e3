"""Questions about countries, US states and cities."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from kame_core.backend.offline.gazetteer import (
    CITIES_BEFORE_STATES,
    CONTINENTS,
    STATE_CAPITALS,
    STATE_PEOPLE,
    UK_COUNTRY_CAPITALS,
    City,
    Country,
    Gazetteer,
    gazetteer,
    plain_name,
)
from kame_core.backend.offline.languages import main_languages
from kame_core.backend.offline.numbers import speak_large
from kame_core.backend.offline.reply import Reply, join_list, sentence

_ASK = r"(?:(?:what|which|where|who|whose|is|was|are|the|a|name|give me|say|city|country|in) )*"
_THEY = r"(?:they|people|the people|we|you|one)"
_NOT_KNOWN = Reply("I did not recognise that place. Please say its name again.", sure=False)

_CAPITAL_OF = re.compile(rf"{_ASK}capital(?: city| town)?(?: is)? (?:of|for|in|off|a|to) (?P<x>.+)")
_ITS_CAPITAL = re.compile(rf"{_ASK}(?P<x>.+?) 's capital(?: city)?(?: called| named)?")
_CAPITAL_CALLED = re.compile(r"what is the capital of (?P<x>.+?) (?:called|named)")
_WHOSE_CAPITAL = re.compile(
    r"(?:what|which|which country|what country) is (?P<x>.+?) (?:the )?capital of|"
    r"(?P<x2>.+?) is the capital of (?:what|which)(?: country)?|"
    r"(?:what|which) country has (?P<x3>.+?) as (?:its|the|a) capital|"
    r"(?:what|which) country 's capital is (?P<x4>.+)"
)
_IS_CAPITAL = re.compile(r"is (?P<x>.+?) (?:really )?the capital(?: city)? of (?P<y>.+)")
_POPULATION = re.compile(
    rf"{_ASK}population (?:of|in|for) (?P<x>.+)|"
    r"(?:how many|what number of) (?:people|inhabitants|citizens|residents) (?:live|are there|are living|are|living|"
    r"does|do|there are|there live)?\s*(?:in )?(?P<x2>.+?)(?: have| has)?|"
    rf"{_ASK}(?P<x3>.+?) 's population|how (?:populous|populated) is (?P<x4>.+)|"
    r"(?:how big|how large) is the population of (?P<x5>.+)"
)
_AREA = re.compile(
    rf"{_ASK}(?:area|size|land area|surface area|surface) of (?P<x>.+)|how (?:big|large) is (?P<x2>.+)|"
    r"how many square (?:kilometers|miles) (?:is|does|has) (?P<x3>.+?)(?: have| cover)?|"
    rf"{_ASK}(?P<x4>.+?) 's (?:area|size)|is (?P<x5>.+?) a (?:very )?(?:big|large|small|tiny|huge) (?:country|place)"
)
_CURRENCY = re.compile(
    rf"{_ASK}currency (?:of|in|for|is used in|is it in|do they use in|does|do {_THEY} use in) (?P<x>.+?)(?: use|"
    rf" have| has)?|"
    rf"(?:what|which) (?:currency|money) (?:is used in|is it in|is there in|do {_THEY} (?:use|have|spend|pay with) in|"
    rf"does|has|is in) (?P<x2>.+?)(?: use| have)?|{_ASK}(?P<x3>.+?) 's currency"
)
_LANGUAGE = re.compile(
    rf"(?:what|which) (?:official |main )?languages? (?:is|are|do|does)(?: {_THEY})?(?: spoken|"
    rf" speak)?(?: there)? in (?P<x>.+)|"
    rf"{_ASK}(?:official |main |national )?languages? (?:of|in|spoken in) (?P<x2>.+)|"
    rf"what do {_THEY} speak in (?P<x3>.+)|{_ASK}(?P<x4>.+?) 's (?:official |main )?languages?"
)
_CONTINENT = re.compile(
    r"(?:what|which) continent (?:is|does|are) (?P<x>.+?)(?: in| on| part of| belong to| located| lie on| lie in)+|"
    r"(?:in|on) (?:what|which) continent (?:is|does|are) (?P<x4>.+?)(?: located| lie)?|"
    rf"{_ASK}continent of (?P<x2>.+)|(?P<x3>.+?) is (?:in|on) (?:which|what) continent"
)
_COUNTRY_OF = re.compile(
    r"(?:what|which) country (?:is|does|has|are) (?P<x>.+?)(?: in| located in| located| part of| belong to|"
    r" lie in| situated in)+|in (?:what|which) country (?:is|are|does) (?P<x5>.+?)(?: located| situated| lie)?|"
    r"where (?:is|are) (?P<x2>.+?)(?: located| situated)?|where can i find (?P<x3>.+)|"
    r"(?P<x4>.+?) is in (?:which|what) country"
)
_NEIGHBORS = re.compile(
    r"(?:what|which) (?:countries|country|nations) (?:border|borders|are next to|touch|surround|neighbor|"
    r"share a border with|are neighbors of|have a border with|border on|does|are around) (?P<x>.+?)(?: border| touch)?|"
    rf"{_ASK}(?:neighbors|neighboring countries|neighbor countries|borders) of (?P<x2>.+)|"
    rf"what does (?P<x3>.+?) border(?: on)?|{_ASK}(?P<x4>.+?) 's (?:neighbors|borders)"
)
_COMPARE = re.compile(
    r"(?:which|what)(?: country)? is (?P<how>bigger|larger|smaller)(?: in area)? (?P<x>.+?) or (?P<y>.+)|"
    r"is (?P<x2>.+?) (?P<how2>bigger|larger|smaller) than (?P<y2>.+)"
)
_LARGEST = re.compile(
    r"(?:what|which) (?:is |country is )?(?:the )?(?:(?:largest|biggest) country|country is the (?:largest|biggest)|"
    r"largest|"
    r"biggest)(?: (?:in|of|on)(?: the continent of)? (?P<x>.+))?"
)
_SMALLEST = re.compile(r"(?:what|which) is the smallest country(?: (?:in|of|on) (?:the )?(?:world|earth|europe))?")
_SHARED_NAMES = {"congo": ("CD", "CG"), "korea": ("KR", "KP")}
_AROUND_NAME = re.compile(
    r"^(?:is |in |of |country of )+|(?: 's| right now| now| today| these days| currently| at the moment)+$"
)
_CONTINENT_BY_ZONE = {"Asia": "AS", "Europe": "EU", "Pacific": "OC"}
_WIDE_COUNTRIES = frozenset(("RU", "US"))
"""Countries on more than one continent; a city's time zone tells which."""


@dataclass(frozen=True, slots=True)
class _Topic:
    pattern: re.Pattern[str]
    template: str
    answer: "Callable[[Gazetteer, str], str | None]"


def _group(found: re.Match[str], name: str) -> str:
    return next((value for key, value in found.groupdict().items() if key.startswith(name) and value), "")


def _about(number: int) -> str:
    return "about " + speak_large(number)[0]


def _largest(cities: tuple[City, ...]) -> City | None:
    return cities[0] if cities else None


def _capital(places: Gazetteer, name: str) -> str | None:
    if plain_name(name) in UK_COUNTRY_CAPITALS:
        return f"{UK_COUNTRY_CAPITALS[plain_name(name)]} is the capital of {plain_name(name).title()}"
    if plain_name(name) in _SHARED_NAMES:
        one, other = (places.countries[code] for code in _SHARED_NAMES[plain_name(name)])
        return f"{one.capital} is the capital of {one.spoken}, and {other.capital} of {other.spoken}"
    country, state = places.country(name, near=True), places.state(name)
    if country is not None and state is not None:
        both = f"{country.capital} is the capital of the country {country.spoken}"
        return f"{both}, and {STATE_CAPITALS[state]} of the US state"
    if country is not None:
        if country.capital_note:
            return country.capital_note
        if not country.capital:
            return f"As far as I know, {country.spoken} has no capital"
        return f"{country.capital} is the capital of {country.spoken}"
    region = places.region(name)
    if region is not None:
        return f"{region.capital} is the capital of {region.spoken}" if region.capital else None
    state = state or places.state(name, near=True)
    return f"{STATE_CAPITALS[state]} is the capital of {state}" if state else None


def _state(places: Gazetteer, name: str) -> str | None:
    """The US state meant by that name, unless it is a city's first."""
    state = places.state(name)
    return state if state is None or plain_name(name) not in CITIES_BEFORE_STATES else None


def _home(places: Gazetteer, name: str) -> Country | None:
    """The country that a region or city of that name belongs to."""
    region = places.region(name)
    if plain_name(name) in UK_COUNTRY_CAPITALS:
        return places.countries["GB"]
    if places.state(name):
        return places.countries["US"]
    if region is not None:
        return places.country(region.home)
    city = _largest(places.find_cities(name))
    return places.countries[city.country] if city else None


def _population(places: Gazetteer, name: str) -> str | None:
    country = places.country(name, near=True)
    if country is not None:
        if country.population == 0:
            return f"Nobody lives in {country.spoken} permanently"
        subject = f"the country {country.spoken}" if places.state(name) else country.spoken
        return f"By figures a few years old, {subject} has {_about(country.population)} people"
    state = _state(places, name)
    if state is not None:
        return f"By the census of twenty twenty, {state} has {_about(STATE_PEOPLE[state])} people"
    city = None if places.region(name) else _largest(places.find_cities(name, near=True))
    if city is None or city.population == 0:
        return None
    subject = city.name if city.name.endswith("City") else f"The city of {city.name}"
    return f"{subject} has {_about(city.population)} people"


def _area(places: Gazetteer, name: str) -> str | None:
    country = places.country(name, near=True)
    if country is None:
        return None
    if country.code == "VA":
        return "Vatican City covers less than half a square kilometer"
    if country.area_km2 == 0:
        return None
    unit = "square kilometer" if country.area_km2 == 1 else "square kilometers"
    return f"{country.spoken} covers {_about(country.area_km2)} {unit}"


def _currency(places: Gazetteer, name: str) -> str | None:
    country = places.country(name, near=True) or _home(places, name)
    if country is None or not country.currency:
        return None
    return f"The currency of {country.spoken} is the {country.currency}"


def _language(places: Gazetteer, name: str) -> str | None:
    country = places.country(name, near=True)
    names = main_languages(country) if country else []
    if country is None or not names:
        return None
    what = "language is" if len(names) == 1 else "languages are"
    article = f"In {country.spoken}, the main {what}"
    return f"{article} {join_list(names)}"


def _continent(places: Gazetteer, name: str) -> str | None:
    country = places.country(name, near=True)
    if country is None:
        return _home_continent(places, name)
    if country.code == "AQ":
        return "Antarctica is a continent itself"
    if country.code in ("RU", "TR"):
        return f"{country.spoken} lies in both Europe and Asia"
    return f"{country.spoken} is in {CONTINENTS[country.continent]}"


def _home_continent(places: Gazetteer, name: str) -> str | None:
    """The country and continent of what is no country."""
    home = _home(places, name)
    region, state = places.region(name), _state(places, name)
    if region is not None and (home is None or home.code == "RU"):
        return region.where
    if home is not None and (region or state or plain_name(name) in UK_COUNTRY_CAPITALS):
        subject = region.spoken if region else state or plain_name(name).title()
        return f"{subject} is in {home.spoken}, in {CONTINENTS['OC' if state == 'Hawaii' else home.continent]}"
    city = _largest(places.find_cities(name, near=True))
    if city is None:
        return None
    home = places.countries[city.country]
    if city.name == "Istanbul":
        return "Istanbul is in Turkey, and lies in both Europe and Asia"
    continent = home.continent
    if home.code in _WIDE_COUNTRIES:
        continent = _CONTINENT_BY_ZONE.get(city.time_zone.partition("/")[0], continent)
    return f"{city.name} is in {home.spoken}, in {CONTINENTS[continent]}"


def _where(places: Gazetteer, name: str) -> str | None:
    if plain_name(name) in UK_COUNTRY_CAPITALS:
        return f"{plain_name(name).title()} is part of the United Kingdom"
    country = places.country(name)
    cities = places.find_cities(name)
    if country is not None and places.state(name):
        continent = CONTINENTS[country.continent]
        return f"The country {country.spoken} is in {continent}, and there is a US state of that name"
    if country is not None and (not cities or cities[0].name != country.capital or cities[0].country != country.code):
        return _continent(places, name)
    if country is not None:
        return f"{country.spoken} is in {CONTINENTS[country.continent]}"
    state = _state(places, name)
    if state is not None:
        return f"{state} is a state of the United States"
    region = places.region(name)
    if region is not None:
        return region.where
    cities = cities or places.find_cities(name, near=True)
    if not cities:
        return _continent(places, name)
    city = cities[0]
    home = places.countries[city.country]
    rival = next((other for other in cities[1:] if other.country != city.country), None)
    if rival is not None and rival.population * 2 > city.population:
        return f"There is a {city.name} in {home.spoken}, and one in {places.countries[rival.country].spoken}"
    return f"{city.name} is in {home.spoken}"


def _neighbors(places: Gazetteer, name: str) -> str | None:
    country = places.country(name, near=True)
    if country is None:
        return None
    names = sorted(places.countries[code].spoken for code in country.neighbors if code in places.countries)
    if not names:
        return f"{country.spoken} has no land borders with other countries"
    if sum(len(item.split()) for item in names) > 20:
        return f"{country.spoken} borders {speak_large(len(names))[0]} countries, among them {join_list(names[:6])}"
    return f"{country.spoken} borders {join_list(names)}"


_TOPICS = (
    _Topic(_CAPITAL_CALLED, "what is the capital of {}", _capital),
    _Topic(_CAPITAL_OF, "what is the capital of {}", _capital),
    _Topic(_ITS_CAPITAL, "what is the capital of {}", _capital),
    _Topic(_POPULATION, "what is the population of {}", _population),
    _Topic(_CURRENCY, "what is the currency of {}", _currency),
    _Topic(_LANGUAGE, "what languages are spoken in {}", _language),
    _Topic(_CONTINENT, "what continent is {} in", _continent),
    _Topic(_NEIGHBORS, "which countries border {}", _neighbors),
    _Topic(_AREA, "how big is {}", _area),
    _Topic(_COUNTRY_OF, "where is {}", _where),
)
# "where is" and "how big is" are asked of anything: silence rather than "I did not recognise that place".
_OPEN = frozenset((_where, _area, _population))


def _whose_capital(places: Gazetteer, plain: str) -> str | None:
    found = _WHOSE_CAPITAL.fullmatch(plain)
    if found is None:
        return None
    city = _group(found, "x").removesuffix(" the")
    homes = [country for country in places.countries.values() if _is_name(city, country.capital)]
    states = [state for state, capital in STATE_CAPITALS.items() if _is_name(city, capital)]
    names = [max(homes, key=lambda home: home.population).spoken] if homes else states[:1]
    known = places.find_cities(city)
    if not names and known:
        return f"{known[0].name} is not a capital that I know of"
    return f"{known[0].name if known else city.title()} is the capital of {names[0]}" if names else None


def _is_name(said: str, name: str) -> bool:
    said = "washington" if said in ("washington dc", "washington d c") else said
    return said == re.sub(r"[^a-z ]", "", name.lower().replace("-", " ").replace(", d c", ""))


def _is_capital(places: Gazetteer, plain: str) -> str | None:
    found = _IS_CAPITAL.fullmatch(plain)
    if found is None:
        return None
    right = _capital(places, found["y"])
    country = places.country(found["y"], near=True)
    state, region = places.state(found["y"], near=country is None), places.region(found["y"])
    if right is None or (country is not None and (country.capital_note or not country.capital)):
        return right
    capitals = [country.capital if country else "", region.capital if region else ""]
    capitals += [STATE_CAPITALS.get(state or "", ""), UK_COUNTRY_CAPITALS.get(plain_name(found["y"]), "")]
    capitals += [places.countries[code].capital for code in _SHARED_NAMES.get(plain_name(found["y"]), ())]
    city = _largest(places.find_cities(found["x"]))
    is_right = any(
        capital and (_is_name(found["x"], capital) or (city and city.name == capital)) for capital in capitals
    )
    return f"{'Yes' if is_right else 'No'}, {right}"


def _compare(places: Gazetteer, plain: str) -> str | None:
    found = _COMPARE.fullmatch(plain)
    if found is None:
        return None
    first, second = places.country(_group(found, "x"), near=True), places.country(_group(found, "y"), near=True)
    if first is None or second is None or not first.area_km2 or not second.area_km2 or first == second:
        return None
    big, small = (first, second) if first.area_km2 >= second.area_km2 else (second, first)
    if big.area_km2 < small.area_km2 * 1.02:
        return f"{first.spoken} and {second.spoken} are about the same size"
    asked_smaller = _group(found, "how") == "smaller"
    if found["x2"]:
        verdict = "Yes" if (first == small) == asked_smaller else "No"
        return f"{verdict}, {big.spoken} is larger than {small.spoken}"
    if asked_smaller:
        return f"{small.spoken} is smaller than {big.spoken}"
    return f"{big.spoken} is larger than {small.spoken}"


def _superlative(places: Gazetteer, plain: str) -> str | None:
    if _SMALLEST.fullmatch(plain):
        return "Vatican City is the smallest country in the world"
    found = _LARGEST.fullmatch(plain)
    if found is None or ("country" not in plain):
        return None
    region = (found["x"] or "world").removeprefix("the ")
    if region in ("world", "earth", "planet"):
        return "Russia is the largest country in the world"
    code = next((code for code, name in CONTINENTS.items() if name.lower() == region), None)
    if code is None or code in ("AN", "OC"):
        return "Australia is the largest country in Oceania" if code == "OC" else None
    if code == "EU":
        return "Russia is the largest country in Europe, even by its European part alone"
    best = max((c for c in places.countries.values() if c.continent == code), key=lambda c: c.area_km2)
    return f"{best.spoken} is the largest country in {CONTINENTS[code]}"


def answer_places(plain: str, *, guess: bool = True) -> Reply | None:
    """The answer to a question about a place, else None. The first call reads the gazetteer.

    Args:
        plain: a normalised question.
        guess: misspelt names may be taken for the nearest; not for a question still being spoken.
    """
    places = gazetteer()
    for whole in (_is_capital, _whose_capital, _compare, _superlative):
        text = whole(places, plain)
        if text is not None:
            return Reply(sentence(text))
    for topic in _TOPICS:
        found = topic.pattern.fullmatch(plain)
        if found is None:
            continue
        name = _AROUND_NAME.sub("", _group(found, "x"))
        if not guess and not places.is_name(name):
            return None
        text = topic.answer(places, name)
        if text is not None:
            return Reply(sentence(text), templates=(topic.template,))
        if topic.answer not in _OPEN and len(name.split()) <= 3 and not places.is_name(name):
            return _NOT_KNOWN
    return None
