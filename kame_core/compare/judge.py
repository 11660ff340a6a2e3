"""Another LLM's opinion of an answer to an open question, from 1 to 10."""

import re

from kame_core.backend.base import ChatMessage, ChatModel, ChatRequest, TextDelta
from kame_core.errors import ChatModelError

_TASK = (
    "You grade what a voice assistant said aloud. Read the dialogue and grade only the assistant's last answer: is "
    "it correct, does it answer what was asked, is it as helpful and as deep as a few spoken sentences can be? It may "
    "begin with a short filler word and need not be written language. An answer that is missing, wrong or evasive "
    "gets 1 or 2, an excellent one 9 or 10. Give one sentence of reasons, then on a line of its own: SCORE: and a "
    "number from 1 to 10."
)
_SCORE = re.compile(r"SCORE\W{0,4}(10|[1-9])(?![0-9])", re.IGNORECASE)
_DEADLINE_S = 60.0
_MAX_TOKENS = 400


class Judge:
    """Grades with a chat model."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model

    async def grade(self, dialogue: list[tuple[str, str]]) -> float:
        """Grade the last answer of a dialogue.

        Args:
            dialogue: what the user said and what was answered, turn by turn.

        Raises:
            ChatModelError: the model failed, or gave no grade.
        """
        told = "\n\n".join(f"User: {asked}\nAssistant: {answer or '(silence)'}" for asked, answer in dialogue)
        request = ChatRequest(
            (ChatMessage("system", _TASK), ChatMessage("user", told)),
            deadline_s=_DEADLINE_S,
            first_token_deadline_s=_DEADLINE_S,
            max_tokens=_MAX_TOKENS,
        )
        text = "".join([event.text async for event in self._model.stream(request) if isinstance(event, TextDelta)])
        scores = _SCORE.findall(text)
        if not scores:
            raise ChatModelError(
                "The judge gave no score from 1 to 10. Choose a model that follows instructions.", code="llm_bad_answer"
            )
        return float(scores[-1])
