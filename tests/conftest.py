"""What holds for all tests."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.held_up import HeldUp

pytest_plugins = ["tests.support.repeats"]
pytest.register_assert_rewrite("tests.support")  # what its asserts compared is printed, too


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Two threads of torch round differently, and tests share few cores; a server of an earlier test may set more."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


@pytest.fixture
def held_up() -> "Iterator[HeldUp]":
    """How long the machine held processes up during this test."""
    from tests.support.held_up import HeldUp

    with HeldUp() as watch:
        yield watch
