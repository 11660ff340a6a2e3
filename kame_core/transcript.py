"""Who said what: the dialogue's items, what was only generated and what was really heard."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from kame_core.backend.base import ChatMessage, ToolCall
from kame_core.errors import InvalidRequestError
from kame_core.events import Role

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Modality = Literal["audio", "text"]
Kind = Literal["message", "function_call", "function_call_output"]

NO_RESULT = '{"error": "There is no result yet."}'
"""What the chat model is told of a call that the client has not answered."""


@dataclass(frozen=True, slots=True)
class Item:
    """One part of the dialogue. An agent's `text` is what was heard; `generated` what was meant to be said.

    A function call's `text` is its arguments (JSON), an output's is the result.
    """

    id: str
    role: Role
    text: str
    status: ItemStatus
    modality: Modality
    generated: str = ""
    kind: Kind = "message"
    call_id: str = ""
    """Of a function call and of its output."""
    name: str = ""
    """Of the function."""
    tools: tuple[ChatMessage, ...] = ()
    """What tools of the server did for this turn; for the chat model only."""
    language: str = ""
    """Code of the language the user spoke it in, where speech-to-text recognised that."""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Of a function call, for the chat model only: see `ToolCall`."""


def function_call(
    item_id: str, call_id: str, name: str, arguments: str, extra: Mapping[str, Any] | None = None
) -> Item:
    """The item of a call that the client is to make; `arguments`: JSON."""
    return Item(
        item_id,
        "assistant",
        arguments,
        "completed",
        "text",
        kind="function_call",
        call_id=call_id,
        name=name,
        extra=extra or {},
    )


def id_taken(item_id: str) -> InvalidRequestError:
    """To raise where an item is to be added under the id of another."""
    return InvalidRequestError(f"There is an item with the id {item_id} already.", code="item_exists")


def function_output(item_id: str, call_id: str, output: str) -> Item:
    """The item of what came out of it."""
    return Item(item_id, "system", output, "completed", "text", kind="function_call_output", call_id=call_id)


class Transcript:
    """The items of one conversation in the order in which they belong, bounded at `max_items` (the oldest go)."""

    def __init__(self, max_items: int = 1000) -> None:
        self._items: dict[str, Item] = {}
        self._max_items = max_items

    def add(self, item: Item, previous_item_id: str | None = None) -> str | None:
        """Put an item behind `previous_item_id` (None: at the end) and return the id now before it.

        Raises:
            InvalidRequestError: the id is taken, or the previous item is not here.
        """
        if item.id in self._items:
            raise id_taken(item.id)
        if previous_item_id is None or previous_item_id == self.last_id:
            previous = self.last_id
            self._items[item.id] = item
        else:
            if previous_item_id not in self._items:
                raise _not_found(previous_item_id)
            previous = previous_item_id
            items = list(self._items.values())
            place = next(index for index, other in enumerate(items) if other.id == previous_item_id)
            items.insert(place + 1, item)
            self._items = {other.id: other for other in items}
        while len(self._items) > self._max_items:
            del self._items[next(iter(self._items))]
        return previous

    def update(
        self,
        item_id: str,
        *,
        text: str | None = None,
        generated: str | None = None,
        status: ItemStatus | None = None,
        tools: tuple[ChatMessage, ...] | None = None,
        language: str | None = None,
    ) -> Item | None:
        """Change what is known of an item; None if it was deleted meanwhile."""
        item = self._items.get(item_id)
        if item is None:
            return None
        item = replace(
            item,
            text=item.text if text is None else text,
            generated=item.generated if generated is None else generated,
            status=status or item.status,
            tools=item.tools if tools is None else tools,
            language=item.language if language is None else language,
        )
        self._items[item_id] = item
        return item

    def delete(self, item_id: str) -> None:
        """Take an item out.

        Raises:
            InvalidRequestError: it is not here.
        """
        if item_id not in self._items:
            raise _not_found(item_id)
        del self._items[item_id]

    def get(self, item_id: str) -> Item | None:
        """The item with that id."""
        return self._items.get(item_id)

    @property
    def last_id(self) -> str | None:
        """Id of the last item."""
        return next(reversed(self._items), None)

    def before(self, item_id: str) -> str | None:
        """Id of the item before that one."""
        ids = [None, *self._items]
        return ids[ids.index(item_id) - 1] if item_id in self._items else None

    def items(self) -> tuple[Item, ...]:
        """All items in order."""
        return tuple(self._items.values())

    def history(self, *, without: str | None = None, begun: tuple[str, str] = ("", "")) -> tuple[ChatMessage, ...]:
        """The dialogue as heard, as chat messages; silent items are left out. Every call is followed by its result.

        Args:
            without: an item that is left out.
            begun: an item that is still being said, and its words so far.
        """
        results = self._results()
        messages: list[ChatMessage] = []
        for item in self._items.values():
            if item.id == without or item.kind == "function_call_output":
                continue
            item = replace(item, text=begun[1]) if item.id == begun[0] else item
            messages += _messages_of(item, results)
        return tuple(messages)

    def quote(self, item_id: str, *, begun: tuple[str, str] = ("", "")) -> tuple[ChatMessage, ...]:
        """One item as chat messages; of a function call and of its output, both. `begun` as for `history`.

        Raises:
            InvalidRequestError: it is not here.
        """
        item = self._items.get(item_id)
        if item is None:
            raise _not_found(item_id)
        if item.id == begun[0]:
            item = replace(item, text=begun[1])
        if item.kind == "function_call_output":
            about = (other for other in self._items.values() if other.call_id == item.call_id)
            item = next((other for other in about if other.kind == "function_call"), item)
        return _messages_of(item, self._results())

    def _results(self) -> dict[str, str]:
        """Results of function calls, by call."""
        return {item.call_id: item.text for item in self._items.values() if item.kind == "function_call_output"}


def _messages_of(item: Item, results: Mapping[str, str]) -> tuple[ChatMessage, ...]:
    if item.kind == "function_call":
        call = ToolCall(item.call_id, item.name, item.text, item.extra)
        result = ChatMessage("tool", results.get(item.call_id, NO_RESULT), call_id=item.call_id)
        return ChatMessage("assistant", "", (call,)), result
    if item.kind == "function_call_output":  # its call was deleted
        return (ChatMessage("system", item.text),) if item.text.strip() else ()
    text = item.text.strip()
    return (*((ChatMessage(item.role, text),) if text else ()), *item.tools)


def _not_found(item_id: str) -> InvalidRequestError:
    return InvalidRequestError(f"There is no item with the id {item_id}.", code="item_not_found")
