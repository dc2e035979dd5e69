"""What a figure is made from, as one digest: its source, every file of this project that it imports, its recorded data.

A figure whose digest is the stored one need not be computed again.
"""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "scipy", "sympy", "torch", "scikit-learn", "matplotlib")
RECORDED = Path(__file__).parent / "recorded"


def digest(module: str, settings: dict[str, Any]) -> str:
    """SHA-256 over the settings, the libraries' versions, and the content of `sources(module)`.

    Args:
        module: full name, such as "finegrain.paper_figs.specialisation".
        settings: whatever else the result depends on, such as the seed.
    """
    versions = {name: metadata.version(name) for name in LIBRARIES}
    sha = hashlib.sha256(json.dumps([settings, versions], sort_keys=True).encode())
    for file in sorted(sources(module)):
        sha.update(f"{file.name} {file.stat().st_size}\n".encode())
        sha.update(file.read_bytes())
    return sha.hexdigest()


def sources(module: str) -> set[Path]:
    """The files of this project that a module needs: itself, what it imports, and the records it names."""
    pending, seen, files = [module], set[str](), set[Path]()
    while pending:
        name = pending.pop()
        if name in seen or (file := _file(name)) is None:
            continue
        seen.add(name)
        files.add(file)
        imports, records = _read(file)
        files.update(records)
        pending += [*imports, *_parents(name)]
    return files


@cache
def _read(file: Path) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """The project's modules that a file imports anywhere, and the recorded files whose names it spells out."""
    imports: list[str] = []
    records: list[Path] = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
            path = RECORDED / Path(node.value).name
            records += [path] if node.value and path.is_file() else []
    return tuple(name for name in imports if name.startswith("finegrain.")), tuple(records)


def _parents(name: str) -> list[str]:
    """The packages around a module: importing it runs theirs first."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


@cache
def _file(name: str) -> Path | None:
    """The source of a module; None for a name that is no module, such as a function imported from one."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None
