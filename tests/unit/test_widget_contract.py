"""What docs/widget.md says of the widget is what its types and its code say."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "widget.md").read_text()
TYPES = (ROOT / "static" / "widget.d.ts").read_text()
PARTS = "".join(path.read_text() for path in sorted((ROOT / "static" / "js" / "widget").iterdir()))
FRAME = "".join((ROOT / "static" / "js" / name).read_text() for name in ("embed.js", "embed_host.js", "embed_wish.js"))


def table(title: str) -> list[str]:
    """First cells of the table whose head begins with a word, without its head."""
    [rows] = re.findall(rf"^\| {title} \|.*\n\|[-|]+\n((?:\|.*\n)+)", DOCS, re.MULTILINE)
    return [row.split("|")[1] for row in rows.splitlines()]


def named(cells: list[str]) -> set[str]:
    """What is in backticks."""
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def fields(interface: str) -> set[str]:
    """Fields and methods of an interface in the types."""
    [body] = re.findall(rf"export interface {interface}\b[^{{]*\{{\n(.*?)\n\}}", TYPES, re.DOTALL)
    return set(re.findall(r'^  (?:readonly )?"?([\w-]+)"?[?(:]', body, re.MULTILINE))


def test_every_attribute_is_documented_and_read() -> None:
    documented = {name.split("=")[0] for name in named(table("attribute"))}
    read = set(re.findall(r'(?:get|has)Attribute\("([\w-]+)"', PARTS)) - {"variant"}
    read |= set(re.findall(r'"([\w-]+)"', "".join(re.findall(r"for \(const name of \[(.+)\]\) \{", PARTS))))
    selected = set(re.findall(r":host\(\[([\w-]+)", PARTS)) - {"hidden"}
    assert documented == read | selected


def test_events_and_methods_are_as_typed() -> None:
    events = {name.removeprefix("kame-voice:") for name in named(table("event"))}
    assert events == fields("FrameSays") - {"need-token", "close"}
    element = {
        "open",
        "state",
        "callId",
        *re.findall(r"`(\w+)\(", DOCS.split("**Methods**")[1].split("\n**Events**")[0]),
    }
    assert element == fields("KameVoiceElement")


def test_messages_of_a_plain_frame_are_as_typed_and_handled() -> None:
    assert named(table("from the frame")) == fields("FrameSays")
    said = named(table("to the frame"))
    assert said == fields("HostSays")
    handled = set(re.findall(r'host\.on\("([\w-]+)"', FRAME)) | set(re.findall(r"#answer\(\[(.+?)\]", FRAME))
    handled |= {name for names in list(handled) for name in re.findall(r'"([\w-]+)"', names)}
    assert said <= handled


def test_every_custom_property_is_documented_and_used() -> None:
    documented = set(re.findall(r"`--kame-([\w-]+)`", DOCS))
    [passed_on] = re.findall(r"const LOOK = .*?\(\[(.+?)\]\)", PARTS)
    used = set(re.findall(r"var\(--kame-([\w-]+)", PARTS)) | set(re.findall(r'"([\w-]+)"', passed_on))
    assert documented == used
    parts = set(re.findall(r'part: "([\w-]+)"', PARTS))
    assert parts == set(re.findall(r"`::part\((\w+)\)`", DOCS))
