"""What a codec needs of a conversation; `kame_core.conversation.Conversation` is one."""

from typing import Protocol

from kame_core.events import Role
from kame_core.options import AsideOptions, ConversationOptions, ResponseOptions
from kame_core.transcript import Item, Transcript


class ConversationPort(Protocol):
    """One dialogue, steered by a client. All methods return at once; what they cause comes as events."""

    @property
    def id(self) -> str:
        """Unguessable identifier."""

    @property
    def options(self) -> ConversationOptions:
        """What is in force from the next turn on."""

    @property
    def transcript(self) -> Transcript:
        """What was said; of the agent, what was heard."""

    def set_options(self, options: ConversationOptions) -> None:
        """Replace the options; they apply at the next turn. Language and voice may stay as they were opened.

        Raises:
            KameError: they cannot be had here.
        """

    def add_text(self, text: str, role: Role, item_id: str | None = None, previous_item_id: str | None = None) -> str:
        """Add a typed message behind `previous_item_id` (None: at the end); returns its id. Emits `ItemAdded`.

        Raises:
            InvalidRequestError: code `item_exists` or `item_not_found`.
        """

    def add_function_output(
        self, call_id: str, output: str, item_id: str | None = None, previous_item_id: str | None = None
    ) -> str:
        """Tell what came out of a function call; returns the item's id. Emits `FunctionOutputAdded`.

        Raises:
            InvalidRequestError: code `function_call_not_found`, `output_exists`, `item_exists` or `item_not_found`.
        """

    def delete_item(self, item_id: str) -> None:
        """Take a message out of the dialogue. Emits `ItemDeleted`.

        Raises:
            InvalidRequestError: code `item_not_found`.
        """

    def item(self, item_id: str) -> Item | None:
        """The message with that id."""

    def create_response(self, wishes: ResponseOptions = ..., /) -> str:
        """Let the agent speak now; returns the response's id. Emits `ResponseStarted`, after function calls as soon as
        their response has ended. `wishes`: what is to be otherwise in this response.

        Raises:
            InvalidRequestError: code `conversation_already_has_active_response`.
        """

    def create_aside(self, wishes: AsideOptions, /) -> str:
        """Have a text written beside the dialogue; returns its response's id. Emits `AsideStarted`, and `AsideEnded` in
        any case.

        Raises:
            InvalidRequestError: code `too_many_responses`, `item_not_found`, `nothing_to_write_from` or
                `input_too_long`.
        """

    def cancel_response(self, response_id: str | None = None) -> None:
        """End the agent's turn (None: whichever is open), or the aside of this id. Emits `ResponseEnded`, `AsideEnded`.

        Raises:
            InvalidRequestError: code `response_cancel_not_active`.
        """

    def clear_voice(self) -> str | None:
        """Cut the sound that is being played; returns whose it was. Emits `VoiceStopped(cleared=True)`."""

    def commit_input(self) -> None:
        """The user's turn ends here. Emits `UserTurnCommitted`.

        Raises:
            InvalidRequestError: code `input_audio_buffer_commit_empty`.
        """

    def clear_input(self) -> None:
        """Forget what the user has said in this turn."""
