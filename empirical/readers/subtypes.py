"""subtypes:PATH: a third level, below the classes, for images that have files: a csv, or a csv.gz or csv.xz.

    path,class,search_noun,wordnet30_offset,synset
    train/airplane/0000,airplane,stealth_bomber,04308273,stealth_bomber

`path` is that of the image, with any suffix or none, so that one table fits every copy of a set; `synset` is its term.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finegrain.empirical.readers.data import Dataset
from finegrain.empirical.readers.image_names import rows_by_path
from finegrain.empirical.readers.members import unpacked
from finegrain.theory.tools.brief import brief

COLUMN = "synset"
MAX_TABLE = 64 << 20  # bytes, unpacked


@dataclass(frozen=True, eq=False)
class Subtypes:
    """The term of each image.

    Attributes:
        names: S terms, class by class and within each by name; one that stands in two classes is two
        fine: (S,) the class of each
        train, test: (N,), (M,) terms of the images, 0..S-1
    """

    names: tuple[str, ...]
    fine: NDArray[np.int64]
    train: NDArray[np.int64]
    test: NDArray[np.int64]

    __repr__ = brief


def read_subtypes(spec: str, data: Dataset, root: Path | str | None = None) -> Subtypes:
    """The third level of a data set's images.

    Args:
        spec: subtypes:PATH.
        data: images that `load` read from files, images:PATH.
        root: where a relative PATH starts.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another spec, images without files, or a table that is damaged or has not every image once.
    """
    kind, _, name = spec.partition(":")
    if kind != "subtypes" or not name:
        raise ValueError(f"terms must be subtypes:PATH, got {spec!r}")
    if data.names is None or not data.names.train_paths:
        raise ValueError(f"{spec} goes by the paths of images, which only images:PATH has, got {data.name}")
    path = Path(root or "") / name
    if not path.is_file():
        raise FileNotFoundError(f"terms must be in a file, got {path}, which is none")
    paths = [*data.names.train_paths, *data.names.test_paths]
    content = unpacked(path, MAX_TABLE)
    try:
        cells = rows_by_path(content, paths, (COLUMN,), every=True)[COLUMN]
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    fine = np.concatenate([data.train_y, data.test_y]).tolist()
    of_images = [(y, cells[image]) for y, image in zip(fine, paths, strict=True)]
    terms = sorted(set(of_images))
    number = {term: i for i, term in enumerate(terms)}
    every = np.array([number[term] for term in of_images])
    split = len(data.train_y)
    names, classes = tuple(term for _, term in terms), np.array([y for y, _ in terms])
    return Subtypes(names, classes, every[:split], every[split:])
