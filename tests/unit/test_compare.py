"""The same questions in three modes, in virtual time with real voices; questions, judge, report, command line."""

import asyncio
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kame_core.backend.base import ChatRequest
from kame_core.clock import VirtualClock, run_virtual
from kame_core.compare.__main__ import main, modes_of, open_engines
from kame_core.compare.judge import Judge
from kame_core.compare.known_speech import KnownSpeechToText, SpokenWord
from kame_core.compare.questions import EXACT, OPEN, Question, is_right, load_questions
from kame_core.compare.report import Comparison, Prices, Setting, latencies_ms, markdown, quality, write
from kame_core.compare.run import compare
from kame_core.compare.trial import synthesise
from kame_core.engines import Engines
from kame_core.errors import ChatModelError, InvalidRequestError
from kame_core.frontend.reflex import reflex_host
from kame_core.options import Mode
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.vad import SileroModel
from kame_core.wording import EnglishWording
from kame_core.workers import InlineWorkers
from tests.support.chat import Answer, ScriptedChatModel

CAPITAL = Question("facts", ("what is the capital of france",), (("paris",),))
STORY = Question("stem", ("why does ice float on water", "what if it did not"))
MODES = (Mode.DIRECT, Mode.TANDEM, Mode.CASCADED)


def answer(request: ChatRequest) -> Answer:
    text = "Paris is the capital." if "france" in request.messages[-1].content else "I do not know that yet."
    return Answer(text, first_token_delay_s=0.5)


def compared(
    questions: tuple[Question, ...], judge: Judge | None = None, graded_by: str = "", modes: tuple[Mode, ...] = MODES
) -> Comparison:
    async def run(clock: VirtualClock) -> Comparison:
        tts = EspeakTextToSpeech(workers=InlineWorkers())
        engines = Engines(
            frontend=await reflex_host(EspeakTextToSpeech(workers=InlineWorkers()), 1, clock=clock),
            stt=KnownSpeechToText(),
            vad=SileroModel(),
            chat=ScriptedChatModel(answer),
            clock=clock,
            hearing=InlineWorkers(),
        )
        setting = Setting("scripted", "known", "espeak-ng", judge=graded_by, prices=Prices(2.0, 8.0))
        try:
            return await compare(engines, tts, questions, modes, setting, judge=judge)
        finally:
            await engines.aclose()
            await tts.aclose()

    return run_virtual(run)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compared((CAPITAL,))


def test_the_trade_off_shows(comparison: Comparison) -> None:
    direct, tandem, cascaded = (comparison.of(mode) for mode in MODES)
    assert (quality(direct), quality(tandem), quality(cascaded)) == (0, 1, 1)
    assert latencies_ms(tandem)[0] <= 650
    assert latencies_ms(cascaded)[0] >= latencies_ms(tandem)[0] + 300
    assert all(row.understood == CAPITAL.turns[0] for row in comparison.rows)
    assert tandem[0].oracle == "Paris is the capital."
    assert tandem[0].oracle_score == 1
    assert direct[0].oracle == ""
    assert direct[0].timing is not None
    assert direct[0].timing.asked_ms is None
    assert comparison.spent.keys() == {"tandem", "cascaded"}
    assert comparison.spent["cascaded"][0].requests == 1


def test_the_report_holds_every_turn(comparison: Comparison, tmp_path: Path) -> None:
    write(comparison, tmp_path / "new")
    rows = json.loads((tmp_path / "new" / "compare.json").read_text())
    assert [row["mode"] for row in rows] == ["direct", "tandem", "cascaded"]
    assert rows[1]["timing"]["first_oracle_audio_ms"] > 0
    picture = ElementTree.parse(tmp_path / "new" / "compare.svg")
    assert len(picture.findall(".//{http://www.w3.org/2000/svg}circle")) == 3
    text = (tmp_path / "new" / "compare.md").read_text()
    tandem = next(line for line in text.splitlines() if line.startswith("| tandem: "))
    assert "| 100% | 100% |" in tandem
    costs = re.findall(r"\| (?:tandem|cascaded) \| [\d.]+ \| \d+ \| (0\.\d{4}) \|", text)
    assert len(costs) == 2
    assert float(costs[0]) > float(costs[1]) > 0  # speculation is paid for


def test_open_questions_are_graded_turn_by_turn_with_what_came_before() -> None:
    asked: list[str] = []

    def grade(request: ChatRequest) -> Answer:
        asked.append(request.messages[-1].content)
        return Answer("It says little.\nSCORE: 3" if "did not" in asked[-1] else "Fine. **SCORE: 10**")

    result = compared((STORY,), Judge(ScriptedChatModel(grade)), "a judge")
    assert [row.score for row in result.of("cascaded")] == [10, 3]
    assert result.of("tandem")[1].oracle_score == 3
    assert any(text.count("User: ") == 2 and STORY.turns[0] in text for text in asked)
    assert "graded 1 to 10 by a judge" in markdown(result)


def test_open_questions_without_a_judge_have_no_score() -> None:
    result = compared((Question("stem", ("why does ice float on water",)),), modes=(Mode.TANDEM,))
    assert [row.score for row in result.rows] == [None]
    assert "1 without a score" in markdown(result)


def test_a_judge_that_gives_no_score_costs_that_score_only() -> None:
    mute = Judge(ScriptedChatModel(Answer("Well.")))
    result = compared((Question("stem", ("why does ice float",)),), mute, "mute", (Mode.TANDEM,))
    assert {row.score for row in result.rows} == {None}
    assert all(row.answer for row in result.rows)


def test_a_judge_that_cannot_be_reached_ends_the_comparison() -> None:
    broken = ScriptedChatModel(Answer("", error=ChatModelError("No such server.", code="llm_unreachable")))
    with pytest.raises(ChatModelError, match="No such server"):
        compared((Question("stem", ("why does ice float",)),), Judge(broken), "none")


def test_words_are_known_when_a_good_recogniser_would_know_them() -> None:
    async def run(clock: VirtualClock) -> list[tuple[float, str, bool]]:
        stt = KnownSpeechToText()
        recognizer = await stt.open("en")
        start_s = clock.now()
        stt.hears([SpokenWord("good", start_s + 1.0), SpokenWord("morning", start_s + 2.0)])
        heard = []
        updates = recognizer.updates()
        heard.append((round(clock.now() - start_s, 2), await anext(updates)))
        heard.append((round(clock.now() - start_s, 2), await anext(updates)))
        recognizer.flush()
        heard.append((0, await anext(updates)))
        recognizer.commit()
        stt.hears([SpokenWord("bye", clock.now() + 0.5)])
        heard.append((0, await anext(updates)))
        await stt.aclose()
        return [(at_s, update.text, update.settled) for at_s, update in heard]

    told = run_virtual(run)
    assert [(text, settled) for _, text, settled in told] == [
        ("good", False),
        ("good morning", False),
        ("good morning", True),
        ("bye", False),
    ]


def test_a_spoken_turn_knows_where_its_words_end() -> None:
    async def run(_: VirtualClock) -> None:
        tts = EspeakTextToSpeech(workers=InlineWorkers())
        turn = await synthesise(tts, CAPITAL.turns[0])
        await tts.aclose()
        words, ends = zip(*turn.words, strict=True)
        assert list(words) == CAPITAL.turns[0].split()
        assert list(ends) == sorted(ends)
        assert ends[-1] == pytest.approx(turn.sound.size / 24_000)
        assert abs(turn.sound[0]) > 0.01

    run_virtual(run)


@pytest.mark.parametrize(
    ("heard", "accepted", "right"),
    [
        ("Seven times eight is fifty six.", ("fifty-six", "56"), True),
        ("That makes 56.", ("fifty-six", "56"), True),
        ("Well. 5,280 feet.", ("5280",), True),
        ("That is nineteen.", ("nine",), False),
        ("Comparisons are hard.", ("paris",), False),
        ("", ("paris",), False),
    ],
)
def test_an_exact_answer_is_found_as_whole_words(heard: str, accepted: tuple[str, ...], right: bool) -> None:
    assert is_right(heard, accepted) is right


def test_questions_that_ship_fit_their_answers() -> None:
    assert all(len(question.answers) == len(question.turns) for question in EXACT)
    assert {question.category for question in OPEN} == {"reasoning", "stem", "humanities"}
    assert all(len(question.turns) == 2 for question in OPEN)


def test_questions_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"category": "a", "turns": ["what is it"], "answers": [["x", "y"]]}\n\n{"turns": ["why", "so"]}\n')
    assert load_questions(file) == (
        Question("a", ("what is it",), (("x", "y"),)),
        Question("questions", ("why", "so")),
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("what is it", "is no question"),
        ('{"turns": []}', "not empty"),
        ('{"turns": [3]}', "not empty"),
        ('{"turns": ["a", "b"], "answers": [["x"]]}', "2 turns but answers to 1"),
        ("", "no questions"),
    ],
)
def test_a_bad_file_of_questions_is_told_with_its_place(line: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(line)
    with pytest.raises(InvalidRequestError, match=says):
        load_questions(file)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--modes", "tandem,fast"], "not fast"),
        (["--modes", ","], "not nothing"),
        (["--limit", "-1"], "1 or more"),
        (["--runs", "0"], "1 or more"),
        (["--ear", "no-such-place"], "Whisper"),
        (["--judge-model", "m"], "where is that model"),
        (["--questions", "no-such-file"], "cannot be read"),
    ],
)
def test_a_wrong_flag_is_one_line(flags: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_turns_end_as_in_the_app() -> None:
    async def ending() -> object:
        async with open_engines(ScriptedChatModel(), KnownSpeechToText()) as engines:
            return engines.ending

    assert isinstance(asyncio.run(ending()), EnglishWording)


def test_modes_are_taken_once_each() -> None:
    assert modes_of("tandem, direct,tandem") == (Mode.TANDEM, Mode.DIRECT)
