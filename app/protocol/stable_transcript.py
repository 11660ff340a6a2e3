"""From transcripts that are rewritten as they grow to deltas that are only ever appended.

A word is taken as settled when two transcripts in a row agree on it and on all before it (the LocalAgreement-2 rule of
Liu et al., "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection",
Interspeech 2020).
"""

import unicodedata


class StableTranscript:
    """One turn's transcript. The deltas it gave, joined, are always a prefix of some transcript it was given."""

    def __init__(self) -> None:
        self._previous = ""
        self._sent = ""

    def partial(self, text: str) -> str:
        """Take in the whole text so far; returns what can be appended now, often nothing."""
        stable = text[: agreed_length(self._previous, text)]
        self._previous = text
        return self._advance(stable)

    def final(self, text: str) -> str:
        """Take in the final text; returns the rest, or nothing if what was sent turned out wrong."""
        return self._advance(text)

    def _advance(self, stable: str) -> str:
        if not stable.startswith(self._sent):
            return ""
        delta = stable[len(self._sent) :]
        self._sent = stable
        return delta


def agreed_length(one: str, other: str) -> int:
    """Length of the longest common prefix that ends between words in both texts."""
    common = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        common += 1
    while common and not (_ends_word(one, common) and _ends_word(other, common)):
        common -= 1
    return common


def _ends_word(text: str, place: int) -> bool:
    if place >= len(text):
        return True
    before, after = text[place - 1], text[place]
    if unicodedata.category(after).startswith("M"):
        return False
    return not (_in_word(before) and _in_word(after)) or _stands_alone(before)


def _in_word(character: str) -> bool:
    return character.isalnum() or character in "'’-" or unicodedata.category(character).startswith("M")


def _stands_alone(character: str) -> bool:
    """Han and kana: scripts without spaces, where every character is a piece of its own."""
    return "\u3040" <= character <= "\u30ff" or "\u3400" <= character <= "\u9fff" or character >= "\U00020000"
