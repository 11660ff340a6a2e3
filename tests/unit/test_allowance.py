"""What client secrets allow: carried by the secret, never widened, counted, and spent by the conversation."""

from collections.abc import Callable
from functools import partial

import pytest

from app.admission import (
    Access,
    AccessPolicy,
    ClientSecrets,
    client_secret_answer,
    client_secret_request,
    require_origin,
)
from app.allowance import MOST_SECRETS, Allowance, SecretUse
from app.origins import both_here, web_origin
from app.protocol.errors import ParameterError, PermissionDeniedError
from kame_core.events import CandidateFailed, CandidateFinished
from kame_core.options import ConversationOptions
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio

SHOP = "https://shop.example"
FULL = Allowance(SHOP, 300.0, 3, 20_000)
NOW_S = 1_800_000_000


def now() -> float:
    return NOW_S


@pytest.fixture
def secrets() -> ClientSecrets:
    return ClientSecrets(b"k" * 32, now)


def refused_with(do: Callable[[], object]) -> str:
    with pytest.raises(PermissionDeniedError) as caught:
        do()
    return caught.value.code


def test_a_secret_carries_what_it_allows(secrets: ClientSecrets) -> None:
    secret = secrets.mint({"instructions": "Sell shoes."}, 60, FULL)
    assert secrets.open(secret.value).allowance == FULL
    assert client_secret_answer(secret, {}, FULL)["kame"] == {
        "origin": SHOP,
        "max_call_s": 300.0,
        "max_calls": 3,
        "max_tokens": 20_000,
    }
    assert "kame" not in client_secret_answer(secret, {})


def test_an_exchanged_secret_ends_with_the_first(secrets: ClientSecrets) -> None:
    ours = Allowance("https://voice.example", 300.0, 3, 20_000)
    first = secrets.open(secrets.mint({}, 60, FULL).value)
    second = secrets.open(secrets.exchange(first, {"instructions": "Be brief."}, ours).value)
    assert second.allowance == ours
    assert (second.expires_at, second.key_id) == (first.expires_at, first.key_id)  # its calls count as the first one's
    assert second.session == {"instructions": "Be brief."}


def test_the_tighter_limit_counts() -> None:
    public = Allowance(None, 600.0, 8, 500_000)
    assert FULL.within(public) == FULL
    assert Allowance(None, 9000.0).within(public) == public
    assert Allowance().within(Allowance()) == Allowance()


@pytest.mark.parametrize(
    ("kame", "param"),
    [
        ({"origin": "shop.example"}, "kame.origin"),
        ({"origin": "https://shop.example/path"}, "kame.origin"),
        ({"origin": "https://shop.example; script-src *"}, "kame.origin"),
        ({"origin": "null"}, "kame.origin"),
        ({"max_call_s": 0}, "kame.max_call_s"),
        ({"max_calls": 0}, "kame.max_calls"),
        ({"max_tokens": "many"}, "kame.max_tokens"),
        ({"max_call": 60}, "kame.max_call"),
    ],
)
def test_a_limit_that_would_limit_nothing_is_refused(kame: dict[str, object], param: str) -> None:
    with pytest.raises(ParameterError) as caught:
        client_secret_request({"kame": kame})
    assert caught.value.param == param


def test_limits_are_read(secrets: ClientSecrets) -> None:
    asked = client_secret_request({"kame": {"origin": "HTTPS://Shop.example:443/", "max_call_s": 60}})
    assert asked.kame.allowance == Allowance(SHOP, 60.0)
    assert client_secret_request({}).kame.allowance == Allowance()


def test_a_bound_secret_is_for_pages_of_its_origin(secrets: ClientSecrets) -> None:
    policy = AccessPolicy(secrets)
    access = policy.check_key(secrets.mint({}, 60, FULL).value)
    require_origin(access, SHOP)
    require_origin(access, "https://SHOP.example:443")
    for other in (None, "null", "https://shop.example.evil.example", "http://shop.example", ""):
        assert refused_with(partial(require_origin, access, other)) == "origin_not_allowed"
    require_origin(Access("open"), None)


def test_calls_are_counted_across_uses_and_failed_ones_are_not() -> None:
    use = SecretUse(now)

    def call() -> None:
        with use.counted("key_a", 2, NOW_S + 60):
            pass

    with pytest.raises(ValueError, match="no such offer"), use.counted("key_a", 2, NOW_S + 60):
        raise ValueError("no such offer")
    call()
    call()
    assert refused_with(call) == "client_secret_used_up"
    assert refused_with(call) == "client_secret_used_up"
    with use.counted("key_b", 2, NOW_S + 60), use.counted("key_c", None, NOW_S + 60):
        pass


def test_calls_being_opened_count_at_once() -> None:
    use = SecretUse(now)
    with use.counted("key_a", 1, NOW_S + 60):
        assert refused_with(lambda: use.counted("key_a", 1, NOW_S + 60).__enter__()) == "client_secret_used_up"


def test_what_is_counted_is_bounded() -> None:
    use = SecretUse(now)
    for number in range(MOST_SECRETS + 5):
        with use.counted(f"key_{number}", 1, NOW_S + 60):
            pass
    assert len(use._used) == MOST_SECRETS
    expired = SecretUse(now)
    for number in range(5):
        with expired.counted(f"key_{number}", 1, NOW_S):
            pass
    assert len(expired._used) == 0


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://Shop.Example", "https://shop.example"),
        ("http://localhost:80/", "http://localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://shop.example?x", None),
        ("https://me@shop.example", None),
        ("https://shop.example:port", None),
        ("javascript:alert(1)", None),
        ("https://shop.example'; x", None),
        ("https://[broken", None),
        ("", None),
    ],
)
def test_origins_have_one_spelling(text: str, origin: str | None) -> None:
    assert web_origin(text) == origin


def test_who_may_hold_the_frame(secrets: ClientSecrets) -> None:
    policy = AccessPolicy(secrets, allowed_origins=[SHOP])
    assert policy.may_embed(SHOP, "voice.example")
    assert policy.may_embed("https://voice.example", "voice.example")
    assert policy.may_embed("http://127.0.0.1:3000", "localhost:8080")
    assert not policy.may_embed("http://127.0.0.1:3000", "voice.example")
    assert not policy.may_embed("https://other.example", "voice.example")
    assert not both_here("http://[broken", "localhost")


def asked_with(max_tokens: int | None) -> tuple[int, set[str]]:
    """Answers that were written, and codes of what went wrong, in a talk with two questions."""
    questions = ("what is the capital of france", "what is the capital of spain")

    async def scene(studio: Studio) -> tuple[int, set[str]]:
        for question in questions:
            await studio.say(say(question))
            await studio.listen(6.0)
        errors = [event.error for event in studio.all(CandidateFailed) if event.error is not None]
        return len(studio.all(CandidateFinished)), {error.code for error in errors}

    stt = ScriptedSpeechToText(*questions)
    return in_studio(scene, stt=stt, options=ConversationOptions(max_tokens=max_tokens))


def test_a_conversation_spends_no_more_tokens_than_its_secret_allows() -> None:
    freely, refused = asked_with(None)
    assert refused == set()
    limited, refused = asked_with(1)
    assert 0 < limited < freely
    assert refused == {"llm_rate_limited"}
