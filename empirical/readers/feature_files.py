"""Features and labels on disk, read in blocks of rows: no file is ever held whole.

    .npy                memory-mapped
    .npz, .safetensors  one array of the file; an .npz is decompressed as it is read
    .csv                the first line names the columns
    .parquet            needs pyarrow

Which array or column is named after a colon, FILE:NAME. Left out, features are the array "features" (of a table: that
column of lists, or all columns but "labels" and "label") and labels the array "labels" or "label"; a file of one array
needs no name. Files are untrusted (empirical/readers/array_files.py).
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from finegrain.empirical.readers.array_files import (
    Block,
    Refused,
    as_numpy,
    header,
    mapped,
    split_spec,
    whole_members,
    whole_or_named,
)

LABEL_NAMES = ("labels", "label")
CURES = {  # of an array with too many axes
    "features": "average or flatten all axes but the first",
    "labels": "they are one a sample; where they lie in another file, name it (--labels)",
}


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


def _opened(spec: Path | str, role: str, labels: tuple[str, ...]) -> Source:
    path, name = split_spec(spec)
    if path.suffix not in READERS:
        raise ValueError(f"{role} must be a file ending in {', '.join(READERS)}; got {path}")
    with whole_or_named(path):
        return READERS[path.suffix](path, name, role, labels)


def _streamed(path: Path, blocks: Iterator[Block]) -> Iterator[Block]:
    with whole_or_named(path):
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
    raise Refused(f"{path} holds {asked}; name one as {path.name}:NAME, of {', '.join(sorted(names))}")


def _npy(path: Path, name: str | None, role: str, labels: tuple[str, ...]) -> Source:
    """Mapped anew for each block, so that the pages read before do not stay in memory."""
    if name is not None:
        raise Refused(f"{path} holds one array without a name, got :{name}")
    rows = _rows(path, mapped(path).shape, role)

    def blocks(size: int) -> Iterator[Block]:
        for start in range(0, rows, size):
            yield np.array(mapped(path)[start : start + size])

    return Source(str(path), rows, lambda size: _streamed(path, blocks(size)))


def _npz(path: Path, name: str | None, role: str, labels: tuple[str, ...]) -> Source:
    with zipfile.ZipFile(path) as file:
        members = whole_members(file)
        chosen = _chosen(path, list(members), name, role)
        with file.open(members[chosen]) as stream:
            shape, fortran, dtype = header(stream)
    rows = _rows(path, shape, role)

    def blocks(size: int) -> Iterator[Block]:
        with zipfile.ZipFile(path) as file, file.open(members[chosen]) as stream:
            if fortran:  # column by column: it cannot be read by rows
                whole = np.lib.format.read_array(stream)
                yield from (whole[i : i + size] for i in range(0, rows, size))
                return
            header(stream)
            width = dtype.itemsize * int(np.prod(shape[1:]))
            for start in range(0, rows, size):
                wanted = min(size, rows - start)
                content = stream.read(wanted * width)
                if len(content) != wanted * width:
                    raise EOFError(f"its {chosen} ends after row {start + len(content) // width}")
                yield np.frombuffer(content, dtype).reshape(wanted, *shape[1:])
            stream.read()  # to the end, where the checksum is

    return Source(f"{path}:{chosen}", rows, lambda size: _streamed(path, blocks(size)))


def _safetensors(path: Path, name: str | None, role: str, labels: tuple[str, ...]) -> Source:
    with safe_open(path, framework="pt") as file:
        chosen = _chosen(path, list(file.keys()), name, role)
        shape = file.get_slice(chosen).get_shape()
    rows = _rows(path, tuple(shape), role)

    def blocks(size: int) -> Iterator[Block]:
        for start in range(0, rows, size):
            with safe_open(path, framework="pt") as file:  # anew, as in _npy
                yield as_numpy(file.get_slice(chosen)[start : start + size])

    return Source(f"{path}:{chosen}", rows, lambda size: _streamed(path, blocks(size)))


def _csv(path: Path, name: str | None, role: str, labels: tuple[str, ...]) -> Source:
    with open(path, newline="", encoding="utf-8-sig") as file:
        columns = next(csv.reader(file), [])
    if not columns or any(_is_number(c) for c in columns):
        raise Refused(f"{path} must begin with a line of column names, got {columns[:4]}")
    kept = _columns(path, columns, name, role, labels)

    def blocks(size: int) -> Iterator[Block]:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            next(lines)
            while rows := list(islice(lines, size)):
                wrong = next((i for i, row in enumerate(rows) if len(row) != len(columns)), None)
                if wrong is not None:
                    line = lines.line_num - len(rows) + wrong + 1
                    raise Refused(
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
        raise Refused(
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
        raise RuntimeError(f"{path} needs pyarrow: pip install pyarrow") from error
    with parquet.ParquetFile(path) as file:
        columns, rows = file.schema_arrow.names, file.metadata.num_rows
    kept = [columns[i] for i in _columns(path, columns, name, role, labels)]
    shown = f"{path}:{kept[0]}" if len(kept) == 1 else str(path)

    def blocks(size: int) -> Iterator[Block]:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(size, columns=kept):
                parts = zip(batch.schema.names, batch.columns, strict=True)
                arrays = [_arrow(path, column, cells, role) for column, cells in parts]
                block = arrays[0] if role == "labels" else np.column_stack(arrays)
                _rows(shown, block.shape, role)
                yield block

    return Source(shown, rows, lambda size: _streamed(path, blocks(size)))


def _arrow(path: Path, name: str, cells: Any, role: str) -> Block:
    """A column of numbers (N,), for labels also of text, or of lists of one length (N, d)."""
    from pyarrow import types

    if cells.null_count:
        raise Refused(f"{path} must have no empty cell in {name}")
    varying = types.is_list(cells.type) or types.is_large_list(cells.type)
    if varying:
        lengths = np.diff(cells.offsets)
        if lengths.min() != lengths.max():
            raise Refused(
                f"{path} must hold lists of one length in {name}, got {lengths.min()} to {lengths.max()}"
            )
    if varying or types.is_fixed_size_list(cells.type):
        return _arrow(path, name, cells.flatten(), role).reshape(len(cells), -1)
    values = cells.to_numpy(zero_copy_only=False)
    if role == "features" and values.dtype.kind not in "fiub":
        raise Refused(f"{path} must hold numbers in its feature columns, got {cells.type} in {name}")
    return values.astype(str) if values.dtype == object else values


def _rows(name: Path | str, shape: tuple[int, ...], role: str) -> int:
    """N, or an error that says what shape is needed."""
    wanted, axes = ("(N, d)", 2) if role == "features" else ("(N,)", 1)
    if len(shape) != axes or 0 in shape:
        cure = f": {CURES[role]}" if len(shape) > axes else ""
        raise Refused(f"{name} must hold {role} of shape {wanted}, not empty, got {shape}{cure}")
    return shape[0]


READERS: dict[str, Callable[[Path, str | None, str, tuple[str, ...]], Source]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".csv": _csv,
    ".parquet": _parquet,
}
