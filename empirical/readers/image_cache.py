"""Decoded images kept on disk: an archive or folder is decoded once, then its arrays are mapped into memory.

    FOLDER/KEY/train_x.npy, train_y.npy, test_x.npy, test_y.npy
    FOLDER/KEY/names.json     what classes and images are called (image_names.py)
    FOLDER/KEY/entry.json     the reader, the source's fingerprint and each file's SHA-256

KEY is a hash of reader and fingerprint, so a source that changes gets an entry of its own. An entry is written beside
its place and renamed, under a lock: a kill leaves none or a whole one, and of two processes the second waits and reads.
An entry whose checksums do not fit is decoded anew. A cache never costs a result: where it cannot be written, the
images are returned all the same, with a warning.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from finegrain.empirical.readers.image_names import Names
from finegrain.sims.run_folder import lock

Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]
Decoded = tuple[Labelled, Labelled, Names]

# Of the entries; one of another format is not looked at. 2: images are turned as their EXIF says. 3: names.json.
FORMAT = 3
ARRAYS = ("train_x", "train_y", "test_x", "test_y")
NAMES = "names.json"


def default_folder() -> Path:
    """Where caches belong on this system: $XDG_CACHE_HOME/finegrain, or ~/.cache/finegrain."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finegrain"


def cached(folder: Path, reader: str, source: Path, decode: Callable[[], Decoded]) -> Decoded:
    """What `decode` returns for `source`, from the cache in `folder` if it is there, and kept there if not.

    Args:
        folder: of the cache, made if need be.
        reader: names what `decode` does; another reader of the same source has an entry of its own.
        source: the file or folder that `decode` reads.
        decode: training images and labels, test images and labels, names. Its errors are passed on, and
            nothing is written then.

    Returns:
        The same, its arrays mapped into memory and copied on writing; the files never change.

    Warns:
        RuntimeWarning: the cache could not be written.
    """
    if not source.exists():
        return decode()  # raises the reader's own error
    about = {
        "format": FORMAT,
        "reader": reader,
        "fingerprint": fingerprint(source),
        "pillow": PIL.__version__,  # two versions may decode a JPEG differently
    }
    entry = folder / hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
    if (found := _read(entry, about)) is not None:
        return found
    with _locked(folder, entry.name):
        if (found := _read(entry, about)) is not None:  # written by the process that held the lock
            return found
        decoded = decode()
        try:
            _write(entry, about, decoded)
        except OSError as error:
            message = f"decoded images are not kept: cache folder {folder} could not be written ({error})"
            warnings.warn(message, RuntimeWarning, stacklevel=4)  # the line that calls load
            return decoded
        return _read(entry, about) or decoded


def fingerprint(source: Path) -> str:
    """SHA-256 of a file's content; of a folder's file names, sizes and times of change."""
    if source.is_file():
        with open(source, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    sha = hashlib.sha256()
    for parent, subfolders, files in os.walk(source):
        subfolders.sort()
        below = os.path.relpath(parent, source)
        for name in sorted(files):
            status = os.lstat(os.path.join(parent, name))
            sha.update(
                f"{below}/{name}\0{status.st_size} {status.st_mtime_ns}\0".encode(errors="surrogateescape")
            )
    return sha.hexdigest()


def _read(entry: Path, about: dict[str, Any]) -> Decoded | None:
    """An entry, or None if it is not there or not what was written."""
    try:
        record = json.loads((entry / "entry.json").read_text())
        if record["about"] != about:
            return None
        sha256 = record["sha256"]
        train_x, train_y, test_x, test_y = (
            _mapped(entry / f"{name}.npy", sha256[f"{name}.npy"]) for name in ARRAYS
        )
        words = (entry / NAMES).read_bytes()
        if hashlib.sha256(words).hexdigest() != sha256[NAMES]:
            return None
        # Of an entry that is as it was written, what JSON gives as lists was tuples.
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(words).items()}
        return (train_x, train_y), (test_x, test_y), Names(**fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _mapped(file: Path, sha256: str) -> NDArray[Any]:
    if _sha256(file) != sha256:
        raise ValueError(f"{file} is damaged")
    return np.lib.format.open_memmap(file, mode="c")


def _write(entry: Path, about: dict[str, Any], decoded: Decoded) -> None:
    """Put an entry in place, whole; the one that was there, damaged, goes only then."""
    (train_x, train_y), (test_x, test_y), names = decoded
    arrays: dict[str, NDArray[Any]] = dict(zip(ARRAYS, (train_x, train_y, test_x, test_y), strict=True))
    part, old = (entry.with_name(f".{entry.name}.{kind}") for kind in ("part", "old"))
    try:
        for leftover in (part, old):  # of a killed writer: we hold the lock
            shutil.rmtree(leftover, ignore_errors=True)
        part.mkdir()
        for name, array in arrays.items():
            with _kept(part / f"{name}.npy") as file:
                np.save(file, array)
        with _kept(part / NAMES) as file:
            file.write(json.dumps(asdict(names)).encode())
        digests = {file.name: _sha256(file) for file in part.iterdir()}
        record = {"about": about, "sha256": digests}
        (part / "entry.json").write_text(json.dumps(record))
        if entry.exists():
            entry.rename(old)
        part.rename(entry)
    finally:
        for leftover in (part, old):
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def _kept(path: Path) -> Iterator[Any]:
    """A file to write, on the disk when it is closed."""
    with open(path, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of one entry; where the folder cannot be written there is nothing to hold it for."""
    with ExitStack() as held:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock(folder / f".{name}.lock", f"cache {folder}", wait=True))
        yield


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
