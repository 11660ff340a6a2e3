"""What is left of an answer that was cut off by a sound that was no interruption."""

import re

_COMPARED_WORDS = 5
_REPEATED_WORDS = 3
"""The last words before the cut sounded low, under the user's voice."""
_SENTENCE_END = re.compile(r"[.!?…][\"')\]]*$")


def unsaid(answer: str, heard: str, *, whole: bool = True) -> str:
    """The rest of `answer` after what was `heard` of it; empty: nothing, or it cannot be told.

    Args:
        heard: ends with words of the answer; an opener may come first.
        whole: the answer had been written to its end; else only whole sentences of it are worth saying.
    """
    words, said = answer.split(), heard.split()
    at = next((at for at in range(min(len(words), len(said)), 0, -1) if _meet(words[:at], said)), None)
    if at is None or at == len(words):
        return ""
    begin = at
    while begin > max(0, at - _REPEATED_WORDS) and not _SENTENCE_END.search(words[begin - 1]):
        begin -= 1
    end = len(words)
    while not whole and end > begin and not _SENTENCE_END.search(words[end - 1]):
        end -= 1
    return " ".join(words[begin:end])


def _meet(words: list[str], said: list[str]) -> bool:
    compared = min(len(words), len(said), _COMPARED_WORDS)
    return compared > 0 and words[-compared:] == said[-compared:]
