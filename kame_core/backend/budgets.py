"""What one conversation may ask of the chat model, and what it has asked so far."""

from collections import deque
from dataclasses import dataclass, replace

from kame_core.backend.prompt import DEFAULT_PROMPT_CHARS
from kame_core.errors import ChatModelError

_MINUTE_S = 60.0
_CHARS_PER_TOKEN = 4
_LONGEST_REST_S = 30.0


@dataclass(frozen=True, slots=True)
class PlannerBudgets:
    """What one conversation may spend."""

    requests_per_minute: int = 120
    tokens_per_conversation: int = 1_000_000
    """Prompt and answer together; estimated from characters where the model does not say."""
    speculative_share: float = 0.75
    """How much of both may go to partial transcripts; the rest is kept for whole turns."""
    prompt_chars: int = DEFAULT_PROMPT_CHARS
    answer_chars: int = 2000
    """A longer answer is cut there."""
    answer_tokens: int = 200
    first_token_deadline_s: float = 8.0
    deadline_s: float = 20.0

    def of_tokens(self, tokens: int | None) -> "PlannerBudgets":
        """The same with at most so many tokens for a conversation; None: as they are."""
        if tokens is None:
            return self
        return replace(self, tokens_per_conversation=min(tokens, self.tokens_per_conversation))


DEFAULT_BUDGETS = PlannerBudgets()


@dataclass(frozen=True, slots=True)
class Account:
    """What one conversation has asked and spent; tokens are estimated where the model does not say."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Ledger:
    """One conversation's account. Times are the clock's, in seconds.

    Partial transcripts are refused first: their share of the budgets is smaller, and they rest for 4 to 30 s while the
    model fails again and again (2 s if it says that trying again will not help), so that whole turns still get through.
    """

    def __init__(self, budgets: PlannerBudgets) -> None:
        self._budgets = budgets
        self._asked_s: deque[float] = deque(maxlen=budgets.requests_per_minute + 1)
        self._account = Account()
        self._failures = 0
        self._rest_until_s = float("-inf")

    def refusal(self, now_s: float, *, whole_turn: bool) -> ChatModelError | None:
        """Why nothing may be asked now; None if it may."""
        while self._asked_s and self._asked_s[0] <= now_s - _MINUTE_S:
            self._asked_s.popleft()
        share = 1.0 if whole_turn else self._budgets.speculative_share
        if not whole_turn and now_s < self._rest_until_s:
            return ChatModelError("The language model is failing; only whole turns are sent to it for a moment.")
        if len(self._asked_s) >= share * self._budgets.requests_per_minute:
            return ChatModelError(
                "This conversation asks the language model too often. Wait a minute.",
                code="llm_rate_limited",
                retryable=True,
            )
        if self._account.input_tokens + self._account.output_tokens >= share * self._budgets.tokens_per_conversation:
            return ChatModelError(
                "This conversation has used up its tokens. Start a new one.",
                code="llm_rate_limited",
                retryable=False,
            )
        return None

    def asked(self, now_s: float) -> None:
        """A request was made."""
        self._asked_s.append(now_s)
        self._account = replace(self._account, requests=self._account.requests + 1)

    @property
    def account(self) -> Account:
        """All there was so far."""
        return self._account

    def charge(self, prompt_chars: int, answer_chars: int, told: tuple[int, int] | None) -> None:
        """A request is over; `told` are its tokens, read and written, or None where the model does not say."""
        input_tokens, output_tokens = told or (prompt_chars // _CHARS_PER_TOKEN, answer_chars // _CHARS_PER_TOKEN)
        before = self._account
        self._account = replace(
            before,
            input_tokens=before.input_tokens + input_tokens,
            output_tokens=before.output_tokens + output_tokens,
        )

    def succeeded(self) -> None:
        """The model answered."""
        self._failures = 0
        self._rest_until_s = float("-inf")

    def failed(self, now_s: float, *, retryable: bool) -> None:
        """The model failed."""
        self._failures += 1
        if self._failures > 1 or not retryable:
            self._rest_until_s = now_s + min(_LONGEST_REST_S, 2.0**self._failures)
