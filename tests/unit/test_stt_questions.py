import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from kame_core.errors import UnavailableError
from kame_core.stt import question_model as module
from kame_core.stt.question_model import ModelFiles, acoustic_model_folder, question_model
from kame_core.stt.question_slots import PRONUNCIATIONS, number_words, spoken
from kame_core.stt.questions import question_templates
from tests.support.spoken_questions import FORESEEN


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return question_model(tmp_path_factory.mktemp("model"))


def words_of(dictionary: Path) -> dict[str, str]:
    """Dictionary entries to phones."""
    return dict(line.split(" ", 1) for line in dictionary.read_text().splitlines())


def unigrams(language_model: Path) -> set[str]:
    text = language_model.read_text()
    return {line.split()[1] for line in text.split("\\1-grams:")[1].split("\\2-grams:")[0].splitlines() if line}


def known_to_the_package() -> set[str]:
    with (acoustic_model_folder() / "cmudict-en-us.dict").open() as file:
        return {line.split()[0].partition("(")[0] for line in file}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety nine"),
        (100, "one hundred"),
        (142, "one hundred and forty two"),
        (2000, "two thousand"),
        (2350, "two thousand three hundred and fifty"),
    ],
)
def test_numbers_are_spoken_as_words(number: int, words: str) -> None:
    assert number_words(number) == words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Côte d'Ivoire", "cote d'ivoire"),
        ("St. Lucia", "saint lucia"),
        ("Guinea-Bissau", "guinea bissau"),
        ("Trinidad & Tobago", "trinidad and tobago"),
        ("Saint Kitts  and Nevis ", "saint kitts and nevis"),
    ],
)
def test_names_become_dictionary_words(name: str, words: str) -> None:
    assert spoken(name) == words


def test_what_the_responder_is_asked_most_is_foreseen() -> None:
    templates = question_templates(lambda word: True)
    for question in FORESEEN:
        assert any(template.accepts(question.split()) for template in templates), question


def test_names_without_a_pronunciation_are_left_out() -> None:
    def asked(templates: Sequence[object], question: str) -> bool:
        return any(template.accepts(question.split()) for template in templates)  # type: ignore[attr-defined]

    everything = question_templates(lambda word: True)
    without = question_templates(lambda word: word != "brazil")
    assert asked(everything, "what is the capital of brazil")
    assert not asked(without, "what is the capital of brazil")
    assert asked(without, "what is the capital of peru")


def test_the_dictionary_holds_exactly_the_models_words(files: ModelFiles) -> None:
    entries = words_of(files.dictionary)
    assert {word.partition("(")[0] for word in entries} == unigrams(files.language_model) - {"<s>", "</s>"}
    assert all(phones.strip() for phones in entries.values())


def test_most_of_the_worlds_countries_can_be_asked_for(files: ModelFiles) -> None:
    text = files.language_model.read_text()
    for name in ("france", "kazakhstan", "the netherlands", "new zealand", "czechia", "nauru", "eswatini"):
        last = name.split()[-1]
        assert f" {last} " in text, name
    assert "japan's" in words_of(files.dictionary)


def test_own_pronunciations_are_of_words_the_package_lacks_in_its_phones() -> None:
    known = known_to_the_package()
    phones = {
        phone
        for line in (acoustic_model_folder() / "cmudict-en-us.dict").read_text().splitlines()[:5000]
        for phone in line.split()[1:]
    }
    for word, pronunciation in PRONUNCIATIONS.items():
        assert word not in known, word
        assert set(pronunciation.split()) <= phones, word


def test_a_possessive_ends_as_it_is_spoken(files: ModelFiles) -> None:
    entries = words_of(files.dictionary)
    assert entries["egypt's"].endswith(" S")
    assert entries["japan's"].endswith(" Z")


def test_the_model_is_made_once_and_completely(tmp_path: Path) -> None:
    first = question_model(tmp_path)
    stamp = first.language_model.stat().st_mtime_ns
    assert question_model(tmp_path) == first
    assert first.language_model.stat().st_mtime_ns == stamp
    assert {path.name for path in tmp_path.iterdir()} == {first.language_model.name, first.dictionary.name}


def test_models_of_other_versions_are_removed_when_old(tmp_path: Path) -> None:
    old, young, foreign = (tmp_path / name for name in ("questions-0123.lm", "questions-4567.lm", "notes.txt"))
    for path in (old, young, foreign):
        path.touch()
    for path in (old, foreign):
        os.utime(path, (0.0, 0.0))
    question_model(tmp_path)
    assert not old.exists()
    assert young.exists()
    assert foreign.exists()


def test_several_at_once_make_the_same_model(tmp_path: Path) -> None:
    results: list[ModelFiles] = []
    threads = [threading.Thread(target=lambda: results.append(question_model(tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1
    assert len(list(tmp_path.iterdir())) == 2
    assert results[0].language_model.read_text().rstrip().endswith("\\end\\")


def test_where_the_home_cannot_be_written_the_temporary_folder_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "home" / ".cache"
    blocked.parent.mkdir()
    blocked.write_text("a file where the folder would be")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(Path, "home", lambda: blocked.parent)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(temporary))
    files = question_model()
    assert files.language_model.is_relative_to(temporary)
    assert files.language_model.parent.stat().st_mode & 0o077 == 0


def test_on_a_read_only_file_system_what_lies_at_home_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("no usable temporary directory")

    made = question_model()
    shutil.copytree(made.language_model.parent, tmp_path / ".cache" / module._FOLDER)
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(module, "_build", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert question_model().language_model.is_relative_to(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(Path, "home", lambda: Path("/dev/null"))
    with pytest.raises(UnavailableError, match="cache folder"):
        question_model()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users are told apart on POSIX only")
def test_files_of_another_user_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question_model(tmp_path)
    monkeypatch.setattr(module, "_is_ours", lambda folder: False)
    with pytest.raises(UnavailableError, match="cache folder"):
        question_model(tmp_path)
