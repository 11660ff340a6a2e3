"""Text to tokens and back, with the checkpoint's own SentencePiece model (Kudo & Richardson 2018, arXiv 1808.06226)."""

import codecs
from pathlib import Path

import sentencepiece

from kame_core.frontend.moshi.config import CheckpointError

_WORD_START = "▁"


class MoshiTokenizer:
    """A checkpoint's text vocabulary; a `TextTokenizer` for `OracleCursor`.

    Args:
        path: of the SentencePiece model.

    Raises:
        CheckpointError: it is missing, or no SentencePiece model.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
            self.size: int = self._model.get_piece_size()
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"{path.name} is not a SentencePiece model. Fetch it again.") from error
        if not self.size:
            raise CheckpointError(f"{path.name} is an empty SentencePiece model. Fetch it again.")
        self._bytes = {token: self._byte(token) for token in range(self.size) if self._model.is_byte(token)}
        self._silent = frozenset(
            token
            for token in range(self.size)
            if self._model.is_control(token) or self._model.is_unknown(token) or self._model.is_unused(token)
        )

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` as in training: encoded as a whole, white space of any kind and length as one space.

        Signs the vocabulary has no token for are left out; the ids of its marks (unknown, end, padding) mean other
        things to the model. Where `text` is cut after a complete word the ids are the first of the whole text's.
        """
        return [token for token in self._model.encode(" ".join(text.split())) if token not in self._silent]

    def piece(self, token: int) -> str | bytes:
        """The text of one token, a space first where a word starts; bytes for a part of a character.

        Empty for marks, paddings and ids outside the vocabulary.
        """
        if token in self._bytes:
            return self._bytes[token]
        if not 0 <= token < self.size or token in self._silent:
            return ""
        return str(self._model.id_to_piece(token)).replace(_WORD_START, " ")

    def _byte(self, token: int) -> bytes:
        return bytes([int(self._model.id_to_piece(token)[3:-1], 16)])  # <0x41>


class TextStream:
    """The inner monologue of one slot as text: tokens in, characters out as soon as they are whole.

    Characters the vocabulary lacks come as several byte tokens, perhaps with paddings between them; they are joined.
    What never becomes a character is left out.
    """

    def __init__(self, tokenizer: MoshiTokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="ignore")

    def push(self, token: int) -> str:
        """The text this token adds: mostly a piece of a word, with a space before it where a word starts."""
        piece = self._tokenizer.piece(token)
        if isinstance(piece, bytes):
            return self._utf8.decode(piece)
        if piece:
            self.reset()
        return piece

    def reset(self) -> None:
        """Forget the beginning of a character that will not be completed."""
        self._utf8.reset()
