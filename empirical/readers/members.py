"""The members of a folder or of a tar file, as one stream of (path, content).

A tar is untrusted input. Its members are read in memory, one after another, and nothing is unpacked to disk, so a
hostile archive has no path to write to. A link, a device, a path that climbs out, a size over the limit, a damaged
header or a missing end is an error that names the file and the member or the byte.

What it costs: the largest member in memory (and MAX_DICTIONARY for an xz), and the time to unpack at most MOST_UNPACKED
bytes, or MOST_RATIO times what is packed, whichever is more.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import rich.progress
from rich.console import Console
from rich.markup import escape

from finegrain.empirical.readers.tar_stream import Damaged, Header, Tar
from finegrain.theory.tools.console import clean, draws_bars, tracked

MAX_DICTIONARY = 192 << 20  # bytes that an xz may ask for; `xz -9` takes 65 MiB
MOST_UNPACKED = 1 << 30
MOST_RATIO = 100  # images, packed once more, give about 1

Member = tuple[PurePosixPath, bytes | None]  # content, or None for a folder


def folder_members(
    path: Path, subfolders: Iterable[str], files: Iterable[str] = (), *, max_bytes: int, progress: bool
) -> Iterator[Member]:
    """Those of `files` that a folder has, then what lies below some subfolders of it, in sorted order.

    Raises:
        ValueError: a link, a device, or a file of more than `max_bytes` bytes.
        OSError: a file cannot be read.
    """
    for name in subfolders:
        if (path / name).is_symlink():
            raise ValueError(f"{path}: {name} is a link, which is refused")
    found = [path / name for name in files if os.path.lexists(path / name)]
    found += [entry for name in subfolders for entry in sorted((path / name).rglob("*"))]
    for entry in tracked(found, f"reading {path.name}", show=progress):
        member = PurePosixPath(entry.relative_to(path).as_posix())
        if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
            raise ValueError(f"{path}: member {str(member)!r} is a link or a device, which is refused")
        if entry.is_dir():
            yield member, None
            continue
        _require_size(path, member, entry.stat().st_size, max_bytes)
        yield member, entry.read_bytes()


def tar_members(path: Path, *, max_bytes: int, progress: bool) -> Iterator[Member]:
    """The members of a tar, tar.gz or tar.xz, in its own order; read to its end, where its checksum is verified.

    Raises:
        ValueError: not such a file, or a damaged or truncated one; a member that is a link, a device or sparse, that
            has more than `max_bytes` bytes, or whose path is absolute or climbs out of the archive; one that unpacks
            to more than the module's bounds.
        OSError: the file cannot be read.
    """
    try:
        with _decompressed(path, progress) as read:
            tar = Tar(read)
            while (header := tar.next()) is not None:
                member = _checked(path, header, max_bytes)
                yield member, None if header.kind == "folder" else tar.content()
    except (Damaged, lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path} is not a whole tar, tar.gz or tar.xz file: {error}") from error


def unpacked(path: Path, max_bytes: int) -> bytes:
    """The content of one file, unpacked if it is a gzip or xz.

    Raises:
        ValueError: a damaged or truncated file, or one of more than `max_bytes` bytes.
        OSError: the file cannot be read.
    """
    content = bytearray()
    try:
        with _decompressed(path, progress=False) as read:
            while piece := read(1 << 16):
                content += piece
                if len(content) > max_bytes:
                    raise ValueError(f"{path} must hold at most {max_bytes} bytes, got more")
    except (Damaged, lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path} is not a whole file, gzip or xz: {error}") from error
    return bytes(content)


@contextmanager
def _decompressed(path: Path, progress: bool) -> Iterator[Callable[[int], bytes]]:
    """A function that reads on, unpacking by what the first bytes say; the bar follows the packed bytes."""
    told, hidden = escape(f"reading {clean(path.name)}"), not (progress and draws_bars())
    bar = rich.progress.open(path, "rb", description=told, console=Console(stderr=True), disable=hidden)
    with bar as raw:
        magic = raw.read(6)
        raw.seek(0)
        most = max(MOST_UNPACKED, MOST_RATIO * path.stat().st_size)
        if magic[:2] == b"\x1f\x8b":
            with gzip.open(raw) as unzipped:
                yield _bounded(unzipped.read, most)
        elif magic == b"\xfd7zXZ\0":
            yield _bounded(io.BufferedReader(_Xz(raw), 1 << 16).read, most)
        else:
            yield raw.read


def _bounded(read: Callable[[int], bytes], most: int) -> Callable[[int], bytes]:
    """The same, up to so many bytes in all."""
    left = most

    def reading(size: int) -> bytes:
        nonlocal left
        piece = read(size)
        left -= len(piece)
        if left < 0:
            raise Damaged(f"it unpacks to more than {most} bytes, which is refused: unpack it yourself")
        return piece

    return reading


class _Xz(io.RawIOBase):
    """What an xz file unpacks to, stream after stream, its dictionaries within MAX_DICTIONARY."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._stream = self._new()

    def _new(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_DICTIONARY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            rest = b""
            if self._stream.eof:
                # Between streams lie zeros, if anything.
                rest = self._stream.unused_data.lstrip(b"\0")
                while not rest:
                    if not (piece := self._packed.read(1 << 16)):
                        return 0
                    rest = piece.lstrip(b"\0")
                self._stream = self._new()
            elif self._stream.needs_input:
                rest = self._packed.read(1 << 16)
                if not rest:
                    raise EOFError("its last xz stream is truncated")
            content = self._stream.decompress(rest, len(buffer))
            if content:
                buffer[: len(content)] = content
                return len(content)


def _checked(path: Path, header: Header, max_bytes: int) -> PurePosixPath:
    """The member's path, once it is known to be a plain file or folder inside the archive."""
    member = PurePosixPath(header.name)
    if member.is_absolute() or ".." in member.parts:
        raise ValueError(f"{path}: member {header.name!r} climbs out of the archive, which is refused")
    if header.kind not in ("file", "folder"):
        what = "sparse" if header.kind == "sparse" else "a link or a device"
        raise ValueError(f"{path}: member {header.name!r} is {what}, which is refused")
    _require_size(path, member, header.size, max_bytes)
    return member


def _require_size(path: Path, member: PurePosixPath, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ValueError(f"{path}: member {str(member)!r} has {size} bytes, over the limit of {max_bytes}")
