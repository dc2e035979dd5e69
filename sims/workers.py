"""Work shared out to processes that end with the program that started them, however it ends.

A program that is told to stop (Ctrl-C, SIGTERM, a closed terminal) stops its workers. One that is killed cannot: each
worker looks for its parent twice a second, and ends when it is gone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Guarded:
    """A function whose process ends with the one that made it."""

    function: Callable[..., Any]
    parent: int

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        end_with(self.parent)
        return self.function(*arguments, **keywords)


def delayed(function: Callable[..., Any]) -> Callable[..., Any]:
    """joblib's `delayed`, for workers that end with this process."""
    return joblib.delayed(_Guarded(function, os.getpid()))


def results(parallel: joblib.Parallel, tasks: Iterable[Any]) -> Iterator[Any]:
    """The results of delayed tasks as a Parallel that returns a generator gives them; an error stops its workers."""
    try:
        with closing(parallel(tasks)) as found:
            yield from found
    except BaseException:
        _stop()
        raise


def in_order(jobs: int, tasks: Iterable[Any]) -> list[Any]:
    """The results of delayed tasks, in their order, by so many processes; -1 for one a core."""
    return list(results(joblib.Parallel(n_jobs=jobs, return_as="generator"), tasks))


def _stop() -> None:
    """End the processes that joblib keeps for the next tasks, busy or not."""
    from joblib.externals.loky import reusable_executor

    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(wait=False, kill_workers=True)
