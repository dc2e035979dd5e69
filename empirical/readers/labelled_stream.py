"""Features and integer labels in blocks, from files, arrays or batches of any kind, and the names of the classes.

Labels of files and arrays are integers >= 0 or text; 2.0 and "2.0" are the integer 2, and blanks around a word are no
part of it. They are read once before the features, to learn the classes of all shards: a class may be missing from some
of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj
from numpy.typing import NDArray

from finegrain.empirical import distributed
from finegrain.empirical.readers.feature_files import Source, is_column, open_shard
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import host

Shard = tuple[Source, Source]

BLOCK_BYTES = 2**25  # of features, in float64
LABEL_ROWS = 2**16
MOST_ROWS = 2**16  # of one block, for a label may take a KiB
SOME = 8  # names shown in a message
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, eq=False)
class Stream:
    """Batches of features (n, d), of a floating type, and labels (n,) in 0..C-1.

    Attributes:
        class_names: of the C classes
        batches: to be read once
        total: how many, where known
        notes: what was left out of the files, and why
        types: of the features as they came, by name; whole once the batches have been read
    """

    class_names: list[str]
    batches: Iterator[tuple[Any, Any]]
    total: int | None
    notes: tuple[str, ...] = ()
    types: set[str] = field(default_factory=set)


def labelled_stream(features: Any, labels: Any = None, num_classes: int | None = None) -> Stream:
    """A stream of files, arrays or batches; the arguments are those of `measure`.

    In a process group, it is of this process's share of the files.

    Raises:
        ValueError: as `measure`.
    """
    if isinstance(features, (str, Path)):
        features = [features]
    if isinstance(features, Sequence) and features and all(isinstance(f, (str, Path)) for f in features):
        return _of_shards(_files(features, labels))
    if is_array_api_obj(features) or isinstance(features, (list, tuple)) or hasattr(features, "__array__"):
        if labels is None:
            raise ValueError("labels must be given beside an array of features, got None")
        return _of_shards([(_array("features", features), _array("labels", labels))])
    if not isinstance(features, Iterable):
        raise ValueError(f"features must be files, an array or batches, got {type(features).__name__}")
    if num_classes is None or labels is not None:
        raise ValueError("batches (features, labels) need num_classes, and no labels beside them")
    checks.integer("num_classes", num_classes, 1)
    apart = distributed.rank_and_size()[1] > 1  # accumulators of several devices do not merge
    types: set[str] = set()
    batches = _prepared(features, apart, types)
    return Stream([str(c) for c in range(num_classes)], batches, None, types=types)


def _prepared(batches: Iterable[Any], apart: bool, types: set[str]) -> Iterator[tuple[Any, Any]]:
    for batch in batches:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise ValueError(f"batches must be pairs (features, labels), got {type(batch).__name__}")
        x, y = batch
        x = x.detach() if hasattr(x, "detach") else x
        x = x if is_array_api_obj(x) and not isinstance(x, np.ndarray) else _plain("features", x)
        checks.shape("features", x, ("N", "d"))
        types.add(str(x.dtype).removeprefix("torch."))
        x = _floating("features", x)
        yield (x.cpu(), y.cpu() if hasattr(y, "cpu") else y) if apart and hasattr(x, "cpu") else (x, y)


def in_order(names: Iterable[str]) -> list[str]:
    """By number if all are whole numbers, else by name."""
    names = list(names)
    return sorted(names, key=int if all(name.isdecimal() for name in names) else str)


def _files(features: Sequence[Path | str], labels: Any) -> list[Shard]:
    labels = [labels] if isinstance(labels, (str, Path)) else labels
    if labels is not None and not all(isinstance(one, (str, Path)) for one in labels):
        raise ValueError(
            f"labels beside files of features must be files, or the name of a column, got {type(labels).__name__}"
        )
    if labels is not None and len(labels) == 1 and is_column(labels[0]):
        labels = [labels[0]] * len(features)
    if labels is not None and len(labels) != len(features):
        raise ValueError(
            f"labels must be one file for each of {len(features)} files of features, got {len(labels)}"
        )
    return [open_shard(x, None if labels is None else labels[i]) for i, x in enumerate(features)]


def _array(name: str, value: Any) -> Source:
    """An array in memory as a source; labels become NumPy's, features stay where they are."""
    if not is_array_api_obj(value) or isinstance(value, np.ndarray):
        value = _plain(name, value)
    elif name == "labels":
        value = host(value)
    checks.shape(name, value, ("N", "d") if name == "features" else ("N",))
    rows = value.shape[0]
    return Source(name, rows, lambda size: (value[i : i + size, ...] for i in range(0, rows, size)))


def _plain(name: str, value: Any) -> NDArray[Any]:
    """A NumPy array of what is no array of another library, and not of objects."""
    kind = type(value).__name__
    try:
        value = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array, got {kind} of rows of several lengths") from error
    return _of_objects(name, value, kind) if value.dtype == object else value


def _of_objects(name: str, value: NDArray[Any], kind: str) -> NDArray[Any]:
    """An array of Python objects as one of numbers, or labels as text."""
    if name == "labels" and all(isinstance(entry, str) for entry in value.ravel()):
        return value.astype(str)
    try:
        return value.astype(np.int64 if name == "labels" else np.float64, casting="unsafe")
    except (TypeError, ValueError, OverflowError) as error:
        what = "integers or text" if name == "labels" else "real numbers"
        raise ValueError(f"{name} must hold {what}, got objects in {kind}: {error}") from error


def _of_shards(shards: Sequence[Shard]) -> Stream:
    # Before classes are counted: of labels that are too few, some class is rare as well.
    for features, labels in shards:
        if features.rows is not None and labels.rows is not None and features.rows != labels.rows:
            raise _ends_apart(features, labels, min(features.rows, labels.rows))
    names = _class_names([labels for _, labels in shards])
    index = {name: i for i, name in enumerate(names)}
    first, dim = shards[0][0].name, _width(shards[0][0])
    for features, _ in shards:
        if _width(features) != dim:
            raise ValueError(
                f"{features.name} must have {dim} columns, as {first} has, got {_width(features)}"
            )
    mine = shards[distributed.share()]
    size = max(min(BLOCK_BYTES // (8 * dim), MOST_ROWS), 1)
    rows = [features.rows for features, _ in mine]
    total = None if None in rows else sum(-(-n // size) for n in rows if n is not None)
    notes = dict.fromkeys(note for shard in shards for source in shard for note in source.notes)
    types: set[str] = set()
    batches = (batch for shard in mine for batch in _batches(*shard, size, index, types))
    return Stream(names, batches, total, tuple(notes), types)


def _width(features: Source) -> int:
    block = next(features.blocks(1), None)
    if block is None or 0 in block.shape:
        raise ValueError(f"{features.name} must hold features of shape (N, d), not empty")
    return block.shape[1]


def _class_names(sources: Sequence[Source]) -> list[str]:
    """The classes of all sources in order, each with two samples or more."""
    counts: Counter[str] = Counter()
    for source in sources:
        for block in source.blocks(LABEL_ROWS):
            values, found = np.unique(block, return_counts=True)
            for text, count in zip(_texts(source.name, values), found.tolist(), strict=True):
                counts[text] += count
    rare = [repr(name) for name in in_order(counts) if counts[name] < 2]
    if rare:
        raise ValueError(
            f"every class must have at least 2 samples, got 1 of {', '.join(rare[:SOME])}"
            f"{' and others' if len(rare) > SOME else ''}: leave such samples out, or join their class to another"
        )
    return in_order(counts)


def _texts(name: str, values: NDArray[Any]) -> list[str]:
    """The class of each distinct label, as text."""
    if values.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} must hold labels of text in UTF-8: {error}") from error
    if values.dtype.kind not in "iufU":
        raise ValueError(
            f"{name} must hold labels that are integers or text, got dtype {values.dtype}: convert them"
        )
    return [class_name(name, value) for value in values.tolist()]


def class_name(name: str, label: Any) -> str:
    """The class that a label means: of a whole number, also as 2.0, the digits; of a word, without blanks around.

    Raises:
        ValueError: an empty or negative label, or a number that is not whole.
    """
    text = unicodedata.normalize("NFC", str(label).strip())
    if NUMBER.fullmatch(text) and not text.isdecimal():
        number = float(text)
        if not number.is_integer():
            raise ValueError(
                f"{name} must hold labels that are integers or text, got {text}: number the classes, or name them"
            )
        text = str(int(number))
    if not text or (text.startswith("-") and text[1:].isdecimal()) or text.lower() == "nan":
        raise ValueError(f"{name} must hold labels >= 0 or text, got {text!r}: leave unlabelled samples out")
    return text


def _ends_apart(features: Source, labels: Source, row: int) -> ValueError:
    """The error for sources of different lengths, one of which ends after `row` rows."""
    return ValueError(
        f"{features.name} and {labels.name} must agree in length, but one ends after {row} rows and the other does not"
    )


def _batches(
    features: Source, labels: Source, size: int, index: dict[str, int], types: set[str]
) -> Iterator[tuple[Any, NDArray[np.int64]]]:
    row = 0
    for x, y in zip_longest(features.blocks(size), labels.blocks(size)):
        have = [0 if block is None else len(block) for block in (x, y)]
        if have[0] != have[1]:
            raise _ends_apart(features, labels, row + min(have))
        values, inverse = np.unique(y, return_inverse=True)
        known = np.array([index[text] for text in _texts(labels.name, values)])
        types.add(str(x.dtype).removeprefix("torch."))
        yield _floats(features.name, x, row), known[inverse]
        row += have[0]


def _floats(name: str, block: Any, row: int) -> Any:
    """A block of finite features in a floating type; `row` is its first row's number, for the message."""
    block = _floating(name, block)
    try:
        return checks.features("features", block, whole=False)
    except ValueError:
        bad = np.argwhere(~np.isfinite(host(block)))
        if not len(bad):
            raise
        r, column = bad[0].tolist()
        raise ValueError(
            f"{name} must hold finite features, got {len(bad)} NaN or infinite entries after row {row}, "
            f"the first in row {row + r}, column {column} (both from 0)"
        ) from None


def _floating(name: str, block: Any) -> Any:
    """Real numbers of a floating type: of integers and bools float64, in which no sum of theirs overflows."""
    if isinstance(block, np.ndarray):
        if block.dtype.kind not in "fiub":
            raise ValueError(f"{name} must hold real numbers, got dtype {block.dtype}")
        plain = block.dtype.kind == "f" and block.dtype.itemsize <= 8 and block.dtype.isnative
        return block if plain else block.astype(np.float64)
    if not is_array_api_obj(block):
        return block
    xp = array_namespace(block)
    return xp.astype(block, xp.float64) if xp.isdtype(block.dtype, ("integral", "bool")) else block
