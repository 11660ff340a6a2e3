"""The client's functions in one dialogue: their results come in, and the response that tells them waits its turn."""

from dataclasses import dataclass

from kame_core.errors import InvalidRequestError
from kame_core.ids import new_id
from kame_core.options import ResponseOptions
from kame_core.response import Response
from kame_core.transcript import Item, Transcript, function_output


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A response that was promised while the one that called functions is still being played."""

    response_id: str
    wishes: ResponseOptions


class FunctionCalls:
    """Keeps calls, results and what follows from them in step with the transcript."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._follow_up: FollowUp | None = None

    def add_output(self, call_id: str, output: str, item_id: str | None, previous_item_id: str | None) -> Item:
        """Put a result into the transcript.

        Raises:
            InvalidRequestError: there is no such call, it has a result already, the id is taken, or the previous item
                is not here.
        """
        about = [item for item in self._transcript.items() if item.call_id == call_id]
        if not any(item.kind == "function_call" for item in about):
            raise InvalidRequestError("There is no function call with this call_id.", code="function_call_not_found")
        if any(item.kind == "function_call_output" for item in about):
            raise InvalidRequestError("This function call has an output already.", code="output_exists")
        item = function_output(item_id or new_id("item"), call_id, output)
        self._transcript.add(item, previous_item_id)
        return item

    def asked(self) -> tuple[Item | None, bool]:
        """What a response on demand answers: the user's last words; True: tools have said something to them since."""
        told = False
        for item in reversed(self._transcript.items()):
            if item.kind == "function_call_output":
                told = True
            elif item.kind == "message" and item.role == "user" and item.status == "completed":
                return item, told or bool(item.tools)
        return None, told

    @property
    def unanswered(self) -> bool:
        """The user's words, or a result, are the last that was said; a response in progress is yet to answer them."""
        for item in reversed(self._transcript.items()):
            if item.kind == "function_call_output" or (item.role == "user" and item.status == "completed"):
                return True
            if item.kind == "message" and item.role == "assistant" and item.status != "in_progress":
                return False
        return False

    def promise(self, response: Response, wishes: ResponseOptions) -> str | None:
        """Promise the response that follows one whose calls are out; None if that is not the case."""
        if not response.called or self._follow_up is not None:
            return None
        self._follow_up = FollowUp(new_id("resp"), wishes)
        return self._follow_up.response_id

    def take_promise(self) -> FollowUp | None:
        """What was promised; it is taken once."""
        follow_up, self._follow_up = self._follow_up, None
        return follow_up
