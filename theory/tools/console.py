"""What the programs share: one console, progress bars with the time left, and errors without a traceback.

Names of folders, files and classes are data: `say` and `cell` print them as they are, whatever rich or a terminal would
make of them ("[/x]", an escape sequence).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")

FIRST = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts, the one that speaks
INTERRUPTED = 130  # the exit status after Ctrl-C, as of every program
STATED = (ValueError, OSError, RuntimeError, MemoryError)  # what the package raises where its input is wrong


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Go on in silence where nobody reads any more, as after `| head`: the files are still to be written."""
        self.quiet = True
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


console = _Console(quiet=not FIRST)
_kept = "nothing was written"


def clean(text: object) -> str:
    """Text for a terminal or a figure: what cannot be printed stands as its escape, "\\x1b"."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def cell(text: object, style: str = "") -> Text:
    """A name for a table: text, and no markup."""
    return Text(clean(text), style=style)


def say(text: object) -> None:
    """Print a line as it is, however long."""
    console.print(Text(clean(text)), soft_wrap=True)


def replaces(path: Path) -> None:
    """Say so where a result of an earlier command is about to go."""
    if path.exists():
        say(f"note: {path} was there and is replaced")


def keeps(text: str) -> None:
    """What an interruption from now on leaves behind, for its last line."""
    global _kept
    _kept = text


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
    told = TextColumn("{task.description}", markup=False)
    columns = (told, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_Console(stderr=True)) as bar:
        yield from bar.track(items, total=total, description=clean(label))


def program(command: Callable[..., Any], examples: str) -> typer.Typer:
    """One command as a program of its own."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(epilog=examples)(command)
    return app


def run(app: Callable[[], None]) -> None:
    """Run a typer app: an error that a user can mend is one line on standard error and exit status 2.

    Any other error is one line too, and exit status 1; --traceback, anywhere on the command line, shows where it came
    from. Ctrl-C and SIGTERM end with what was kept and exit status 130 and 143.
    """
    traceback = "--traceback" in sys.argv
    sys.argv[:] = [argument for argument in sys.argv if argument != "--traceback"]
    _streams()
    keeps("nothing was written")
    try:
        with _endings():
            app()
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _interrupted()
        raise
    except Exception as error:
        if traceback:
            raise
        stated = isinstance(error, STATED)
        cure = "" if stated else " (this should not happen; --traceback shows where)"
        _tell(f"error: {_told(error)}{cure}")
        sys.exit(2 if stated else 1)


def _streams() -> None:
    """Let no letter that a terminal lacks, and no closed stream, end a program before its work is done."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file that is opened would be taken for the stream.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _endings() -> Iterator[None]:
    """SIGTERM and a closed terminal end the program as an error would: workers are stopped, locks released."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _ended) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended(number: int, _: Any) -> None:
    _tell(f"stopped by {signal.Signals(number).name}; {_kept}")
    sys.exit(128 + number)


def _interrupted() -> None:
    _tell(f"interrupted; {_kept}")
    sys.exit(INTERRUPTED)


def _tell(line: str) -> None:
    with suppress(OSError):  # nobody reads
        typer.secho(clean(line), fg="red", err=True)


def _told(error: Exception) -> str:
    """The message on one line; of the system's errors without their number."""
    if isinstance(error, OSError) and error.strerror is not None:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).split()) or "no message"
    return (
        text if isinstance(error, (ValueError, OSError, RuntimeError)) else f"{type(error).__name__}: {text}"
    )
