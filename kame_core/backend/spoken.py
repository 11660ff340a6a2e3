"""Streaming text filters: from what a chat model writes to what can be said.

All are fed deltas cut anywhere and give the same text however they were cut.
"""

import re
import unicodedata

from kame_core.languages import language_of
from kame_core.scripts import IDEOGRAPHIC_MARKS, UNSPACED

_REASONING_TAGS = ("think", "thinking", "reasoning", "thought")
_TAG = re.compile(rf"<(/?)({'|'.join(_REASONING_TAGS)})>", re.IGNORECASE)
_LONGEST_TAG = max(len(f"</{tag}>") for tag in _REASONING_TAGS)


class ReasoningFilter:
    """Takes out what reasoning models write between `<think>` and `</think>` before they answer.

    Text in which no block is closed again is all reasoning. A closing tag without an opening one is dropped.
    """

    def __init__(self) -> None:
        self._held = ""
        self._inside = False

    def feed(self, delta: str) -> str:
        """What of the text so far is certain to be answer."""
        text = self._held + delta
        answer = []
        position = 0
        for tag in _TAG.finditer(text):
            if not self._inside:
                answer.append(text[position : tag.start()])
            self._inside = not tag.group(1)
            position = tag.end()
        rest = text[position:]
        begun = rest.rfind("<")
        if begun >= 0 and len(rest) - begun < _LONGEST_TAG and ">" not in rest[begun:]:
            rest, self._held = rest[:begun], rest[begun:]
        else:
            self._held = ""
        if not self._inside:
            answer.append(rest)
        return "".join(answer)

    def finish(self) -> str:
        """What was held back as a possible tag."""
        held, self._held = self._held, ""
        return "" if self._inside else held


_FENCE = "```"
_ADDRESS_STARTS = ("https://", "http://", "www.")
_LINK = re.compile(r"!?\[([^\]\n]{0,200})\]\([^)\s]{0,500}\)")
_OPEN_LINK = re.compile(r"!?\[[^\]\n]{0,200}(?:\](?:\([^)\s]{0,500})?)?\Z|!\Z")
_NO_ADDRESS = rf"\s<>()\[\]\"`“”‘’…{UNSPACED}{IDEOGRAPHIC_MARKS}"
"""What ends an address: in writing without spaces the text goes on at once, and a host in such writing is said."""
_ADDRESS = re.compile(rf"(?:https?://|www\.)(?:[^{_NO_ADDRESS}]{{1,500}}|(?=[{UNSPACED}]))", re.IGNORECASE)
_OPEN_ADDRESS = re.compile(rf"(?:https?://|www\.)[^{_NO_ADDRESS}]{{0,500}}\Z", re.IGNORECASE)
_HOST = re.compile(r"(?:https?://)?(?:www\.)?([^\s/?#:]*)", re.IGNORECASE)
_AFTER_ADDRESS = ".,;:!?'*_"
_NO_CODE = {
    "de": "Den Code lasse ich hier weg.",
    "en": "I leave the code out here.",
    "es": "Aquí omito el código.",
    "fr": "Ici, j'omets le code.",
    "it": "Qui tralascio il codice.",
    "nl": "De code laat ik hier weg.",
    "pt": "Aqui deixo o código de fora.",
}


class EyesOnlyFilter:
    """Makes sayable what is meant for eyes: of a web address the host remains, of a link its words, of a block of code
    a remark that it is left out, in the language of the words before it (in languages without one, nothing).
    """

    def __init__(self) -> None:
        self._held = ""
        self._said = ""
        self._inside = False
        self._remarked = False

    def feed(self, delta: str) -> str:
        """What of the text so far is certain."""
        return self._pass_on(self._held + delta, last=False)

    def finish(self) -> str:
        """What was held back, for it could have been the beginning of something."""
        return self._pass_on(self._held, last=True)

    def _pass_on(self, text: str, *, last: bool) -> str:
        said = []
        while True:
            place = text.find(_FENCE)
            part = text if place < 0 else text[:place]
            if self._inside:
                keep = 0 if last or place >= 0 else _begun(part, _FENCE)
                self._held = part[len(part) - keep :]
            else:
                keep = 0 if last or place >= 0 else _undecided(part)
                said.append(self._say(part[: len(part) - keep]))
                self._held = part[len(part) - keep :]
            if place < 0:
                return "".join(said)
            text = text[place + len(_FENCE) :]
            self._inside = not self._inside
            if self._inside:
                said.append(self._remark())

    def _say(self, text: str) -> str:
        self._said = (self._said + text)[-500:]
        return _ADDRESS.sub(_host_of, _LINK.sub(r"\1", text))

    def _remark(self) -> str:
        if self._remarked:
            return " "
        self._remarked = True
        remark = _NO_CODE.get(language_of(self._said) or "en", "")
        return f" {remark} " if remark else " "


def _undecided(text: str) -> int:
    """How many characters at the end may be the beginning of what is not said as it is written."""
    link, address = _OPEN_LINK.search(text), _OPEN_ADDRESS.search(text)
    begun = max(_begun(text, start) for start in (_FENCE, *_ADDRESS_STARTS))
    starts = [len(text) - begun, *(found.start() for found in (link, address) if found is not None)]
    return len(text) - min(starts)


def _begun(text: str, whole: str) -> int:
    """The length of the beginning of `whole` with which a text ends."""
    lower = text.lower()
    return next((size for size in range(len(whole) - 1, 0, -1) if lower.endswith(whole[:size])), 0)


def _host_of(address: re.Match[str]) -> str:
    written = address[0]
    kept = written.rstrip(_AFTER_ADDRESS)
    host = _HOST.match(kept)
    return (host[1] if host else "") + written[len(kept) :]


class MarkupFilter:
    """Takes out what no voice can say: emphasis and code marks, headings, bullets, emoji. Spells out units ("㎡").

    White space before the first word goes too. Signs that mean something stay: "3 * 4", "-5", "#1", "snake_case".
    """

    def __init__(self) -> None:
        self._marks = ""
        """A run of one mark character whose meaning hangs on what follows."""
        self._before = "\n"
        """The character before it."""
        self._line_start = True
        self._begun = False

    def feed(self, delta: str) -> str:
        """The text that can be said so far."""
        return "".join(map(self._take, _UNIT.sub(_spelt_out, delta)))

    def finish(self) -> str:
        """What was held back as possible markup: marks at the end mean nothing."""
        self._marks = ""
        return ""

    def _take(self, char: str) -> str:
        if char == "`" or _is_pictogram(char):
            return ""
        if self._marks and char == self._marks[0]:
            self._marks += char
            return ""
        kept = self._resolve(char)
        if char in "*_" or (self._line_start and char in "#>•-–"):
            self._marks = char
        else:
            kept += char
            self._before = char
            self._line_start = char == "\n" or (self._line_start and char.isspace())
        if not self._begun:
            kept = kept.lstrip()
            self._begun = bool(kept)
        return kept

    def _resolve(self, after: str) -> str:
        """Of the held marks, what means something before `after`."""
        marks, self._marks = self._marks, ""
        if not marks:
            return ""
        if self._line_start and after.isspace():
            return ""  # a bullet or heading
        if marks[0] == "*":
            means = len(marks) == 1 and (
                (self._before.isspace() and after.isspace()) or (self._before.isdigit() and after.isdigit())
            )
        elif marks[0] == "_":
            means = self._before.isalnum() and after.isalnum()
        else:
            means = True
        if means:
            self._before, self._line_start = marks[-1], False
        return marks if means else ""


class SpokenFilter:
    """All of them: from what the model writes to what is said."""

    def __init__(self) -> None:
        self._reasoning, self._eyes_only, self._markup = ReasoningFilter(), EyesOnlyFilter(), MarkupFilter()

    def feed(self, delta: str) -> str:
        """What of the text so far is certain."""
        return self._markup.feed(self._eyes_only.feed(self._reasoning.feed(delta)))

    def finish(self) -> str:
        """What was held back."""
        rest = self._eyes_only.feed(self._reasoning.finish()) + self._eyes_only.finish()
        return self._markup.feed(rest) + self._markup.finish()


_UNIT = re.compile("[℃℉\u3300-\u33ff]")


def _spelt_out(unit: re.Match[str]) -> str:
    """A unit that is one character as the letters it stands for: voices do not know it."""
    letters = unicodedata.decomposition(unit[0]).split()[1:]
    return "".join(chr(int(letter, 16)) for letter in letters)


def _is_pictogram(char: str) -> bool:
    if char in "\ufe0f\u20e3":
        return True
    return char >= "\u2190" and unicodedata.category(char) in {"So", "Sk", "Cs"}
