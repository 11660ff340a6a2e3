"""A test in real time that fails while the machine held processes up proves nothing: it is run again, twice at most.

A pytest plugin for the folders whose tests talk over sockets. What was repeated, and why, is printed at the end.
"""

import time
from contextlib import suppress

import pytest
from _pytest.runner import runtestprotocol

from tests.support.held_up import HeldUp

IN_REAL_TIME = {"integration", "browser"}
HELD_UP_MS = 100.0
MOST_REPEATS = 2
LAST_REPEAT_S = 90.0
"""So long after a test began it is not begun again: one timer of pytest-timeout is for all attempts together."""
_REPEATED = "repeated after"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run one test, and again if it was held up."""
    if not isinstance(item, pytest.Function) or IN_REAL_TIME.isdisjoint(item.path.parent.parts):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    begun_s = time.monotonic()
    for repeats in range(MOST_REPEATS + 1):
        with HeldUp() as held_up:
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
        failed = next((report for report in reports if report.failed), None)
        last = repeats == MOST_REPEATS or time.monotonic() - begun_s > LAST_REPEAT_S
        if failed is None or last or held_up.worst_ms <= HELD_UP_MS:
            break
        why = str(getattr(failed.longrepr, "reprcrash", None) or failed.longrepr).splitlines()[-1]
        item.user_properties.append((_REPEATED, f"{why} (held up for {held_up.worst_ms:.0f} ms)"))
        with suppress(Exception):  # told already, as an error of the failed attempt
            item.session._setupstate.teardown_exact(None)  # what it shares with other tests may have suffered
        item._initrequest()
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was repeated."""
    told = {
        report.nodeid: [why for name, why in report.user_properties if name == _REPEATED]
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport)
    }
    if any(told.values()):
        terminalreporter.section("run again, because the machine held processes up")
        for test, reasons in told.items():
            for why in reasons:
                terminalreporter.line(f"{test}: {why}")
