"""IDX files, the format of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist): plain or gzipped.

    bytes 0-3   0, 0, type of the entries (8: unsigned byte, the only one read here), number of axes
    then        the length of each axis, a big-endian 32-bit number
    then        the entries, last axis fastest

The header is not trusted: memory grows with the bytes that are there, never with the bytes that are claimed.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finegrain.empirical.readers.array_files import DEFLATED
from finegrain.theory.tools import memory

MAX_BYTES = 4 << 30  # larger arrays are refused: a data set is held in memory


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """The array of an IDX file with `axes` axes; a name that ends in .gz is decompressed.

    Raises:
        OSError: the file cannot be opened.
        ValueError: not an IDX file of unsigned bytes, another number of axes, a damaged or truncated file, or
            bytes after its end; the message names the file.
        MemoryError: an array that needs more than is allowed.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return _parse(path, file, axes)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged or truncated: {error}") from error


def _parse(path: Path, file: io.BufferedIOBase, axes: int) -> NDArray[np.uint8]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(
            f"{path} is not an IDX file: it must start with two zero bytes, got {magic.hex(' ')!r}"
        )
    if magic[2] != 8:
        raise ValueError(f"{path} must hold unsigned bytes (IDX type 0x08), got type {magic[2]:#04x}")
    if magic[3] != axes:
        raise ValueError(f"{path} must have {axes} axes, got {magic[3]}")
    shape = tuple(int(n) for n in np.frombuffer(_exactly(path, file, 4 * axes, "header"), dtype=">u4"))
    size = math.prod(shape)
    if not 0 < size <= MAX_BYTES:
        raise ValueError(
            f"{path} must hold 1 to {MAX_BYTES} bytes of data, its header claims {size}, shape {shape}"
        )
    most = DEFLATED * path.stat().st_size if path.suffix == ".gz" else path.stat().st_size
    if size > most:
        raise ValueError(
            f"{path} is truncated: its data of shape {shape} needs {size} bytes, got at most {most}"
        )
    memory.require(f"{path}", size)
    data = _exactly(path, file, size, f"data of shape {shape}")
    if file.read(1):
        raise ValueError(f"{path} is longer than its header says: bytes follow the data of shape {shape}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _exactly(path: Path, file: io.BufferedIOBase, size: int, what: str) -> bytearray:
    """The next `size` bytes, read piece by piece so that a false size costs no memory."""
    data = bytearray()
    while len(data) < size:
        piece = file.read(min(io.DEFAULT_BUFFER_SIZE, size - len(data)))
        if not piece:
            raise ValueError(f"{path} is truncated: its {what} needs {size} bytes, got {len(data)}")
        data += piece
    return data
