"""Stock replies: what the reflex front end says when no back end will answer. Short, shallow, and honest about it."""

from types import MappingProxyType

from kame_core.frontend.reflex.wording import Kind, kind_of

REPLIES = MappingProxyType(
    {
        Kind.NOTHING: (
            "Sorry, I didn't catch that. Could you say it again?",
            "I'm afraid I didn't understand you. Please say that once more.",
        ),
        Kind.GREETING: ("Nice to hear from you. What's on your mind?", "Good to hear you. How are you today?"),
        Kind.HOW_ARE_YOU: ("I'm doing fine. And how are you?", "All is well here. How about you?"),
        Kind.THANKS: ("Glad that I could be here.", "It was no trouble at all."),
        Kind.GOODBYE: ("Take care. It was nice talking to you.", "Until next time. Take care."),
        Kind.WHO_ARE_YOU: (
            "I'm KAME, a voice that answers at once. The part of me that knows things isn't connected right now.",
        ),
        Kind.CAN_YOU_HEAR: ("I can hear you well.", "I hear you, loud and clear."),
        Kind.CALCULATION: (
            "I can't work that out right now, because I'm on my own here.",
            "Numbers are beyond me while I'm on my own, I'm sorry.",
        ),
        Kind.QUESTION: (
            "I can't look that up right now, because I'm on my own here.",
            "I honestly don't know. The part of me that knows things isn't connected.",
            "I'm sorry, I have no answer to that while I'm on my own.",
        ),
        Kind.REQUEST: (
            "I'm sorry, I can't do that on my own.",
            "That's beyond me right now. I can only chat a little.",
        ),
        Kind.AGREEMENT: ("What would you like to talk about?", "Please go on."),
        Kind.REFUSAL: ("No problem. What would you rather talk about?", "That's fine. Just tell me what you'd like."),
        Kind.APOLOGY: ("There's nothing to be sorry about.", "Don't worry about it."),
        Kind.STATEMENT: ("Tell me more about that.", "I hear you. What happened then?", "Interesting. Please go on."),
    }
)

_NOT_UNDERSTOOD = "Sorry. I can't answer in this language on my own."


def choose_reply(heard: str, nth: int, *, language: str = "en") -> str:
    """A reply that fits.

    Args:
        heard: transcript of the user's turn; may be empty.
        nth: how many replies were given before in this conversation; varies the choice, deterministically.
        language: of the conversation; for others than English there is one honest sentence.
    """
    if language.lower().partition("-")[0] != "en":
        return _NOT_UNDERSTOOD
    choices = REPLIES[kind_of(heard)]
    return choices[nth % len(choices)]
