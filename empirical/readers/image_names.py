"""What images and their classes are called: by their place in a folder or tar, and by a labels.csv beside them.

labels.csv, in the folder that holds train/ and test/, has a line of column names and a row for each image:

    path            train/<class>/<name> or test/<class>/<name>, with any suffix or none
    class           the class's own name, where that of its folder is not it
    superclass      a class of classes: what --map superclasses trains on
    original_file   the file's name in the official set

Only `path` must be there, and other columns are left alone, and so are rows of images that are not there. An image
without a row is an error, for it would have no name.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LABELS = "labels.csv"
OF_CLASSES = ("class", "superclass")
MAX_CELL = 1000  # characters that are kept of a row's cell


@dataclass(frozen=True)
class Names:
    """Attributes:
    classes: C names, in the order of the labels
    superclasses: C names, the superclass of each class; None where nothing tells
    train_paths, test_paths: <split>/<class folder>/<name> without suffix, of each image; empty where images have
        no files of their own
    train_files, test_files: names in the official set; empty where nothing tells
    """

    classes: tuple[str, ...]
    superclasses: tuple[str, ...] | None = None
    train_paths: tuple[str, ...] = ()
    test_paths: tuple[str, ...] = ()
    train_files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()


def without_suffix(path: str) -> str:
    """train/cat/0001.png as train/cat/0001."""
    folder, slash, name = path.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    return folder + slash + (stem if dot and stem else name)


def named(classes: tuple[str, ...], paths: Mapping[str, Sequence[str]], table: bytes | None) -> Names:
    """Names of images whose class folders are `classes`, with what the content of labels.csv says of them.

    Args:
        paths: of "train" and "test", each <split>/<class folder>/<name> without suffix, in the order of the images.
        table: the content of labels.csv, None where there is none.

    Raises:
        ValueError: a table that is not one, that lacks an image or has it twice, or whose classes do not fit.
    """
    given = {f"{split}_paths": tuple(paths[split]) for split in ("train", "test")}
    if table is None:
        return Names(classes, **given)
    every = [*paths["train"], *paths["test"]]
    told = rows_by_path(table, every, (*OF_CLASSES, "original_file"))
    own = {column: _of_classes(column, classes, told[column]) for column in OF_CLASSES if column in told}
    named_classes = own.get("class", classes)
    if len(set(named_classes)) < len(named_classes):
        twice = next(name for name in named_classes if named_classes.count(name) > 1)
        raise ValueError(f"must name each class folder differently, got class {twice!r} for two")
    if files := told.get("original_file"):
        given |= {
            f"{split}_files": tuple(files[path] for path in paths[split]) for split in ("train", "test")
        }
    return Names(named_classes, own.get("superclass"), **given)


def rows_by_path(
    content: bytes, paths: Sequence[str], columns: Sequence[str], *, every: bool = False
) -> dict[str, dict[str, str]]:
    """Of each of these columns that the table has, its cell for each path; memory grows with `paths` alone.

    Args:
        content: a table in UTF-8 with a column `path`, separated by commas.
        paths: without suffix.
        every: whether all columns must be there.

    Raises:
        ValueError: no such table, a column or a path that it lacks, a path that it has twice.
    """
    rows = _rows(content)
    header = next(rows, (0, []))[1]
    wanted = ["path", *(columns if every else (c for c in columns if c in header))]
    if missing := [column for column in wanted if column not in header]:
        raise ValueError(f"must have a column {missing[0]!r} in its first line, got {header[:6]!r:.200}")
    if twice := [column for column in wanted if header.count(column) > 1]:
        raise ValueError(f"must have one column {twice[0]!r}, got several")
    at = {column: header.index(column) for column in wanted}
    found: dict[str, dict[str, str]] = {column: {} for column in wanted[1:]}
    left = set(paths)
    known = frozenset(left)
    for line, row in rows:
        if len(row) != len(header):
            raise ValueError(f"must have {len(header)} cells in each line, got {len(row)} in line {line}")
        path = without_suffix(row[at["path"]])
        if path not in known:
            continue
        if path not in left:
            raise ValueError(f"has {path!r} twice, the second time in line {line}")
        left.remove(path)
        for column, cells in found.items():
            cell = row[at[column]]
            if not 0 < len(cell) <= MAX_CELL:
                raise ValueError(
                    f"must have cells of 1 to {MAX_CELL} characters in column {column!r}, got {len(cell)} "
                    f"in line {line}"
                )
            cells[path] = cell
    if left:
        raise ValueError(f"has no row for {min(left)!r} ({len(left)} of {len(known)} images have none)")
    return found


def _rows(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """The number of each row's last line, and its cells; blank lines are passed over."""
    reader: Any = csv.reader(io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline=""))
    try:
        yield from ((reader.line_num, row) for row in reader if row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"is not a table in UTF-8, separated by commas: {error}") from error


def _of_classes(column: str, folders: tuple[str, ...], told: Mapping[str, str]) -> tuple[str, ...]:
    """The one cell that all images of each class folder have."""
    found: dict[str, str] = {}
    for path, cell in told.items():
        folder = path.split("/")[1]
        if found.setdefault(folder, cell) != cell:
            raise ValueError(
                f"must have one {column} for each class folder, got {found[folder]!r} and {cell!r} for {folder!r}"
            )
    return tuple(found[folder] for folder in folders)
