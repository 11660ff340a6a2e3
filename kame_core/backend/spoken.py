"""Streaming text filters: from what a chat model writes to what can be said.

Both are fed deltas cut anywhere and give the same text however they were cut.
"""

import re
import unicodedata

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


class MarkupFilter:
    """Takes out what no voice can say: emphasis and code marks, headings, bullets, emoji.

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
        return "".join(map(self._take, delta))

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


def _is_pictogram(char: str) -> bool:
    if char in "\ufe0f\u20e3":
        return True
    return char >= "\u2190" and unicodedata.category(char) in {"So", "Sk", "Cs"}
