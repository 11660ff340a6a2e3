"""What the LLM is told: who it is, how spoken words sound, what was heard so far, and how far the user has come.

The messages are one `system` message, then `user` and `assistant` in turn, `user` first and last: the form every chat
template accepts. The user's words stand alone in their messages; all remarks are in the system message.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kame_core.backend.base import ChatMessage

Style = Literal["continuation", "utterance"]

DEFAULT_PROMPT_CHARS = 8000
"""About 2,000 tokens of English: instructions, history and the user's words together."""
_MOST_USER_CHARS = 4000
_MOST_SPOKEN_CHARS = 1000
_MOST_INSTRUCTION_CHARS = 16000

_PERSONA = (
    "You are KAME, the voice in a live phone-like conversation. Whatever you write is read out loud word for word "
    "while you write it, so write exactly what a friendly, knowledgeable person would say."
)
_REGISTER = (
    "Rules for speech: thirty words at the very most, fewer if fewer will do. Give the answer itself first, then at"
    " most one useful detail. Use whole spoken sentences with periods and commas only: no lists, headings, "
    "markdown, emoji, brackets, quotation marks, links or code. Spell out numbers, units, signs and abbreviations "
    "the way they are said. Never describe your voice or actions, never put a name before your words. The user's "
    "words come from speech recognition and may be misheard: take the likeliest meaning. If you do not know "
    "something, say so briefly."
)
_INCOMPLETE = (
    "The user is still speaking: the last message is only what has been heard so far. Foresee how it goes on and "
    "answer the question they are most probably asking. Do not ask what they mean, do not mention that they have "
    "not finished."
)
_COMPLETE = "The user has finished speaking. Answer the last message."
_CONTINUE = (
    "In answer to it you have already said out loud: «{spoken}» Write only the words that come directly after "
    "these, so that both together make one natural answer. Say nothing twice. If what you said was wrong, put it "
    "right in passing."
)
_UTTERANCE = (
    "Write your whole next utterance, so that it also makes sense when only its beginning is used and when your "
    "voice has begun to speak a moment before."
)
_UTTERANCE_SPOKEN = (
    "Your voice has already said: «{spoken}» Your utterance goes on from there: keep to the same answer, do not "
    "begin it again, and if something in it was wrong, put it right in passing."
)

_LANGUAGES = {
    "ar": "Arabic",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}

_GREETING_CUE = "Hello."
_GO_ON_CUE = "Please go on."


@dataclass(frozen=True, slots=True)
class PromptContext:
    """What a conversation knows when the back end is asked."""

    instructions: str = ""
    """Of the operator or client, added to the persona."""
    language: str = "en"
    """BCP 47 tag; empty: the user's own."""
    style: Style = "continuation"
    """What the front end reads best: see `FrontendTraits.oracle_style`."""
    history: tuple[ChatMessage, ...] = ()
    """The dialogue before this turn, as it was heard; system messages in it join the instructions."""
    spoken_this_turn: str = ""
    """Words the agent has already said in this turn, an opener for instance."""
    now: str | None = None
    """Date and time where the user is, in words."""


def build_messages(
    context: PromptContext, user_text: str, complete: bool, *, max_chars: int = DEFAULT_PROMPT_CHARS
) -> tuple[ChatMessage, ...]:
    """Make the messages of one request.

    Args:
        context: the conversation as it stands.
        user_text: the user's turn, or what was understood of it so far. Empty: the agent is to speak unasked; it
            answers a user message at the end of the history, else goes on, else greets.
        complete: the turn is over.
        max_chars: budget for all contents together. History is left away from its oldest turn on, whole turns at a
            time; system message and the user's words stay, very long words of the user lose their beginning.
    """
    system = ChatMessage("system", _system_text(context, complete))
    turns = list(_turns(context.history))
    words = user_text.strip()[-_MOST_USER_CHARS:]
    if words:
        turns.append([ChatMessage("user", words)])
    elif not turns:
        turns.append([ChatMessage("user", _GREETING_CUE)])
    elif turns[-1][-1].role == "assistant":
        turns.append([ChatMessage("user", _GO_ON_CUE)])
    left = max_chars - len(system.content)
    kept: list[list[ChatMessage]] = []
    for turn in reversed(turns):
        left -= sum(len(message.content) for message in turn)
        if left < 0 and kept:
            break
        kept.append(turn)
    messages = [message for turn in reversed(kept) for message in turn]
    return (system, *_alternating(messages))


def language_name(tag: str) -> str:
    """English name of a language tag's language; the tag itself where it is not known here."""
    return _LANGUAGES.get(tag.replace("_", "-").split("-")[0].lower(), tag)


def _system_text(context: PromptContext, complete: bool) -> str:
    parts = [_PERSONA, _REGISTER]
    if context.language:
        parts.append(f"Speak {language_name(context.language)}, unless the user asks for another language.")
    given = [context.instructions, *(message.content for message in context.history if message.role == "system")]
    instructions = "\n".join(text.strip() for text in given if text.strip())
    if instructions:
        parts.append(f"Your instructions for this conversation:\n{instructions[:_MOST_INSTRUCTION_CHARS]}")
    if context.now:
        parts.append(f"It is {context.now}.")
    parts.append(_COMPLETE if complete else _INCOMPLETE)
    spoken = " ".join(context.spoken_this_turn.split())[-_MOST_SPOKEN_CHARS:]
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
        if message.role == "system" or not message.content.strip():
            continue
        if message.role == "user" and turn and turn[-1].role == "assistant":
            yield turn
            turn = []
        turn.append(message)
    if turn:
        yield turn


def _alternating(messages: list[ChatMessage]) -> Iterator[ChatMessage]:
    """Neighbours of one role joined; the first is the user's."""
    role: Literal["system", "user", "assistant"] = "user"
    texts: list[str] = []
    if messages and messages[0].role == "assistant":
        texts.append(_GREETING_CUE)
    for message in messages:
        if message.role != role:
            yield ChatMessage(role, "\n".join(texts))
            role, texts = message.role, []
        texts.append(message.content.strip())
    yield ChatMessage(role, "\n".join(texts))
