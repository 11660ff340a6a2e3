"""What the LLM is told: who it is, how spoken words sound, what was heard so far, and how far the user has come.

The messages are one `system` message, then `user` and `assistant` in turn, `user` first and last: the form every chat
template accepts. The user's words stand alone in their messages; all remarks are in the system message.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from kame_core.backend.base import ChatMessage, Role
from kame_core.backend.presets import direction, other_language, preset_of, spoken_languages
from kame_core.languages import language_name

Style = Literal["continuation", "utterance"]

DEFAULT_PROMPT_CHARS = 8000
"""About 2,000 tokens of English: instructions, history and the user's words together."""
_MOST_USER_CHARS = 4000
_MOST_SPOKEN_CHARS = 1000
_MOST_RESULT_CHARS = 8000
_MOST_OLD_RESULT_CHARS = 1000
"""Of a tool, in a turn that was answered."""
_MOST_INSTRUCTION_CHARS = 16000

_PERSONA = (
    "You are KAME, the voice in a live phone-like conversation. Whatever you write is read out loud word for word "
    "while you write it."
)
_REGISTER = (
    "Rules for speech: {length} Use whole spoken sentences with periods and commas only: no lists, headings, "
    "markdown, emoji, brackets, quotation marks, links or code. Spell out numbers, units, signs and abbreviations "
    "the way they are said. Never describe your voice or actions, never put a name before your words. The user's "
    "words come from speech recognition and may be misheard: take the likeliest meaning. If you do not know "
    "something, say so briefly."
)
_INCOMPLETE = "The user is still speaking: the last message is only what has been heard so far. {task}"
_COMPLETE = "The user has finished speaking. {task}"
_DIRECTION = "The last message is in {}: say it in {}."
_CONTINUE = (
    "In answer to it you have already said out loud: «{spoken}» Write only the words that come directly after "
    "these, so that both together make one natural answer. Say nothing twice. If what you said was wrong, put it "
    "right in passing."
)
_UTTERANCE = (
    "Write your whole next utterance, in sentences of at most twenty words with no other signs than periods and "
    "commas, so that it also makes sense when only its beginning is used and when your voice has begun to speak a "
    "moment before."
)
_UTTERANCE_SPOKEN = (
    "Your voice has already said: «{spoken}» Your utterance goes on from there: keep to the same answer, do not "
    "begin it again, and if something in it was wrong, put it right in passing."
)
_TOOLS = (
    "Call a tool only if the answer needs it. Unless you have already said something, first write a few words that "
    "tell the user what you are about to do. Never name tools, arguments or identifiers aloud; say what came out, or "
    "that it did not work, in plain words."
)

_GREETING_CUE = "Hello."
_GO_ON_CUE = "Please go on."
ABOUT_THE_TALK = (
    "The messages that follow are what has been said so far in a conversation that goes on elsewhere. Do not answer "
    "them. Do with them what you are told here, and write nothing else:"
)
"""Before instructions for an aside about the dialogue."""
_DO_IT_CUE = "Please do as instructed."


@dataclass(frozen=True, slots=True)
class PromptContext:
    """What a conversation knows when the back end is asked."""

    instructions: str = ""
    """Of the operator or client, added to the persona."""
    language: str = "en"
    """BCP 47 tag; empty: the user's own."""
    preset: str = ""
    """What the agent is for; empty: the assistant."""
    second_language: str = ""
    """See `ConversationOptions`, also for the next two."""
    context: str = ""
    knowledge: str = ""
    heard_language: str = ""
    """Tag of the language the user's words are in; empty: not known."""
    style: Style = "continuation"
    """What the front end reads best: see `FrontendTraits.oracle_style`."""
    history: tuple[ChatMessage, ...] = ()
    """The dialogue before this turn, as it was heard; system messages in it join the instructions."""
    spoken_this_turn: str = ""
    """Words the agent has already said in this turn, an opener for instance."""
    now: str | None = None
    """Date and time where the user is, in words."""
    tools: bool = False
    """The request is offered tools."""
    tools_used: tuple[ChatMessage, ...] = ()
    """What tools did already for the words that are asked: their answer was interrupted, and they are asked again."""
    max_tokens: int | None = None
    """Longest answer; None: as budgeted."""


def build_messages(
    context: PromptContext, user_text: str, complete: bool, *, max_chars: int = DEFAULT_PROMPT_CHARS
) -> tuple[ChatMessage, ...]:
    """Make the messages of one request.

    Args:
        context: the conversation as it stands.
        user_text: the user's turn, or what was understood of it so far. Empty: the agent is to speak unasked; it
            answers a user message at the end of the history, else goes on, else greets.
        complete: the turn is over.
        max_chars: budget for all contents together, of which a quarter is the talk's even where the system message is
            longer than the rest. History is left away from its oldest turn on, whole turns at a time; system message
            and the user's words stay, very long words of the user lose their beginning, results of tools their end.
    """
    system = ChatMessage("system", _system_text(context, user_text, complete))
    turns = list(_turns(context.history))
    words = user_text.strip()[-_MOST_USER_CHARS:]
    if words:
        turns.append([ChatMessage("user", words), *context.tools_used])
    elif not turns:
        turns.append([ChatMessage("user", _GREETING_CUE)])
    elif turns[-1][-1].role == "assistant":  # after a tool's result, going on is what is expected anyway
        turns.append([ChatMessage("user", _GO_ON_CUE)])
    messages = _newest(turns, max(max_chars - len(system.content), max_chars // 4))
    return (system, *_alternating(messages))


def build_aside(
    instructions: str, talk: tuple[ChatMessage, ...] | None, given: tuple[ChatMessage, ...], max_chars: int
) -> tuple[ChatMessage, ...]:
    """Make the messages of a request for a text beside the dialogue: neither persona nor rules of speech.

    Args:
        instructions: what is to be written; empty: what anybody would reply to the messages.
        talk: the dialogue as it was heard, if that is what it is written about; it loses its oldest turns.
        given: else these messages, whole. Of both, system messages join the instructions.
        max_chars: budget for instructions and dialogue, as in `build_messages`.

    Returns:
        Nothing where there is neither an instruction nor a message.
    """
    messages = given if talk is None else talk
    parts = [instructions, *(message.content for message in messages if message.role == "system")]
    system = "\n".join(text.strip() for text in parts if text.strip())
    turns = list(_turns(messages))
    if not system and not turns:
        return ()
    left = max(max_chars - len(system), max_chars // 4) if talk is not None else sum(map(_size, messages))
    kept = _newest(turns, left)
    if not kept or kept[-1].role == "assistant":
        kept.append(ChatMessage("user", _DO_IT_CUE))
    return (*([ChatMessage("system", system)] if system else []), *_alternating(kept))


def _newest(turns: list[list[ChatMessage]], left_chars: int) -> list[ChatMessage]:
    """The messages of the last turns for which there is room, of the last one in any case."""
    turns = [[_shortened(message, _MOST_OLD_RESULT_CHARS) for message in turn] for turn in turns[:-1]] + turns[-1:]
    kept: list[list[ChatMessage]] = []
    for turn in reversed(turns):
        left_chars -= sum(_size(_shortened(message, _MOST_RESULT_CHARS)) for message in turn)
        if left_chars < 0 and kept:
            break
        kept.append(turn)
    return [message for turn in reversed(kept) for message in turn]


def _system_text(context: PromptContext, user_text: str, complete: bool) -> str:
    preset = preset_of(context.preset)
    names = {
        "language": language_name(context.language) if context.language else "the user's own language",
        "second_language": language_name(other_language(context.language, context.second_language)),
    }
    parts = [f"{_PERSONA} {preset.role.format(**names)}", _REGISTER.format(length=preset.length)]
    if context.language and preset.language:
        parts.append(preset.language.format(**names))
    given = [context.instructions, *(message.content for message in context.history if message.role == "system")]
    instructions = "\n".join(text.strip() for text in given if text.strip())
    if instructions:
        parts.append(f"Your instructions for this conversation:\n{instructions[:_MOST_INSTRUCTION_CHARS]}")
    if context.knowledge.strip():
        parts.append(f"The text to answer from:\n{context.knowledge.strip()}")
    if context.context.strip():
        parts.append(f"What is known of the user's situation:\n{context.context.strip()}")
    if context.now:
        parts.append(f"It is {context.now}.")
    task = _COMPLETE.format(task=preset.complete) if complete else _INCOMPLETE.format(task=preset.incomplete)
    languages = spoken_languages(context.preset, context.language, context.second_language)
    known = direction(languages, user_text, context.heard_language)
    parts.append(f"{task} {_DIRECTION.format(*map(language_name, known))}" if known else task)
    spoken = " ".join(context.spoken_this_turn.split())[-_MOST_SPOKEN_CHARS:]
    if context.tools and complete:
        parts.append(_TOOLS)
    if context.style == "utterance":
        parts.append(_UTTERANCE)
        if spoken:
            parts.append(_UTTERANCE_SPOKEN.format(spoken=spoken))
    elif spoken:
        parts.append(_CONTINUE.format(spoken=spoken))
    return "\n\n".join(parts)


def _turns(history: tuple[ChatMessage, ...]) -> Iterator[list[ChatMessage]]:
    """Exchanges: the user's messages and what was answered. A greeting before any of them is one by itself."""
    turn: list[ChatMessage] = []
    for message in history:
        silent = not message.content.strip() and not message.tool_calls and message.role != "tool"
        if message.role == "system" or silent:
            continue
        if message.role == "user" and turn and turn[-1].role != "user":
            yield turn
            turn = []
        turn.append(message)
    if turn:
        yield turn


def _alternating(messages: list[ChatMessage]) -> Iterator[ChatMessage]:
    """Neighbours of one role joined, each tool call by itself with its result; the first is the user's."""
    role: Role = "user"
    texts: list[str] = []
    if messages and messages[0].role == "assistant":
        texts.append(_GREETING_CUE)
    for message in messages:
        if message.tool_calls and role == "assistant" and texts:  # its words and its calls are one message
            message = replace(message, content="\n".join([*texts, message.content]).strip())
            texts = []
        if message.role != role or message.tool_calls or message.role == "tool":
            if texts:
                yield ChatMessage(role, "\n".join(texts))
            role, texts = message.role, []
        if message.tool_calls or message.role == "tool":
            yield _shortened(message, _MOST_RESULT_CHARS)
        else:
            texts.append(message.content.strip())
    if texts:
        yield ChatMessage(role, "\n".join(texts))


def _size(message: ChatMessage) -> int:
    return len(message.content) + sum(len(call.name) + len(call.arguments) for call in message.tool_calls)


def _shortened(message: ChatMessage, most_chars: int) -> ChatMessage:
    """A tool's result of at most so many characters; other messages as they are."""
    if message.role != "tool" or len(message.content) <= most_chars:
        return message
    return replace(message, content=f"{message.content[:most_chars]} (cut here)")
