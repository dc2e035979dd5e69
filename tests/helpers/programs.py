"""The programs as a user starts them: in a new interpreter, or in this one, which spares the seconds of its imports."""

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

from finegrain.cli import main
from finegrain.theory.tools.console import console

ROOT = Path(__file__).parents[2]
WIDE = {"COLUMNS": "200", "TERM": "dumb"}


def program(*arguments, cwd="."):
    """finegrain ARGUMENTS in this interpreter: exit status, output, errors."""
    out, err = io.StringIO(), io.StringIO()
    with (
        chdir(cwd),
        patch.dict(os.environ, WIDE),
        patch.object(sys, "argv", ["finegrain", *map(str, arguments)]),
        patch.object(console, "_width", 200),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
            status = 0
        except SystemExit as end:
            told = isinstance(end.code, str)  # which an interpreter prints, and ends with 1
            err.write(f"{end.code}\n" if told else "")
            status = 1 if told else end.code or 0
    return CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def process(*arguments, cwd=None):
    """finegrain ARGUMENTS in an interpreter of its own."""
    environment = dict(os.environ) | WIDE | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "finegrain", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)
