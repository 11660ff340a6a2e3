"""What of a text a voice says: its speakable characters, words, pieces, and the pause that follows it."""

import re
import unicodedata

from kame_core.audio import SAMPLE_RATE_HZ
from kame_core.scripts import CLAUSE_END, SENTENCE_END

_SENTENCE_PAUSE_SAMPLES = SAMPLE_RATE_HZ * 250 // 1000
_COMMA_PAUSE_SAMPLES = SAMPLE_RATE_HZ * 120 // 1000
_PIECE_CHARS = 160
_LONGEST_PIECE_CHARS = 400

_ABBREVIATION = re.compile(r"\b(?:Dr|Mr|Mrs|Ms|Prof|St|Jr|Sr|vs|No)\.(?=\s+[\w$£€])")
_TIMES = re.compile(r"(?<=\d)(\s*)\*(?=\s*\d)")
_MARKUP = re.compile(r"[*_`~|\\^{}\[\]]|#(?!\d)")
_SENTENCE_END = re.compile(rf"[{SENTENCE_END}]+[\"'”’)\]]*\s+")
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(_[A-Za-z]{2})?(-[A-Za-z0-9]{1,8})*")
_CLOSING = "\"'”’)]"


def speakable(text: str) -> str:
    """The text with what should not be read aloud blanked out; as long as the text, so that positions stay valid."""
    text = _ABBREVIATION.sub(lambda match: match[0][:-1] + " ", text)
    text = _TIMES.sub(r"\1×", text)
    text = _MARKUP.sub(" ", text)
    return "".join(_speakable_character(character) for character in text)


def _speakable_character(character: str) -> str:
    if character in "’‘":
        return "'"
    category = unicodedata.category(character)
    # symbols without a reading (emoji, arrows), their joiners and variation selectors, control and private characters
    if category in ("So", "Sk", "Cc", "Cf", "Co", "Cs") and character not in "°©®™":
        return " "
    return " " if "\ufe00" <= character <= "\ufe0f" else character


def split_pieces(text: str) -> list[tuple[int, int]]:
    """Spans of a long text, cut at sentence ends (else at spaces), so that each is synthesised in a moment."""
    spans: list[tuple[int, int]] = []
    start = 0
    while len(text) - start > _PIECE_CHARS:
        ends = [match.end() for match in _SENTENCE_END.finditer(text, start)]
        near = [end for end in ends if _PIECE_CHARS // 2 <= end - start <= _LONGEST_PIECE_CHARS]
        end = near[0] if near else -1
        if end < 0:
            if len(text) - start <= _LONGEST_PIECE_CHARS:
                break
            space = text.rfind(" ", start + _PIECE_CHARS, start + _LONGEST_PIECE_CHARS)
            end = space + 1 if space >= 0 else start + _LONGEST_PIECE_CHARS
        spans.append((start, end))
        start = end
    if start < len(text):
        spans.append((start, len(text)))
    return spans


def word_spans(text: str) -> list[tuple[int, int]]:
    """The words between spaces, each with its punctuation; punctuation standing alone belongs to the word before it."""
    spans: list[tuple[int, int]] = []
    for match in re.finditer(r"\S+", text):
        spoken = any(character.isalnum() or unicodedata.category(character) in ("Sm", "Sc") for character in match[0])
        if spoken or match[0] in ("&", "%", "@", "#") or not spans:
            spans.append(match.span())
        else:
            spans[-1] = (spans[-1][0], match.end())
    return spans


def pause_samples(text: str) -> int:
    """How long a voice is silent after a text, by its last punctuation mark, in samples at 24 kHz."""
    last = text.rstrip().rstrip(_CLOSING)[-1:]
    if last and last in SENTENCE_END:
        return _SENTENCE_PAUSE_SAMPLES
    return _COMMA_PAUSE_SAMPLES if last and last in CLAUSE_END else 0


def is_language_tag(voice: str) -> bool:
    """A voice's name that may be a language ("de", "pt-BR"): whoever has no voice of that name takes a default.

    Names such as "ash" may be, too; "af_heart" is none.
    """
    return bool(_LANGUAGE_TAG.fullmatch(voice))
