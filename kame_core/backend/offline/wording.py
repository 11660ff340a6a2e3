"""From what was heard or typed to plain lower-case words: signs to words, contractions opened, fillers dropped."""

import re
import unicodedata
from collections.abc import Iterable


def word_list(text: str) -> list[str]:
    """The words of a constant table."""
    return text.split()


MAX_CHARS = 400
"""A longer text is no question this responder knows; bounds the work."""

_FILLERS = frozenset(word_list("uh um uhm umm er erm eh hm hmm mm ah please kindly actually basically unk kame"))

_SIGNS: tuple[tuple[str, str], ...] = (
    (r"[’‘´`]", "'"),
    (r"[\[{]", "("),
    (r"[\]}]", ")"),
    (r"[−–]", "-"),
    (r"(?<=[\d)])\((?=[-\d.(])", " times ("),
    (r"(?<=\d),(?=\d{3}(?!\d))", ""),
    (r"\bkm ?/ ?h\b", " kilometers per hour "),
    (r"\bm ?/ ?s\b", " meters per second "),
    (r"\bft ?/ ?s\b", " feet per second "),
    (r"°\s*c\b", " degrees celsius "),
    (r"°\s*f\b", " degrees fahrenheit "),
    (r"°", " degrees "),
    (r"²", " squared "),
    (r"³", " cubed "),
    (r"½", " one half "),
    (r"¼", " one quarter "),
    (r"¾", " three quarters "),
    (r"\*\*|\^", " to the power of "),
    (r"[*×·]", " times "),
    (r"(?<=[\d)])\s*x\s*(?=[\d(])", " times "),
    (r"÷|(?<=[\d)])\s*/\s*(?=[\d(])|(?<=\d)\s*:\s*(?=\d)", " divided by "),
    (r"√", " square root of "),
    (r"%", " percent "),
    (r"\+", " plus "),
    (r"(?<=[\d)])\s*-\s*-\s*(?=[\d(])", " minus minus "),
    (r"(?<=[\d)])\s*-\s*(?=[\d(])", " minus "),
    (r"(?<![\w])-\s*(?=[\d(])", " minus "),
    (r"(?<=\s)-(?=\s)", " minus "),
    (r"=", " equals "),
    (r"[()]", r" \g<0> "),
    (r"&", " and "),
    (r"(?<=\d)(?=(?:km|cm|mm|kg|mg|lbs?|oz|ft|mi|ml|mph|kph|gb|mb|kb|tb|m|g|l|c|f)\b)", " "),
)
_SIGN_PATTERNS = tuple((re.compile(pattern), replacement) for pattern, replacement in _SIGNS)

_CONTRACTIONS: tuple[tuple[str, str], ...] = (
    (r"\b(what|who|where|when|how|that|it|there|here|let)'s\b", r"\1 is"),
    (r"\b(what|who|where|when|how)'?re\b", r"\1 are"),
    (r"\bwhats\b", "what is"),
    (r"\bthats\b", "that is"),
    (r"\bhows\b", "how is"),
    (r"\bwhos\b", "who is"),
    (r"\bwheres\b", "where is"),
    (r"\bwhens\b", "when is"),
    (r"\bi'm\b", "i am"),
    (r"\byou're\b", "you are"),
    (r"\bi'd\b", "i would"),
    (r"\b(ca)n'?t\b", "can not"),
    (r"\b(do|does|is|are|was|would|could)n't\b", r"\1 not"),
    (r"\bo'?clock\b", "oclock"),
)
_CONTRACTION_PATTERNS = tuple((re.compile(pattern), replacement) for pattern, replacement in _CONTRACTIONS)

# What recognisers and fingers make of the few words the skills depend on.
_MISHEARD = {
    "capitol": "capital",
    "capitols": "capital",
    "capitals": "capital",
    "wensday": "wednesday",
    "febuary": "february",
    "farenheit": "fahrenheit",
    "celcius": "celsius",
    "centigrade": "celsius",
    "kilometre": "kilometer",
    "kilometres": "kilometers",
    "metre": "meter",
    "metres": "meters",
    "centimetre": "centimeter",
    "centimetres": "centimeters",
    "millimetre": "millimeter",
    "millimetres": "millimeters",
    "litre": "liter",
    "litres": "liters",
    "millilitre": "milliliter",
    "millilitres": "milliliters",
    "neighbour": "neighbor",
    "neighbours": "neighbors",
    "neighbouring": "neighboring",
    "xmas": "christmas",
    "tonite": "tonight",
    "hallo": "hello",
    "hullo": "hello",
    "plz": "",
    "pls": "",
    "teh": "the",
}
_KEYWORDS = word_list(
    "capital population currency language languages continent country countries christmas tomorrow yesterday thursday "
    "saturday wednesday february september november december multiplied divided kilometers kilometer fahrenheit "
    "celsius percent seventeen seventy thirteen fourteen hundred thousand million"
)
_KEYWORD_SET = frozenset(_KEYWORDS)
# Real words one slip away from a keyword; they mean themselves.
_KEEP = frozenset(
    word_list("capitol hundreds thousands millions percents centigrade seventh thirteenth fourteenth divide")
)

_GREETING = r"(?:hello|hi|hey|good (?:morning|afternoon|evening|day))(?: there| again| everyone| you)?"
_LEAD_IN = re.compile(
    r"(?:"
    rf"{_GREETING}(?= \w+ \w+)|"
    r"okay|ok|well|so|right|oh|now|alright|all right|look|listen|sorry|excuse me|"
    r"(?:(?:can|could|would|will|do) you )?(?:just |quickly )?(?:tell|remind|inform) (?:me|us)(?: about)?(?! a |"
    r" another )|"
    r"(?:can|could|would|will) you (?:just |quickly )?(?=say|give|calculate|compute|convert|work|figure|add|multiply|"
    r"divide|subtract|name|repeat|tell)|"
    r"(?:do|would) you (?:happen to )?know(?= )|"
    r"i (?:would like|want|need|wanted|would love) (?:to know|you to tell me)|"
    r"i (?:was|am) (?:just )?wondering|i wonder|i have a question|my question is|the question is|"
    r"(?:thank you|thanks|no|yes|yeah|(?:no |but )?i (?:said|mean|meant|asked)(?: you)?)(?= \w+ \w+)|"
    r"let me ask(?: you)?|let us see|you know|if"
    r") "
)
_TAIL = re.compile(
    r" (?:thanks|thank you|thank you very much|for me|exactly|by the way|my friend|if you (?:can|know|would|"
    r"do not mind)|"
    r"again|do you know|can you tell me|right)$"
)
_INDIRECT = re.compile(
    r"(what|which|how much|how many|who|where|when) (?!is |are |was |will |do |does )(.+) (is|are|was)"
)


def fold(text: str) -> str:
    """Lower case ASCII letters without accents; other scripts vanish."""
    decomposed = unicodedata.normalize("NFKD", text.casefold().replace("ø", "o").replace("ł", "l").replace("đ", "d"))
    return decomposed.encode("ascii", "ignore").decode("ascii")


def edit_distance_at_most(first: str, second: str, limit: int) -> bool:
    """Whether two words are within `limit` insertions, deletions, substitutions or swaps of neighbours.

    Optimal string alignment (Damerau 1964, Levenshtein 1966).
    """
    if abs(len(first) - len(second)) > limit:
        return False
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        older, before = before, row
        row = [i]
        for j, b in enumerate(second, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and first[i - 2] == b:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return False
    return row[-1] <= limit


def closest(word: str, names: Iterable[str]) -> str | None:
    """The one name a slip or two away from `word`; None if there is none or more than one.

    One slip from 5 letters on, two from 10 on; the first letter must be right.
    """
    if len(word) < 5:
        return None
    most = 1 if len(word) < 10 else 2
    same_start = [name for name in names if name[:1] == word[:1] and abs(len(name) - len(word)) <= most]
    for limit in range(1, most + 1):
        found = {name for name in same_start if edit_distance_at_most(word, name, limit)}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _correct(word: str) -> str:
    if word in _MISHEARD:
        return _MISHEARD[word]
    if len(word) < 7 or word in _KEYWORD_SET or word in _KEEP:
        return word
    near = [name for name in _KEYWORDS if name[0] == word[0] and edit_distance_at_most(word, name, 1)]
    return near[0] if len(near) == 1 else word


def normalise(text: str) -> str:
    """Plain words separated by single spaces: lower case, no signs, no fillers, misspelt key words set right.

    Numbers stay as they came, in words or in digits. A possessive is a word of its own, "france 's capital", and so is
    each bracket: "( two plus three ) times four".
    """
    plain = unicodedata.normalize("NFC", text[:MAX_CHARS]).lower()
    for pattern, replacement in _SIGN_PATTERNS:
        plain = pattern.sub(replacement, plain)
    plain = fold(plain)
    for pattern, replacement in _CONTRACTION_PATTERNS:
        plain = pattern.sub(replacement, plain)
    plain = re.sub(r"(\w)'s\b", r"\1 's", plain)
    plain = re.sub(r"(?<!\d)\.(?!\d)|(?<=\d)\.(?!\d)|[^\w\s'.()]|_", " ", plain)
    plain = re.sub(r"(?<!\w)'(?!s\b)|(?<=\w)'(?=\s|$)", " ", plain)
    plain = re.sub(r"(?<=[a-z])\.|(?<=\s)\.(?=\D)|\.(?=[a-z])", " ", plain)
    words = (_correct(word) for word in plain.split() if word not in _FILLERS)
    return " ".join(" ".join(words).split())


def strip_politeness(plain: str) -> str:
    """The question without "can you tell me", greetings before it and thanks after it; indirect ones made direct."""
    changed = True
    while changed:
        changed = False
        lead = _LEAD_IN.match(plain)
        if lead:
            plain, changed = plain[lead.end() :], True
        tail = _TAIL.search(plain)
        if tail:
            plain, changed = plain[: tail.start()], True
    plain = re.sub(r"^(what|which) (day|date|time|year|month) it is\b", r"\1 \2 is it", plain)
    plain = re.sub(r"^((?:and |then )?(?:what|who|which)) (?:would|might|could|will) be (?=the )", r"\1 is ", plain)
    indirect = _INDIRECT.fullmatch(plain)
    if indirect:
        # "what the capital of france is", "what time it is"
        question, middle, verb = indirect.groups()
        if middle.endswith(" it"):
            return f"{question} {middle[:-3]} {verb} it"
        if middle.startswith(("the ", "your ", "today ", "a ")) or question in ("how much", "where", "when", "who"):
            return f"{question} {verb} {middle}"
    return plain


def split_sentences(text: str) -> list[str]:
    """A text's sentences, and questions joined by "and"; at least one piece."""
    bounded = text[-3 * MAX_CHARS :]
    pieces = re.split(r"(?<=[^\W\d])[.!?]+\s+|[?!]+\s*|(?<=\d)\.\s+|\s*\n+\s*", bounded)
    result: list[str] = []
    for piece in pieces:
        result += re.split(r",?\s+and\s+(?=(?:what|how|who|when|where|which)\b)", piece, flags=re.IGNORECASE)
    return [piece for piece in (part.strip() for part in result) if piece] or [bounded]
