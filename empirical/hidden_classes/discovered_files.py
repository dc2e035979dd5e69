"""What discover found, as files: subclasses.csv, subclasses.npz and discovery.json."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from finegrain.empirical.hidden_classes.discover import Discovery
from finegrain.theory.tools.files import to_json, writable_folder, write_atomic


def write(found: Discovery, folder: Path | str, **details: Any) -> list[Path]:
    """Write the three files, each whole or not at all; returns their paths.

    The CSV and the JSON name the coarse classes; the .npz holds their numbers, and the directions (cuts, D) across the
    valleys at which parts were cut, in the order of the tests. details: whatever else the JSON should say.
    """
    target = writable_folder(folder)
    contents: dict[str, bytes | str] = {
        "subclasses.csv": _csv(found),
        "subclasses.npz": _npz(found),
        "discovery.json": to_json(found.report() | details),
    }
    for name, content in contents.items():
        write_atomic(target / name, content)
    return [target / name for name in contents]


def _csv(found: Discovery) -> str:
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(["sample", "coarse_class", "subclass", "confidence"])
    for i, (k, s, sure) in enumerate(zip(found.coarse, found.subclass, found.confidence, strict=True)):
        lines.writerow([i, found.class_names[k], s, f"{sure:.6f}"])
    return table.getvalue()


def _npz(found: Discovery) -> bytes:
    buffer = io.BytesIO()
    cuts = [test.direction for tests in found.tests for test in tests if test.direction is not None]
    np.savez(
        buffer,
        sample=np.arange(len(found.coarse)),
        coarse_class=found.coarse,
        subclass=found.subclass,
        confidence=found.confidence,
        directions=np.stack(cuts) if cuts else np.zeros((0, len(found.projection))),
    )
    return buffer.getvalue()
