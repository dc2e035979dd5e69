"""python -m benchmarks.fuzz: every reader on damaged inputs; a stated error is right, everything else a failure.

Each reader must raise ValueError or OSError with a message that names the input, or MemoryError with the bytes needed
and allowed, or read it. Failures are any other
exception or warning, more than MEMORY bytes or CPU_SECONDS for one input, code run, a process or socket, and a file
opened outside the folder that the input lies in. Input i of a reader depends on the seed, the reader and i alone.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import re
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz.guard import Watch, limit_memory, limited_time
from benchmarks.fuzz.readers import Target, targets

MEMORY = 512 << 20  # bytes over those of the imports; the inputs are below 64 KiB
CPU_SECONDS = 10
MEMORY_DISK = Path("/dev/shm")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=10_000, help="of each reader")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--reader", action="append", help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, help="folder for the report and for the inputs that failed")
    options = parser.parse_args()
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    faulthandler.enable()
    warnings.simplefilter("error")
    chosen = [t for t in targets() if not options.reader or t.name in options.reader]
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None) as scratch:
        watch = Watch(Path(scratch), Path(__file__).parents[2])
        limit_memory(MEMORY)
        reports = [_fuzz(t, options.inputs, options.seed, Path(scratch), watch, options.out) for t in chosen]
    if options.out:
        (options.out / "fuzz.json").write_text(json.dumps(reports, indent=1))
    return 1 if any(report["failures"] for report in reports) else 0


def _fuzz(
    target: Target, inputs: int, seed: str, scratch: Path, watch: Watch, out: Path | None
) -> dict[str, Any]:
    """Read `inputs` damaged inputs and count what comes of them."""
    counts, messages = Counter[str](), Counter[str]()
    failures, kinds = list[str](), dict[str, str]()
    began = time.process_time()
    for i in range(inputs):
        folder = scratch / "input"
        folder.mkdir()
        target.damage(folder, Random(f"{seed}:{target.name}:{i}"))
        kept = out and shutil.copytree(folder, out / f"{target.name}-{i}", symlinks=True)
        outcome, detail = _outcome(target, folder, watch)
        counts[outcome] += 1
        if outcome == "refused":
            messages[_pattern(detail, folder)] += 1
        if outcome == "failed":
            failures.append(f"input {i}: {detail}")
            kinds.setdefault(
                _pattern(detail.strip().splitlines()[-1], folder), f"{target.name}, {failures[-1]}"
            )
        elif kept:
            shutil.rmtree(kept)
        shutil.rmtree(folder)
    seconds = time.process_time() - began
    print(
        f"{target.name:32} {inputs:6} inputs: {counts['read']:6} read, {counts['refused']:6} refused with "
        f"{len(messages):3} messages, {len(failures)} failed; {seconds:.1f} s",
        flush=True,
    )
    print(*kinds.values(), sep="\n", end="\n" * bool(kinds), flush=True)  # the first failure of each kind
    return {"reader": target.name, "inputs": inputs, **counts, "messages": messages, "failures": failures}


def _outcome(target: Target, folder: Path, watch: Watch) -> tuple[str, str]:
    """read, refused or failed, and why."""
    watch.seen.clear()
    try:
        with limited_time(CPU_SECONDS):
            watch.armed = True
            target.read(folder)
            outcome = "read", ""
    except (ValueError, OSError) as error:
        own = type(error) is ValueError or type(error).__module__.startswith("finegrain.")
        stated = (own or isinstance(error, OSError)) and "input" in str(error)
        outcome = ("refused", str(error)) if stated else ("failed", traceback.format_exc())
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        # Of more memory than is allowed it must say how much, before it asks for it.
        stated = isinstance(error, MemoryError) and re.search(r"input.* needs .*, allowed are ", str(error))
        outcome = ("refused", str(error)) if stated else ("failed", traceback.format_exc())
    finally:
        watch.armed = False
    return ("failed", "; ".join(watch.seen)) if watch.seen else outcome


def _pattern(message: str, folder: Path) -> str:
    """The message without what differs from input to input."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|0x[0-9a-f]+|[-+.\d]+|b'.*", "#", message.replace(str(folder), ""))[:80]


if __name__ == "__main__":
    sys.exit(main())
