"""Work shared out to processes that end with the program that started them, however it ends.

A program that is told to stop (Ctrl-C, SIGTERM, a closed terminal) stops its workers. One that is killed cannot: each
worker looks for its parent twice a second from its first moment on, and ends when it is gone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

import joblib

EVERY = 0.5  # seconds between two looks
_watched: set[int] = set()


def end_with(parent: int) -> None:
    """From now on end this process when the process `parent` has ended, if that started it."""
    if os.getppid() != parent or parent in _watched:
        return
    _watched.add(parent)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(EVERY)
    os._exit(1)


def _begin(parent: int) -> None:
    """What a worker does first; the program may have been killed while it started."""
    if os.getppid() != parent:
        os._exit(1)
    end_with(parent)


def parallel(jobs: int, return_as: str = "generator") -> joblib.Parallel:
    """joblib's Parallel of so many processes, -1 for one a core, which end with this one."""
    begun = {"initializer": _begin, "initargs": (os.getpid(),)}
    return joblib.Parallel(n_jobs=jobs, backend="loky", return_as=return_as, **begun)


def results(shared: joblib.Parallel, tasks: Iterable[Any]) -> Iterator[Any]:
    """The results of delayed tasks as a Parallel that returns a generator gives them; an error stops its workers."""
    try:
        with closing(shared(tasks)) as found:
            yield from found
    except BaseException:
        _stop()
        raise


def in_order(jobs: int, tasks: Iterable[Any]) -> list[Any]:
    """The results of delayed tasks, in their order, by so many processes; -1 for one a core."""
    return list(results(parallel(jobs), tasks))


def _stop() -> None:
    """End the processes that joblib keeps for the next tasks, busy or not."""
    from joblib.externals.loky import reusable_executor

    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(wait=False, kill_workers=True)
