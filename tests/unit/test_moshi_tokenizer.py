"""Text to tokens and back: whole words for the oracle, whole characters for captions."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kame_core.frontend.base import OracleAdopt, OracleFinish, OracleText
from kame_core.frontend.moshi.config import CheckpointError
from kame_core.frontend.moshi.tokenizer import MoshiTokenizer, TextStream
from kame_core.oracle_cursors import OracleCursor
from tests.support.tiny_moshi import PAD_ID, TEXT_CARD, build_tokenizer

START_ID = 777
ANSWER = "Paris is the capital of France; about 2,100,000 people live there, isn't that a lot?"


def load(folder: Path, *, byte_fallback: bool) -> MoshiTokenizer:
    path = folder / "words.model"
    path.write_bytes(build_tokenizer(byte_fallback=byte_fallback))
    return MoshiTokenizer(path)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> MoshiTokenizer:
    return load(tmp_path_factory.mktemp("plain"), byte_fallback=False)


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory: pytest.TempPathFactory) -> MoshiTokenizer:
    """Knows every character, as bytes."""
    return load(tmp_path_factory.mktemp("bytes"), byte_fallback=True)


def decoded(tokenizer: MoshiTokenizer, tokens: list[int]) -> str:
    stream = TextStream(tokenizer)
    return "".join(stream.push(token) for token in tokens)


class TestEncoding:
    def test_text_comes_back_with_a_space_before_every_word(self, tokenizer: MoshiTokenizer) -> None:
        assert tokenizer.size <= TEXT_CARD
        assert decoded(tokenizer, tokenizer.encode(ANSWER)) == " " + ANSWER

    def test_words_are_more_than_letters(self, tokenizer: MoshiTokenizer) -> None:
        assert len(tokenizer.encode("the capital of France")) < 12

    def test_white_space_of_any_kind_is_one_space(self, tokenizer: MoshiTokenizer) -> None:
        assert tokenizer.encode("\n Water\tboils \n\n at  zero. ") == tokenizer.encode("Water boils at zero.")
        assert tokenizer.encode(" \n ") == tokenizer.encode("") == []

    def test_unknown_signs_never_become_marks_of_the_model(self, tokenizer: MoshiTokenizer) -> None:
        ids = tokenizer.encode("zero → 東 <s> </s> <pad> five")
        assert min(ids) > PAD_ID
        assert decoded(tokenizer, ids).split()[:1] == ["zero"]
        assert decoded(tokenizer, ids).endswith(" five")

    @pytest.mark.parametrize("byte_fallback", [False, True])
    def test_cut_after_a_word_the_ids_are_the_first_ones(self, tmp_path: Path, byte_fallback: bool) -> None:
        tokenizer = load(tmp_path, byte_fallback=byte_fallback)
        text = ANSWER + " Größe, naïve 東京 ☃ well-known\n\nfacts."
        whole = tokenizer.encode(text)
        for end in (at for at in range(1, len(text)) if text[at].isspace()):
            assert whole[: len(tokenizer.encode(text[:end]))] == tokenizer.encode(text[:end])

    @settings(max_examples=60)
    @given(cuts=st.lists(st.integers(0, len(ANSWER)), max_size=8))
    def test_the_oracle_cursor_feeds_the_ids_of_the_whole_text(
        self, tokenizer: MoshiTokenizer, cuts: list[int]
    ) -> None:
        cursor = OracleCursor(tokenizer, START_ID, PAD_ID)
        cursor.apply(OracleAdopt("a"))
        fed = []
        for start, end in itertools.pairwise([0, *sorted(cuts), len(ANSWER)]):
            cursor.apply(OracleText("a", ANSWER[start:end]))
            fed.append(cursor.next_token())
        cursor.apply(OracleFinish("a"))
        while not cursor.exhausted:
            fed.append(cursor.next_token())
        assert [token for token in fed if token != PAD_ID] == [START_ID, *tokenizer.encode(ANSWER)]


class TestStreaming:
    def test_characters_come_whole(self, bytewise: MoshiTokenizer) -> None:
        text = "zero 東京 naïve 😀!"
        tokens = bytewise.encode(text)
        stream = TextStream(bytewise)
        pieces = [stream.push(token) for token in tokens]
        assert "".join(pieces) == " " + text
        assert "".join(pieces).count("<0x") == 0
        assert "" in pieces  # a byte that is not a character yet
        assert all("\ufffd" not in piece for piece in pieces)

    def test_paddings_between_the_bytes_of_a_character(self, bytewise: MoshiTokenizer) -> None:
        tokens = [token for at in bytewise.encode("zero 東 five") for token in (at, PAD_ID, 0, START_ID, -1, -2)]
        assert decoded(bytewise, tokens) == " zero 東 five"

    def test_a_broken_character_is_left_out(self, bytewise: MoshiTokenizer) -> None:
        tokens = bytewise.encode("a東b")
        lost = next(at for at, token in enumerate(tokens) if isinstance(bytewise.piece(token), bytes))
        for gone in range(3):
            broken = tokens[: lost + gone] + tokens[lost + gone + 1 :]
            assert decoded(bytewise, broken) == " ab"

    def test_a_character_does_not_go_on_behind_a_word(self, bytewise: MoshiTokenizer) -> None:
        first, second, third = (at for at in bytewise.encode("東") if isinstance(bytewise.piece(at), bytes))
        assert decoded(bytewise, [first, second, *bytewise.encode("five"), third]) == " five"

    def test_a_new_utterance_begins_clean(self, bytewise: MoshiTokenizer) -> None:
        stream = TextStream(bytewise)
        tokens = [token for token in bytewise.encode("東") if isinstance(bytewise.piece(token), bytes)]
        assert stream.push(tokens[0]) == ""
        stream.reset()
        assert stream.push(tokens[1]) + stream.push(tokens[2]) == ""
        assert "".join(map(stream.push, tokens)) == "東"

    def test_two_slots_do_not_mix(self, bytewise: MoshiTokenizer) -> None:
        one, other = TextStream(bytewise), TextStream(bytewise)
        first, second = bytewise.encode("東"), bytewise.encode("京")
        said = [(one.push(a), other.push(b)) for a, b in zip(first, second, strict=True)]
        assert ["".join(side).strip() for side in zip(*said, strict=True)] == ["東", "京"]

    def test_marks_say_nothing(self, tokenizer: MoshiTokenizer) -> None:
        assert [tokenizer.piece(token) for token in (0, 1, 2, PAD_ID, tokenizer.size, START_ID, -1)] == [""] * 7


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x0a\xff"])
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "words.model"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"words.model is"):
        MoshiTokenizer(path)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"words.model"):
        MoshiTokenizer(tmp_path / "words.model")
