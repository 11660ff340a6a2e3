"""What the modes are asked. Numbers are written as they are spoken."""

import json
from dataclasses import dataclass
from pathlib import Path

from kame_core.errors import InvalidRequestError
from kame_core.phrasing import words_of


@dataclass(frozen=True, slots=True)
class Question:
    """One or more turns of a user in a conversation of their own."""

    category: str
    turns: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...] = ()
    """For each turn the words of which any is the answer; none at all: an open question, for a judge."""


def _exact(category: str, turn: str, *answers: str) -> Question:
    return Question(category, (turn,), (answers,))


EXACT = (
    _exact("arithmetic", "what is seven times eight", "fifty-six", "56"),
    _exact("arithmetic", "what is twenty percent of eighty", "sixteen", "16"),
    _exact("arithmetic", "what is the square root of eighty one", "nine", "9"),
    _exact("arithmetic", "twelve divided by four", "three", "3"),
    _exact("units", "how many feet are in a mile", "five thousand two hundred", "5280", "5,280"),
    _exact("units", "what is twenty degrees celsius in fahrenheit", "sixty-eight", "68"),
    _exact("units", "convert ten miles to kilometers", "sixteen", "16", "16.1", "16.09"),
    _exact("facts", "what is the capital of france", "paris"),
    _exact("facts", "what currency is used in mexico", "peso", "pesos"),
    _exact("facts", "on which continent is egypt", "africa"),
    _exact("facts", "what is the capital of japan", "tokyo"),
    _exact("facts", "which language is spoken in brazil", "portuguese"),
)
"""One right answer each; the embedded responder knows them, too."""

OPEN = (
    Question(
        "reasoning",
        (
            "a snail climbs three meters up a wall each day and slips back two each night when does it reach the top "
            "of a wall of five meters",
            "and if it slipped back only one meter",
        ),
    ),
    Question(
        "reasoning",
        (
            "anna is older than ben and ben is older than carl who is the youngest",
            "what would have to change so that ben is the youngest",
        ),
    ),
    Question(
        "reasoning",
        ("all birds lay eggs and a bat lays none what follows about bats", "is that a proof or only a guess"),
    ),
    Question("stem", ("why does ice float on water", "what would happen to a lake if it did not")),
    Question("stem", ("how does a vaccine protect a person", "why do some of them need a second dose")),
    Question("stem", ("what makes a computer's memory forget when the power is gone", "is there memory that does not")),
    Question("humanities", ("why did the roman empire fall", "which of these reasons mattered most")),
    Question("humanities", ("what is irony in a novel", "give me an example from a well known book")),
    Question("humanities", ("what is the difference between guilt and shame", "can a whole country feel either")),
)
"""In the three spoken categories of the KAME paper's MT-Bench subset; two turns, no single right answer."""


def load_questions(path: Path) -> tuple[Question, ...]:
    """Questions from a file of JSON lines: `{"category": ..., "turns": [...], "answers": [[...], ...]}`.

    Raises:
        InvalidRequestError: the file cannot be read, or a line is no question; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"The questions in {path} cannot be read: {error}.") from error
    questions = tuple(_question(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip())
    if not questions:
        raise InvalidRequestError(f"There are no questions in {path}.")
    return questions


def _question(line: str, place: str) -> Question:
    try:
        data = json.loads(line)
        turns = tuple(data["turns"])
        answers = tuple(tuple(accepted) for accepted in data.get("answers", ()))
        category = data.get("category", "questions")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidRequestError(
            f'{place} is no question. Write: {{"category": "...", "turns": ["..."], "answers": [["..."]]}}.'
        ) from error
    texts = [category, *turns, *(word for accepted in answers for word in accepted)]
    if not turns or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InvalidRequestError(f"{place}: turns and answers have to be texts that are not empty.")
    if answers and len(answers) != len(turns):
        raise InvalidRequestError(f"{place}: there are {len(turns)} turns but answers to {len(answers)}.")
    return Question(category, turns, answers)


def is_right(heard: str, accepted: tuple[str, ...]) -> bool:
    """One of the accepted answers is among the words that were heard, as whole words in order."""
    said = _plain(heard)
    return any(f" {_plain(answer).strip()} " in said for answer in accepted)


def _plain(text: str) -> str:
    return f" {' '.join(words_of(text.replace('-', ' ').replace(',', '')))} "
