"""Columns of .parquet files as features or labels; needs pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finegrain.empirical.readers.array_files import MAX_COLUMNS, MAX_LABEL, Block, Refused
from finegrain.empirical.readers.columns import (
    Source,
    columns_of,
    head_rows,
    rows_of,
    streamed,
    without_index,
)
from finegrain.theory.tools import memory


def parquet_source(path: Path, name: str | None, role: str, labels: tuple[str, ...]) -> Source:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise RuntimeError(f"{path} needs pyarrow: pip install pyarrow") from error
    with parquet.ParquetFile(path) as file:
        columns, rows = file.schema_arrow.names, file.metadata.num_rows
        file_types = dict(zip(columns, file.schema_arrow.types, strict=True))
        described = (file.schema_arrow.metadata or {}).get(b"pandas", b"{}")
        kept = columns_of(path, columns, name, role, labels)
        _require_decodable(path, file.metadata, file_types, [columns[k] for k in kept])

    def blocks(size: int, some: Sequence[int]) -> Iterator[Block]:
        # Text stays a dictionary: a long word that repeats would be written out once a row.
        names = [columns[k] for k in some]
        words = [name for name in names if str(file_types[name]) in ("string", "large_string")]
        with parquet.ParquetFile(path, read_dictionary=words) as file:
            for batch in file.iter_batches(size, columns=names):
                parts = zip(batch.schema.names, batch.columns, strict=True)
                arrays = [_arrow(path, column, cells, role) for column, cells in parts]
                block = arrays[0] if role == "labels" else np.column_stack(arrays)
                rows_of(shown, block.shape, role)
                yield block

    shown = f"{path}:{columns[kept[0]]}" if len(kept) == 1 else str(path)
    notes: tuple[str, ...] = ()
    if role == "features" and len(kept) > 1:
        head = next(blocks(head_rows(len(kept)), kept), np.empty((0, len(kept))))
        kept, notes = without_index(path, columns, kept, head, _frames_index(described))
    return Source(shown, rows, lambda size: streamed(path, blocks(size, kept)), notes)


def _frames_index(described: bytes) -> list[str]:
    """The columns that pandas says it made of an index."""
    try:
        found = json.loads(described).get("index_columns", [])
    except (ValueError, RecursionError, AttributeError):
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _require_decodable(path: Path, metadata: Any, types: dict[str, Any], names: list[str]) -> None:
    """Refuse row groups larger than what is allowed, and lists that are too long by their type.

    Of a column's own sizes nothing is asked: on a damaged file pyarrow then ends the process.
    """
    for name in names:
        length = getattr(types[name], "list_size", 1)
        if length > MAX_COLUMNS:
            raise Refused(f"{path} must hold lists of at most {MAX_COLUMNS} numbers, got {length} in {name}")
    for i in range(metadata.num_row_groups):
        memory.require(f"{path}, row group {i},", metadata.row_group(i).total_byte_size)


def _arrow(path: Path, name: str, cells: Any, role: str) -> Block:
    """A column of numbers (N,), for labels also of text, or of lists of one length (N, d)."""
    import pyarrow
    from pyarrow import compute, types

    if cells.null_count:
        raise Refused(f"{path} must have no empty cell in {name}")
    if types.is_dictionary(cells.type):
        words = _arrow(path, name, cells.dictionary, role)
        return words[cells.indices.to_numpy()]
    varying = types.is_list(cells.type) or types.is_large_list(cells.type)
    if varying:
        lengths = np.diff(cells.offsets)
        if lengths.min() != lengths.max():
            raise Refused(
                f"{path} must hold lists of one length in {name}, got {lengths.min()} to {lengths.max()}"
            )
    if varying or types.is_fixed_size_list(cells.type):
        return _arrow(path, name, cells.flatten(), role).reshape(len(cells), -1)
    if role == "labels" and (types.is_string(cells.type) or types.is_large_string(cells.type)):
        longest = compute.max(compute.utf8_length(cells)).as_py() or 0
        if longest > MAX_LABEL:
            raise Refused(
                f"{path} must hold labels of at most {MAX_LABEL} characters, got {longest} in {name}"
            )
    try:
        values = cells.to_numpy(zero_copy_only=False)
    except pyarrow.ArrowException as error:
        raise Refused(f"{path} must hold numbers or text, got {cells.type} in {name}") from error
    if role == "features" and values.dtype.kind not in "fiub":
        raise Refused(f"{path} must hold numbers in its feature columns, got {cells.type} in {name}")
    return values.astype(str) if values.dtype == object else values
