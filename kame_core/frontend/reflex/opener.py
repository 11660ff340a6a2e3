"""Openers: the few words said at once, before the oracle is there. Chosen from what was heard so far.

They must be true whatever the oracle says next, so they promise nothing, and short: three words at most and less than
0.8 s of sound, since each may turn out to be a backchannel into a pause of the user's.
"""

from types import MappingProxyType

from kame_core.frontend.reflex.wording import Kind, kind_of

OPENERS = MappingProxyType(
    {
        Kind.NOTHING: ("Mm.", "Well.", "Hmm."),
        Kind.GREETING: ("Hello!", "Hi there!", "Hi!"),
        Kind.HOW_ARE_YOU: ("Thanks.", "Thank you."),
        Kind.THANKS: ("You're welcome.", "My pleasure.", "Any time."),
        Kind.GOODBYE: ("Goodbye!", "Bye-bye!"),
        Kind.WHO_ARE_YOU: ("Well.", "Hmm."),
        Kind.CAN_YOU_HEAR: ("Yes.", "I'm here."),
        Kind.CALCULATION: ("Well.", "Hmm."),
        Kind.QUESTION: ("Well.", "So.", "Hmm."),  # half a second: what is known soon must not wait for them
        Kind.REQUEST: ("Sure.", "Okay.", "All right."),
        Kind.AGREEMENT: ("Okay.", "All right.", "Good."),
        Kind.REFUSAL: ("Okay.", "All right.", "I see."),
        Kind.APOLOGY: ("No worries.", "All right."),
        Kind.STATEMENT: ("I see.", "Mhm.", "Right.", "Okay."),
    }
)
"""By kind of turn; in the order they are used up."""

NEUTRAL_OPENER = "Hmm."
"""For languages without openers of their own."""

ALL_OPENERS: tuple[str, ...] = tuple(dict.fromkeys(text for texts in OPENERS.values() for text in texts))


def choose_opener(heard: str, nth: int, previous: str = "", *, language: str = "en") -> str:
    """An opener that fits.

    Args:
        heard: transcript of the user's turn so far; may be empty or cut mid-word.
        nth: how many openers were said before in this conversation; varies the choice, deterministically.
        previous: the one said last, which is not said again at once where there is another.
        language: of the conversation; openers are English, others get a neutral sound.
    """
    if language.lower().partition("-")[0] != "en":
        return NEUTRAL_OPENER
    choices = OPENERS[kind_of(heard)]
    start = nth % len(choices)
    ordered = choices[start:] + choices[:start]
    return next((text for text in ordered if text != previous), ordered[0])
