"""Text from elsewhere as text. JSON can hold half a surrogate pair (RFC 8259, section 8.2), and servers that count in
UTF-16 cut emoji in two: what nothing could send, store or speak.
"""


def whole_characters(text: str) -> str:
    """The same text, with two halves that belong together joined and each other one replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class CharacterJoiner:
    """`whole_characters` of a text that comes in deltas cut anywhere."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, delta: str) -> str:
        """What of the text so far is whole."""
        text = self._held + delta
        self._held = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return whole_characters(text[: len(text) - len(self._held)])

    def finish(self) -> str:
        """What stands for half a character at the very end."""
        held, self._held = self._held, ""
        return whole_characters(held)
