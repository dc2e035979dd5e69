"""A folder, or a tar of one, of images: train/<class>/*.jpg|png|webp and test/<class>/*.jpg|png|webp.

Both are read as one stream of members (members.py) and decoded in memory, turned as their EXIF says. Nothing under
train/ or test/ is passed over in silence: what is not an image of the common size and mode is an error that names it.
A labels.csv beside train/ says what classes and images are called (image_names.py). Files elsewhere, and hidden ones,
are left alone.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from finegrain.empirical.readers.image_names import LABELS, Names, named, without_suffix
from finegrain.empirical.readers.members import folder_members, tar_members
from finegrain.empirical.readers.webp import is_webp, webp_size
from finegrain.theory.tools import memory

SPLITS = ("train", "test")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
FORMATS = ("JPEG", "PNG", "WEBP")  # of Pillow
MODES = ("L", "RGB")
OF_CIFAR = ("cifar-10-batches-py", "cifar-100-python")  # folders inside of CIFAR's archives
FIRST_ASKED = 64 << 20  # bytes of pixels above which it is asked whether there is memory for more
MAX_SCANS = 64  # of one JPEG; encoders write about 10
LARGE = 1 << 20  # pixels above which an image's memory is asked for before it is decoded
PER_PIXEL = 16  # bytes: four of the decoder's, three as they are kept, and copies on the way
MAX_FILE = 64 << 20  # bytes of one member
MAX_PIXELS = 4096 * 4096  # of one image
MAX_TOTAL = 4 << 30  # bytes of pixels in one split: a data set is held in memory

Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]


def read_images(path: Path, *, progress: bool = False) -> tuple[Labelled, Labelled, Names]:
    """Training images and labels, test images and labels, and what images and classes are called.

    Images are uint8, (N, H, W) when grey and (N, H, W, 3) when RGB, ordered by class folder and file name, so that
    a folder and a tar of it give the same arrays. Labels are positions among the class folders, sorted as text.

    Args:
        path: a folder, or a tar, tar.gz or tar.xz file.
        progress: show a bar with the time left.

    Raises:
        FileNotFoundError: no folder and no file at `path`.
        ValueError: a damaged or truncated archive or image; images that differ in size or mode; a class
            folder without images; test classes that are not those of train; a member that is a link, device,
            named twice, too large, outside the archive, or not an image; a labels.csv that does not fit. The message
            names file and member.
        MemoryError: pixels that need more than is allowed.
    """
    if not (path.is_dir() or path.is_file()):
        raise FileNotFoundError(f"images must be a folder or a tar file, got {path}, which is neither")
    if path.is_dir():
        members = folder_members(path, SPLITS, (LABELS,), max_bytes=MAX_FILE, progress=progress)
    else:
        members = tar_members(path, max_bytes=MAX_FILE, progress=progress)
    splits = {name: _Split() for name in SPLITS}
    shape: tuple[int, ...] | None = None
    table: bytes | None = None
    of_cifar = any((path / name).exists() for name in ("data_batch_1", *OF_CIFAR))
    for member, content in members:
        if member.parts == (LABELS,) and content is not None:
            if table is not None:
                raise ValueError(f"{path}: member {LABELS!r} is there twice")
            table = content
            continue
        if _elsewhere(member):
            of_cifar = of_cifar or member.parts[0] in OF_CIFAR
            continue
        split = splits[member.parts[0]]
        if content is None:
            split.folders.update(member.parts[1:2])
            continue
        try:
            shape = split.add(member, content, shape)
        except MemoryError as error:
            told = str(error) or f"decoding it needs more, allowed are {memory.in_words(memory.allowed())}"
            raise MemoryError(f"{path}: member {str(member)!r}: {told}") from error
        except ValueError as error:
            raise ValueError(f"{path}: member {str(member)!r} {error}") from error
    if (of_cifar or (path / "train").is_file()) and not splits["train"].names:
        raise ValueError(
            f"{path} holds CIFAR's batches, not a folder per class: read its archive as cifar10:PATH or cifar100:PATH"
        )
    classes = _classes(path, splits)
    train, test = (splits[name].arrays(path, classes, shape) for name in SPLITS)
    paths = {name: splits[name].paths(name) for name in SPLITS}
    try:
        return train, test, named(classes, paths, table)
    except ValueError as error:
        raise ValueError(f"{path}: member {LABELS!r} {error}") from error


@dataclass
class _Split:
    """What has been read of train or test so far: pixels end to end, and the (class, file) of each image."""

    pixels: bytearray = field(default_factory=bytearray)
    names: list[tuple[str, str]] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)
    allowed: int = field(default_factory=lambda: FIRST_ASKED)

    def add(self, member: PurePosixPath, content: bytes, shape: tuple[int, ...] | None) -> tuple[int, ...]:
        """Decode one image and keep it; returns its shape, which must equal `shape` unless that is None."""
        if len(member.parts) != 3 or member.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"is not an image: need {member.parts[0]}/<class>/<name> with {', '.join(SUFFIXES)}"
            )
        pixels, own_shape = _decode(content)
        if shape is not None and own_shape != shape:
            raise ValueError(f"has shape {own_shape}, but the images before it have {shape}: all must agree")
        total = len(self.pixels) + len(pixels)
        if total > MAX_TOTAL:
            raise ValueError(f"takes the pixels of {member.parts[0]} over the limit of {MAX_TOTAL} bytes")
        if total > self.allowed:
            # Asked for in steps: what is free does not change with every image.
            self.allowed = max(2 * self.allowed, total)
            memory.require(
                f"{member.parts[0]} of {self.allowed} bytes of pixels", self.allowed - len(self.pixels)
            )
        self.pixels += pixels
        self.names.append((member.parts[1], member.parts[2]))
        return own_shape

    def order(self) -> list[int]:
        """Of the images, by class and file name."""
        return sorted(range(len(self.names)), key=self.names.__getitem__)

    def paths(self, split: str) -> list[str]:
        """SPLIT/<class>/<name> without suffix, in that order."""
        return [without_suffix("/".join((split, *self.names[i]))) for i in self.order()]

    def arrays(self, path: Path, classes: tuple[str, ...], shape: tuple[int, ...] | None) -> Labelled:
        """Images (N, *shape) and labels (N,), ordered by class and file name."""
        assert shape is not None  # _classes has refused a split without images
        order = self.order()
        for i, j in pairwise(order):
            if self.names[i] == self.names[j]:
                raise ValueError(f"{path}: image {'/'.join(self.names[i])!r} is there twice")
        number = {name: label for label, name in enumerate(classes)}
        labels = np.array([number[self.names[i][0]] for i in order])
        images = np.frombuffer(self.pixels, dtype=np.uint8).reshape(len(order), *shape)
        _permute(images, order)
        return images, labels


def _permute(images: NDArray[np.uint8], order: list[int]) -> None:
    """images[order], in place and one image at a time: a copy would hold all pixels twice."""
    done = [False] * len(order)
    for start in range(len(order)):
        if done[start] or order[start] == start:
            continue
        first, i = images[start].copy(), start
        while order[i] != start:
            images[i] = images[order[i]]
            done[i], i = True, order[i]
        images[i], done[i] = first, True


def _classes(path: Path, splits: dict[str, _Split]) -> tuple[str, ...]:
    """The class names, once both splits are known to hold images of the same classes and of no empty one."""
    found = {name: {kind for kind, _ in split.names} for name, split in splits.items()}
    for name, split in splits.items():
        if empty := sorted(split.folders - found[name]):
            raise ValueError(f"{path}: class folder {name}/{empty[0]} has no image")
        if not found[name]:
            raise ValueError(f"{path} must hold images as {name}/<class>/*.jpg, *.png or *.webp, got none")
    if extra := sorted(found["test"] - found["train"]):
        raise ValueError(f"{path}: test has classes that train has not: {', '.join(extra)}")
    if missing := sorted(found["train"] - found["test"]):
        raise ValueError(f"{path}: train has classes that test has not: {', '.join(missing)}")
    return tuple(sorted(found["train"]))


def _elsewhere(member: PurePosixPath) -> bool:
    """Whether a member is hidden, or neither train, test nor below them."""
    return member.parts[:1] not in {(split,) for split in SPLITS} or any(
        p.startswith(".") for p in member.parts
    )


def _decode(content: bytes) -> tuple[bytes, tuple[int, ...]]:
    """The pixels of one JPEG, PNG or WebP, row by row, and their shape: (H, W) when grey, (H, W, 3) when RGB."""
    try:
        with warnings.catch_warnings():
            # Of pixels, for which our own limit is lower, and of metadata that are not read.
            warnings.simplefilter("ignore")
            if is_webp(content):
                _require_few(*webp_size(content))
            with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
                _require_plain(opened, content)
                image = ImageOps.exif_transpose(opened)
                size = (image.height, image.width)
                return image.tobytes(), size if image.mode == "L" else (*size, 3)
    except (_Refused, MemoryError):
        raise
    except Exception as error:  # decoders raise errors of many kinds on damaged bytes
        reason = "not a JPEG, PNG or WebP that can be decoded" if "BytesIO" in str(error) else str(error)
        raise ValueError(f"is a broken image: {reason}") from error


class _Refused(ValueError):
    """A sound image that this reader does not take."""


def _require_plain(image: Image.Image, content: bytes) -> None:
    # Inside a scan no 0xff is followed by 0xda.
    scans = content.count(b"\xff\xda") if image.format == "JPEG" else 0
    if scans > MAX_SCANS:
        raise _Refused(f"has {scans} scans, over the limit of {MAX_SCANS}")
    if getattr(image, "n_frames", 1) > 1:
        raise _Refused(f"has {image.n_frames} frames, but must be one image")  # type: ignore[attr-defined]
    if image.mode not in MODES:
        raise _Refused(f"has mode {image.mode}, but must be 8-bit grey (L) or RGB: convert it")
    _require_few(image.width, image.height)


def _require_few(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _Refused(f"is {width} x {height}, over the limit of {MAX_PIXELS} pixels")
    if width * height > LARGE:
        memory.require(f"an image of {width} x {height}", PER_PIXEL * width * height)
