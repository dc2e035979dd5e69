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

# Of the processes that torchrun starts the first alone speaks.
console = Console(quiet=os.environ.get("RANK", "0") != "0")


def tracked(items: Iterable[T], label: str, *, total: int | None = None, show: bool = True) -> Iterator[T]:
    """Yield the items; when `show`, draw a bar on standard error with count and time left.

    A worker process draws none: several bars on one terminal overwrite each other.
    """
    if not show or multiprocessing.current_process().name != "MainProcess":
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
