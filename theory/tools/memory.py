"""Memory asked for before it is taken: what does not fit is an error with the bytes needed and allowed."""

from __future__ import annotations

import resource
from pathlib import Path

MEMINFO, STATUS = Path("/proc/meminfo"), Path("/proc/self/status")
GROUP = Path("/sys/fs/cgroup")
SHARE = 0.9  # of what is free; the rest is for what a computation needs beside its arrays


def allowed() -> int:
    """Bytes that this process may still take: of the machine, of its control group and of its own limit."""
    free = [_kilobytes(MEMINFO, "MemAvailable")]
    try:
        limit = (GROUP / "memory.max").read_text().strip()
        if limit != "max":
            free.append(int(limit) - int((GROUP / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    limit_of_process, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _kilobytes(STATUS, "VmSize")
    if limit_of_process != resource.RLIM_INFINITY and used is not None:
        free.append(limit_of_process - used)
    known = [one for one in free if one is not None]
    return max(int(SHARE * min(known)), 0) if known else 2**63


def require(what: str, needed: int, cure: str = "") -> None:
    """Raise MemoryError, with what it is for and what to do instead, where so many bytes are not allowed."""
    if needed > (free := allowed()):
        raise MemoryError(
            f"{what} needs {in_words(needed)}, allowed are {in_words(free)}{cure and ': ' + cure}"
        )


def in_words(number: int) -> str:
    """Bytes as a person reads them."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"


def _kilobytes(file: Path, name: str) -> int | None:
    """A line "NAME:   123 kB" of one of Linux's files; None elsewhere."""
    try:
        text = file.read_text()
    except OSError:
        return None
    found = next((line for line in text.splitlines() if line.startswith(f"{name}:")), None)
    return None if found is None else 1024 * int(found.split()[1])
