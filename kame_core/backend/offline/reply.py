"""What a skill of the offline responder hands back."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Reply:
    """A spoken answer and what a follow-up may build on."""

    text: str
    """Words, periods and commas only; at most 30 words."""
    sure: bool = True
    """The question was understood whole. False: an honest request to say it again."""
    value: Fraction | None = None
    """Result of a calculation, for "and plus four"."""
    templates: tuple[str, ...] = ()
    """The question with `{}` where "and of Spain" puts another word."""


Skill = Callable[[str], Reply | None]
"""Takes a normalised question (`wording.normalise`), returns None when it is not this skill's."""


def sentence(text: str) -> str:
    """The text with a capital first letter and a closing period."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def join_list(items: list[str]) -> str:
    """Items as they are listed in speech: "a, b and c"."""
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def count_words(text: str) -> int:
    """Number of words separated by spaces."""
    return len(text.split())
