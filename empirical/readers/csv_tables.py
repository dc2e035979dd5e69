"""Tables of text with a line of column names, separated by commas, semicolons, tabs or bars: read row by row.

What it costs is bounded before it is read: a line has at most MAX_LINE characters, a cell as many as the csv module
allows (131,072), a label MAX_LABEL, and a block holds its numbers as numbers, however they are written.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from finegrain.empirical.readers.array_files import MAX_COLUMNS, MAX_LABEL, Block, Refused

SEPARATORS = (",", ";", "\t", "|")
MAX_LINE = 2**26  # characters
FIRST_ROWS = 16  # of a block, before it grows
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")
SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n?")  # the first line that spreadsheets write


@dataclass(frozen=True)
class Table:
    """How a file is read: its separator, the lines above its column names, and these."""

    path: Path
    separator: str
    above: int
    columns: list[str]

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """The number of each row's last line, and its cells; blank lines are passed over.

        Raises:
            Refused: a row of another number of cells, or a line that is too long.
        """
        with open(self.path, newline="", encoding="utf-8-sig") as file:
            reader = _reader(self.path, file, self.separator, self.above)
            next(reader)
            for row in reader:
                line = reader.line_num + self.above
                if len(row) == len(self.columns):
                    yield line, row
                elif row or len(self.columns) == 1:
                    raise Refused(
                        f"{self.path} must have {len(self.columns)} cells in each line, got {len(row)} in line {line}"
                        f"{self._of_commas(row)}"
                    )

    def _of_commas(self, row: list[str]) -> str:
        whole = self.separator == "," and all(cell.strip().lstrip("+-").isdecimal() for cell in row)
        return ": are there commas in its numbers? Write them with points" if whole else ""

    def numbers(self, kept: Sequence[int], size: int) -> Iterator[Block]:
        """Blocks (size, len(kept)) of the columns at the positions `kept`.

        Raises:
            Refused: a cell that is no number; the message says which, and in what line and column.
        """
        rows, count = self.rows(), size
        while count == size:
            block, count = np.empty((min(size, FIRST_ROWS), len(kept))), 0
            for line, row in islice(rows, size):
                if count == len(block):
                    # Grown as rows come: a wide table may have few.
                    block = np.concatenate([block, np.empty((min(count, size - count), len(kept)))])
                block[count] = self._floats(line, row, kept)
                count += 1
            if count:
                yield block[:count]

    def _floats(self, line: int, row: list[str], kept: Sequence[int]) -> list[float]:
        cells = [row[k] for k in kept]
        # float() takes 12_3, a name, for 123.
        if "_" not in "".join(cells):
            try:
                return list(map(float, cells))
            except ValueError:
                pass
        k = next(k for k in kept if not is_number(row[k]))
        where = f"{row[k]!r:.40} in column {self.columns[k]!r} of line {line}"
        if DECIMAL_COMMA.fullmatch(row[k]):
            raise Refused(f"{self.path} must write numbers with a decimal point, got the comma of {where}")
        raise Refused(f"{self.path} must hold numbers in its feature columns, got {where}")

    def labels(self, kept: int, size: int) -> Iterator[Block]:
        """Blocks of at most `size` labels as text; raises Refused for one of more than MAX_LABEL characters."""
        rows = self.rows()
        while some := list(islice(((line, row[kept]) for line, row in rows), size)):
            for line, cell in some:
                if len(cell) > MAX_LABEL:
                    raise Refused(
                        f"{self.path} must hold labels of at most {MAX_LABEL} characters, got {len(cell)} in "
                        f"line {line}"
                    )
            yield np.array([cell for _, cell in some])


def read_table(path: Path) -> Table:
    """The table of a file; raises Refused where its first line is none of column names."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        told = SEPARATOR_LINE.fullmatch(file.readline(8))
    candidates = [told[1]] if told else SEPARATORS
    tables = [_table(path, separator, 1 if told else 0) for separator in candidates]
    fits = {t.separator for t in tables if len(t.columns) > 1 and _fits(t)}
    # Of those that the first row fits too the one with most columns; the comma where none or several do.
    best = max(tables, key=lambda t: (t.separator in fits, len(t.columns)))
    if not best.columns or any(is_number(name) for name in best.columns):
        raise Refused(f"{path} must begin with a line of column names, got {best.columns[:4]}")
    if len(best.columns) > MAX_COLUMNS:
        raise Refused(f"{path} must have at most {MAX_COLUMNS} columns, got {len(best.columns)}")
    unnamed = [i for i, name in enumerate(best.columns) if not name.strip() and i]
    if unnamed:
        raise Refused(
            f"{path} must name its columns, got no name for column {unnamed[0] + 1} of {len(best.columns)}"
        )
    return best


def is_number(cell: str) -> bool:
    """Whether it reads as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _table(path: Path, separator: str, above: int) -> Table:
    with open(path, newline="", encoding="utf-8-sig") as file:
        return Table(path, separator, above, next(_reader(path, file, separator, above), []))


def _fits(table: Table) -> bool:
    """Whether its first row has as many cells as it has columns."""
    try:
        return next(table.rows(), None) is not None
    except Refused:
        return False


def _reader(path: Path, file: TextIO, separator: str, above: int) -> Any:
    lines = _lines(path, file)
    for _ in range(above):
        next(lines)
    return csv.reader(lines, delimiter=separator)


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise Refused(f"{path} must have lines of at most {MAX_LINE} characters, got a longer one")
        yield line
