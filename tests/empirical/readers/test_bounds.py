"""Each reader's bounds on memory and time (docs/inputs.md), held in a process that may take no more."""

import gzip
import io
import lzma
import tarfile

import numpy as np
import pytest
from bounded import MIB, bounded
from PIL import Image
from safetensors.numpy import save_file

from finegrain.empirical.readers import members
from finegrain.empirical.readers.array_files import read_whole
from finegrain.empirical.readers.data import load
from finegrain.empirical.readers.idx import read_idx
from finegrain.empirical.readers.image_folder import read_images
from finegrain.empirical.readers.labelled_stream import labelled_stream

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

ROWS, DIM = 400_000, 32  # 98 MiB of float64
Y = np.arange(ROWS) % 3


def read(*files):
    """Samples that a stream of these files gives, block after block."""
    return sum(len(y) for _, y in labelled_stream(*files).batches)


def ones(folder, rows=ROWS, order="C"):
    return np.ones((rows, DIM), order=order)


def npy(folder):
    np.save(folder / "x.npy", ones(folder))
    np.save(folder / "y.npy", Y)
    return folder / "x.npy", folder / "y.npy"


def npz(folder):
    np.savez_compressed(folder / "x.npz", features=ones(folder), labels=Y)
    return (folder / "x.npz",)


def safetensors(folder):
    save_file({"features": ones(folder), "labels": Y}, folder / "x.safetensors")
    return (folder / "x.safetensors",)


def csv(folder):
    """100,000 rows, whose text would take 150 MiB as Python's."""
    line = ",".join(f"{j / 7:.6f}" for j in range(DIM))
    block = "".join(f"{line},{i % 3}\n" for i in range(1000))
    with open(folder / "x.csv", "w") as file:
        file.write(",".join(f"c{j}" for j in range(DIM)) + ",label\n")
        file.writelines(block for _ in range(100))
    return (folder / "x.csv",)


def table(folder):
    columns = {f"c{j}": np.ones(ROWS) for j in range(DIM)} | {"label": Y}
    parquet.write_table(pyarrow.table(columns), folder / "x.parquet", row_group_size=50_000)
    return (folder / "x.parquet",)


# MiB that reading may take in address space, and that memory may grow by. Blocks have 32 MiB, and one is made
# while the last is still held; threads and libraries take address space that they do not fill.
STREAMS = {npy: (700, 110), npz: (300, 110), safetensors: (700, 110), csv: (300, 110), table: (900, 200)}


@pytest.mark.parametrize("write", STREAMS, ids=lambda write: write.__name__)
def test_features_are_read_in_blocks(write, tmp_path):
    files = write(tmp_path)
    space, memory = STREAMS[write]
    found = bounded(lambda: read(*files), space)
    assert found.value == (100_000 if write is csv else ROWS), found.error
    assert found.grown < memory


def npz_in_columns(folder):
    np.savez_compressed(folder / "x.npz", features=ones(folder, order="F"), labels=Y)
    return lambda: read(folder / "x.npz")


def long_labels(folder):
    np.savez_compressed(
        folder / "x.npz", features=ones(folder, 1000), labels=np.array(["a", "b" * 20_000] * 500)
    )
    return lambda: read(folder / "x.npz")


def word_of_parquet(folder):
    column = pyarrow.array(["a" * (1 << 20)] * 200).dictionary_encode()
    parquet.write_table(pyarrow.table({"u": np.ones(200), "label": column}), folder / "x.parquet")
    return lambda: read(folder / "x.parquet")


def lists_of_parquet(folder):
    kind = pyarrow.list_(pyarrow.float32(), 1 << 21)
    lists = pyarrow.array([[0.0] * (1 << 21)] * 2, kind)
    parquet.write_table(pyarrow.table({"features": lists, "label": [0, 0]}), folder / "x.parquet")
    return lambda: read(folder / "x.parquet")


def whole_features(folder):
    np.savez_compressed(folder / "x.npz", features=np.zeros((1 << 20, 40)), labels=np.zeros(4))
    return lambda: read_whole(folder / "x.npz", "features")


def idx(folder):
    head = b"\0\0\x08\3" + np.array([4096, 512, 512], ">u4").tobytes()
    with gzip.open(folder / "x.gz", "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(256):
            file.write(bytes(4 * MIB))
    return lambda: read_idx(folder / "x.gz", 3)


def tar(folder, content, ending, copies, pack=gzip.compress):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name in (
            f"{split}/{'ab'[i % 2]}/{i}.{ending}" for split in ("train", "test") for i in range(copies)
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    (folder / "x.tar").write_bytes(pack(buffer.getvalue()))
    return lambda: read_images(folder / "x.tar")


def pixels(folder):
    content = io.BytesIO()
    Image.new("RGB", (4096, 4096)).save(content, "PNG")
    return tar(folder, content.getvalue(), "png", 6)


def zeros_of_xz(folder):
    content = lzma.compress(bytes(1 << 20), preset=9)
    (folder / "x.tar").write_bytes(content * 70)
    return lambda: read_images(folder / "x.tar")


def one_large_label(folder):
    y = np.array([0, 1, 0, 1, 0, 1 << 36])
    arrays = {"features": np.ones((6, 3)), "labels": y, "test_features": np.ones((6, 3)), "test_labels": y}
    np.savez(folder / "x.npz", **arrays)
    return lambda: load(f"features:{folder / 'x.npz'}")


# The bomb, MiB of address space, and what is said of it.
BOMBS = {
    npz_in_columns: (300, "Fortran order"),
    long_labels: (300, "labels of at most 256 characters"),
    word_of_parquet: (900, "labels of at most 256 characters"),
    lists_of_parquet: (900, "lists of at most 1048576 numbers"),
    whole_features: (200, "needs 320.0 MiB, allowed are"),
    idx: (300, "needs 1.0 GiB, allowed are"),
    pixels: (400, "allowed are"),
    zeros_of_xz: (400, "unpacks to more than 67108864 bytes"),
    one_large_label: (300, "below the number of training samples, 6, got 68719476736"),
}


@pytest.mark.parametrize("write", BOMBS, ids=lambda write: write.__name__)
def test_what_asks_for_more_is_refused_by_its_file_before_it_is_taken(write, tmp_path, monkeypatch):
    monkeypatch.setattr(members, "MOST_UNPACKED", 64 << 20)
    call = write(tmp_path)
    space, said = BOMBS[write]
    found = bounded(call, space)
    assert {"ValueError", "MemoryError"} & set(found.kinds), found
    assert str(tmp_path) in found.error and said in found.error, found.error
    assert found.grown < (350 if write is pixels else 150)
    assert found.seconds < 10
