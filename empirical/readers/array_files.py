"""Arrays and JSON from files that nobody vouches for: what is wrong with one is an error that names it.

Nothing is unpickled, no claim of a size costs memory, and an archive's checksums are verified. Here arrays are read
whole; empirical/readers/feature_files.py reads them in blocks of rows.
"""

from __future__ import annotations

import csv
import json
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

Block = NDArray[Any]
DAMAGED = (
    *(ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, SafetensorError, csv.Error),
    *(tokenize.TokenError, SyntaxError, OverflowError),  # from NumPy, on the header of an .npy
)


class Refused(ValueError):
    """A sound file that does not hold what is asked for."""


def split_spec(spec: Path | str) -> tuple[Path, str | None]:
    """FILE:NAME in its two parts; a file whose own name holds a colon is itself."""
    if Path(spec).exists():
        return Path(spec), None
    file, colon, name = str(spec).rpartition(":")
    return (existing(file), name) if colon and name else (existing(spec), None)


def existing(spec: Path | str) -> Path:
    if not Path(spec).is_file():
        raise FileNotFoundError(f"no file {spec}")
    return Path(spec)


@contextmanager
def whole_or_named(path: Path) -> Iterator[None]:
    """Turn a library's error on damaged bytes into one that names the file."""
    try:
        yield
    except Refused:
        raise
    except DAMAGED as error:
        raise ValueError(f"{path} is damaged, truncated or no {path.suffix} file: {error}") from error


def read_json(path: Path) -> Any:
    """What a JSON file holds; the error names the file."""
    try:
        return json.loads(existing(path).read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error


def read_whole(
    spec: Path | str, name: str, wanted: Callable[[list[str]], list[str]] = list
) -> dict[str, Block]:
    """The wanted arrays of an .npy, .npz or .safetensors file, by name, in memory; that of an .npy is called `name`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another ending, or a damaged file.
    """
    path = existing(spec)
    if path.suffix not in (".npy", ".npz", ".safetensors"):
        raise ValueError(f"{name} must be a .npy, .npz or .safetensors file, got {path}")
    with whole_or_named(path):
        if path.suffix == ".npy":
            return {name: np.array(mapped(path))}
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as file:
                members = whole_members(file)
                return {key: _array(file, members[key]) for key in wanted(list(members))}
        with safe_open(path, framework="pt") as tensors:
            return {key: as_numpy(tensors.get_tensor(key)) for key in wanted(list(tensors.keys()))}


def mapped(path: Path) -> Block:
    """The array of an .npy file, mapped; NumPy alone would allocate the 4 GiB of header that a file can claim."""
    with open(path, "rb") as file:
        start = file.read(12)
    if start[6:7] > b"\x01" and int.from_bytes(start[8:12], "little") > path.stat().st_size:
        raise ValueError("its header claims to be longer than the file")
    return np.lib.format.open_memmap(path, mode="r")


def whole_members(file: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The arrays of an .npz by name; one that claims more bytes than it has, which NumPy would allocate, is refused."""
    members = {m.filename.removesuffix(".npy"): m for m in file.infolist() if m.filename.endswith(".npy")}
    for member in members.values():
        try:
            with file.open(member) as stream:
                shape, _, dtype = header(stream)
        except RuntimeError as error:  # an encrypted member, or packed in a way that zipfile does not know
            raise ValueError(str(error)) from error
        if dtype.hasobject:
            raise Refused(
                f"{file.filename} must hold numbers or fixed-width text, got Python objects in {member.filename}, "
                "which are never unpickled"
            )
        if dtype.itemsize * math.prod(shape) > member.file_size:
            raise ValueError(f"its {member.filename} claims shape {shape} in {member.file_size} bytes")
    return members


def _array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> Block:
    with file.open(member) as stream:
        return np.lib.format.read_array(stream)


def header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of the .npy member that `stream` is at the start of."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


def as_numpy(tensor: Any) -> Block:
    """A torch tensor as NumPy; bfloat16 and narrower, which NumPy has not, as float32."""
    narrow = tensor.is_floating_point() and str(tensor.dtype) not in (
        "torch.float64",
        "torch.float32",
        "torch.float16",
    )
    return (tensor.float() if narrow else tensor).numpy()
