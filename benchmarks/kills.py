"""Kill -9 at random moments: a sweep, a training and a figures run go on where they were, to the same bits.

    python benchmarks/kills.py --kills 50 --seed 0

Each program first runs unbroken. Then it is started in an empty folder, killed without its workers after a random part
of that time, and started again in the same folder until it ends; its result must equal the unbroken one, no half
written file may be left, and PATIENCE after a kill no worker. Folders are begun anew until the number of kills is
reached. A kill is counted by what it leaves: before the first checkpoint, between two, after the last; and, among them,
amid a write, if there is a file that was not yet renamed into its place. Prints a Markdown table; exit status 1 if any
result differed, or a file or process was left.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
SWEEP = "times = [10.0, 20.0, 30.0, 40.0]\nrtol = 1e-7\n[grid]\neps = [1e-2, 1e-3]\nS = [2, 3]\nseed = [0, 1, 2]\n"
RECIPE = """
name = "run"
[recipe]
network = "resnet9"
width = 4
map = "mod"
epochs = 25
batch = 32
measured = 40
learning_rate = 0.05
"""
FIGURES = (
    "prediction_fashion_mnist",
    "erosion_on_images",
    "where_prediction_breaks",
    "active_sets",
    "lorentz",
)
TIMINGS = ("seconds", "images_per_second", "measure_seconds", "environment", "digest")
PATIENCE = 10  # seconds


class Program(NamedTuple):
    """A command that resumes in the folder {out}; what it must leave there, and what counts as a checkpoint."""

    name: str
    arguments: tuple[str, ...]
    checkpoints: str
    result: Callable[[Path], Iterator[tuple[str, bytes]]]


def files(*patterns: str) -> Callable[[Path], Iterator[tuple[str, bytes]]]:
    """Names and contents of the files of these patterns; of JSON and checkpoints, all but the time they took."""

    def content(file: Path) -> bytes:
        if file.suffix == ".json":
            return json.dumps(_untimed(json.loads(file.read_text()))).encode()
        if file.suffix != ".safetensors":
            return file.read_bytes()
        with safe_open(file, framework="numpy") as opened:
            tensors = {name: opened.get_tensor(name) for name in sorted(opened.keys())}
            metrics = _untimed(json.loads(opened.metadata()["metrics"]))
        return json.dumps(metrics).encode() + b"".join(
            name.encode() + str(x.shape).encode() + x.tobytes() for name, x in tensors.items()
        )

    def result(out: Path) -> Iterator[tuple[str, bytes]]:
        for file in sorted(path for pattern in patterns for path in out.glob(pattern)):
            yield str(file.relative_to(out)), content(file)

    return result


def _untimed(value: Any) -> Any:
    """The value without times, at any depth: a proof has them step by step."""
    if isinstance(value, list):
        return [_untimed(entry) for entry in value]
    return (
        {k: _untimed(v) for k, v in value.items() if k not in TIMINGS} if isinstance(value, dict) else value
    )


PROGRAMS = (
    Program(
        "sweep",
        ("sims", "sweep", "{inputs}/sweep.toml", "--out", "{out}", "--jobs", "2"),
        "runs/*/checkpoints/*.safetensors",
        files("sweep.csv", "runs/*/checkpoints/*.safetensors"),
    ),
    Program(
        "training",
        ("train", "{inputs}/recipe.toml", "--data", "images:{inputs}/images", "--out", "{out}"),
        "run/checkpoints/*.safetensors",
        files("run/checkpoints/*.safetensors", "run/config.json"),
    ),
    Program(
        "figures",
        ("figures", "--quick", *(f"--only={name}" for name in FIGURES), "--out", "{out}", "--jobs", "1"),
        "*.json",
        files("*.pdf", "*.png", "*.json", "ledger/*.json"),
    ),
)


class Outcome(NamedTuple):
    """What came of one program."""

    unbroken: float  # seconds
    checkpoints: int
    kills: int
    fell: Counter[str]
    runs: int
    different: int
    left: int
    orphans: int
    seconds: float


def write_inputs(folder: Path) -> None:
    """The sweep's config, the recipe, and 240 random images of four classes."""
    (folder / "sweep.toml").write_text(SWEEP)
    (folder / "recipe.toml").write_text(RECIPE)
    rng = np.random.default_rng(0)
    for i in range(240):
        file = folder / "images" / ("test" if i % 6 == 0 else "train") / "abcd"[i // 6 % 4] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)


def start(program: Program, inputs: Path, out: Path) -> subprocess.Popen[bytes]:
    """The program in a session of its own, by which its workers are found; its caches are in `out`."""
    command = [
        sys.executable,
        "-m",
        "finegrain",
        *(a.format(inputs=inputs, out=out) for a in program.arguments),
    ]
    environment = dict(os.environ) | {
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(out.with_suffix(".cache")),
    }
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=environment,
        cwd=inputs,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(
            f"{process.args} ended with status {process.returncode}: {errors.decode()[-2000:]}"
        )


def killed(process: subprocess.Popen[bytes], after: float) -> int | None:
    """Kill the program unless it has ended before: the workers it left alive, or None if it was not killed."""
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        deadline = time.monotonic() + PATIENCE
        while (orphans := alive(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for orphan in orphans:
            with suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)
        process.stderr.close()  # type: ignore[union-attr]
        return len(orphans)
    finish(process)
    return None


def alive(session: int) -> list[int]:
    """Processes of a session that have not ended."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            found += [int(entry.name)] if int(of) == session and state != "Z" else []
    return found


def parts(out: Path) -> set[Path]:
    """Files and folders not yet renamed into their place."""
    return {path for folder in (out, out.with_suffix(".cache")) for path in folder.rglob(".*.part")}


def where(program: Program, out: Path, last: int, before: set[Path]) -> list[str]:
    """What a kill left: the stretch of the run that it fell into, and whether amid a write."""
    done = len(list(out.glob(program.checkpoints)))
    stretch = "before the first" if done == 0 else "after the last" if done == last else "between"
    return [stretch, "amid a write"] if parts(out) - before else [stretch]


def digest(program: Program, out: Path) -> str:
    sha = hashlib.sha256()
    for name, content in program.result(out):
        sha.update(f"{name}\n{len(content)}\n".encode() + content)
    return sha.hexdigest()


def attempt(program: Program, folder: Path, kills: int, rng: random.Random) -> Outcome:
    inputs = folder / "inputs"
    inputs.mkdir()
    write_inputs(inputs)
    began = time.perf_counter()
    unbroken = folder / "unbroken"
    finish(start(program, inputs, unbroken))
    whole, expected = time.perf_counter() - began, digest(program, unbroken)
    last = len(list(unbroken.glob(program.checkpoints)))
    fell, done, runs, different, left, orphans = Counter[str](), 0, 0, 0, 0, 0
    while done < kills:
        runs += 1
        out, before = folder / f"run{runs}", set[Path]()
        while done < kills:
            alone = killed(start(program, inputs, out), rng.uniform(0, whole))
            if alone is None:
                break
            done, orphans = done + 1, orphans + alone
            fell.update(where(program, out, last, before))
            before = parts(out)
        finish(start(program, inputs, out))  # of a finished run: reads it back
        different += digest(program, out) != expected
        left += len(parts(out))
    return Outcome(whole, last, done, fell, runs, different, left, orphans, time.perf_counter() - began)


HEAD = ("program", "unbroken, s", "checkpoints", "kills", "before the first", "between", "after the last")
HEAD += ("amid a write", "runs finished", "results that differ", "files left", "orphans", "s")


def row(name: str, found: Outcome) -> str:
    cells = [
        name,
        f"{found.unbroken:.1f}",
        found.checkpoints,
        found.kills,
        *(found.fell[k] for k in HEAD[4:8]),
    ]
    cells += [found.runs, found.different, found.left, found.orphans, f"{found.seconds:.0f}"]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="of each program")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", choices=[p.name for p in PROGRAMS], nargs="+")
    options = parser.parse_args()
    print("| " + " | ".join(HEAD) + " |", "| --- " * len(HEAD) + "|", sep="\n", flush=True)
    bad = 0
    for program in (p for p in PROGRAMS if not options.only or p.name in options.only):
        with TemporaryDirectory() as folder:
            rng = random.Random(f"{options.seed} {program.name}")
            found = attempt(program, Path(folder), options.kills, rng)
        bad += found.different + found.left + found.orphans
        print(row(program.name, found), flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
