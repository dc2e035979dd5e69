"""What the four programs share: one console, progress bars with the time left, and errors without a traceback."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

FIRST = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts, the one that speaks

console = Console(quiet=not FIRST)


def draws_bars() -> bool:
    """Whether this process may draw a progress bar: the first that torchrun started, and no worker.

    Several bars on one terminal overwrite each other.
    """
    return FIRST and multiprocessing.current_process().name == "MainProcess"


def tracked(items: Iterable[T], label: str, *, total: int | None = None, show: bool = True) -> Iterator[T]:
    """Yield the items; when `show`, draw a bar on standard error with count and time left."""
    if not (show and draws_bars()):
        yield from items
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield from bar.track(items, total=total, description=label)


def run(app: Callable[[], None]) -> None:
    """Run a typer app; an error a user can mend is one line on standard error and exit status 2."""
    try:
        app()
    except (ValueError, OSError, RuntimeError) as error:
        typer.secho(f"error: {_told(error)}", fg="red", err=True)
        sys.exit(2)


def _told(error: Exception) -> str:
    """The message; of the system's errors without their number."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
