"""Kill -9 at random moments: a sweep, a training and a figures run go on where they were, to the same bits.

    python benchmarks/kills.py --kills 50 --seed 0

Each program first runs unbroken. Then it is started in an empty folder, killed after a random part of that time, and
started again in the same folder until it ends; its result must equal the unbroken one byte for byte. Folders are
begun anew until the number of kills is reached. Prints a Markdown table; exit status 1 if any result differed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

SWEEP = "times = [20.0, 60.0]\nrtol = 1e-6\n[grid]\neps = [1e-2, 1e-3]\nS = [2, 3]\nseed = [0, 1, 2]\n"


class Program(NamedTuple):
    """A command that resumes in the folder {out}, and the files of its result."""

    name: str
    arguments: tuple[str, ...]
    results: tuple[str, ...]


PROGRAMS = (
    Program("sweep", ("sims", "sweep", "{out}.toml", "--out", "{out}", "--jobs", "2"), ("sweep.csv",)),
    Program(
        "training",
        (
            "empirical",
            "predict",
            "--steps",
            "4000",
            "--records",
            "40",
            "--dim",
            "16",
            "--width",
            "16",
            "--out",
            "{out}",
        ),
        ("observed/checkpoints/*", "predicted/checkpoints/*", "prediction.pdf"),
    ),
    Program(
        "figures",
        ("paper_figs", "collapse_of_scale", "lorentz", "depth", "time_course", "--out", "{out}"),
        ("*.pdf", "*.png"),
    ),
)


class Outcome(NamedTuple):
    """What came of one program."""

    kills: int
    runs: int
    different: int
    seconds: float


def start(program: Program, out: Path) -> subprocess.Popen[bytes]:
    """The program in a process group of its own, so that a kill takes its workers too."""
    out.with_name(out.name + ".toml").write_text(SWEEP)
    arguments = [a.format(out=out) for a in program.arguments]
    command = [sys.executable, "-m", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(
            f"{process.args} ended with status {process.returncode}: {errors.decode()[-2000:]}"
        )


def killed(process: subprocess.Popen[bytes], after: float) -> bool:
    """Kill the group unless the program has ended before; whether it was killed."""
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    finish(process)
    return False


def result(program: Program, out: Path) -> str:
    """Digest of the names and bytes of the result's files."""
    sha = hashlib.sha256()
    for file in sorted(path for pattern in program.results for path in out.glob(pattern)):
        sha.update(f"{file.relative_to(out)}\n".encode() + file.read_bytes())
    return sha.hexdigest()


def attempt(program: Program, folder: Path, kills: int, rng: random.Random) -> Outcome:
    began = time.perf_counter()
    unbroken = folder / "unbroken"
    finish(start(program, unbroken))
    whole, expected = time.perf_counter() - began, result(program, unbroken)
    done = runs = different = 0
    while done < kills:
        runs += 1
        out = folder / f"run{runs}"
        while done < kills and killed(start(program, out), rng.uniform(0, whole)):
            done += 1
        finish(start(program, out))  # of a finished run: reads it back
        different += result(program, out) != expected
    return Outcome(done, runs, different, time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="of each program")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", choices=[p.name for p in PROGRAMS], nargs="+")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    print(
        "| program | kills | runs finished | results that differ | seconds |",
        "| --- " * 5 + "|",
        sep="\n",
        flush=True,
    )
    bad = 0
    for program in (p for p in PROGRAMS if not options.only or p.name in options.only):
        with TemporaryDirectory() as folder:
            outcome = attempt(program, Path(folder), options.kills, rng)
        bad += outcome.different
        print(
            f"| {program.name} | {' | '.join(str(v) for v in outcome[:3])} | {outcome.seconds:.0f} |",
            flush=True,
        )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
