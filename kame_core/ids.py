"""Identifiers: unguessable, short, with a prefix that says of what."""

import secrets


def new_id(prefix: str) -> str:
    """A fresh id such as `item_9tJ2...` with 96 random bits."""
    return f"{prefix}_{secrets.token_urlsafe(12)}"
