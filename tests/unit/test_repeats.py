"""Tests that fail while the machine held processes up are run again; the machine is a scripted one here."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.server import REPOSITORY

SCRIPTED = """
from tests.support import repeats

class HeldUp:
    def __enter__(self):
        HeldUp.worst_ms = 0.0
        return self

    def __exit__(self, *_):
        pass

repeats.HeldUp = HeldUp
"""
TESTS = """
import pytest
from tests.support.repeats import HeldUp

runs = {}
servers = []

def attempt(name):
    runs[name] = runs.get(name, 0) + 1
    return runs[name]

@pytest.fixture(scope="module")
def server():
    servers.append(1)
    if len(servers) == 2:
        HeldUp.worst_ms = 150.0
        raise OSError("it did not come up")
    yield len(servers)

def test_held_up_once(server):
    if attempt("once") == 1:
        HeldUp.worst_ms = 150.0
    assert server == 3  # neither the one of the failed attempt nor the one that did not come up

def test_held_up_always(server):
    HeldUp.worst_ms = 150.0
    assert attempt("always") > 3

def test_not_held_up(server):
    HeldUp.worst_ms = 90.0
    assert attempt("not") > 1

def test_how_often():
    assert runs == {"once": 2, "always": 3, "not": 1}
    assert len(servers) == 5
"""


def run(folder: Path, *arguments: str) -> str:
    folder.mkdir()
    (folder / "conftest.py").write_text(SCRIPTED)
    (folder / "test_stalls.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.repeats", "-p", "no:cacheprovider", *arguments]
    command += ["--rootdir", str(folder), str(folder)]  # wherever the checkout lies, names are told from here
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60).stdout


def test_what_fails_while_held_up_is_run_again_with_everything_new_and_told(tmp_path: Path) -> None:
    printed = run(tmp_path / "integration", "-n", "1")
    assert "2 failed, 2 passed" in printed, printed
    repeated = re.findall(r"^test_stalls.py::(\w+): (.*)", printed, re.MULTILINE)
    assert [name for name, _ in repeated] == ["test_held_up_once"] * 2 + ["test_held_up_always"] * 2, printed
    assert all("held up for 150 ms" in why for _, why in repeated)
    assert "it did not come up" in printed


def test_other_folders_repeat_nothing(tmp_path: Path) -> None:
    printed = run(tmp_path / "elsewhere")
    assert "run again" not in printed
    assert "test_held_up_once" in printed
