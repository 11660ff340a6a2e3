"""The question language model on disk: made once, cached, with a dictionary cut to its words.

The cut dictionary is what makes the decoder small: it loads in 20 ms instead of 2 s and adds 20 MB instead of 45.
"""

import contextlib
import hashlib
import importlib.util
import inspect
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kame_core.errors import UnavailableError
from kame_core.stt import ngram, question_slots, questions
from kame_core.stt.ngram import TrigramModel

_FOLDER = "kame-voice"
_KEPT_S = 14 * 86_400.0
"""Models of other versions, which another checkout may still use, are kept so long."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A language model and its dictionary, as pocketsphinx reads them."""

    language_model: Path
    """ARPA trigrams."""
    dictionary: Path
    """CMU dictionary format, all pronunciation variants of the model's words."""


def acoustic_model_folder() -> Path:
    """The US English model in the pocketsphinx wheel, found without importing it.

    Raises:
        UnavailableError: the package or its model is missing.
    """
    spec = importlib.util.find_spec("pocketsphinx")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "model" / "en-us"
        if (folder / "cmudict-en-us.dict").is_file():
            return folder
    raise UnavailableError("Speech-to-text needs the package pocketsphinx with its US English model; install it again.")


def question_model(cache_folder: Path | None = None) -> ModelFiles:
    """The question model's files, made now if they are not in the cache (half a second).

    Args:
        cache_folder: where to keep them; None: the user's cache folder, or the system's temporary one where that
            cannot be written.

    Raises:
        UnavailableError: pocketsphinx's dictionary is missing, or no folder can be written.
    """
    pronunciations_path = acoustic_model_folder() / "cmudict-en-us.dict"
    name = f"questions-{_content_key(pronunciations_path)}"
    folders = [cache_folder] if cache_folder is not None else _cache_folders()
    for folder in folders:
        files = ModelFiles(folder / f"{name}.lm", folder / f"{name}.dict")
        if _is_ours(folder) and files.language_model.is_file() and files.dictionary.is_file():
            return files
    reason: OSError | None = None
    for folder in folders:
        try:
            files = _build(folder, name, pronunciations_path)
            _remove_old(folder, name)
            return files
        except OSError as error:
            reason = error
    raise UnavailableError(
        f"The speech recogniser's question model cannot be stored: {reason}. Make a cache folder writable."
    ) from reason


def _cache_folders() -> list[Path]:
    folders = []
    with contextlib.suppress(RuntimeError):  # no home at all
        folders.append(Path.home() / ".cache" / _FOLDER)
    user = os.getuid() if hasattr(os, "getuid") else "user"
    with contextlib.suppress(FileNotFoundError):  # a read-only file system; the files may lie at home already
        folders.append(Path(tempfile.gettempdir()) / f"{_FOLDER}-{user}")
    return folders


def _content_key(pronunciations_path: Path) -> str:
    """Changes whenever the files would: with the templates, the way of counting, or the dictionary."""
    digest = hashlib.sha256()
    for module in (questions, question_slots, ngram):
        digest.update(inspect.getsource(module).encode())
    digest.update(str(pronunciations_path.stat().st_size).encode())
    return digest.hexdigest()[:16]


def _is_ours(folder: Path) -> bool:
    """Whether nobody else could have put files there: the temporary folder is open to all users."""
    try:
        return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
    except OSError:
        return False


def _build(folder: Path, name: str, pronunciations_path: Path) -> ModelFiles:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_ours(folder):
        raise PermissionError(f"{folder} belongs to somebody else")
    pronunciations = _read_dictionary(pronunciations_path)
    model = TrigramModel(questions.question_templates(pronunciations.has))
    files = ModelFiles(folder / f"{name}.lm", folder / f"{name}.dict")
    with _replacing(files.dictionary) as path, path.open("w", encoding="utf-8") as file:
        for word in model.words:
            file.writelines(f"{variant} {phones}\n" for variant, phones in pronunciations[word])
    with _replacing(files.language_model) as path, path.open("w", encoding="utf-8") as file:
        model.write(file)
    return files


def _remove_old(folder: Path, name: str) -> None:
    """Remove models of other versions that nobody made lately."""
    for path in folder.glob("questions-*"):
        with contextlib.suppress(OSError):
            if not path.name.startswith(name) and time.time() - path.stat().st_mtime > _KEPT_S:
                path.unlink()


class _Pronunciations(dict[str, list[tuple[str, str]]]):
    """Word to its variants ("read", "read(2)") with their phones; makes the possessive of any word it knows."""

    def __missing__(self, word: str) -> list[tuple[str, str]]:
        owner = word.removesuffix("'s")
        if owner == word or owner not in self:
            raise KeyError(word)
        return [(word, f"{self[owner][0][1]} {_possessive(owner)}")]

    def has(self, word: str) -> bool:
        return word in self or (word.endswith("'s") and word.removesuffix("'s") in self)


def _read_dictionary(path: Path) -> _Pronunciations:
    pronunciations = _Pronunciations({word: [(word, phones)] for word, phones in question_slots.PRONUNCIATIONS.items()})
    with path.open(encoding="utf-8") as file:
        for line in file:
            variant, _, phones = line.strip().partition(" ")
            word = variant.partition("(")[0]
            pronunciations.setdefault(word, []).append((variant, phones))
    return pronunciations


def _possessive(word: str) -> str:
    return "IH Z" if word.endswith(("sh", "ch", "x", "z", "ce", "ge")) else "S" if word[-1] in "ptkf" else "Z"


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A new file that takes the name only when complete: several processes may build at once."""
    descriptor, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    os.close(descriptor)
    unfinished = Path(name)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


__all__ = ["ModelFiles", "acoustic_model_folder", "question_model"]
