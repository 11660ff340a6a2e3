"""Units of measure: Pint gives the exact factors once, afterwards conversion is exact fractions only."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from kame_core.backend.offline.numbers import parse_number, speak_number
from kame_core.backend.offline.reply import Reply, sentence
from kame_core.backend.offline.wording import word_list

# singular; plural; other names; Pint's name. The order is the preference where a name fits two kinds.
_UNITS = """
meter; meters; m; meter
kilometer; kilometers; km kilo_meter kilo_meters klick klicks; kilometer
centimeter; centimeters; cm centi_meter centi_meters; centimeter
millimeter; millimeters; mm milli_meters; millimeter
micrometer; micrometers; micron microns; micrometer
nanometer; nanometers; nm; nanometer
inch; inches; ; inch
foot; feet; ft; foot
yard; yards; yd yds; yard
mile; miles; mi; mile
nautical mile; nautical miles; ; nautical_mile
light year; light years; lightyear lightyears; light_year
gram; grams; g gramme grammes; gram
kilogram; kilograms; kg kilo kilos kilogramme kilogrammes; kilogram
milligram; milligrams; mg; milligram
ton; tons; short_ton short_tons us_ton us_tons; short_ton
metric ton; metric tons; tonne tonnes ton tons; metric_ton
ounce; ounces; oz; ounce
pound; pounds; lb lbs; pound
stone; stone; stones; stone
liter; liters; l; liter
milliliter; milliliters; ml; milliliter
deciliter; deciliters; dl; deciliter
centiliter; centiliters; cl; centiliter
gallon; gallons; us_gallon us_gallons; gallon
imperial gallon; imperial gallons; uk_gallon uk_gallons british_gallon british_gallons; imperial_gallon
quart; quarts; ; quart
pint; pints; ; pint
imperial pint; imperial pints; uk_pint uk_pints british_pint british_pints; imperial_pint
cup; cups; ; cup
fluid ounce; fluid ounces; ounce ounces oz; fluid_ounce
tablespoon; tablespoons; tbsp; tablespoon
teaspoon; teaspoons; tsp; teaspoon
cubic meter; cubic meters; ; meter**3
cubic centimeter; cubic centimeters; ; centimeter**3
cubic foot; cubic feet; ; foot**3
cubic inch; cubic inches; ; inch**3
square meter; square meters; ; meter**2
square kilometer; square kilometers; ; kilometer**2
square centimeter; square centimeters; ; centimeter**2
square foot; square feet; ; foot**2
square inch; square inches; ; inch**2
square yard; square yards; ; yard**2
square mile; square miles; ; mile**2
acre; acres; ; acre
hectare; hectares; ; hectare
second; seconds; sec secs; second
millisecond; milliseconds; ms; millisecond
microsecond; microseconds; ; microsecond
minute; minutes; min mins; minute
hour; hours; hr hrs; hour
day; days; ; day
week; weeks; ; week
fortnight; fortnights; ; fortnight
mile per hour; miles per hour; mph miles_an_hour; mile/hour
kilometer per hour; kilometers per hour; kph kmh kilometers_an_hour; kilometer/hour
meter per second; meters per second; meters_a_second; meter/second
foot per second; feet per second; ; foot/second
knot; knots; ; knot
bit; bits; ; bit
byte; bytes; ; byte
kilobyte; kilobytes; kb; kilobyte
megabyte; megabytes; mb meg megs; megabyte
gigabyte; gigabytes; gb gig gigs; gigabyte
terabyte; terabytes; tb; terabyte
petabyte; petabytes; pb; petabyte
kilobit; kilobits; ; kilobit
megabit; megabits; ; megabit
gigabit; gigabits; ; gigabit
kibibyte; kibibytes; ; kibibyte
mebibyte; mebibytes; ; mebibyte
gibibyte; gibibytes; ; gibibyte
joule; joules; ; joule
kilojoule; kilojoules; ; kilojoule
kilocalorie; kilocalories; ; kilocalorie
kilowatt hour; kilowatt hours; ; kilowatt_hour
watt; watts; ; watt
kilowatt; kilowatts; ; kilowatt
horsepower; horsepower; ; horsepower
degree Celsius; degrees Celsius; celsius c degree_c degrees_c; degree_Celsius
degree Fahrenheit; degrees Fahrenheit; fahrenheit f degree_f degrees_f; degree_Fahrenheit
kelvin; kelvins; degrees_kelvin k; kelvin
"""
_METRIC = frozenset(word_list("gram kilogram milligram"))
_CALENDAR = {
    ("day", "year"): "A year has three hundred sixty five days, a leap year one more.",
    ("day", "leap year"): "A leap year has three hundred sixty six days.",
    ("day", "month"): "A month has between twenty eight and thirty one days.",
    ("week", "year"): "A year is fifty two weeks and one day, in a leap year two days.",
    ("week", "month"): "A month is a little over four weeks.",
    ("month", "year"): "A year has twelve months.",
    ("year", "decade"): "A decade has ten years.",
    ("year", "century"): "A century has one hundred years.",
    ("decade", "century"): "A century has ten decades.",
    ("year", "millennium"): "A millennium has one thousand years.",
    ("hour", "year"): "A year of three hundred sixty five days has eight thousand seven hundred sixty hours.",
    ("minute", "year"): "A year of three hundred sixty five days has five hundred twenty five thousand "
    "six hundred minutes.",
    ("second", "year"): "A year of three hundred sixty five days has thirty one million "
    "five hundred thirty six thousand seconds.",
}
_ONE = re.compile(r"(?:an?|one|1|the|each|every) ")
_TARGET_FIRST = re.compile(
    r"(?:what is the number of|how many|how much|what is) (?P<unit>.+?) "
    r"(?:(?:are there |there are |do you have |do we have |are |is |there |fit |go )?in|are there on|in to|into|are|is|"
    r"equals?|make up|makes?|does|do) (?P<amount>.+?)(?: have| has| contain| make| equal)?"
)
_AMOUNT_FIRST = re.compile(
    r"(?:(?:convert|change|turn|express|translate|transform|what (?:is|are)|what would be|"
    r"how (?:much|many|tall|long|far|hot|cold|warm|heavy|fast) (?:is|are)|"
    r"what|is|and|the) )*(?P<amount>.+?) "
    r"(?:is how much in|(?:is|are|equals|equal to) how many|converted to|expressed in|in to|into|in|to|as|equals) "
    r"(?P<unit>.+)"
)
_HALF_UNIT = re.compile(r"\b(half|quarter|third) (?:an? |of an? )")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: `base = amount * scale + offset` in its kind's base unit."""

    singular: str
    plural: str
    kind: str
    scale: Fraction
    offset: Fraction

    def name(self, amount: Fraction) -> str:
        """Singular for exactly one."""
        return self.singular if amount == 1 else self.plural


@dataclass(frozen=True, slots=True)
class UnitTable:
    """All units by name; several under one name where the kind decides ("ounce")."""

    by_name: dict[tuple[str, ...], tuple[Unit, ...]]

    def match(self, words: Sequence[str], i: int) -> tuple[tuple[Unit, ...], int] | None:
        """The longest unit name at `i`."""
        for length in (3, 2, 1):
            found = self.by_name.get(tuple(words[i : i + length]))
            if found and i + length <= len(words):
                return found, i + length
        return None


@functools.cache
def unit_table() -> UnitTable:
    """Built with Pint at the first call: about 0.5 s with Pint's import; at once afterwards."""
    import pint  # here, because it takes 0.3 s, which the first page must not wait for

    registry: pint.UnitRegistry[Fraction] = pint.UnitRegistry(
        non_int_type=Fraction, autoconvert_offset_to_baseunit=True
    )
    by_name: dict[tuple[str, ...], tuple[Unit, ...]] = {}
    for line in _UNITS.strip().splitlines():
        singular, plural, others, pint_name = (part.strip() for part in line.split(";"))
        zero = registry.Quantity(Fraction(0), pint_name).to_base_units()
        one = registry.Quantity(Fraction(1), pint_name).to_base_units()
        offset = Fraction(zero.magnitude)
        unit = Unit(
            singular, plural, repr(sorted(zero.dimensionality.items())), Fraction(one.magnitude) - offset, offset
        )
        names = {singular, plural, *(other.replace("_", " ") for other in others.split())}
        for name in names:
            key = tuple(name.lower().split())
            by_name[key] = (*by_name.get(key, ()), unit)
    return UnitTable(by_name)


Amount = tuple[tuple[Fraction, tuple[Unit, ...]], ...]


def _parse_amount(text: str) -> Amount | None:
    """An amount like "ten miles", "five feet ten inches", "a mile", "half a mile"; degrees without a scale get both."""
    table = unit_table()
    words = _HALF_UNIT.sub(r"\1 ", text).split()
    parts: list[tuple[Fraction, tuple[Unit, ...]]] = []
    i = 0
    while i < len(words):
        if parts and words[i] == "and":
            i += 1
        sign = 1
        if i < len(words) and words[i] in ("minus", "negative"):
            sign, i = -1, i + 1
        parsed = parse_number(words, i)
        if parsed is not None:
            value, i = parsed
        elif i < len(words) and words[i] in ("a", "an", "one", "the", "each"):
            value, i = Fraction(1), i + 1
        elif not parts and i == 0:
            value = Fraction(1)
        else:
            return None
        if i < len(words) and words[i] == "of":
            i += 1
        if i < len(words) and words[i] in ("a", "an") and value < 1:
            i += 1
        found = table.match(words, i)
        if found is None and i < len(words) and words[i] in ("degree", "degrees"):
            scales = table.by_name[("celsius",)] + table.by_name[("fahrenheit",)]
            found = (scales, i + 1)
        if found is None and i == len(words) and parts and value < 1:
            whole, units = parts.pop()  # "a foot and a half"
            found, value = (units, i), whole + value
        if found is None and i == len(words) and parts and parts[-1][1][0].singular == "foot" and value < 12:
            found = (table.by_name[("inch",)], i)
        if found is None:
            return None
        parts.append((sign * value, found[0]))
        i = found[1]
    return tuple(parts) if 1 <= len(parts) <= 2 else None


def _choose(amount: Amount, targets: tuple[Unit, ...]) -> tuple[tuple[Unit, ...], Unit] | None:
    """Units of one kind: metric company makes a ton metric, cups make an ounce fluid."""
    sources = amount[0][1]
    pairs = [(source, target) for source in sources for target in targets if source.kind == target.kind]
    pairs = [pair for pair in pairs if pair[0] != pair[1]] or pairs
    if not pairs:
        return None
    metric = [pair for pair in pairs if "metric ton" in (pair[0].singular, pair[1].singular)]
    if metric and any({source.singular, target.singular} & _METRIC for source, target in metric):
        pairs = metric
    source, target = pairs[0]
    chosen = [source]
    for _, units in amount[1:]:
        fitting = [unit for unit in units if unit.kind == source.kind and unit.offset == 0 == source.offset]
        if not fitting:
            return None
        chosen.append(fitting[0])
    return tuple(chosen), target


def _say_amount(value: Fraction, unit: Unit) -> str:
    whole, part = divmod(value, 1)
    if value > 0 and part in (Fraction(1, 2), Fraction(1, 4)):
        name = "half" if part == Fraction(1, 2) else "quarter"
        if whole == 0:
            article = "an" if unit.singular[0] in "aeiou" or unit.singular == "hour" else "a"
            return f"half {article} {unit.singular}" if name == "half" else f"a quarter of {article} {unit.singular}"
        return f"{speak_number(Fraction(whole), max_words=8)[0]} and a {name} {unit.plural}"
    return f"{speak_number(value, max_words=8)[0]} {unit.name(value)}"


def _convert(amount: Amount, targets: tuple[Unit, ...]) -> Reply | None:
    chosen = _choose(amount, targets)
    if chosen is None:
        return None
    sources, target = chosen
    is_temperature = bool(target.offset) or any(source.offset for source in sources)
    values = [value for value, _ in amount]
    if any(value < 0 for value in values) and not is_temperature and sources[0].singular != "kelvin":
        return None
    base = sum((v * s.scale + s.offset for v, s in zip(values, sources, strict=True)), Fraction(0))
    if is_temperature and base < 0:
        return Reply("That would be below absolute zero, which is minus two hundred seventy three degrees Celsius.")
    result = (base - target.offset) / target.scale
    spoken, exact = speak_number(result, max_words=14)
    source_text = " ".join(_say_amount(value, unit) for value, unit in zip(values, sources, strict=True))
    target_name = target.name(result if exact else Fraction(0))
    templates = (
        f"convert {source_text} to {{}}",
        f"convert {{}} to {target.plural}",
        f"convert {{}} {sources[0].plural} to {target.plural}",
    )
    return Reply(sentence(f"{source_text} is {'' if exact else 'about '}{spoken} {target_name}"), templates=templates)


def _calendar_units(unit: str, amount: str) -> Reply | None:
    singular = {"centuries": "century", "feet": "foot"}.get(unit, unit.removesuffix("s"))
    whole = _ONE.sub("", amount) if _ONE.match(amount) else amount
    text = _CALENDAR.get((singular, whole))
    return Reply(text) if text else None


def answer_units(plain: str) -> Reply | None:
    """The answer to a conversion, else None. The first call builds the table."""
    words = plain.split()
    if not 3 <= len(words) <= 30:
        return None
    table = unit_table()
    for pattern in (_TARGET_FIRST, _AMOUNT_FIRST):
        found = pattern.fullmatch(plain)
        if found is None:
            continue
        unit_text, amount_text = found["unit"], found["amount"]
        calendar = _calendar_units(unit_text, amount_text)
        if calendar is not None:
            return calendar
        unit_words = unit_text.removeprefix("the ").split()
        target = table.match(unit_words, 0)
        if target is None or target[1] != len(unit_words):
            continue
        amount = _parse_amount(amount_text)
        if amount is None:
            continue
        reply = _convert(amount, target[0])
        if reply is not None:
            return reply
    return None
