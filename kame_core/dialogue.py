"""What a client may ask of a conversation: options, items, responses, the end of the user's turn."""

from dataclasses import replace

from kame_core.errors import ConversationClosedError, InvalidRequestError
from kame_core.events import FunctionOutputAdded, ItemAdded, Role
from kame_core.ids import new_id
from kame_core.mode_changes import ModeChanges
from kame_core.options import ConversationOptions, ResponseOptions
from kame_core.subscription import Subscription
from kame_core.transcript import Item, id_taken

_MAX_SUBSCRIPTIONS = 16
_AS_ALWAYS = ResponseOptions()


class Dialogue(ModeChanges):
    """Turns, and a client's wishes in them. Every method is called on the event loop."""

    def subscribe(self) -> Subscription:
        """All events from now on.

        Raises:
            ConversationClosedError: it has ended.
            InvalidRequestError: too many listen already.
        """
        if self.closed:
            raise ConversationClosedError("The conversation has ended. Start a new one.")
        self._subscriptions = [other for other in self._subscriptions if not other.closed]
        if len(self._subscriptions) >= _MAX_SUBSCRIPTIONS:
            raise InvalidRequestError("Too many listeners on one conversation.", code="too_many_listeners")
        subscription = Subscription()
        self._subscriptions.append(subscription)
        return subscription

    # --- options and items ---

    @property
    def options(self) -> ConversationOptions:
        """What is asked of the conversation now."""
        return self._options

    def set_options(self, options: ConversationOptions) -> None:
        """Change the options; they apply from the next turn. Language and voice stay as they were opened.

        A mode that runs on another front end applies as soon as there is a place, if there is (else: `ModeRefused`).

        Raises:
            UnavailableError: this server does not have the mode.
        """
        host, before = self._engines.host_of(options.mode), self._options.mode
        self._options = replace(options, language=self._options.language, voice=self._options.voice)
        self._user.turns.detection = options.turn_detection
        withheld = self._agent.withheld
        self._agent.manual = not self._automatic
        if not self._automatic:
            self._drop_opener()
        elif withheld:
            self._answering.replay()
        self._move(host, before)

    def add_text(self, text: str, role: Role, item_id: str | None = None, previous_item_id: str | None = None) -> str:
        """Put a typed message into the dialogue and return its id.

        Raises:
            InvalidRequestError: the id is taken or the previous item is not here.
        """
        self._check_free(item_id)
        item = Item(item_id or new_id("item"), role, text, "completed", "text")
        previous = self.transcript.add(item, previous_item_id)
        self._emit(ItemAdded(self.now_ms(), item.id, previous, role, text))
        if role == "user":
            self._unasked.user_said()
        return item.id

    def add_function_output(
        self, call_id: str, output: str, item_id: str | None = None, previous_item_id: str | None = None
    ) -> str:
        """Tell what came out of a function call and return the item's id; `create_response` then tells the user.

        Raises:
            InvalidRequestError: there is no such call, it has an output already, the id is taken, or the previous item
                is not here.
        """
        self._check_free(item_id)
        item = self._functions.add_output(call_id, output, item_id, previous_item_id)
        previous = self.transcript.before(item.id)
        self._emit(FunctionOutputAdded(self.now_ms(), item.id, previous, call_id, output))
        return item.id

    def _check_free(self, item_id: str | None) -> None:
        """The item of speech in progress is not in the transcript yet, but its id was told."""
        if item_id is not None and item_id == self._user.item_id:
            raise id_taken(item_id)

    def item(self, item_id: str) -> Item | None:
        """An item of the dialogue."""
        return self.transcript.get(item_id)

    def delete_item(self, item_id: str) -> None:
        """Take an item out of the dialogue.

        Raises:
            InvalidRequestError: it is not here.
        """
        self._delete(item_id)

    # --- responses ---

    def create_response(self, wishes: ResponseOptions = _AS_ALWAYS) -> str:
        """Answer now, to what was said or typed last, or with what functions gave; returns the response's id.

        After function calls the response comes as soon as the words of the one that made them have been played.

        Args:
            wishes: what is to be otherwise in this response.

        Raises:
            InvalidRequestError: a response is open already.
        """
        if self._agent.response is not None:
            promised = self._functions.promise(self._agent.response, wishes)
            if promised is not None:
                return promised
            raise InvalidRequestError(
                "A response is in progress. Cancel it or wait until it is done.",
                code="conversation_already_has_active_response",
            )
        if self._user.awaits_final and self._user.item_id is not None:  # it answers the turn that was just committed
            if self._answering.active:
                self._hush()
            elif wishes.instructions:
                self._answering.stop()  # what was thought of so far was thought with other instructions
            withheld = self._agent.withheld
            self._announce(self._user.item_id)
            self._demanded = wishes
            self._turn_options = wishes.over(self._turn_options)
            response = self._agent.open(on_demand=True)
            if withheld:
                self._answering.replay()
            return response.id
        return self._respond(wishes)

    def cancel_response(self, response_id: str | None = None) -> None:
        """Stop the response in progress, or the one being thought of.

        Raises:
            InvalidRequestError: there is none, or it is another one.
        """
        response = self._agent.response
        if response is None and response_id is None and self._answering.active and not self._traits.takes_turns:
            self._hush()
            self._agent_done()
            return
        if response is None or response_id not in (None, response.id):
            raise InvalidRequestError("There is no such response in progress.", code="response_cancel_not_active")
        self._demanded = None
        self._answering.stop()
        self._cut("client_cancelled")

    def clear_voice(self) -> str | None:
        """Silence the agent at once; returns the response that was being spoken."""
        response = self._agent.response
        if response is None:
            return None
        self.cancel_response()
        return response.id

    # --- the user's sound ---

    def commit_input(self) -> None:
        """The user's turn is over (push to talk).

        Raises:
            InvalidRequestError: nothing was said since the last turn.
        """
        if not self._user.in_turn:
            raise InvalidRequestError(
                "There is no speech to commit. Speak first.", code="input_audio_buffer_commit_empty"
            )
        self._user.commit()

    def clear_input(self) -> None:
        """Forget what the user has said since the last turn."""
        self._user.clear()
