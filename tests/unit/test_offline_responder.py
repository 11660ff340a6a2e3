"""The chat model around the answers: streaming, loading aside, and no text whatever that breaks it."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import ParamSpec, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kame_core.backend.base import ChatEvent, ChatMessage, ChatModel, ChatRequest, Finish, TextDelta
from kame_core.backend.offline import OfflineResponder
from kame_core.backend.offline.dates import easter
from kame_core.backend.offline.gazetteer import STATE_CAPITALS, STATE_PEOPLE, gazetteer
from kame_core.backend.offline.places import answer_places
from kame_core.backend.offline.regions import regions
from kame_core.backend.offline.reply import count_words
from kame_core.backend.offline.responder import local_now
from kame_core.backend.offline.units import unit_table
from kame_core.errors import ChatModelError
from kame_core.workers import InlineWorkers, ThreadWorkers

P = ParamSpec("P")
T = TypeVar("T")
NOW = datetime(2026, 11, 22, 15, 5, tzinfo=UTC)


def request(text: str, *, complete: bool = True, max_tokens: int = 200) -> ChatRequest:
    return ChatRequest((ChatMessage("user", text),), complete=complete, max_tokens=max_tokens)


async def collect(responder: ChatModel, chat: ChatRequest) -> list[ChatEvent]:
    return [event async for event in responder.stream(chat)]


async def test_streams_word_by_word() -> None:
    responder = OfflineResponder(lambda: NOW, InlineWorkers())
    events = await collect(responder, request("what is the capital of france"))
    assert events == [*map(TextDelta, ("Paris", " is", " the", " capital", " of", " France.")), Finish("stop")]
    await responder.aclose()
    await responder.aclose()


async def test_no_answer_to_an_unfinished_question() -> None:
    responder = OfflineResponder(lambda: NOW, InlineWorkers())
    assert await collect(responder, request("what is the", complete=False)) == [Finish("no_answer")]


async def test_max_tokens_cut_the_answer() -> None:
    responder = OfflineResponder(lambda: NOW, InlineWorkers())
    events = await collect(responder, request("what is two plus two", max_tokens=2))
    assert events == [TextDelta("Two"), TextDelta(" plus"), Finish("length")]


async def test_loads_on_a_worker_thread_and_gives_it_back() -> None:
    workers = ThreadWorkers("test-offline")
    responder = OfflineResponder(lambda: NOW, workers)
    events = await collect(responder, request("what is two plus two"))
    assert events[-1] == Finish("stop")
    await responder.aclose()
    assert await workers.run(int, "7") == 7, "workers that were handed in stay their owner's"
    workers.close()
    own = OfflineResponder(lambda: NOW)
    assert (await collect(own, request("what is two plus two")))[-1] == Finish("stop")
    await own.aclose()


class _FailingWorkers(InlineWorkers):
    def __init__(self, error: Exception) -> None:
        self._error = error

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        raise self._error


@pytest.mark.parametrize(
    ("error", "code"),
    [(TimeoutError(), "llm_timeout"), (ImportError("no pint"), "llm_failed"), (OSError(), "llm_failed")],
)
async def test_what_cannot_be_loaded_is_a_precise_error(error: Exception, code: str) -> None:
    responder = OfflineResponder(lambda: NOW, _FailingWorkers(error))
    with pytest.raises(ChatModelError) as raised:
        await collect(responder, request("what is two plus two"))
    assert raised.value.code == code
    assert raised.value.user_message


async def test_closing_the_stream_early_is_fine() -> None:
    stream = OfflineResponder(lambda: NOW, InlineWorkers()).stream(request("what is the capital of france"))
    assert await anext(stream) == TextDelta("Paris")
    await stream.aclose()
    assert [event async for event in stream] == []


def test_local_time_has_a_zone() -> None:
    assert local_now().utcoffset() is not None


# --- nothing raises, everything can be spoken ---

_WORDS = tuple(
    word
    for line in (
        "what is the of in a and plus minus times divided by percent two three twenty hundred thousand point half",
        "square root squared factorial capital population currency france paris georgia new york tokyo time date day",
        "july fourth until christmas how many feet miles convert to degrees celsius fahrenheit ounces tomorrow leap",
        "year 2028 0 -5 12 3.5 99999 it that again hello joke power zero between since border bigger than or are you",
        "language february thirtieth ago weeks bali ontario foot ( ) from weekday",
    )
    for word in line.split()
)


def speakable(text: str) -> bool:
    return count_words(text) <= 30 and all(c.isalpha() or c in " .,'-" for c in text) and text.endswith(".")


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(_WORDS), max_size=20).map(" ".join),
    st.lists(st.sampled_from(_WORDS), max_size=8).map(" ".join),
)
def test_any_words_get_a_speakable_answer(text: str, before: str) -> None:
    responder = OfflineResponder(lambda: NOW)
    messages = (ChatMessage("user", before), ChatMessage("assistant", "Yes."), ChatMessage("user", text))
    answer = responder.reply(messages)
    assert answer is not None
    assert speakable(answer)
    partial = responder.reply(messages, complete=False)
    assert partial is None or speakable(partial)


@settings(max_examples=300)
@given(st.text(max_size=600))
def test_any_text_gets_a_speakable_answer(text: str) -> None:
    answer = OfflineResponder(lambda: NOW).reply((ChatMessage("user", text),))
    assert answer is not None
    assert speakable(answer)


@settings(max_examples=150)
@given(
    st.sampled_from(
        (
            "in {} days",
            "{} weeks ago",
            "in {} months",
            "{} years from now",
            "july fourth {}",
            "february twenty ninth {}",
        )
    ),
    st.integers(0, 10**6),
)
def test_far_days_do_not_raise(phrase: str, number: int) -> None:
    responder = OfflineResponder(lambda: NOW)
    for question in ("what day is {}", "how many days until {}", "how many days since {}", "is {} a monday"):
        answer = responder.reply((ChatMessage("user", question.format(phrase.format(number))),))
        assert answer is not None
        assert speakable(answer)


# --- the tables ---


@pytest.mark.parametrize(
    ("question", "known_gaps"),
    [
        ("capital", set()),
        ("population", set()),
        ("currency", {"AQ"}),
        ("area", set()),
        ("languages", {"AQ", "BV", "HM"}),
        ("neighbors", set()),
    ],
)
def test_every_country_has_speakable_facts(question: str, known_gaps: set[str]) -> None:
    missing = []
    for country in gazetteer().countries.values():
        reply = answer_places(f"what is the {question} of {country.spoken.lower()}")
        assert reply is None or speakable(reply.text), reply
        if reply is None or not reply.sure:
            missing.append(country.code)
    assert set(missing) <= known_gaps


def test_regions_are_called_like_no_country_or_state_and_lie_in_what_is_known() -> None:
    places = gazetteer()
    names = {*places.country_codes, *places.states}
    assert names.isdisjoint(regions())
    assert STATE_PEOPLE.keys() == STATE_CAPITALS.keys()


def test_every_unit_says_and_finds_itself() -> None:
    table = unit_table()
    for units in table.by_name.values():
        for unit in units:
            found = table.match(unit.plural.lower().split(), 0)
            assert found is not None
            assert unit in found[0]
            assert unit.scale > 0


def test_easter_follows_the_published_tables() -> None:
    published = {1818: (3, 22), 1943: (4, 25), 2000: (4, 23), 2024: (3, 31), 2026: (4, 5), 2027: (3, 28), 2038: (4, 25)}
    assert {year: (easter(year).month, easter(year).day) for year in published} == published


@given(st.integers(1583, 9998))
def test_easter_is_a_sunday_in_its_five_weeks(year: int) -> None:
    day = easter(year)
    assert day.weekday() == 6
    assert date(year, 3, 22) <= day <= date(year, 4, 25)


@settings(max_examples=60)
@given(st.dates(date(1900, 1, 1), date(2100, 12, 31)))
def test_days_until_christmas_counts_right(day: date) -> None:
    moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    answer = OfflineResponder(lambda: moment).reply((ChatMessage("user", "what day is it in ten days"),))
    assert answer is not None
    assert (day + timedelta(days=10)).strftime("%A") in answer
