"""Files written whole or not at all, and JSON that every reader accepts."""

from __future__ import annotations

import errno
import json
import math
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

PART = re.compile(r"\..+\.\d+\.part")  # of a file while it is written: its name, the process


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace `path` by `data` in one step; on any error the old file stands and nothing is left behind."""
    content = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.unlink(missing_ok=True)
        # A new file: one that is there, or a link in its place, would be written through.
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # on a disk turned read-only this fails too, and would hide why
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, f"could not write {path}: {error.strerror}") from error
        raise


def clear(folder: Path) -> None:
    """Remove what killed writers left; for a folder that no other process writes to."""
    for leftover in folder.glob(".*.part"):
        if PART.fullmatch(leftover.name):
            leftover.unlink()


def writable_folder(path: Path | str) -> Path:
    """The folder, made if need be; raises OSError naming it when it cannot be written."""
    import tempfile

    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # without a name, so that a kill leaves none
            pass
    except OSError as error:
        file = next((path for path in (folder, *folder.parents) if os.path.isfile(path)), None)
        why = error.strerror if file is None else f"{file} is a file; name a folder"
        raise OSError(error.errno, f"output folder {folder} is not writable: {why}") from error
    return folder


def writable_file(path: Path | str) -> Path:
    """The path of a file to be written, its folder made; raises OSError naming it when it cannot be."""
    file = Path(path)
    writable_folder(file.parent)
    if file.is_dir():
        raise OSError(errno.EISDIR, f"output file {file} is a folder; name a file")
    return file


def inside(folder: Path, *names: str) -> Path:
    """The place below a folder that these names lead to; no name has a separator, and nothing on the way is a link.

    What is written there stays in the folder, wherever the folder came from.

    Raises:
        ValueError: a name that is none of a file.
        OSError: a link.
    """
    place = folder
    for name in names:
        if name in ("", ".", "..") or "/" in name or os.sep in name or "\0" in name:
            raise ValueError(f"a name in {folder} must be one of a file, without separators, got {name!r}")
        place = place / name
        if place.is_symlink():
            raise OSError(
                errno.ELOOP, f"{place} is a link, which is not followed: delete it, or name another folder"
            )
    return place


def to_json(value: Any) -> str:
    """Indented JSON in which a number that is not finite is null."""
    return json.dumps(_finite(value), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
