"""Arrays and JSON from files that nobody vouches for: what is wrong with one is an error that names it.

Nothing is unpickled, no claim of a size costs memory, and an archive's checksums are verified. Here arrays are read
whole; empirical/readers/feature_files.py reads them in blocks of rows.
"""

from __future__ import annotations

import csv
import json
import math
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from finegrain.theory.tools import memory

Block = NDArray[Any]
# NotImplementedError: of zipfile, for a version that it does not know.
DAMAGED = (
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    NotImplementedError,
    zlib.error,
    SafetensorError,
    csv.Error,
)
# From NumPy on the header of an .npy, which it reads as a Python expression.
HEADER = (*DAMAGED, tokenize.TokenError, SyntaxError, OverflowError, TypeError, MemoryError, RecursionError)
MAX_COLUMNS = 2**20  # of features, or 8 MiB a row
MAX_LABEL = 256  # characters of one label
MAX_JSON = 64 << 20  # bytes
MAX_MEMBERS = 10_000  # of an .npz
DEFLATED = 1032  # bytes that one byte of zlib's can become at most


class Refused(ValueError):
    """A sound file that does not hold what is asked for."""


def split_spec(spec: Path | str) -> tuple[Path, str | None]:
    """FILE:NAME in its two parts; a file whose own name holds a colon is itself."""
    if Path(spec).exists():
        return existing(spec), None
    file, colon, name = str(spec).rpartition(":")
    return (existing(file), name) if colon and name else (existing(spec), None)


def existing(spec: Path | str) -> Path:
    if not Path(spec).is_file():
        # A pipe would be waited for without end.
        kind = " (a folder, pipe or device is none)" if Path(spec).exists() else ""
        raise FileNotFoundError(f"no file {spec}{kind}")
    return Path(spec)


@contextmanager
def whole_or_named(path: Path) -> Iterator[None]:
    """Turn a library's error on damaged bytes into one that names the file; what the system says stays as it is."""
    try:
        yield
    except Refused:
        raise
    except MemoryError as error:
        raise error if str(path) in str(error) else MemoryError(f"{path}: {error}") from error
    except OSError as error:
        if error.errno is not None and error.filename is not None:
            raise
        raise _damaged(path, error) from error
    except DAMAGED as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    told = " ".join(str(error).split())
    return ValueError(f"{path} is damaged, truncated or no {path.suffix} file: {told}")


def read_json(path: Path) -> Any:
    """What a JSON file of at most MAX_JSON bytes holds; the error names the file."""
    size = existing(path).stat().st_size
    if size > MAX_JSON:
        raise ValueError(f"{path} must be a JSON file of at most {MAX_JSON} bytes, got {size}")
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error


def read_whole(
    spec: Path | str, name: str, wanted: Callable[[list[str]], list[str]] = list
) -> dict[str, Block]:
    """The wanted arrays of an .npy, .npz or .safetensors file, by name, in memory; that of an .npy is called `name`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another ending, or a damaged file.
        MemoryError: an array that needs more than is allowed.
    """
    path = existing(spec)
    if path.suffix not in (".npy", ".npz", ".safetensors"):
        raise ValueError(f"{name} must be a .npy, .npz or .safetensors file, got {path}")
    with whole_or_named(path):
        if path.suffix == ".npy":
            array = mapped(path)
            memory.require(f"{path}", array.nbytes)
            return {name: np.array(array)}
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as file:
                members = whole_members(file)
                chosen = wanted(list(members))
                memory.require(f"{path}", sum(members[key].file_size for key in chosen))
                return {key: _array(file, members[key]) for key in chosen}
        memory.require(f"{path}", path.stat().st_size)
        with safe_open(path, framework="pt") as tensors:
            return {key: as_numpy(tensors.get_tensor(key)) for key in wanted(list(tensors.keys()))}


def mapped(path: Path) -> Block:
    """The array of an .npy file, mapped; NumPy alone would allocate the 4 GiB of header that a file can claim."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(12)
        if start[6:7] > b"\x01" and int.from_bytes(start[8:12], "little") > size:
            raise ValueError("its header claims to be longer than the file")
        file.seek(0)
        shape, fortran, dtype = header(file)
        offset = file.tell()
    if dtype.hasobject:
        raise Refused(
            f"{path} must hold numbers or text, got Python objects in dtype, which are never unpickled"
        )
    if dtype.itemsize * math.prod(shape) > size - offset:
        raise ValueError(f"it claims shape {shape} of {dtype} in {size - offset} bytes")
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")


def whole_members(file: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The arrays of an .npz by name; one that claims more bytes than it has, which NumPy would allocate, is refused."""
    members = {m.filename.removesuffix(".npy"): m for m in file.infolist() if m.filename.endswith(".npy")}
    if len(members) > MAX_MEMBERS:
        raise Refused(f"{file.filename} must hold at most {MAX_MEMBERS} arrays, got {len(members)}")
    whole = Path(str(file.filename)).stat().st_size
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
        packed = min(member.compress_size, whole)
        if member.file_size > (packed if member.compress_type == zipfile.ZIP_STORED else DEFLATED * packed):
            raise ValueError(f"its {member.filename} claims {member.file_size} bytes, packed in {packed}")
    return members


def _array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> Block:
    with file.open(member) as stream:
        return np.lib.format.read_array(stream)


def header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of the .npy member that `stream` is at the start of."""
    try:
        version = np.lib.format.read_magic(stream)
        first = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            shape, fortran, dtype = read(stream)
    except HEADER as error:
        told = " ".join(str(error).split())[:80] or type(error).__name__
        raise ValueError(f"its header is none of NumPy's: {told}") from error
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"its header claims the shape {shape}")
    return shape, fortran, dtype


def as_numpy(tensor: Any) -> Block:
    """A torch tensor as NumPy; bfloat16 and narrower, which NumPy has not, as float32."""
    narrow = tensor.is_floating_point() and str(tensor.dtype) not in (
        "torch.float64",
        "torch.float32",
        "torch.float16",
    )
    return (tensor.float() if narrow else tensor).numpy()
