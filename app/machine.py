"""How much of this machine the process may use, and how many embedded calls that carries."""

import os
from pathlib import Path

CALLS_PER_CORE = 4
"""An embedded call costs about a tenth of a core, up to half a core while its user speaks; few speak at once."""
MIB_PER_CALL = 300
"""An embedded recogniser's process and its spare."""


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """Cores this process may use, a container's quota (cgroup v2 `cpu.max`) included."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        quota, period = cgroup.read_text().split()
        return min(cores, int(quota) / int(period)) if quota != "max" else cores
    except (OSError, ValueError):
        return cores


def memory_mib(cgroup: Path = Path("/sys/fs/cgroup/memory.max")) -> float:
    """Memory this process may use, a container's limit (cgroup v2 `memory.max`) included."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    except (OSError, ValueError, AttributeError):
        total = 4096.0
    try:
        return min(total, int(cgroup.read_text()) / 2**20)
    except (OSError, ValueError):
        return total


def default_capacity() -> int:
    """Calls at once with the embedded engines: four a core, as far as memory goes, at least one."""
    by_memory = int((memory_mib() - 600) // MIB_PER_CALL)
    return max(1, min(int(CALLS_PER_CORE * usable_cores()), by_memory))
