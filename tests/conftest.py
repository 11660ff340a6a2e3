"""What holds for all tests."""

import sys

import pytest

pytest.register_assert_rewrite("tests.support")  # what its asserts compared is printed, too


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Two threads of torch round differently, and tests share few cores; a server of an earlier test may set more."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
