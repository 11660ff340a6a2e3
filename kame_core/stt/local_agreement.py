"""Steady text from a recogniser that reads the same growing sound again and again."""

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher

_NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Thai, Lao, Burmese, Khmer, kana, Han: written without spaces, so one character is a unit."""
_UNIT = re.compile(rf"\s*(?:[{_NO_SPACES}]|[^\W{_NO_SPACES}]+(?:['’.,:/-][^\W{_NO_SPACES}]+)*|[^\w\s])")


class LocalAgreement:
    """Steady text from successive readings of a growing sound.

    Words with which two successive readings go on alike are stable and never change again; after them comes the rest of
    the newest reading (LocalAgreement-2: Liu et al. 2020, https://arxiv.org/abs/2005.11185). A full stop at the end
    of a reading is only the end of the sound, so it never becomes stable there.
    """

    def __init__(self) -> None:
        self._stable: list[str] = []
        self._tail: list[str] = []

    @property
    def stable(self) -> str:
        """What every later text begins with, until `settle`."""
        return "".join(self._stable).lstrip()

    @property
    def text(self) -> str:
        """The stable words and the newest reading's rest."""
        return "".join(self._stable + self._tail).lstrip()

    def push(self, reading: str) -> str:
        """A newer reading of the whole sound; returns `text`."""
        units = _UNIT.findall(reading)
        tail = units[_goes_on_at(self._stable, units) :]
        agreed = 0
        for older, newer in zip(self._tail, tail, strict=False):
            if _key(older) != _key(newer):
                break
            agreed += 1
        if agreed == len(tail):
            agreed = _without_last_punctuation(tail)
        self._stable += tail[:agreed]
        self._tail = tail[agreed:]
        return self.text

    def settle(self, reading: str, *, clipped: bool = False) -> str:
        """The best reading of all sound; agreement begins anew with it. Returns the text.

        Args:
            clipped: the sound's beginning is no longer in the reading; the stable words before it are kept.
        """
        units = _UNIT.findall(reading)
        if clipped:
            older, newer = [_key(unit) for unit in self._stable], [_key(unit) for unit in units]
            match = SequenceMatcher(None, older, newer, autojunk=False).find_longest_match()
            if match.size:
                units = self._stable[: match.a] + units[match.b :]
        certain = _without_last_punctuation(units) if clipped else 0
        self._stable, self._tail = units[:certain], units[certain:]
        return self.text


def _goes_on_at(stable: Sequence[str], units: Sequence[str]) -> int:
    """Index in `units` of what follows the stable words, which a newer reading may spell or cut differently."""
    older, newer = [_key(unit) for unit in stable], [_key(unit) for unit in units]
    if newer[: len(older)] == older:
        return len(older)
    blocks = SequenceMatcher(None, older, newer, autojunk=False).get_matching_blocks()[:-1]
    if not blocks:
        return min(len(older), len(newer))
    last = blocks[-1]
    unmatched = [unit for unit in older[last.a + last.size :] if not _is_punctuation(unit)]
    return min(last.b + last.size + len(unmatched), len(newer))


def _key(unit: str) -> str:
    return unit.strip().casefold()


def _without_last_punctuation(units: Sequence[str]) -> int:
    """How many units there are up to the last word."""
    return next((at for at in range(len(units), 0, -1) if not _is_punctuation(units[at - 1])), 0)


def _is_punctuation(unit: str) -> bool:
    return all(unicodedata.category(character)[0] == "P" for character in unit.strip())
