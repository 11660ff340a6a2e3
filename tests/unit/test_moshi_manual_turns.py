"""Manual turns with a front end that takes turns itself, in virtual time."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from kame_core.events import CandidateStarted, FinalTranscript, ResponseEnded, ResponseStarted, VoiceStarted
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint
from kame_core.frontend.moshi.engine import MoshiEngine
from kame_core.frontend.moshi.sampling import GREEDY
from kame_core.options import ConversationOptions, Mode, ResponseOptions, TurnDetection
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.moshi_studio import QUESTION, Noted, load_tiny_kame, talk, text_of
from tests.support.speech import say
from tests.support.studio import Studio

BY_HAND = ConversationOptions(turn_detection=None)


@pytest.fixture(scope="module")
def kame() -> Iterator[LoadedCheckpoint]:
    yield from load_tiny_kame()


@pytest.fixture
def engine(kame: LoadedCheckpoint) -> MoshiEngine:
    return MoshiEngine(kame, 1, sampling=GREEDY)


async def ask_by_hand(studio: Studio, wait_s: float, instructions: str = "") -> ResponseEnded:
    await studio.listen(0.4)
    await studio.say(say(QUESTION))
    await studio.listen(wait_s)
    assert not studio.all(ResponseStarted)
    studio.conversation.commit_input()
    response_id = studio.conversation.create_response(ResponseOptions(instructions))
    ended = await studio.listen_until(ResponseEnded)
    assert ended.response_id == response_id
    return ended


def test_in_manual_turns_it_hears_silence_and_answers_what_was_committed(kame: LoadedCheckpoint) -> None:
    """The answer was thought of before it was asked for, but is not spent unheard."""
    engine = Noted(kame)
    ended = talk(engine, lambda studio: ask_by_hand(studio, 1.5), ScriptedChatModel(Answer("Five.")), BY_HAND)
    assert (ended.status, ended.text) == ("completed", "Five.")
    assert max(engine.levels) == -120.0


def test_in_manual_turns_what_was_thought_of_gives_way_to_instructions(engine: MoshiEngine) -> None:
    chat = ScriptedChatModel(lambda request: Answer("Cinq." if "french" in request.messages[0].content else "Five."))
    ended = talk(engine, lambda studio: ask_by_hand(studio, 0.5, "answer in french"), chat, BY_HAND)
    assert (ended.status, ended.text) == ("completed", "Cinq.")


def test_in_manual_turns_words_that_come_late_are_of_the_same_response(engine: MoshiEngine) -> None:
    async def scene(studio: Studio) -> str:
        studio.conversation.add_text(QUESTION, "user")
        studio.conversation.create_response()
        return (await studio.listen_until(ResponseEnded)).text

    chat = ScriptedChatModel(Answer("The answer is five.", token_delay_s=1.2))
    assert talk(engine, scene, chat, BY_HAND) == "The answer is five."


def test_in_direct_mode_it_also_hears_manual_turns(kame: LoadedCheckpoint) -> None:
    engine = Noted(kame)

    async def scene(studio: Studio) -> None:
        await studio.say(say(QUESTION)[:24_000])

    talk(engine, scene, ScriptedChatModel(), replace(BY_HAND, mode=Mode.DIRECT))
    assert max(engine.levels) > -40


def test_a_greeting_is_heard_in_manual_turns(engine: MoshiEngine) -> None:
    async def scene(studio: Studio) -> str:
        return (await studio.listen_until(ResponseEnded)).text

    assert talk(engine, scene, ScriptedChatModel(), replace(BY_HAND, greeting="Hello there.")) == "Hello there."


def test_a_turn_that_stops_being_manual_is_answered(engine: MoshiEngine) -> None:
    async def scene(studio: Studio) -> str:
        await studio.listen(0.4)
        await studio.say(say(QUESTION))
        await studio.listen(1.0)
        assert studio.all(CandidateStarted)[-1].partial == QUESTION
        studio.conversation.set_options(ConversationOptions())
        return (await studio.listen_until(ResponseEnded)).text

    assert talk(engine, scene, ScriptedChatModel(Answer("Five.")), BY_HAND) == "Five."


@pytest.mark.parametrize("detection", [None, TurnDetection(create_response=False)])
def test_words_over_an_answer_that_was_asked_for_start_no_other(
    engine: MoshiEngine, detection: TurnDetection | None
) -> None:
    """Where the client ends the turns the answer goes on, else it is over; nothing is said unasked in either case."""

    async def scene(studio: Studio) -> ResponseEnded:
        studio.conversation.add_text(QUESTION, "user")
        studio.conversation.create_response()
        await studio.listen_until(VoiceStarted)
        await studio.say(say("what is the capital of france"))
        if detection is None:
            studio.conversation.commit_input()
        await studio.listen_until(FinalTranscript)
        await studio.listen(1.5)
        assert len(studio.all(ResponseStarted)) == 1
        assert "Paris" not in text_of(studio.events)
        return studio.one(ResponseEnded)

    chat = ScriptedChatModel(
        lambda request: Answer("Paris." if "capital" in request.messages[-1].content else "Five, and so it is.")
    )
    options = ConversationOptions(turn_detection=detection)
    ended = talk(engine, scene, chat, options, heard=("what is the capital of france",))
    if detection is None:
        assert (ended.status, ended.text) == ("completed", "Five, and so it is.")
    else:
        assert (ended.status, ended.reason) == ("cancelled", "turn_detected")
