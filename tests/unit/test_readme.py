"""What README says of settings and commands is what there is. `python -m tests.unit.test_readme` rewrites its table."""

import re
from pathlib import Path

from app.settings import Settings, environment_names

README = Path(__file__).resolve().parents[2] / "README.md"
_BEGIN, _END = "<!-- settings -->\n", "<!-- end of settings -->"


def settings_table() -> str:
    """One row for each setting."""
    rows = ["| environment | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        names = ", ".join(f"`{name}`" for name in environment_names(name))
        default = "" if field.default in (None, "", ()) else f"`{_shown(field.default)}`"
        rows.append(f"| {names} | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_the_settings_table_is_true() -> None:
    text = README.read_text()
    assert settings_table() in text, "run: python -m tests.unit.test_readme"


def test_the_commands_exist() -> None:
    makefile = (README.parent / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z-]+)", README.read_text())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"README names make {target}"


def test_the_pictures_are_there() -> None:
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README.read_text()):
        assert (README.parent / path).is_file(), path


if __name__ == "__main__":
    text = README.read_text()
    begin, end = text.index(_BEGIN) + len(_BEGIN), text.index(_END)
    README.write_text(text[:begin] + settings_table() + text[end:])
