"""Labelled images, or features in their place, by name.

digits          scikit-learn's 1,797 digits of 8 x 8 pixels, 0..16; needs no download
fashion-mnist   IDX files; default folder that of Debian's package dataset-fashion-mnist
mnist           IDX files in the folder `root`
images:PATH     a folder or tar of train/<class>/*.jpg|png|webp and test/<class>/*.jpg|png|webp, and of a labels.csv
cifar10:PATH    the official archive cifar-10-python.tar.gz
cifar100:PATH   the official archive cifar-100-python.tar.gz, with its fine labels
halved:SEED:NAME
                another set, each of its classes split in two at random: labels without structure behind them
held-out:COUNT:NAME
                another set, of whose training images so many stand in the place of its test images: to choose settings
features:PATH   a .npz or .safetensors file of a frozen network's features (N, ...) and labels (N,): arrays "features",
                "labels" and, of samples that training never sees, "test_features", "test_labels"

Archives and folders of images are decoded once where a cache is given (image_cache.py): minutes become a second.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finegrain.empirical.readers import changed_sets, image_cache
from finegrain.empirical.readers.array_files import read_whole
from finegrain.empirical.readers.cifar_archive import LAYOUTS, read_cifar
from finegrain.empirical.readers.dataset import Dataset as Dataset
from finegrain.empirical.readers.idx import read_idx
from finegrain.empirical.readers.image_folder import read_images
from finegrain.empirical.readers.image_names import Names
from finegrain.theory.tools import checks

NAMES = (
    *("digits", "fashion-mnist", "mnist", "images:PATH"),
    *("cifar10:PATH", "cifar100:PATH", "features:PATH", "halved:SEED:NAME", "held-out:COUNT:NAME"),
)
FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # Debian: dataset-fashion-mnist
CLASS_NAMES = {
    "fashion-mnist": (
        *("T-shirt", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    "mnist": tuple("0123456789"),
}


def as_dataset(data: Dataset | str, *, progress: bool = False) -> Dataset:
    """A data set as it is, or the one that `load` reads by this name, its images kept decoded in the user's cache."""
    if isinstance(data, Dataset):
        return data
    return load(data, cache=image_cache.default_folder(), progress=progress)


def load(
    name: str,
    root: Path | str | None = None,
    *,
    cache: Path | str | None = None,
    verify: bool = True,
    progress: bool = False,
) -> Dataset:
    """Read a data set whole, or raise.

    Args:
        name: one of the module's table.
        root: folder of the IDX files; where a relative PATH starts. Unused by digits.
        cache: folder that keeps the decoded images of images:PATH, cifar10:PATH and cifar100:PATH, such as
            image_cache.default_folder(). They are then memory-mapped, copied on writing.
        verify: refuse an archive of CIFAR that is not the official one; say False for one that you made yourself.
        progress: show a bar with the time left while a folder or tar is read.

    Raises:
        FileNotFoundError: a file or folder is missing; the message says where to get it or how to name it.
        ValueError: an unknown name (the message gives the nearest), or data that are damaged, truncated or do
            not fit together; the message names the file and what is wrong.
    """
    kind, _, path = name.partition(":")
    if kind in changed_sets.CHANGES:
        number, inner = changed_sets.parsed(name)
        data = load(inner, root, cache=cache, verify=verify, progress=progress)
        return replace(changed_sets.CHANGES[kind](data, number), name=name)
    if name == "digits":
        return _digits()
    start = None if root is None and not path else str(Path(root or "").absolute())
    if name in CLASS_NAMES:
        return replace(_idx_files(name, root), root=start)
    if path and kind in ("images", *LAYOUTS):
        return replace(_decoded(name, Path(root or "") / path, cache, verify, progress), root=start)
    if kind == "features" and path:
        return replace(_features(name, Path(root or "") / path), root=start)
    nearest = difflib.get_close_matches(name, NAMES, n=1, cutoff=0)[0]
    raise ValueError(f"data must be one of {', '.join(NAMES)}; got {name!r} (nearest: {nearest})")


def _decoded(name: str, path: Path, cache: Path | str | None, verify: bool, progress: bool) -> Dataset:
    kind = name.partition(":")[0]

    def decode() -> image_cache.Decoded:
        if kind == "images":
            return read_images(path, progress=progress)
        train, test, classes = read_cifar(kind, path, verify=verify, progress=progress)
        return train, test, Names(classes)

    if cache is None:
        train, test, names = decode()
    else:
        reader = kind if verify else f"{kind}, not verified"
        train, test, names = image_cache.cached(Path(cache), reader, path, decode)
    return Dataset(name, *train, *test, names.classes, names=names)


def _digits() -> Dataset:
    """scikit-learn's digits; a stratified fifth, drawn with seed 0, is the test set: 1,437 and 360 images."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=0
    )
    return Dataset("digits", train_x, train_y, test_x, test_y, CLASS_NAMES["mnist"])


def _features(name: str, path: Path) -> Dataset:
    """The four arrays of one file; fine classes are 0..C-1, the largest training label being C - 1."""
    arrays = read_whole(path, "features")
    wanted = ("features", "labels", "test_features", "test_labels")
    missing = [array for array in wanted if array not in arrays]
    if missing:
        raise ValueError(f"{path} must hold {', '.join(wanted)}; it lacks {', '.join(missing)}")
    train, test = (_rows(path, arrays, *names) for names in (wanted[:2], wanted[2:]))
    for name, (_, y) in (("labels", train), ("test_labels", test)):
        if y.min() < 0 or y.max() >= len(train[0]):
            wrong = y.min() if y.min() < 0 else y.max()
            raise ValueError(
                f"{path}: {name} must be 0..C-1, below the number of training samples, {len(train[0])}, got {wrong}; "
                "numpy.unique(..., return_inverse=True) numbers them"
            )
    try:
        return Dataset(name, *train, *test, tuple(map(str, range(int(train[1].max()) + 1))))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _rows(
    path: Path, arrays: dict[str, Any], x_name: str, y_name: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Features (N, d), flattened, and labels (N,)."""
    x = np.asarray(arrays[x_name])
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(f"{path}: {x_name} must have shape (N, ...) with N >= 1, got {x.shape}")
    flat = checks.real(f"{path}: {x_name}", x.reshape(len(x), -1), ("N", "d"))
    return flat, np.asarray(checks.labels(f"{path}: {y_name}", arrays[y_name], flat))


def _idx_files(name: str, root: Path | str | None) -> Dataset:
    if root is None and name != "fashion-mnist":
        raise ValueError(f"{name} needs root, the folder that holds its IDX files, got None")
    folder = FASHION_MNIST_FOLDER if root is None else Path(root)
    train_x, train_y = _labelled(name, folder, "train")
    test_x, test_y = _labelled(name, folder, "t10k")
    if train_x.shape[1:] != test_x.shape[1:]:
        raise ValueError(
            f"{folder}: train and test images must have one size, "
            f"got {train_x.shape[1:]} and {test_x.shape[1:]}"
        )
    return Dataset(name, train_x, train_y, test_x, test_y, CLASS_NAMES[name])


def _labelled(name: str, folder: Path, stem: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, H, W) and labels (N,) of one split."""
    images = _find(name, folder, f"{stem}-images-idx3-ubyte")
    labels = _find(name, folder, f"{stem}-labels-idx1-ubyte")
    x, y = read_idx(images, axes=3), read_idx(labels, axes=1).astype(np.int64)
    if len(x) != len(y):
        raise ValueError(f"{images} and {labels} must agree in length, got {len(x)} images, {len(y)} labels")
    if y.max() > 9:
        raise ValueError(f"{labels} must hold labels 0..9, got {y.max()}")
    return x, y


def _find(name: str, folder: Path, stem: str) -> Path:
    """The file, plain or gzipped."""
    for path in (folder / stem, folder / f"{stem}.gz"):
        if path.is_file():
            return path
    cure = ""
    if folder == FASHION_MNIST_FOLDER:
        cure = (
            "; install Debian's package dataset-fashion-mnist, or give root, the folder that holds the files"
        )
    raise FileNotFoundError(f"{name} needs {stem} or {stem}.gz in {folder}, which has neither{cure}")
