"""Small inputs that ask for much: what they claim, unpack to, or repeat is far more than they are.

One input is a bomb of a kind and of a size drawn at random, most of them sound otherwise; it must be read or refused
within the bounds that hold for damaged inputs.
"""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pyarrow
from PIL import Image
from pyarrow import parquet

from finegrain.empirical.readers.array_files import read_json, read_whole
from finegrain.empirical.readers.cifar_archive import read_cifar
from finegrain.empirical.readers.feature_files import open_shard
from finegrain.empirical.readers.idx import read_idx
from finegrain.empirical.readers.image_folder import read_images

MOST = 32 << 20  # bytes of a bomb before it is packed, where it repeats a piece

Bomb = Callable[[Path, Random], None]


def damage(folder: Path, rng: Random) -> None:
    """Write a bomb of some kind into the folder, as input.ENDING."""
    rng.choice(KINDS)(folder, rng)


def read(folder: Path) -> object:
    """Read the folder's input as its ending says."""
    (file,) = folder.glob("input.*")
    if file.suffix in (".tar", ".gz", ".xz"):
        return read_cifar("cifar10", file, verify=False) if "cifar" in file.name else read_images(file)
    if file.suffix == ".json":
        return read_json(file)
    if file.suffix == ".idx":
        return read_idx(file, 3)
    if "whole" in file.name:
        return read_whole(file, "input")
    np.save(folder / "labels.npy", np.arange(6) % 2)
    return [len(block) for block in open_shard(file, folder / "labels.npy")[0].blocks(4096)]


def number(rng: Random, most: int = 40) -> int:
    """Of any size up to 2^most."""
    return int(2 ** rng.uniform(0, most))


def long_cell(folder: Path, rng: Random) -> None:
    cell = "0." + "0" * min(number(rng, 17), 60_000) + "1"
    (folder / "input.csv").write_text("a,b\n" + "1,2\n" * min(number(rng, 12), 1000) + f"{cell},2\n")


def wide_table(folder: Path, rng: Random) -> None:
    width = min(number(rng, 15), 30_000)
    (folder / "input.csv").write_text("a" + ",a" * width + "\n" + "1" + ",1" * rng.choice((0, width)) + "\n")


def npy_header(folder: Path, rng: Random) -> None:
    shape = rng.choice([f"({number(rng, 70)}, {number(rng, 70)})", "(6, True)", "(6, -1)", "(6, 2.0)", "6"])
    plain = f"{{'descr': '<f8', 'fortran_order': {rng.choice(['True', 'False'])}, 'shape': {shape}, }}"
    text = rng.choice([plain, "+" * min(number(rng, 14), 9000) + "2", "(" * 9000, "[" * 3000 + "]" * 3000])
    (folder / "input.npy").write_bytes(
        b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + bytes(96)
    )


def npz_claim(folder: Path, rng: Random) -> None:
    """An array of zeros, or a member that says it is longer than it is."""
    name = rng.choice(["input.npz", "input.whole.npz"])
    rows = min(number(rng, 24), 1 << 22)
    array = np.zeros((rows, 2), order=rng.choice("CF"))
    np.savez_compressed(folder / name, features=array)
    if rng.random() < 0.5:
        head = f"{{'descr': '<f8', 'fortran_order': True, 'shape': (6, {number(rng, 40)}), }}\n".encode()
        content = b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + bytes(80)
        with zipfile.ZipFile(folder / name, "w") as file:
            file.writestr("features.npy", content)
            file.filelist[0].file_size = number(rng, 40)


def parquet_lists(folder: Path, rng: Random) -> None:
    words = pyarrow.array(["a" * min(number(rng, 16), 40_000)] * 6)
    length = min(number(rng, 20), 1 << 20)
    lists = pyarrow.array([[0.0] * length] * 6, pyarrow.list_(pyarrow.float32(), length))
    columns = rng.choice([{"features": lists}, {"a": words}, {"features": lists, "label": words}])
    parquet.write_table(pyarrow.table(columns), folder / "input.parquet", compression="zstd")


def block(name: str, size: int, kind: bytes = b"0", at: tuple[tuple[int, bytes], ...] = ()) -> bytes:
    """A tar header, with bytes put at some offsets before its checksum."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    content = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for offset, piece in at:
        content[offset : offset + len(piece)] = piece
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content)
    return bytes(content)


def member(name: str, content: bytes, kind: bytes = b"0") -> bytes:
    return block(name, len(content), kind) + content + bytes(-len(content) % 512)


def images(content: bytes, copies: int, ending: str) -> bytes:
    names = [
        f"{split}/{'ab'[i % 2]}/{i}.{ending}" for split in ("train", "test") for i in range(max(copies, 2))
    ]
    return b"".join(member(name, content) for name in names)


def encoded(size: int, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (size, size), (7, 7, 7)).save(content, kind, **options)
    return content.getvalue()


SMALL = images(encoded(6, "PNG"), 2, "png")


def tar_headers(folder: Path, rng: Random) -> None:
    """Long pax records, sparse members, chains of names; many of them."""
    record = rng.choice(
        [b"7" * min(number(rng, 18), 200_000), b"8" * 25 + b" mtime=1\n", b"22 GNU.sparse.major=1\n"]
    )
    hollow = block("else/x", 0, b"S", ((386, b"0" * 11), (483, b"%011o\0" % min(number(rng, 32), 2**32))))
    name = member("n", b"long\0", b"L")
    piece = rng.choice(
        [member("p", record, b"x"), hollow, name, block("else/x", 0), block("d/", number(rng, 30), b"5")]
    )
    content = (
        SMALL + piece * min(number(rng, 13), MOST // len(piece)) + bytes(rng.choice((512, 1024, 1 << 20)))
    )
    (folder / "input.tar.gz").write_bytes(gzip.compress(content))


def tar_of_zeros(folder: Path, rng: Random) -> None:
    size = min(number(rng, 27), 60 << 20)
    content = SMALL + block(rng.choice(["train/a/9.png", "else/x"]), size) + bytes(size + -size % 512 + 1024)
    (folder / "input.tar.gz").write_bytes(gzip.compress(content, 1))


def xz_dictionary(folder: Path, rng: Random) -> None:
    packed = bytearray(lzma.compress(SMALL + bytes(1024), check=lzma.CHECK_NONE, preset=0))
    at, end = packed.index(b"\x21\x01", 12), 12 + (packed[12] + 1) * 4
    packed[at + 2] = rng.randrange(41)
    packed[end - 4 : end] = struct.pack("<I", zlib.crc32(bytes(packed[12 : end - 4])))
    (folder / "input.tar.xz").write_bytes(packed)


def jpeg_scans(folder: Path, rng: Random) -> None:
    whole = encoded(rng.choice((16, 256, 2048)), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    content = whole[:-2] + whole[last:-2] * min(number(rng, 13), 3000) + whole[-2:]
    (folder / "input.tar.gz").write_bytes(gzip.compress(images(content, 1, "jpg") + bytes(1024)))


def large_pixels(folder: Path, rng: Random) -> None:
    content = encoded(rng.choice((1024, 2048, 4096, 5000)), "PNG")
    packed = gzip.compress(images(content, rng.randrange(1, 5), "png") + bytes(1024), 1)
    (folder / "input.tar.gz").write_bytes(packed)


def pickled_shape(folder: Path, rng: Random) -> None:
    length = min(number(rng, 17), 80_000) + 1
    long = b"\x8b" + struct.pack("<i", length) + b"\xff" * (length - 1) + b"\x7f"
    nested = (b"]" * 4000 + b"a" * 3999) * 2
    shape = b"(" + rng.choice([long + b"q\0" + b"h\0" * 150, nested, b"K\2" * 5000, b"K\0" * 20]) + b"t"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\1b\x87R"
    batch = b"\x80\2" + array + b"(K\1" + shape + b"cnumpy\ndtype\nX\2\0\0\0u1K\0K\1\x87R\x89C\0tb."
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]
    content = b"".join(member(f"cifar-10-batches-py/{name}", batch) for name in names) + bytes(1024)
    (folder / "input.cifar.tar.gz").write_bytes(gzip.compress(content))


def nested_json(folder: Path, rng: Random) -> None:
    depth = min(number(rng, 16), 60_000)
    (folder / "input.json").write_text(rng.choice(["[", '{"a":']) * depth + "1" * rng.choice((1, 5000)))


def idx_claim(folder: Path, rng: Random) -> None:
    shape = [min(number(rng, 32), 2**32 - 1) for _ in range(3)]
    (folder / "input.idx").write_bytes(b"\0\0\x08\3" + struct.pack(">3I", *shape) + bytes(24))


KINDS: tuple[Bomb, ...] = (
    *(long_cell, wide_table, npy_header, npz_claim, parquet_lists, tar_headers, tar_of_zeros),
    *(xz_dictionary, jpeg_scans, large_pixels, pickled_shape, nested_json, idx_claim),
)
