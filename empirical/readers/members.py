"""The members of a folder or of a tar file, as one stream of (path, content).

A tar is untrusted input. Its members are read in memory, one after another, and nothing is unpacked to disk, so a
hostile archive has no path to write to. A link, a device, a path that climbs out, a size over the limit, a damaged
header or a missing end is an error that names the file and the member.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import rich.progress
from rich.console import Console

from finegrain.theory.tools.console import draws_bars, tracked

MAX_NAME = 1 << 20  # bytes of the long names and pax records that tarfile reads into memory by itself

Member = tuple[PurePosixPath, bytes | None]  # content, or None for a folder


def folder_members(
    path: Path, subfolders: Iterable[str], *, max_bytes: int, progress: bool
) -> Iterator[Member]:
    """What lies below some subfolders of a folder, in sorted order.

    Raises:
        ValueError: a link, a device, or a file of more than `max_bytes` bytes.
        OSError: a file cannot be read.
    """
    found = [entry for name in subfolders for entry in sorted((path / name).rglob("*"))]
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
        ValueError: not such a file, or a damaged or truncated one; a member that is a link or a device, that has
            more than `max_bytes` bytes, or whose path is absolute or climbs out of the archive.
        OSError: the file cannot be read.
    """
    try:
        with _decompressed(path, progress) as stream:
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_strict_header(max_bytes)) as tar:
                while (header := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every header
                    yield _checked(path, header, max_bytes), _content(tar, header)
            while stream.read(io.DEFAULT_BUFFER_SIZE):
                pass
    except (
        tarfile.TarError,
        lzma.LZMAError,
        zlib.error,
        gzip.BadGzipFile,
        EOFError,
        RecursionError,
    ) as error:
        # RecursionError: tarfile follows a chain of long names by recursion.
        raise ValueError(f"{path} is not a whole tar, tar.gz or tar.xz file: {error}") from error


@contextmanager
def _decompressed(path: Path, progress: bool) -> Iterator[BinaryIO | gzip.GzipFile | lzma.LZMAFile]:
    """The file's bytes, decompressed by what its first bytes say; the bar follows the compressed bytes."""
    told, hidden = f"reading {path.name}", not (progress and draws_bars())
    bar = rich.progress.open(path, "rb", description=told, console=Console(stderr=True), disable=hidden)
    with bar as raw:
        magic = raw.read(6)
        raw.seek(0)
        if magic[:2] == b"\x1f\x8b":
            with gzip.open(raw) as unzipped:
                yield unzipped
        elif magic == b"\xfd7zXZ\0":
            with lzma.open(raw) as unpacked:
                yield unpacked
        else:
            yield raw


def _strict_header(max_bytes: int) -> type[tarfile.TarInfo]:
    """Headers that raise when damaged: tarfile's own would end there, as if the archive were whole."""

    class Header(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Header:
            header = super().frombuf(buf, encoding, errors)
            limit = max_bytes if header.isfile() or header.isdir() else MAX_NAME
            if header.size > limit:
                raise tarfile.ReadError(
                    f"member {header.name!r} has {header.size} bytes, over the limit of {limit}"
                )
            return header

        @classmethod
        def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Header:
            try:
                return super().fromtarfile(tarfile_)
            except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the zeros that end a tar
                raise
            except tarfile.HeaderError as error:
                raise tarfile.ReadError(f"a member's header is damaged or missing ({error})") from error

    return Header


def _checked(path: Path, header: tarfile.TarInfo, max_bytes: int) -> PurePosixPath:
    """The member's path, once it is known to be a plain file or folder inside the archive."""
    member = PurePosixPath(header.name)
    if member.is_absolute() or ".." in member.parts:
        raise ValueError(f"{path}: member {header.name!r} climbs out of the archive, which is refused")
    if not (header.isdir() or header.isfile()):
        raise ValueError(f"{path}: member {header.name!r} is a link or a device, which is refused")
    _require_size(path, member, header.size, max_bytes)  # a pax record may have changed it
    return member


def _content(tar: tarfile.TarFile, header: tarfile.TarInfo) -> bytes | None:
    file = tar.extractfile(header)
    return None if file is None else file.read()


def _require_size(path: Path, member: PurePosixPath, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ValueError(f"{path}: member {str(member)!r} has {size} bytes, over the limit of {max_bytes}")
