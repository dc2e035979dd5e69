"""What a reader must not do, watched by the interpreter itself.

    watch(folder)          from now on, record what leaves the folder and what runs code; cannot be undone
    limits(memory, cpu)    of the process: an allocation over it is a MemoryError, an input that takes longer a TooLong

Python's audit events tell of every file opened, process started, socket made and string of code run, also from C.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "subprocess.Popen",
)
FORBIDDEN += ("exec", "pickle.find_class", "ctypes.dlopen", "os.putenv", "os.chdir", "urllib.Request")
# Events that change files, each with the places of its paths and of the folders that those are relative to.
ONE, TWO = ((0, 1),), ((0, 2), (1, 3))
WRITES = {"os.mkdir": ((0, 2),), "os.remove": ONE, "os.rmdir": ONE, "os.rename": TWO, "os.link": TWO}
WRITES |= {"os.symlink": ((1, 2),), "os.truncate": ((0, None),), "os.chmod": ((0, 2),), "os.chown": ((0, 3),)}
WRITES |= {
    "os.utime": ((0, 3),),
    "shutil.move": ((0, None), (1, None)),
    "shutil.unpack_archive": ((1, None),),
}
READABLE = tuple(
    os.path.realpath(p)
    for p in {sys.prefix, sys.base_prefix, "/usr", "/proc", "/sys/fs/cgroup", "/etc/localtime"}
)


class TooLong(BaseException):
    """One input took longer than its processor time; no reader catches it."""


class Watch:
    """Collects violations while `armed`."""

    def __init__(self, folder: Path, code: Path) -> None:
        self.folder, self.armed, self.seen = os.path.realpath(folder), False, list[str]()
        self._readable = (self.folder, os.path.realpath(code), *READABLE)
        sys.addaudithook(self._event)

    def _event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event.startswith("socket.") or (event in FORBIDDEN and not _is_import(event, arguments)):
            self.seen.append(f"{event} {str(arguments)[:200]}")
        elif event == "open" and not isinstance(arguments[0], int):
            writes = bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
            self._require_inside(event, arguments[0], (self.folder,) if writes else self._readable)
        for path, parent in WRITES.get(event, ()):
            below = "" if parent is None or arguments[parent] == -1 else f"/proc/self/fd/{arguments[parent]}"
            self._require_inside(event, os.path.join(below, os.fsdecode(arguments[path])), (self.folder,))

    def _require_inside(self, event: str, path: Any, folders: tuple[str, ...]) -> None:
        full = os.path.realpath(os.fsdecode(path))
        if not any(full == folder or full.startswith(folder + os.sep) for folder in folders):
            self.seen.append(f"{event} {full}")


def _is_import(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether code run is a module of Python's or of an installed library, loaded when first needed."""
    file = getattr(arguments[0], "co_filename", "") if event == "exec" else ""
    return os.path.realpath(file).startswith(READABLE) if file else False


def limit_memory(more: int) -> None:
    """Allow the process `more` bytes of address space over what it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more,) * 2)


@contextmanager
def limited_time(seconds: float) -> Iterator[None]:
    """Raise TooLong when the block takes more processor time."""

    def stop(*_: object) -> None:
        raise TooLong(f"took more than {seconds} s of processor time")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
