"""What reaches a terminal is text, on whatever terminal; errors are one line; an interruption says what was kept."""

import io
import os
import signal
import subprocess
import sys
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import ROOT, WIDE
from rich.console import Console
from rich.table import Table

from finegrain.sims.plotting import literal
from finegrain.theory.tools import console

NAMES = [
    "[/x]",
    "[red]a[/red]",
    "[link=file:x]",
    "a\x1b[2Jb",
    "\x07",
    "\x9b31m",
    "a\nb",
    "\udc80",
    "Grün",
    ":smile:",
    "\\[",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_printed_as_it_is_in_lines_tables_and_bars(name, capsys, monkeypatch):
    out, err = io.StringIO(), io.StringIO()
    with patch.object(sys, "stdout", out), patch.object(sys, "stderr", err):
        console.say(f"written: {name}")
        table = Table(title=console.cell(name))
        table.add_column("class", overflow="fold")
        table.add_row(console.cell(name))
        Console(file=out, width=200).print(table)
        list(console.tracked([1], f"reading {name}"))
    shown = console.clean(name)
    assert out.getvalue().count(shown) == 3 and shown in err.getvalue()
    assert not any(c in out.getvalue() + err.getvalue() for c in "\x1b\x07\x9b")


@given(st.text())
def test_clean_text_can_be_printed_and_text_that_can_be_is_clean(text):
    assert console.clean(text).isprintable()
    if text.isprintable():
        assert console.clean(text) == text


@given(st.text("$\\ab_{}^frac \x1b", max_size=20))
def test_a_name_in_a_figure_is_no_mathematics(name):
    from matplotlib.cbook import is_math_text
    from matplotlib.text import Text

    shown, mathematics = Text()._preprocess_math(literal(name))
    assert not mathematics and not is_math_text(literal(name))
    assert shown == console.clean(name)


def ran(error=None, arguments=(), act=None):
    """Exit status and standard error of a program that raises."""

    def app():
        if act:
            act()
        if error:
            raise error

    err = io.StringIO()
    with patch.object(sys, "argv", ["finegrain", *arguments]), patch.object(sys, "stderr", err):
        try:
            console.run(app)
        except SystemExit as end:
            return end.code, err.getvalue()
    return 0, err.getvalue()


MISTAKE = "(this should not happen; --traceback shows where)"
LINES = {
    "a wrong value": (ValueError("x must be\n 1, got 2"), 2, "error: x must be 1, got 2\n"),
    "no file": (
        FileNotFoundError(2, "No such file or directory", "x"),
        2,
        "error: x: No such file or directory\n",
    ),
    "memory": (MemoryError("x needs 3 GiB"), 2, "error: MemoryError: x needs 3 GiB\n"),
    "an escape": (ValueError("got '\x1b[2J'"), 2, "error: got '\\x1b[2J'\n"),
    "a mistake": (
        KeyError("claim"),
        1,
        "error: KeyError: 'claim' (this should not happen; --traceback shows where)\n",
    ),
    "no words": (AssertionError(), 1, f"error: AssertionError: no message {MISTAKE}\n"),
}


@pytest.mark.parametrize("name", LINES)
def test_every_error_is_one_line_and_a_traceback_where_asked(name):
    error, status, line = LINES[name]
    assert ran(error) == (status, line)
    with pytest.raises(type(error)):
        ran(error, ["measure", "--traceback", "x"])


def test_the_option_for_tracebacks_is_taken_off_wherever_it_stands():
    seen = []
    ran(arguments=["measure", "--traceback", "x"], act=lambda: seen.extend(sys.argv))
    assert seen == ["finegrain", "measure", "x"]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_ending_from_outside_says_what_was_kept(number, status):
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)]

    def act():
        console.keeps("two points are kept")
        os.kill(os.getpid(), number)

    code, line = ran(act=act)
    assert code == status
    assert line.splitlines()[-1].endswith("; two points are kept") and "Traceback" not in line
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)] == before
    assert ran(act=lambda: os.kill(os.getpid(), number))[1].endswith("; nothing was written\n")


# Prints what an ASCII terminal has no letter for, twice, so that a closed pipe is noticed; then writes its file.
WORK = """
import sys, time
from finegrain.theory.tools import console
def main():
    for _ in range(3):
        console.say("Grün " * 20000)
        time.sleep(0.2)
    open(sys.argv[1], "w").write("done")
console.run(main)
"""


@pytest.mark.parametrize("stdout", ["closed", "head", "ascii"])
def test_the_work_is_done_whatever_becomes_of_the_output(stdout, tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    closed, piped = (
        end if stdout == kind else "" for kind, end in (("closed", ">&-"), ("head", "| head -c 5"))
    )
    command = f"({sys.executable} work.py out {closed}; echo status $? >&2) {piped}"
    environment = os.environ | WIDE | {"PYTHONPATH": str(ROOT)}
    environment |= (
        {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"} if stdout == "ascii" else {}
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (tmp_path / "out").read_text() == "done", done.stderr
    assert "status 0" in done.stderr and "Traceback" not in done.stderr
