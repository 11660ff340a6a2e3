"""All questions through all modes, each question in a conversation of its own."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from kame_core.compare.judge import Judge
from kame_core.compare.questions import Question, is_right
from kame_core.compare.report import Comparison, Setting
from kame_core.compare.trial import Listener, Row, SpokenTurn, synthesise
from kame_core.engines import Engines
from kame_core.errors import ChatModelError
from kame_core.events import Spent
from kame_core.options import ConversationOptions, Mode
from kame_core.registry import ConversationRegistry
from kame_core.tts.base import TextToSpeech


async def compare(
    engines: Engines,
    asker: TextToSpeech,
    questions: Sequence[Question],
    modes: Sequence[Mode],
    setting: Setting,
    *,
    judge: Judge | None = None,
    tell: Callable[[Row], None] = lambda _: None,
) -> Comparison:
    """Ask everything.

    Args:
        asker: the user's voice.
        judge: grades open questions; without one they are not scored.
        tell: told each row as soon as it is there.

    Raises:
        KameError: an engine failed; a turn that is not answered is no error but a row without an answer.
    """
    spoken = {turn: await synthesise(asker, turn) for question in questions for turn in question.turns}
    rows: list[Row] = []
    spent: dict[str, tuple[Spent, ...]] = {}
    async with ConversationRegistry(engines) as conversations:
        for mode in modes:
            for question in questions:
                new, cost = await _converse(engines, conversations, mode, question, spoken, judge, tell)
                rows += new
                if cost is not None:
                    spent[mode.value] = (*spent.get(mode.value, ()), cost)
    return Comparison(setting, tuple(rows), spent)


async def _converse(
    engines: Engines,
    conversations: ConversationRegistry,
    mode: Mode,
    question: Question,
    spoken: dict[str, SpokenTurn],
    judge: Judge | None,
    tell: Callable[[Row], None],
) -> tuple[list[Row], Spent | None]:
    conversation = await conversations.open(ConversationOptions(mode=mode))
    rows: list[Row] = []
    try:
        async with Listener(engines, conversation) as listener:
            for turn in question.turns:
                rows.append(await listener.ask(mode, question.category, spoken[turn]))
            cost = listener.spent
    finally:
        await conversation.aclose()
    rows = [await _scored(rows, number, question, judge) for number in range(len(rows))]
    for row in rows:
        tell(row)
    return rows, cost


async def _scored(rows: list[Row], number: int, question: Question, judge: Judge | None) -> Row:
    row = rows[number]
    if question.answers:
        accepted = question.answers[number]
        oracle = float(is_right(row.oracle, accepted)) if row.oracle else None
        return replace(row, score=float(is_right(row.answer, accepted)), oracle_score=oracle)
    if judge is None:
        return row
    before = [(earlier.question, earlier.answer) for earlier in rows[:number]]
    score = await _grade(judge, [*before, (row.question, row.answer)])
    if not row.oracle:
        return replace(row, score=score)
    return replace(row, score=score, oracle_score=await _grade(judge, [*before, (row.question, row.oracle)]))


async def _grade(judge: Judge, dialogue: list[tuple[str, str]]) -> float | None:
    """None where the judge had no opinion this once; the report counts those."""
    try:
        return await judge.grade(dialogue)
    except ChatModelError as error:
        if error.code in ("llm_bad_answer", "llm_timeout"):
            return None
        raise
