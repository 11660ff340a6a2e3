import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.stable_transcript import StableTranscript, agreed_length


@pytest.mark.parametrize(
    ("one", "other", "agreed"),
    [
        ("", "how", ""),
        ("how are", "how are you", "how are"),
        ("how a", "how are", "how"),
        ("how are.", "how are you", "how are"),
        ("don", "don't know", ""),
        ("don't", "don't know", "don't"),
        ("well-kn", "well-known", ""),
        ("cafe", "cafe\u0301", ""),
        ("我想要", "我想知", "我想"),
        ("हिन्", "हिन्दी", ""),
        ("same words", "same words", "same words"),
    ],
)
def test_agreement_ends_between_words(one: str, other: str, agreed: str) -> None:
    assert other[: agreed_length(one, other)].rstrip() == agreed
    assert agreed_length(one, other) == agreed_length(other, one)


@given(st.lists(st.text(alphabet="ab '\u0301我.", max_size=12), max_size=8), st.text(alphabet="ab ", max_size=12))
def test_joined_deltas_are_a_prefix_of_something_that_was_said(partials: list[str], final: str) -> None:
    transcript = StableTranscript()
    sent = ""
    for text in partials:
        sent += transcript.partial(text)
        assert sent == "" or any(given_text.startswith(sent) for given_text in partials)
    rest = transcript.final(final)
    if final.startswith(sent):
        assert sent + rest == final
    else:
        assert rest == ""
