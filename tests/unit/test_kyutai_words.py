"""Tokens become words that know when they were said."""

from kame_core.stt.kyutai_words import MAX_WORDS, WordStream

PAD, END_OF_PAD = 3, 0
PIECES: dict[int, str | bytes] = {10: " pho", 11: "to", 12: " so", 13: "!", 14: b"\xc3", 15: b"\xa4"}


class Pieces:
    """A vocabulary of a few pieces."""

    def piece(self, token: int) -> str | bytes:
        return PIECES.get(token, "")


def stream(*tokens: int) -> WordStream:
    words = WordStream(Pieces(), frozenset({PAD, END_OF_PAD}))
    for step, token in enumerate(tokens):
        words.push(step, token)
    return words


def test_a_word_is_whole_at_a_padding_or_the_next_words_beginning() -> None:
    assert stream(10, 11).text() == ""
    assert stream(10, 11).text(partial_word=True) == "photo"
    assert stream(10, 11, PAD).text() == "photo"
    assert stream(10, 11, END_OF_PAD).text() == "photo"
    assert stream(10, 11, 12).text() == "photo"
    assert stream(10, 11, 12).text(partial_word=True) == "photo so"


def test_what_was_written_apart_is_joined_as_it_stands() -> None:
    assert stream(10, PAD, 11, PAD, PAD, 12, 13, PAD).text() == "photo so!"


def test_characters_come_whole_or_not_at_all() -> None:
    assert stream(10, 14, 15, PAD).text() == "phoä"
    assert stream(10, 14, PAD).text() == "pho"


def test_tokens_without_text_are_paddings() -> None:
    words = stream(10, 11, 99)
    assert words.text() == "photo"
    assert words.between_words


def test_words_are_dropped_by_the_moment_they_began() -> None:
    words = stream(PAD, 10, 11, PAD, 12)  # "photo" at 1, "so" at 4 and not whole yet
    words.forget_before(2)
    words.push(5, PAD)
    assert words.text() == "so"
    words = stream(PAD, 10, 11, PAD, 12)
    words.forget_before(5)
    assert words.text(partial_word=True) == ""
    words.push(5, 11)  # its end
    words.push(6, 10)
    words.push(7, PAD)
    assert words.text() == "pho"


def test_a_fork_goes_its_own_way() -> None:
    words = stream(10)
    fork = words.fork()
    fork.push(1, 11)
    fork.push(2, PAD)
    words.push(1, PAD)
    assert (fork.text(), words.text()) == ("photo", "pho")


def test_an_endless_utterance_keeps_its_last_words() -> None:
    words = stream(*[12, 10] * (MAX_WORDS // 2 + 5), PAD)
    assert len(words.text().split()) == MAX_WORDS
    assert words.text().endswith("so pho")
