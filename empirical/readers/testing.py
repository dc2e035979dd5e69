"""Small archives of the layout of CIFAR's, for tests that must not need the official ones.

    write_cifar(folder / "cifar-100-python.tar.gz", "cifar100", train=500, test=100)
    load("cifar100:cifar-100-python.tar.gz", folder, verify=False)

    write_images(folder / "images.tar.xz", {"cat": "pets", "dog": "pets", "ship": "vehicles"})
    load("images:images.tar.xz", folder)

The first's pickles are written instruction by instruction as Python 2 wrote the official ones: protocol 2, byte
strings, arrays through numpy.core.multiarray._reconstruct.
"""

from __future__ import annotations

import io
import lzma
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finegrain.empirical.readers.cifar_archive import LAYOUTS, Layout
from finegrain.empirical.readers.cifar_classes import SUPERCLASSES
from finegrain.empirical.readers.coarse_maps import coarse_map


def write_cifar(
    path: Path, name: str, *, train: int = 50, test: int = 20, seed: int = 0
) -> dict[str, NDArray[Any]]:
    """Write an archive with random images of every class in turn.

    Args:
        path: of the tar.gz to write.
        name: cifar10 or cifar100.
        train, test: numbers of images; for cifar10, train is a multiple of 5.
        seed: of the images.

    Returns:
        train_x, train_y, test_x, test_y as they must be read back.
    """
    layout, rng = LAYOUTS[name], np.random.default_rng(seed)
    counts = dict.fromkeys(layout.train, train // len(layout.train)) | {layout.test: test}
    images = {file: rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for file, n in counts.items()}
    labels = {file: np.arange(n) % len(layout.classes) for file, n in counts.items()}
    files = {file: batch(layout, images[file], labels[file]) for file in counts}
    path.write_bytes(tar_gz(layout, files | {layout.meta: meta(layout)}))
    return {
        "train_x": np.concatenate([images[file] for file in layout.train]),
        "train_y": np.concatenate([labels[file] for file in layout.train]),
        "test_x": images[layout.test],
        "test_y": labels[layout.test],
    }


def write_images(
    path: Path,
    superclass_of: Mapping[str, str],
    *,
    train: int = 3,
    test: int = 1,
    size: int = 8,
    seed: int = 0,
) -> dict[str, NDArray[Any]]:
    """Write a tar.xz of random images in lossless WebP, and of their labels.csv.

    Args:
        path: of the tar.xz to write.
        superclass_of: of each class, the classes in the order of their names.
        train, test: images of each class.
        size: pixels on a side.
        seed: of the images.

    Returns:
        train_x, train_y, test_x, test_y as they must be read back.
    """
    rng = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    files, rows = {}, ["path,superclass,class,search_noun,original_file"]
    for split, count in (("train", train), ("test", test)):
        images = rng.integers(0, 256, (len(superclass_of) * count, size, size, 3), dtype=np.uint8)
        arrays |= {f"{split}_x": images, f"{split}_y": np.repeat(np.arange(len(superclass_of)), count)}
        names = [(name, i) for name in superclass_of for i in range(count)]
        for image, (name, i) in zip(images, names, strict=True):
            files[f"{split}/{name}/{i:04}.webp"] = webp(image)
            term = f"{name}_{i % 2}"
            rows.append(f"{split}/{name}/{i:04}.png,{superclass_of[name]},{name},{term},{term}_s_{i:06}.png")
    files["labels.csv"] = "\n".join(rows).encode()
    path.write_bytes(tar_of(files, "xz"))
    return arrays


def write_subtypes(path: Path, terms: Mapping[str, str]) -> None:
    """Write a csv.xz that gives each image, by its path without suffix, a search term."""
    rows = ["path,class,search_noun,wordnet30_offset,synset"]
    rows += [f"{image},{image.split('/')[1]},{term},00000001,{term}" for image, term in terms.items()]
    path.write_bytes(lzma.compress("\n".join(rows).encode()))


def webp(image: NDArray[np.uint8]) -> bytes:
    """An image (H, W, 3) in lossless WebP."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "WEBP", lossless=True)
    return content.getvalue()


def tar_gz(layout: Layout, files: Mapping[str, bytes]) -> bytes:
    """An archive of the layout's folder with these files in it."""
    return tar_of({f"{layout.folder}/{name}": content for name, content in files.items()}, "gz")


def tar_of(files: Mapping[str, bytes], packing: str = "") -> bytes:
    """An archive of these files, packed as "gz", "xz" or not at all."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w:{packing}") as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return packed.getvalue()


def batch(layout: Layout, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> bytes:
    """One file of images (N, 32, 32, 3) with its labels."""
    content = {
        b"data": images.transpose(0, 3, 1, 2).reshape(len(images), 3072),
        layout.labels: labels.tolist(),
    }
    if layout.labels == b"fine_labels":
        coarse = coarse_map("superclasses", len(layout.classes), layout.classes)
        content[b"coarse_labels"] = coarse[labels].tolist()
    filenames = [b"image_%06d.png" % i for i in range(len(images))]
    return python2_pickle(content | {b"batch_label": b"generated", b"filenames": filenames})


def meta(layout: Layout) -> bytes:
    """The file of class names."""
    content: dict[bytes, Any] = {layout.names: [name.encode() for name in layout.classes]}
    if layout.labels == b"fine_labels":
        content[b"coarse_label_names"] = [name.encode() for name in SUPERCLASSES]
    return python2_pickle(content | {b"num_vis": 3072})


def python2_pickle(value: Any) -> bytes:
    """Numbers, bytes, lists, dicts and uint8 arrays as Python 2's protocol 2 pickles them."""
    writer = _Writer()
    return b"\x80\x02" + writer.value(value) + b"."


class _Writer:
    """Writes values, and a memo number after each as Python 2 does."""

    def __init__(self) -> None:
        self._numbers = 0

    def value(self, value: Any) -> bytes:
        if isinstance(value, bool):
            return b"\x88" if value else b"\x89"
        if isinstance(value, int):
            return _number(value)
        if isinstance(value, bytes):
            return self._memoized(_string(value))
        if isinstance(value, list):
            return self._memoized(b"]") + b"(" + b"".join(map(self.value, value)) + b"e"
        if isinstance(value, dict):
            items = b"".join(self.value(key) + self.value(entry) for key, entry in value.items())
            return self._memoized(b"}") + b"(" + items + b"u"
        return self._array(value)

    def _array(self, array: NDArray[np.uint8]) -> bytes:
        """numpy.core.multiarray._reconstruct(ndarray, (0,), "b"), then its state."""
        made = self._named("numpy.core.multiarray", "_reconstruct") + self._named("numpy", "ndarray")
        made += self._memoized(_number(0) + b"\x85") + self._memoized(_string(b"b"))
        made = self._memoized(self._memoized(made + b"\x87") + b"R")
        shape = self._memoized(b"(" + b"".join(map(_number, array.shape)) + b"t")
        state = b"(" + _number(1) + shape + self._dtype() + b"\x89"
        state += self._memoized(_string(array.tobytes())) + b"t"
        return made + self._memoized(state) + b"b"

    def _dtype(self) -> bytes:
        """numpy.dtype("u1", 0, 1), then its state."""
        made = self._named("numpy", "dtype") + self._memoized(_string(b"u1")) + _number(0) + _number(1)
        made = self._memoized(self._memoized(made + b"\x87") + b"R")
        state = (
            b"(" + _number(3) + self._memoized(_string(b"|")) + b"NNN" + 2 * _number(-1) + _number(0) + b"t"
        )
        return made + self._memoized(state) + b"b"

    def _named(self, module: str, name: str) -> bytes:
        return self._memoized(f"c{module}\n{name}\n".encode())

    def _memoized(self, code: bytes) -> bytes:
        self._numbers += 1
        n = self._numbers
        return code + (b"q" + bytes([n]) if n < 256 else b"r" + struct.pack("<I", n))


def _number(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    return b"M" + struct.pack("<H", value) if 0 <= value < 65536 else b"J" + struct.pack("<i", value)


def _string(value: bytes) -> bytes:
    short = len(value) < 256
    return b"U" + bytes([len(value)]) + value if short else b"T" + struct.pack("<i", len(value)) + value
