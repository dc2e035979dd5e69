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

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

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
from finegrain.empirical.readers.columns import (
    LABEL_NAMES,
    Source,
    chosen_of,
    columns_of,
    head_rows,
    require_short,
    rows_of,
    streamed,
    without_index,
)
from finegrain.empirical.readers.csv_tables import read_table
from finegrain.empirical.readers.parquet_columns import parquet_source

MOST_HELD = 64 << 20  # bytes of an array that is held whole because it lies column by column


def open_shard(features: Path | str, labels: Path | str | None = None) -> tuple[Source, Source]:
    """The features of FILE or FILE:NAME, and their labels: a file of their own, the name of an array or column of the
    same file, or by default "labels" or "label" there.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown ending, a damaged file, or an array that is missing or ambiguous.
        RuntimeError: .parquet without pyarrow.
    """
    file, _ = split_spec(features)
    if labels is not None and is_column(labels):
        labels = f"{file}:{labels}"
        # First: else a column whose name is mistyped would be read as features.
        _opened(labels, "labels", ())
    label_file, column = (file, None) if labels is None else split_spec(labels)
    excluded = (*LABEL_NAMES, column) if column and file == label_file else LABEL_NAMES
    return _opened(features, "features", excluded), _opened(labels or file, "labels", excluded)


def is_column(labels: Path | str) -> bool:
    """Whether labels are named as a column, or array, of the features' own file: no file is there, nor meant."""
    file = Path(str(labels).partition(":")[0])
    return (
        not Path(labels).exists()
        and not file.exists()
        and file.suffix not in READERS
        and file.name == str(labels)
    )


def _opened(spec: Path | str, role: str, labels: tuple[str, ...]) -> Source:
    path, name = split_spec(spec)
    if path.suffix not in READERS:
        raise ValueError(f"{role} must be a file ending in {', '.join(READERS)}; got {path}")
    with whole_or_named(path):
        return READERS[path.suffix](path, name, role, labels)


def _npy(path: Path, name: str | None, role: str, labels: tuple[str, ...]) -> Source:
    """Mapped anew for each block, so that the pages read before do not stay in memory."""
    if name is not None:
        raise Refused(f"{path} holds one array without a name, got :{name}")
    array = mapped(path)
    rows = rows_of(path, array.shape, role)
    require_short(path, array.dtype, role)

    def blocks(size: int) -> Iterator[Block]:
        for start in range(0, rows, size):
            yield np.array(mapped(path)[start : start + size])

    return Source(str(path), rows, lambda size: streamed(path, blocks(size)))


def _npz(path: Path, name: str | None, role: str, labels: tuple[str, ...]) -> Source:
    with zipfile.ZipFile(path) as file:
        members = whole_members(file)
        chosen = chosen_of(path, list(members), name, role)
        with file.open(members[chosen]) as stream:
            shape, fortran, dtype = header(stream)
    rows = rows_of(path, shape, role)
    require_short(path, dtype, role)
    if fortran and members[chosen].file_size > MOST_HELD:
        raise Refused(
            f"{path}:{chosen} has {members[chosen].file_size} bytes in Fortran order, column after column, which "
            "cannot be read by rows: save numpy.ascontiguousarray of it, or an .npy file"
        )

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

    return Source(f"{path}:{chosen}", rows, lambda size: streamed(path, blocks(size)))


def _safetensors(path: Path, name: str | None, role: str, labels: tuple[str, ...]) -> Source:
    with safe_open(path, framework="pt") as file:
        chosen = chosen_of(path, list(file.keys()), name, role)
        shape = file.get_slice(chosen).get_shape()
    rows = rows_of(path, tuple(shape), role)

    def blocks(size: int) -> Iterator[Block]:
        for start in range(0, rows, size):
            with safe_open(path, framework="pt") as file:  # anew, as in _npy
                yield as_numpy(file.get_slice(chosen)[start : start + size])

    return Source(f"{path}:{chosen}", rows, lambda size: streamed(path, blocks(size)))


def _csv(path: Path, name: str | None, role: str, labels: tuple[str, ...]) -> Source:
    table = read_table(path)
    kept = columns_of(path, table.columns, name, role, labels)
    if role == "labels":
        return Source(str(path), None, lambda size: streamed(path, table.labels(kept[0], size)))
    head = next(table.numbers(kept, head_rows(len(kept))), np.empty((0, len(kept))))
    kept, notes = without_index(path, table.columns, kept, head)
    return Source(str(path), None, lambda size: streamed(path, table.numbers(kept, size)), notes)


READERS: dict[str, Callable[[Path, str | None, str, tuple[str, ...]], Source]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".csv": _csv,
    ".parquet": parquet_source,
}
