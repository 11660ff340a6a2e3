"""Presets: what the agent is for. Each changes what the chat model is told about its part, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass

from kame_core.languages import language_of, primary_code

MAX_CONTEXT_CHARS = 4000
"""Longest `context` of a conversation."""
MAX_KNOWLEDGE_CHARS = 12_000
"""Longest `knowledge`: about 3,000 tokens, in every request."""
_PERSON = "Write exactly what a friendly, knowledgeable person would say."
_ANSWER = "Answer the last message."
_FORESEE = (
    "Foresee how it goes on and answer the question they are most probably asking. Do not ask what they mean, do not "
    "mention that they have not finished."
)


@dataclass(frozen=True, slots=True)
class Preset:
    """One part the agent can play. In the texts, `{language}` and `{second_language}` are names of languages."""

    name: str
    title: str
    about: str
    """For people who choose."""
    role: str
    """Who the agent is."""
    length: str = (
        "thirty words at the very most, fewer if fewer will do. Give the answer itself first, then at most one useful "
        "detail."
    )
    language: str = "Speak {language}, unless the user asks for another language."
    complete: str = _ANSWER
    """What to do with a whole turn."""
    incomplete: str = _FORESEE
    """What to do with a turn that goes on."""
    opener: bool = True
    """The front end may say a few words of its own first."""
    bilingual: bool = False
    """People speak either of two languages to it, and are heard by who speaks the other."""


ASSISTANT = Preset(
    name="assistant",
    title="Assistant",
    about="Answers questions about anything, briefly.",
    role=_PERSON,
)
INTERPRETER = Preset(
    name="interpreter",
    title="Interpreter",
    about="Says everything again in the other of two languages.",
    role=(
        "You are the interpreter between two people, one of whom speaks {language} and the other {second_language}. "
        "Each message is meant for the other person, never for you. What is said in {language} you say in "
        "{second_language}, and what is said in {second_language} you say in {language}: in the first person, with its "
        "tone, whole and with nothing added. A question is translated, not answered."
    ),
    length="as many words as the original has, and no others.",
    language="",
    complete="Translate the last message.",
    incomplete="Translate as much of it as is certain to stay as it is, and nothing that is only to be expected.",
    opener=False,
    bilingual=True,
)
TUTOR = Preset(
    name="tutor",
    title="Tutor",
    about="Explains step by step, asks back, corrects kindly.",
    role=(
        "You are a patient tutor. Explain one small step at a time, in plain words and with an example from everyday "
        "life, and end with one short question that lets the user take the next step. Say precisely what was right; "
        "put right what was wrong without blame. Where the user practises a language, speak at their level, and say "
        "the right form in passing when they make a mistake that matters."
    ),
    length="forty words at the very most: one idea, then the question.",
)
CUSTOMER_SERVICE = Preset(
    name="customer_service",
    title="Customer service",
    about="Answers a company's customers from a text of yours.",
    role=(
        "You are on the telephone for a company's customer service: polite, calm and to the point. What you say about "
        "the company, its products, prices, dates and rules comes from the company's text and from tools, never from "
        "elsewhere. What is not there you do not know: say so, and offer to pass the question on. Ask for one thing at "
        "a time, and repeat numbers and names before anything is done with them."
    ),
)

PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in (ASSISTANT, INTERPRETER, TUTOR, CUSTOMER_SERVICE)}
"""All of them by name; the first is what is used where nobody chooses."""


def preset_of(name: str) -> Preset:
    """The preset with that name; the assistant where there is none."""
    return PRESETS.get(name, ASSISTANT)


def other_language(language: str, second: str) -> str:
    """The second language of two: the one that was chosen, else English, or Spanish beside English."""
    return second or ("es" if language.split("-")[0].lower() in ("", "en") else "en")


def spoken_languages(preset: str, language: str, second: str) -> tuple[str, ...]:
    """The tags of what people speak to a preset: the conversation's language, or the two of an interpreter."""
    other = other_language(language, second)
    if not preset_of(preset).bilingual or not language or primary_code(other) == primary_code(language):
        return (language,)
    return (language, other)


def direction(languages: tuple[str, ...], text: str, heard: str = "") -> tuple[str, str] | None:
    """From which of two languages into which a text is to be translated; None: there are not two, or none can tell.

    Args:
        languages: tags, of `spoken_languages`.
        text: the words.
        heard: the language they are in, where a recogniser has told.
    """
    if len(languages) != 2:
        return None
    told = [tag for tag in languages if heard and primary_code(tag) == primary_code(heard)]
    spoken = told[0] if told else language_of(text, languages)
    if not spoken:
        return None
    return (languages[0], languages[1]) if spoken == languages[0] else (languages[1], languages[0])


def listed() -> tuple[dict[str, str], ...]:
    """The presets for people who choose: `id`, `name` and `note` of each."""
    return tuple({"id": preset.name, "name": preset.title, "note": preset.about} for preset in PRESETS.values())
