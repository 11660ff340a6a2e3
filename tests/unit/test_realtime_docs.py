"""docs/protocol.md names everything that is sent and accepted."""

from pathlib import Path

import pytest

from app.protocol.client_events import CLIENT_EVENTS
from app.protocol.kame_events import KAME_EVENTS
from app.protocol.session import NOT_HONOURED

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", sorted(CLIENT_EVENTS))
def test_client_events_are_documented(kind: str) -> None:
    assert f"`{kind}`" in DOCUMENT


@pytest.mark.parametrize("model", KAME_EVENTS, ids=lambda model: model.__name__)
def test_our_events_are_documented_with_their_fields(model: type) -> None:
    fields = model.model_fields  # type: ignore[attr-defined]
    row = next(line for line in DOCUMENT.splitlines() if f"`{fields['type'].default}`" in line and line.startswith("|"))
    for name in fields.keys() - {"type", "at_ms"}:
        assert f"`{name}`" in row


def test_fields_without_effect_are_not_documented_as_honoured() -> None:
    table = DOCUMENT.split("## The session")[1].split("The server adds")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    assert not [path for path in NOT_HONOURED for row in rows if f"`{path}`" in row]
