"""Follow-ups, repetition and partial transcripts."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from kame_core.backend.base import ChatMessage
from kame_core.backend.offline import OfflineResponder
from kame_core.backend.offline.smalltalk import FALLBACKS, JOKES

NOW = datetime(2026, 11, 22, 15, 5, tzinfo=ZoneInfo("Europe/Berlin"))

DIALOGUES: list[list[tuple[str, str]]] = [
    [
        ("what is the capital of france", "Paris is the capital of France."),
        ("and of spain?", "Madrid is the capital of Spain."),
        ("say that again", "Madrid is the capital of Spain."),
        ("thank you", "My pleasure."),
        ("what about italy", "Rome is the capital of Italy."),
        ("i meant portugal", "Lisbon is the capital of Portugal."),
        ("and the currency of japan", "The currency of Japan is the yen."),
        ("and of china", "The currency of China is the yuan."),
        ("korea", FALLBACKS[0]),
        ("south korea", "The currency of South Korea is the South Korean won."),
    ],
    [
        ("what is two plus three", "Two plus three is five."),
        ("and plus four", "Five plus four is nine."),
        ("times two", "Nine times two is eighteen."),
        ("double it", "Double eighteen is thirty six."),
        ("divided by three", "Thirty six divided by three is twelve."),
        ("what is half of that", "Half of twelve is six."),
        ("squared", "Six squared is thirty six."),
        ("now subtract six", "Thirty six minus six is thirty."),
        ("add ten to that", "Thirty plus ten is forty."),
        ("what is the square root of it", "The square root of forty is about six point three two five."),
    ],
    [
        ("what time is it in london", "In London it is two oh five in the afternoon."),
        ("and in tokyo", "In Tokyo it is eleven oh five at night."),
        ("what about new york", "In New York City it is nine oh five in the morning."),
    ],
    [
        ("convert ten miles to kilometers", "Ten miles is about sixteen point zero nine kilometers."),
        ("and in yards", "Ten miles is seventeen thousand six hundred yards."),
        ("what about two miles", "Two miles is three thousand five hundred twenty yards."),
        ("and three", "Three miles is five thousand two hundred eighty yards."),
    ],
    [
        ("what day is tomorrow", "Tomorrow is Monday, November twenty third."),
        ("and christmas", "Christmas is on Friday, December twenty fifth."),
    ],
    [
        ("tell me a joke", JOKES[0]),
        ("another one", JOKES[1]),
        ("tell me another joke", JOKES[2]),
    ],
]


def ask(*texts: str, complete: bool = True) -> str | None:
    messages = [ChatMessage("system", "Be kind.")]
    responder = OfflineResponder(lambda: NOW)
    for text in texts[:-1]:
        messages.append(ChatMessage("user", text))
        messages.append(ChatMessage("assistant", responder.reply(tuple(messages)) or ""))
    return responder.reply((*messages, ChatMessage("user", texts[-1])), complete=complete)


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=lambda dialogue: dialogue[0][0])
def test_dialogue(dialogue: list[tuple[str, str]]) -> None:
    for i, (_, expected) in enumerate(dialogue):
        assert ask(*(text for text, _ in dialogue[: i + 1])) == expected


def test_a_sum_goes_on_even_where_it_could_stand_alone() -> None:
    assert ask("what is five plus five", "minus two times three", "and plus one") == "Four plus one is five."


def test_a_partial_transcript_reads_few_earlier_turns_anew() -> None:
    """Each partial is answered on the event loop: neither long talk nor many questions before it may cost much."""
    talk = "I went to the market with my sister. We bought apples and some bread. Then it rained so we ran home."
    for earlier in (talk, "What is the capital of France?"):
        readings = 0

        def now() -> datetime:
            nonlocal readings
            readings += 1
            return NOW

        messages = [ChatMessage("user", earlier)] * 12 + [ChatMessage("user", "and of spain")]
        OfflineResponder(now).reply(tuple(messages), complete=False)
        assert readings <= 30, "every sentence that is read asks for the time about twice"


def test_a_follow_up_without_anything_before_is_not_guessed() -> None:
    assert ask("and of spain") in FALLBACKS
    assert "is" not in (ask("double it") or "is").split()


def test_repeats_what_was_heard_not_what_was_meant() -> None:
    messages = (
        ChatMessage("user", "what is the capital of france"),
        ChatMessage("assistant", "Paris is the"),
        ChatMessage("user", "say that again"),
    )
    assert OfflineResponder(lambda: NOW).reply(messages) == "Paris is the"


def test_fallbacks_vary() -> None:
    texts = ["tell me about trains"] * 4
    assert len({ask(*texts[: i + 1]) for i in range(4)}) == 4


@pytest.mark.parametrize(
    "partial",
    [
        "", "uh", "what", "what is", "what is two", "what is two plus", "what is the capital of", "and", "tell me",
        "the", "what is the capital of fran", "how many feet", "how many feet are in a", "who is the", "say",
        "how many days until", "convert ten miles to", "what time is it in", "twenty three point",
        "what is germny's capital of", "what time",
    ],
)  # fmt: skip
def test_partials_that_are_no_question_yet_get_no_answer(partial: str) -> None:
    assert ask(partial, complete=False) is None


@pytest.mark.parametrize(
    ("partial", "expected"),
    [
        ("what is two plus three", "Two plus three is five."),
        ("what is the capital of france", "Paris is the capital of France."),
        ("what time is it", "It is three oh five in the afternoon."),
        ("how many feet are in a mile", "One mile is five thousand two hundred eighty feet."),
    ],
)
def test_partials_that_are_a_question_are_answered(partial: str, expected: str) -> None:
    assert ask(partial, complete=False) == expected


def test_partial_names_are_never_guessed() -> None:
    assert ask("what is the capital of germny", complete=False) is None
    assert ask("what is the capital of germny") == "Berlin is the capital of Germany."


def test_follow_ups_work_on_partials() -> None:
    assert ask("what is the capital of france", "and of spain", complete=False) == "Madrid is the capital of Spain."


def test_no_user_message_no_answer() -> None:
    assert OfflineResponder(lambda: NOW).reply((ChatMessage("system", "Be kind."),)) is None
