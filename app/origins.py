"""Web origins (RFC 6454): one spelling for each, and which of them are this machine."""

from urllib.parse import urlsplit

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def normal_origin(origin: str) -> str:
    """Lower case, without the scheme's own port; empty for what is no URL, which equals nothing."""
    try:
        parts = urlsplit(origin.strip().rstrip("/").lower())
    except ValueError:
        return ""
    return f"{parts.scheme}://{normal_host(parts.netloc, parts.scheme)}"


def normal_host(host: str, scheme: str) -> str:
    """A host with its port, as `normal_origin` has it."""
    return host.lower().removesuffix(":443" if scheme.startswith("https") else ":80")


def web_origin(text: str) -> str | None:
    """The origin of a web page, in its one spelling; None for anything else, a whole address included."""
    try:
        parts = urlsplit(text.strip())
        parts.port  # noqa: B018 -- raises where it is no number
    except ValueError:
        return None
    plain = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or not plain:
        return None
    # What goes into a header must neither end its entry nor stand for other hosts.
    return normal_origin(text) if not set(parts.netloc) & set(" ;,'\"*") and parts.netloc.isascii() else None


def both_here(origin: str, host: str) -> bool:
    """Whether a page and a server are on this machine: a developer's other pages may use the server."""
    try:
        return urlsplit(origin).hostname in LOOPBACK and urlsplit(f"//{host}").hostname in LOOPBACK
    except ValueError:
        return False
