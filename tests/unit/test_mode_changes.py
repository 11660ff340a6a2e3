"""Modes that run on different front ends: a conversation moves between them, and nothing of it is lost or leaked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kame_core.compare.__main__ import main
from kame_core.compare.known_speech import KnownSpeechToText
from kame_core.compare.questions import Question
from kame_core.compare.report import Comparison, Setting, markdown
from kame_core.compare.run import compare
from kame_core.events import (
    CandidateStarted,
    Event,
    FinalTranscript,
    PartialTranscript,
    ResponseEnded,
    ResponseText,
    SpeechStarted,
    Trouble,
    TurnTiming,
    VoiceStarted,
)
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint
from kame_core.frontend.moshi.engine import MoshiEngine
from kame_core.frontend.moshi.sampling import GREEDY
from kame_core.options import ConversationOptions, Mode
from kame_core.stt.kyutai import KyutaiSpeechToText
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.workers import InlineWorkers
from tests.support.moshi_studio import load_tiny_kame
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio
from tests.support.tiny_kyutai import build_kyutai, loaded
from tests.support.tiny_moshi import build_moshi, load_tiny_moshi
from tests.support.two_front_ends import ANSWERS, FRANCE, SUM, House, answers, ask, ask_for, in_house


@pytest.fixture(scope="module")
def kame() -> Iterator[LoadedCheckpoint]:
    yield from load_tiny_kame()


@pytest.fixture
def engine(kame: LoadedCheckpoint) -> MoshiEngine:
    return MoshiEngine(kame, 1, sampling=GREEDY)


def test_a_mode_elsewhere_and_back_with_everything_that_was_said(engine: MoshiEngine) -> None:
    chat = answers()

    async def scene(house: House) -> None:
        studio = house.studio
        assert (await ask(studio, SUM)).text == ANSWERS["three"]
        await studio.listen(1.0)
        ask_for(studio, Mode.CASCADED)
        await studio.listen(0.3)
        assert house.taken == (0, 1)
        asked = len(chat.calls)
        ended = await ask(studio, FRANCE)
        assert (ended.text, ended.status) == (ANSWERS["france"], "completed")
        assert [(call.text, call.complete) for call in chat.calls[asked:]] == [(FRANCE, True)]  # only the final
        messages = [message.content for message in chat.calls[asked].request.messages]
        assert SUM in messages
        assert ANSWERS["three"] in messages
        ask_for(studio, Mode.TANDEM)
        await studio.listen(1.0)
        assert house.taken == (1, 0)
        again = await ask(studio, SUM)
        assert again.text == ANSWERS["three"]
        assert any(not call.complete for call in chat.calls[asked + 1 :])  # asked while the user spoke
        assert [timing.mode for timing in studio.all(TurnTiming)] == ["tandem", "cascaded", "tandem"]
        assert all(timing.first_oracle_audio_ms is not None for timing in studio.all(TurnTiming))
        history = [item.text for item in studio.conversation.transcript.items()]
        assert history == [SUM, ANSWERS["three"], FRANCE, ANSWERS["france"], SUM, ANSWERS["three"]]
        assert not studio.all(Trouble)

    in_house(engine, scene, chat, ScriptedSpeechToText(SUM, FRANCE, SUM))


def test_a_conversation_may_begin_elsewhere(engine: MoshiEngine) -> None:
    async def scene(house: House) -> None:
        assert house.taken == (0, 1)
        assert (await ask(house.studio, FRANCE)).text == ANSWERS["france"]
        assert house.studio.one(TurnTiming).mode == "cascaded"

    in_house(engine, scene, answers(), ScriptedSpeechToText(FRANCE), options=ConversationOptions(mode=Mode.CASCADED))


def test_what_is_being_said_is_said_to_its_end(engine: MoshiEngine) -> None:
    """Both ways; typed questions, so that nobody's speech has a part in it."""

    async def scene(house: House) -> None:
        studio = house.studio
        for number, (mode, before) in enumerate([(Mode.CASCADED, (1, 0)), (Mode.TANDEM, (0, 1))], 1):
            studio.conversation.add_text("tell me a story", "user")
            studio.conversation.create_response()
            await studio.listen_until(VoiceStarted, count=number)
            assert house.taken == before
            ask_for(studio, mode)
            await studio.listen(0.3)
            assert house.taken == (1, 1)  # the new place is there before the old one is given back
            ended = await studio.listen_until(ResponseEnded, count=number)
            assert (ended.text, ended.status) == (ANSWERS["story"], "completed")
            await studio.listen(4.0)
            assert house.taken == before[::-1]

    in_house(engine, scene, answers(), ScriptedSpeechToText(""))


@pytest.mark.parametrize("begins", [Mode.TANDEM, Mode.CASCADED])
def test_a_change_while_the_user_speaks_loses_no_word(engine: MoshiEngine, begins: Mode) -> None:
    other = Mode.CASCADED if begins is Mode.TANDEM else Mode.TANDEM

    async def scene(house: House) -> None:
        studio = house.studio
        changed: list[bool] = []

        def change(news: list[Event]) -> None:
            if not changed and any(isinstance(event, PartialTranscript) for event in news):
                changed.append(True)
                ask_for(studio, other)

        studio.watch = change
        ended = await ask(studio, FRANCE)
        assert changed
        assert (ended.text, ended.status) == (ANSWERS["france"], "completed")
        assert len(studio.all(SpeechStarted)) == 1
        assert studio.one(FinalTranscript).text == FRANCE
        # Who speaks when told to may answer what the other heard; who listens itself must have heard it all.
        assert studio.one(TurnTiming).mode == "cascaded"
        await studio.listen(4.0)
        assert house.taken == ((0, 1) if other is Mode.CASCADED else (1, 0))
        assert (await ask(studio, SUM)).text == ANSWERS["three"]
        assert studio.all(TurnTiming)[-1].mode == other

    in_house(engine, scene, answers(), ScriptedSpeechToText(FRANCE, SUM), options=ConversationOptions(mode=begins))


def test_taking_the_turn_from_the_reflex_may_bring_the_model(engine: MoshiEngine) -> None:
    async def scene(house: House) -> None:
        studio = house.studio
        studio.conversation.add_text("tell me a story", "user")
        studio.conversation.create_response()
        await studio.listen_until(ResponseText, count=2)
        ask_for(studio, Mode.TANDEM)
        await studio.say(say("stop it please and tell me the sum"))
        cut = await studio.listen_until(ResponseEnded)
        assert (cut.status, cut.reason) == ("cancelled", "turn_detected")
        await studio.listen_until(ResponseEnded, count=2)
        assert house.taken == (1, 0)
        assert studio.all(TurnTiming)[-1].mode == "tandem"

    options = ConversationOptions(mode=Mode.CASCADED)
    in_house(engine, scene, answers(), ScriptedSpeechToText("stop it please and tell me the three"), options=options)


# --- the voice does not notice ---


def test_silence_is_sent_on_and_no_voice_is_torn(engine: MoshiEngine) -> None:
    async def scene(house: House) -> None:
        studio = house.studio
        for mode in (Mode.CASCADED, Mode.TANDEM, Mode.CASCADED):
            ask_for(studio, mode)
            await studio.listen(1.0)
        assert studio.conversation.playout.underruns == 0
        assert studio.conversation.playout.dropped_samples < 24_000 // 5
        assert (await ask(studio, FRANCE)).text == ANSWERS["france"]
        assert studio.conversation.playout.underruns == 0

    in_house(engine, scene, answers(), ScriptedSpeechToText(FRANCE))


def test_manual_turns_move_as_well(engine: MoshiEngine) -> None:
    async def scene(house: House) -> None:
        studio = house.studio
        ask_for(studio, Mode.CASCADED)
        await studio.say(say(FRANCE))
        studio.conversation.commit_input()
        studio.conversation.create_response()
        ended = await studio.listen_until(ResponseEnded)
        assert (ended.text, studio.one(TurnTiming).mode) == (ANSWERS["france"], "cascaded")
        ask_for(studio, Mode.TANDEM)
        await studio.listen(0.5)
        studio.conversation.add_text(SUM, "user")
        studio.conversation.create_response()
        ended = await studio.listen_until(ResponseEnded, count=2)
        assert ended.text == ANSWERS["three"]
        assert house.taken == (1, 0)

    options = ConversationOptions(turn_detection=None)
    in_house(engine, scene, answers(), ScriptedSpeechToText(FRANCE), options=options)


def test_a_recogniser_inside_the_model_goes_on_listening_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It keeps its slot, whose model hears nothing meanwhile."""
    moshi = load_tiny_moshi(build_moshi(tmp_path / "moshi"))
    stt = KyutaiSpeechToText(loaded(build_kyutai(tmp_path / "kyutai")))
    engine = MoshiEngine(moshi, 1, sampling=GREEDY, listener=stt.listen(moshi.mimi, 1))

    async def scene(house: House) -> None:
        studio = house.studio
        assert house.taken == (1, 1)
        for number, (mode, taken) in enumerate([(Mode.CASCADED, (1, 1)), (Mode.TANDEM, (1, 0))], 1):
            ask_for(studio, mode)
            await studio.listen(0.5)
            assert house.taken == taken
            await studio.say(say(FRANCE))
            assert (await studio.listen_until(FinalTranscript, count=number)).text
            if mode is Mode.CASCADED:
                assert (await studio.listen_until(ResponseEnded)).text == "Well."
        ask_for(studio, Mode.CASCADED)
        await studio.listen(0.5)

    in_house(engine, scene, answers("Well."), stt, options=ConversationOptions(mode=Mode.CASCADED))
    assert not caplog.records


def test_the_modes_are_compared_as_calls_have_them(engine: MoshiEngine) -> None:
    """`kame_core.compare` on two front ends: each question in a conversation of its own."""

    async def scene(house: House) -> tuple[Comparison, list[int]]:
        await house.studio.conversation.aclose()
        tts = EspeakTextToSpeech(workers=InlineWorkers())
        question = Question("facts", (FRANCE,), (("paris",),))
        setting = Setting("scripted", "known", "espeak-ng", "moshi (tiny)")
        compared = await compare(house.engines, tts, (question,), (Mode.TANDEM, Mode.CASCADED), setting)
        await tts.aclose()
        return compared, [len(house.model.leased), len(house.reflex.leased)]

    comparison, leased = in_house(engine, scene, answers(), KnownSpeechToText())
    assert leased == [2, 1]  # the scene's own conversation, and one in each mode
    assert [row.score for row in comparison.rows] == [1, 1]
    assert [row.answer for row in comparison.rows] == [ANSWERS["france"]] * 2
    assert all(row.first_sound_ms is not None and row.timing is not None for row in comparison.rows)
    assert "Front end: moshi (tiny)" in markdown(comparison)


def test_a_comparison_on_a_checkpoint_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--frontend", "moshi", "--moshi-weights", "/no/such/place"]) == 2
    told = capsys.readouterr()
    assert "no checkpoint" in told.err
    assert told.err.count("\n") == 1


def test_a_front_end_that_is_told_when_to_speak_runs_every_mode() -> None:
    async def scene(studio: Studio) -> None:
        engines = studio.registry.engines
        assert {engines.host_of(mode) for mode in Mode} == {engines.frontend}
        ask_for(studio, Mode.CASCADED)
        await studio.listen(0.2)
        assert engines.frontend.free == 1
        assert (await ask(studio, FRANCE)).text == ANSWERS["france"]
        assert studio.one(TurnTiming).mode == "cascaded"
        assert [event.partial for event in studio.all(CandidateStarted)] == [FRANCE]

    in_studio(scene, chat=answers(), stt=ScriptedSpeechToText(FRANCE))
