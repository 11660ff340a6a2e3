"""What is hard to use on a page for people with screen readers, keyboards or weak eyes, as axe-core finds it."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Frame, Page

AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"


def require_axe() -> None:
    """Skip, and say why, where axe-core is not installed."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed; `npm ci` (part of `make test`) does")


async def violations(page: Page | Frame) -> list[str]:
    """All violations at this moment, best practices included, each with its place; empty: none. Frames of other origins
    are looked at one by one.
    """
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text())
    # What is still moving has colours that are not meant to be read.
    await page.evaluate(
        "Promise.allSettled(document.getAnimations().filter(finite).map((one) => one.finished));"
        "function finite(one) { return one.effect.getComputedTiming().endTime < 5000; }"
    )
    found: list[dict[str, Any]] = await page.evaluate("axe.run(document).then((result) => result.violations)")
    return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]]
