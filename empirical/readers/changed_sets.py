"""Another set of a set and a number, by name: KIND:NUMBER:NAME.

halved:SEED:NAME      each class split in two at random: labels finer than the classes, without structure behind them
held-out:COUNT:NAME   training images in the place of the test images, to choose settings on
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from finegrain.empirical.readers.dataset import Dataset
from finegrain.empirical.readers.image_names import Names
from finegrain.theory.tools import checks


def halved(data: Dataset, seed: int) -> Dataset:
    """The same images, each class split in two at random: 2C classes, whose superclasses are the C that were.

    Training and test images of a class are each halved, the first half one larger where their number is odd. Only
    memory can tell the halves apart: no image says which it is in (T26).

    Args:
        data: any set.
        seed: of the halves, >= 0.
    """
    checks.integer("seed", seed, 0)
    rng = np.random.default_rng([seed, 5])

    def split(y: NDArray[np.int64]) -> NDArray[np.int64]:
        second = np.zeros(len(y), dtype=np.int64)
        for label in range(data.num_fine):
            members = rng.permutation(np.flatnonzero(y == label))
            second[members[(len(members) + 1) // 2 :]] = 1
        return 2 * y + second

    classes = tuple(f"{name} {half}" for name in data.class_names for half in (1, 2))
    superclasses = tuple(name for name in data.class_names for _ in range(2))
    names = replace(data.names or Names(classes), classes=classes, superclasses=superclasses)
    train_y, test_y = split(data.train_y), split(data.test_y)
    return replace(data, train_y=train_y, test_y=test_y, class_names=classes, names=names)


def held_out(data: Dataset, count: int) -> Dataset:
    """`count` training images, drawn at random, as the test images: so that no setting is chosen on the real ones.

    Args:
        data: any set.
        count: images to hold out, from 1 to one less than there are; the same ones for the same count.

    Raises:
        ValueError: another count.
    """
    n = len(data.train_y)
    checks.integer("count", count, 1)
    if count >= n:
        raise ValueError(f"count must be below the {n} training images, got {count}")
    out = np.zeros(n, dtype=bool)
    out[np.random.default_rng([count, 7]).permutation(n)[:count]] = True
    x, y, names = data.train_x, data.train_y, data.names
    if names is not None:
        chosen = {
            f"{split}_{kind}": tuple(np.array(getattr(names, f"train_{kind}"), dtype=object)[rows])
            for split, rows in (("train", ~out), ("test", out))
            for kind in ("paths", "files")
            if getattr(names, f"train_{kind}")
        }
        names = replace(names, **chosen)
    return replace(data, train_x=x[~out], train_y=y[~out], test_x=x[out], test_y=y[out], names=names)


CHANGES: dict[str, Callable[[Dataset, int], Dataset]] = {"halved": halved, "held-out": held_out}


def parsed(name: str) -> tuple[int, str]:
    """The number in KIND:NUMBER:NAME, and the set that is changed, which is itself of no such kind."""
    kind, _, rest = name.partition(":")
    number, _, inner = rest.partition(":")
    if not (number.isdecimal() and inner):
        raise ValueError(
            f"data {kind}:NUMBER:NAME needs a whole number >= 0 and the name of a set, got {name!r}"
        )
    if inner.partition(":")[0] == kind:
        raise ValueError(f"data {kind}:NUMBER:NAME must change a set once, got {name!r}")
    return int(number), inner
