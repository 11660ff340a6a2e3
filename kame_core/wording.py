"""Does an English sentence sound finished? Word lists, and what follows two words in general English.

pocketsphinx's wheel carries a trigram model of US English, in which the end of a sentence is a word like any other.
How likely an end is after the last two words tells unfinished ones ("our company makes", "a large") that no list
names. It knows nothing of the rest of the sentence, so it makes nothing finished that the lists do not.
"""

import math
from typing import TYPE_CHECKING

from kame_core.errors import UnavailableError
from kame_core.phrasing import Ending, ending_of, words_of
from kame_core.stt.question_model import acoustic_model_folder

if TYPE_CHECKING:
    from pathlib import Path

_END = "</s>"
_KNOWN_WORDS = 4
"""So many of the last words have to be in the model: else this may be another language, or names."""
_OPEN_LOG10 = -1.2
"""Sentences end less often than this after their last two words in one case of ten, unfinished ones in every third."""


class EnglishWording:
    """Reads the end of a partial transcript; a callable like `phrasing.ending_of`. Loading takes 0.2 s and 35 MB.

    Args:
        path: a language model file that pocketsphinx reads, lower case, with `</s>`; None: the wheel's.

    Raises:
        UnavailableError: pocketsphinx or its model is missing.
    """

    def __init__(self, path: "Path | None" = None) -> None:
        file = path or acoustic_model_folder() / "en-us.lm.bin"
        try:
            import pocketsphinx

            self._log = pocketsphinx.LogMath()
            self._model = pocketsphinx.NGramModel(pocketsphinx.Config(), self._log, str(file))
        except (ImportError, ValueError, RuntimeError) as error:
            raise UnavailableError(
                f"The language model {file.name} cannot be loaded. Install pocketsphinx again."
            ) from error

    def __call__(self, text: str) -> Ending:
        """How the words end."""
        ending = ending_of(text)
        if ending is Ending.OPEN or self._likelihood(words_of(text)) >= _OPEN_LOG10:
            return ending
        return Ending.OPEN if ending is Ending.UNKNOWN else Ending.UNKNOWN

    def _likelihood(self, words: list[str]) -> float:
        """Logarithm (base 10) of how likely the sentence ends here; 0 where that cannot be told."""
        if len(words) < 2 or any(self._probability([word]) == 0.0 for word in words[-_KNOWN_WORDS:]):
            return 0.0
        probability = self._probability([_END, words[-1], words[-2]])
        return math.log10(probability) if probability > 0.0 else 0.0

    def _probability(self, newest_first: list[str]) -> float:
        return float(self._log.exp(self._model.prob(newest_first)))
