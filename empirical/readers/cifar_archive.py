"""The official archives of CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html), python version.

    cifar-10-batches-py/   data_batch_1 .. data_batch_5, test_batch, batches.meta
    cifar-100-python/      train, test, meta

Each is a pickled dict. Its "data" are rows of 3,072 bytes, the red, green and blue plane of 32 x 32 pixels; its labels
are "labels", or "fine_labels" and "coarse_labels". The archive is untrusted: its checksum comes first, it is read in
memory (finegrain.empirical.readers.members) and without Python's unpickler (finegrain.empirical.readers.safe_pickle).
"""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finegrain.empirical.readers import cifar_classes, safe_pickle
from finegrain.empirical.readers.coarse_maps import coarse_map
from finegrain.empirical.readers.members import tar_members
from finegrain.theory.tools import checks

MAX_FILE = 256 << 20  # bytes of one member; the largest, CIFAR-100's train, has 155 MB

Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class Layout:
    """Where an archive keeps what, and the checksums of the official one.

    Attributes:
        folder: of its members
        train, test, meta: names of its files
        labels, names: keys of the labels and of the class names
        classes: C class names in the order of the labels
        md5, sha256: of the official archive; the first is the one its page gives
    """

    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    labels: bytes
    names: bytes
    classes: tuple[str, ...]
    md5: str
    sha256: str


LAYOUTS = {
    "cifar10": Layout(
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{i}" for i in range(1, 6)),
        test="test_batch",
        meta="batches.meta",
        labels=b"labels",
        names=b"label_names",
        classes=cifar_classes.CIFAR10,
        md5="c58f30108f718f92721af3b95e74349a",
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    "cifar100": Layout(
        folder="cifar-100-python",
        train=("train",),
        test="test",
        meta="meta",
        labels=b"fine_labels",
        names=b"fine_label_names",
        classes=cifar_classes.CIFAR100,
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
}


ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}


def read_cifar(
    name: str, path: Path, *, verify: bool = True, progress: bool = False
) -> tuple[Labelled, Labelled, tuple[str, ...]]:
    """Training images and labels, test images and labels, and the class names in the order of the labels.

    Images are uint8 (N, 32, 32, 3), in the archive's own order; labels are int64 (N,), fine ones for CIFAR-100.

    Args:
        name: cifar10 or cifar100.
        path: the archive, a tar.gz (a tar or tar.xz of the same members too, if not verified).
        verify: refuse an archive whose checksum is not that of the official one. Only for an archive that you
            made yourself, say False.
        progress: show a bar with the time left.

    Raises:
        FileNotFoundError: no file at `path`.
        OSError: the file cannot be read.
        ValueError: another checksum; a damaged or truncated archive; a pickle that names a function; a member that
            is missing or twice there; images, labels or class names that are not CIFAR's. The message names file
            and member.
    """
    checks.one_of("name", name, LAYOUTS)
    layout = LAYOUTS[name]
    if not path.is_file():
        missing = "a folder: name the archive, not what was unpacked" if path.is_dir() else "no file"
        error = ValueError if path.is_dir() else FileNotFoundError
        raise error(
            f"{name}:PATH must be the archive, a tar file such as {ARCHIVES[name]}, got {path}, {missing}"
        )
    if verify:
        _require_official(name, path, layout)
    files = _read_files(path, layout, progress)
    _require_classes(path, layout, files)
    try:
        train = [_labelled(files, member, layout) for member in layout.train]
        test = _labelled(files, layout.test, layout)
    except _Wrong as error:
        raise ValueError(f"{path}: member {layout.folder}/{error}") from error
    images, labels = [x for x, _ in train], [y for _, y in train]
    return (np.concatenate(images), np.concatenate(labels)), test, layout.classes


class _Wrong(ValueError):
    """What is wrong with a member, which starts the message."""


def _require_official(name: str, path: Path, layout: Layout) -> None:
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != layout.sha256:
        raise ValueError(
            f"{path} is not the official {name} archive: its SHA-256 must be {layout.sha256} (its MD5 is "
            f"{layout.md5}), got {found}; download it again"
        )


def _read_files(path: Path, layout: Layout, progress: bool) -> dict[str, Mapping[bytes, Any]]:
    """The dict in each file of the layout, by its name; other members are passed over, unread."""
    wanted = {f"{layout.folder}/{name}": name for name in (*layout.train, layout.test, layout.meta)}
    files: dict[str, Mapping[bytes, Any]] = {}
    for member, content in tar_members(path, max_bytes=MAX_FILE, progress=progress):
        if content is None or str(member) not in wanted:
            continue
        if wanted[str(member)] in files:
            raise ValueError(f"{path}: member {str(member)!r} is there twice")
        try:
            files[wanted[str(member)]] = _dict(safe_pickle.loads(content))
        except ValueError as error:
            raise ValueError(f"{path}: member {str(member)!r} {error}") from error
    if missing := sorted(set(wanted.values()) - files.keys()):
        raise ValueError(f"{path} must hold {layout.folder}/{missing[0]}, which is missing")
    return files


def _dict(value: Any) -> Mapping[bytes, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"must hold a dict, got a {type(value).__name__}")
    return value


def _require_classes(path: Path, layout: Layout, files: Mapping[str, Mapping[bytes, Any]]) -> None:
    found = files[layout.meta].get(layout.names)
    if found != [name.encode() for name in layout.classes]:
        raise ValueError(
            f"{path}: {layout.meta} must hold the {len(layout.classes)} class names "
            f"{', '.join(layout.classes[:3])}, ... as {layout.names.decode()}, got {reprlib.repr(found)}"
        )


def _labelled(files: Mapping[str, Mapping[bytes, Any]], member: str, layout: Layout) -> Labelled:
    """Images (N, 32, 32, 3) and labels (N,) of one file."""
    data = files[member].get(b"data")
    if not (isinstance(data, np.ndarray) and data.ndim == 2 and data.shape[1] == 3072 and len(data)):
        shape = data.shape if isinstance(data, np.ndarray) else type(data).__name__
        raise _Wrong(f"{member} must hold data of shape (N, 3072), N >= 1, got {shape}")
    labels = _labels(files[member], member, layout.labels, len(data), len(layout.classes))
    if layout.labels == b"fine_labels":
        coarse = _labels(files[member], member, b"coarse_labels", len(data), len(cifar_classes.SUPERCLASSES))
        _require_superclasses(member, labels, coarse)
    return np.ascontiguousarray(data.reshape(len(data), 3, 32, 32).transpose(0, 2, 3, 1)), labels


def _labels(
    file: Mapping[bytes, Any], member: str, key: bytes, count: int, num_classes: int
) -> NDArray[np.int64]:
    values = file.get(key)
    if not (
        isinstance(values, list)
        and len(values) == count
        and all(type(v) is int and 0 <= v < num_classes for v in values)
    ):
        raise _Wrong(
            f"{member} must hold {key.decode()}, a list of {count} whole numbers in 0..{num_classes - 1}, "
            f"got {reprlib.repr(values)}"
        )
    return np.array(values)


def _require_superclasses(member: str, fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> None:
    """The archive's own superclass of every image must be that of cifar_classes.SUPERCLASSES."""
    expected = coarse_map("superclasses", 100, cifar_classes.CIFAR100)[fine]
    if (wrong := np.flatnonzero(coarse != expected)).size:
        i = int(wrong[0])
        raise _Wrong(
            f"{member} must hold coarse_labels that fit the superclasses: image {i} of class "
            f"{cifar_classes.CIFAR100[fine[i]]} must have {expected[i]}, got {coarse[i]}"
        )
