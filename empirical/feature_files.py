"""Features and labels on disk, read in blocks of rows: no file is ever held whole.

    .npy                memory-mapped
    .npz, .safetensors  one array of the file; an .npz is decompressed as it is read
    .csv                the first line names the columns
    .parquet            needs pyarrow: pip install 'finegrain[parquet]'

Which array or column is named after a colon, FILE:NAME. Left out, features are the array "features" (of a table: that
column of lists, or all columns but "labels" and "label") and labels the array "labels" or "label"; a file of one array
needs no name. Files are untrusted: nothing is unpickled, and an archive's checksums are verified.
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
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

Block = NDArray[Any]
LABEL_NAMES = ("labels", "label")
CURES = {  # of an array with too many axes
    "features": "average or flatten all axes but the first",
    "labels": "they are one a sample; where they lie in another file, name it (--labels)",
}
DAMAGED = (
    *(ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, SafetensorError, csv.Error),
    *(tokenize.TokenError, SyntaxError, OverflowError),  # from NumPy, on the header of an .npy
)


@dataclass(frozen=True)
class Source:
    """One array on disk: (N, d) features or (N,) labels.

    Attributes:
        name: the file, and the array in it, for messages.
        rows: N, or None where only reading to the end tells.
        blocks: size -> iterator over blocks of `size` consecutive rows, the last one shorter.
    """

    name: str
    rows: int | None
    blocks: Callable[[int], Iterator[Block]]


def open_shard(features: Path | str, labels: Path | str | None = None) -> tuple[Source, Source]:
    """The features of FILE or FILE:NAME, and their labels; by default those of the same file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown ending, a damaged file, or an array that is missing or ambiguous.
        RuntimeError: .parquet without pyarrow.
    """
    file, _ = split_spec(features)
    label_file, column = (file, None) if labels is None else split_spec(labels)
    excluded = (*LABEL_NAMES, column) if column and file == label_file else LABEL_NAMES
    return _opened(features, "features", excluded), _opened(labels or file, "labels", excluded)


def ends_apart(features: Source, labels: Source, row: int) -> ValueError:
    """The error for sources of different lengths, one of which ends after `row` rows."""
    return ValueError(
        f"{features.name} and {labels.name} must agree in length, but one ends after {row} rows and the other does not"
    )


def read_json(path: Path) -> Any:
    """What a JSON file holds; the error names the file."""
    try:
        return json.loads(_existing(path).read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error


def read_whole(
    spec: Path | str, name: str, wanted: Callable[[list[str]], list[str]] = list
) -> dict[str, Block]:
    """The wanted arrays of an .npy, .npz or .safetensors file, by name, in memory; that of an .npy is called `name`.

    Raises:
        FileNotFoundError, ValueError: as open_shard.
    """
    path = _existing(spec)
    if path.suffix not in (".npy", ".npz", ".safetensors"):
        raise ValueError(f"{name} must be a .npy, .npz or .safetensors file, got {path}")
    with _whole_or_named(path):
        if path.suffix == ".npy":
            return {name: np.array(_mapped(path))}
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as file:
                members = _whole_members(file)
                return {key: _array(file, members[key]) for key in wanted(list(members))}
        with safe_open(path, framework="pt") as tensors:
            return {key: _numpy(tensors.get_tensor(key)) for key in wanted(list(tensors.keys()))}


def _opened(spec: Path | str, role: str, labels: tuple[str, ...]) -> Source:
    path, name = split_spec(spec)
    if path.suffix not in READERS:
        raise ValueError(f"{role} must be a file ending in {', '.join(READERS)}; got {path}")
    with _whole_or_named(path):
        return READERS[path.suffix](path, name, role, labels)


def split_spec(spec: Path | str) -> tuple[Path, str | None]:
    """FILE:NAME in its two parts; a file whose own name holds a colon is itself."""
    if Path(spec).exists():
        return Path(spec), None
    file, colon, name = str(spec).rpartition(":")
    return (_existing(file), name) if colon and name else (_existing(spec), None)


def _existing(spec: Path | str) -> Path:
    if not Path(spec).is_file():
        raise FileNotFoundError(f"no file {spec}")
    return Path(spec)


@contextmanager
def _whole_or_named(path: Path) -> Iterator[None]:
    """Turn a library's error on damaged bytes into one that names the file."""
    try:
        yield
    except _Refused:
        raise
    except DAMAGED as error:
        raise ValueError(f"{path} is damaged, truncated or no {path.suffix} file: {error}") from error


class _Refused(ValueError):
    """A sound file that does not hold what is asked for."""


def _streamed(path: Path, blocks: Iterator[Block]) -> Iterator[Block]:
    with _whole_or_named(path):
        yield from blocks


def _chosen(path: Path, names: list[str], name: str | None, role: str) -> str:
    """The array asked for, or the one that its name or its being alone makes plain."""
    if name in names:
        return name
    usual = ("features",) if role == "features" else LABEL_NAMES
    fitting = [n for n in names if n in usual] or names
    if name is None and len(fitting) == 1:
        return fitting[0]
    asked = f"no array {name!r}" if name else f"no single array for the {role}"
    raise _Refused(f"{path} holds {asked}; name one as {path.name}:NAME, of {', '.join(sorted(names))}")


def _npy(path: Path, name: str | None, role: str, labels: tuple[str, ...]) -> Source:
    """Mapped anew for each block, so that the pages read before do not stay in memory."""
    if name is not None:
        raise _Refused(f"{path} holds one array without a name, got :{name}")
    rows = _rows(path, _mapped(path).shape, role)

    def blocks(size: int) -> Iterator[Block]:
        for start in range(0, rows, size):
            yield np.array(_mapped(path)[start : start + size])

    return Source(str(path), rows, lambda size: _streamed(path, blocks(size)))


def _mapped(path: Path) -> Block:
    """The array of an .npy file, mapped; NumPy alone would allocate the 4 GiB of header that a file can claim."""
    with open(path, "rb") as file:
        start = file.read(12)
    if start[6:7] > b"\x01" and int.from_bytes(start[8:12], "little") > path.stat().st_size:
        raise ValueError("its header claims to be longer than the file")
    return np.lib.format.open_memmap(path, mode="r")


def _whole_members(file: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The arrays of an .npz by name; one that claims more bytes than it has, which NumPy would allocate, is refused."""
    members = {m.filename.removesuffix(".npy"): m for m in file.infolist() if m.filename.endswith(".npy")}
    for member in members.values():
        try:
            with file.open(member) as stream:
                shape, _, dtype = _header(stream)
        except RuntimeError as error:  # an encrypted member, or packed in a way that zipfile does not know
            raise ValueError(str(error)) from error
        if dtype.itemsize * math.prod(shape) > member.file_size:
            raise ValueError(f"its {member.filename} claims shape {shape} in {member.file_size} bytes")
    return members


def _npz(path: Path, name: str | None, role: str, labels: tuple[str, ...]) -> Source:
    with zipfile.ZipFile(path) as file:
        members = _whole_members(file)
        chosen = _chosen(path, list(members), name, role)
        with file.open(members[chosen]) as stream:
            shape, fortran, dtype = _header(stream)
    rows = _rows(path, shape, role)

    def blocks(size: int) -> Iterator[Block]:
        with zipfile.ZipFile(path) as file, file.open(members[chosen]) as stream:
            if fortran:  # column by column: it cannot be read by rows
                whole = np.lib.format.read_array(stream)
                yield from (whole[i : i + size] for i in range(0, rows, size))
                return
            _header(stream)
            width = dtype.itemsize * int(np.prod(shape[1:]))
            for start in range(0, rows, size):
                wanted = min(size, rows - start)
                content = stream.read(wanted * width)
                if len(content) != wanted * width:
                    raise EOFError(f"its {chosen} ends after row {start + len(content) // width}")
                yield np.frombuffer(content, dtype).reshape(wanted, *shape[1:])
            stream.read()  # to the end, where the checksum is

    return Source(f"{path}:{chosen}", rows, lambda size: _streamed(path, blocks(size)))


def _array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> Block:
    with file.open(member) as stream:
        return np.lib.format.read_array(stream)


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of the .npy member that `stream` is at the start of."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError(
            "it holds Python objects, which are never unpickled; save numbers or fixed-width text"
        )
    return shape, fortran, dtype


def _safetensors(path: Path, name: str | None, role: str, labels: tuple[str, ...]) -> Source:
    with safe_open(path, framework="pt") as file:
        chosen = _chosen(path, list(file.keys()), name, role)
        shape = file.get_slice(chosen).get_shape()
    rows = _rows(path, tuple(shape), role)

    def blocks(size: int) -> Iterator[Block]:
        for start in range(0, rows, size):
            with safe_open(path, framework="pt") as file:  # anew, as in _npy
                yield _numpy(file.get_slice(chosen)[start : start + size])

    return Source(f"{path}:{chosen}", rows, lambda size: _streamed(path, blocks(size)))


def _numpy(tensor: Any) -> Block:
    """A torch tensor as NumPy; bfloat16 and narrower, which NumPy has not, as float32."""
    narrow = tensor.is_floating_point() and str(tensor.dtype) not in (
        "torch.float64",
        "torch.float32",
        "torch.float16",
    )
    return (tensor.float() if narrow else tensor).numpy()


def _csv(path: Path, name: str | None, role: str, labels: tuple[str, ...]) -> Source:
    with open(path, newline="", encoding="utf-8-sig") as file:
        columns = next(csv.reader(file), [])
    if not columns or any(_is_number(c) for c in columns):
        raise _Refused(f"{path} must begin with a line of column names, got {columns[:4]}")
    kept = _columns(path, columns, name, role, labels)

    def blocks(size: int) -> Iterator[Block]:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            next(lines)
            while rows := list(islice(lines, size)):
                wrong = next((i for i, row in enumerate(rows) if len(row) != len(columns)), None)
                if wrong is not None:
                    line = lines.line_num - len(rows) + wrong + 1
                    raise _Refused(
                        f"{path} must have {len(columns)} cells in each line, got {len(rows[wrong])} in line {line}"
                    )
                cells = np.array(rows)[:, kept]
                yield cells[:, 0] if role == "labels" else _numbers(path, cells, columns, kept)

    return Source(str(path), None, lambda size: _streamed(path, blocks(size)))


def _numbers(path: Path, cells: Block, columns: list[str], kept: list[int]) -> Block:
    try:
        return cells.astype(np.float64)
    except ValueError as error:
        wrong = [columns[k] for j, k in enumerate(kept) if not all(map(_is_number, cells[:, j]))]
        word = next(str(cell) for cell in cells.ravel() if not _is_number(cell))
        raise _Refused(
            f"{path} must hold numbers in its feature columns, got text in {wrong[:4]}, such as {word!r}"
        ) from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _columns(
    path: Path, columns: list[str], name: str | None, role: str, labels: tuple[str, ...]
) -> list[int]:
    """Positions of the label column, or of the feature columns, in a table."""
    if name is None and role == "features" and "features" not in columns:
        return [i for i, column in enumerate(columns) if column not in labels]
    return [columns.index(_chosen(path, columns, name, role))]


def _parquet(path: Path, name: str | None, role: str, labels: tuple[str, ...]) -> Source:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise RuntimeError(f"{path} needs pyarrow: pip install 'finegrain[parquet]'") from error
    with parquet.ParquetFile(path) as file:
        columns, rows = file.schema_arrow.names, file.metadata.num_rows
    kept = [columns[i] for i in _columns(path, columns, name, role, labels)]

    def blocks(size: int) -> Iterator[Block]:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(size, columns=kept):
                names = batch.schema.names
                arrays = [_arrow(path, names[i], column) for i, column in enumerate(batch.columns)]
                yield arrays[0] if role == "labels" else np.column_stack(arrays)

    return Source(str(path), rows, lambda size: _streamed(path, blocks(size)))


def _arrow(path: Path, name: str, column: Any) -> Block:
    """A column of numbers (N,), of text (N,), or of lists of one length (N, d)."""
    if column.null_count:
        raise _Refused(f"{path} must have no empty cell in {name}")
    if "list" in str(column.type).partition("<")[0]:
        if hasattr(column, "offsets"):  # lists of a fixed length have none
            lengths = np.diff(column.offsets)
            if lengths.min() != lengths.max():
                raise ValueError(f"lists must have one length, got {lengths.min()} to {lengths.max()}")
        return _arrow(path, name, column.flatten()).reshape(len(column), -1)
    values = column.to_numpy(zero_copy_only=False)
    return values.astype(str) if values.dtype == object else values


def _rows(path: Path, shape: tuple[int, ...], role: str) -> int:
    """N, or an error that says what shape is needed."""
    wanted, axes = ("(N, d)", 2) if role == "features" else ("(N,)", 1)
    if len(shape) != axes or 0 in shape:
        cure = f": {CURES[role]}" if len(shape) > axes else ""
        raise _Refused(f"{path} must hold {role} of shape {wanted}, not empty, got {shape}{cure}")
    return shape[0]


READERS: dict[str, Callable[[Path, str | None, str, tuple[str, ...]], Source]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".csv": _csv,
    ".parquet": _parquet,
}
