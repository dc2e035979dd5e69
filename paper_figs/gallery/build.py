"""One step of the gallery: a figure, or a theorem's proof, computed unless its stored result is still current.

    OUT/NAME.json    title, claim, numbers, seed, command, seconds; digests of its sources (inputs.py) and of it all
    OUT/NAME.pdf, OUT/NAME.png    their SHA-256 is in NAME.json: a picture of other numbers is drawn anew
    OUT/ledger/NAME.json    the ledger's row of theorem NAME, its proof run

Every file is written whole or not at all, and NAME.json last, so a run that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from finegrain.paper_figs.gallery import inputs
from finegrain.sims.plotting import save
from finegrain.sims.run_folder import environment
from finegrain.theory import ledger
from finegrain.theory.tools.files import to_json, write_atomic

Record = dict[str, Any]


def figure(name: str, folder: Path, seed: int, jobs: int = 1) -> tuple[Record, bool]:
    """Compute and draw a figure; returns its record, and whether it had to be computed.

    Args:
        name: module of paper_figs.
        folder: output folder, there already.
        seed: of the figure's random draws.
        jobs: processes the figure may use.
    """
    made_from = inputs.digest(f"paper_figs.{name}", {"seed": seed})
    stored = current(folder / f"{name}.json", made_from)
    if stored is not None and stored.get("sha256") == _pictures(name, folder):
        return stored, False
    module = import_module(f"finegrain.paper_figs.{name}")
    started = time.perf_counter()
    numbers = module.compute(jobs, seed)
    record = {
        "name": name,
        "title": getattr(module, "TITLE", None),  # a theorem's figure has that of the theorem
        "claim": module.CLAIM,
        "seed": seed,
        "command": f"finegrain figures {name} --seed {seed}",
        "seconds": round(time.perf_counter() - started, 1),
        "made_from": made_from,
        "numbers": numbers,
        "environment": environment(),
    }
    # What is drawn is what a reader of the file gets.
    record = json.loads(to_json(record))
    save(module.draw(record["numbers"]), folder, name)
    record["sha256"] = _pictures(name, folder)
    record["digest"] = _digest(record)
    write_atomic(folder / f"{name}.json", to_json(record))
    return record, True


def _pictures(name: str, folder: Path) -> dict[str, str]:
    """SHA-256 of each picture that is there, by its ending."""
    files = {kind: folder / f"{name}.{kind}" for kind in ("pdf", "png")}
    return {k: hashlib.sha256(file.read_bytes()).hexdigest() for k, file in files.items() if file.exists()}


def proof(name: str, folder: Path) -> tuple[Record, bool]:
    """Prove theorem `name` (its module in theory/theorems); returns the ledger's row, and whether it was run."""
    made_from = inputs.digest(f"finegrain.theory.theorems.{name}", {})
    file = folder / "ledger" / f"{name}.json"
    stored = current(file, made_from)
    if stored is not None:
        return stored, False
    row = ledger.prove(import_module(f"finegrain.theory.theorems.{name}")) | {
        "name": name,
        "made_from": made_from,
    }
    row = json.loads(to_json(row))
    row["digest"] = _digest(row)
    write_atomic(file, to_json(row))
    return row, True


def _digest(record: Record) -> str:
    """SHA-256 of all that a record holds beside it."""
    rest = {key: value for key, value in record.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def current(file: Path, made_from: str) -> Record | None:
    """The stored record if it was made from the same things; None if it was not, is damaged, or is not there."""
    try:
        record = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    same = isinstance(record, dict) and record.get("made_from") == made_from
    return record if same and record.get("digest") == _digest(record) else None
