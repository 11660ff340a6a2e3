"""Processes that the tests started. One may end at the very moment it is asked about."""

from contextlib import suppress

import psutil


def living_children(command: str = "") -> list[psutil.Process]:
    """Those that have not ended and whose command line holds `command`."""
    living = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            if child.status() != psutil.STATUS_ZOMBIE and command in " ".join(child.cmdline()):
                living.append(child)
    return living


def memory_mib() -> float:
    """Resident memory of this process and those it started."""
    resident = psutil.Process().memory_info().rss
    for child in living_children():
        with suppress(psutil.Error):
            resident += child.memory_info().rss
    return float(resident / 2**20)
