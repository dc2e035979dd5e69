"""IDX files: whole, or an error that names the file."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from finegrain.empirical.readers import idx
from finegrain.empirical.readers.idx import read_idx


def idx_bytes(array, kind=8):
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


IMAGES = np.arange(24).reshape(2, 3, 4)
LARGE = np.arange(60_000).reshape(3, 100, 200)  # read in several pieces
GOOD = idx_bytes(IMAGES)


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3)), st.booleans())
def test_what_was_written_is_read_back(tmp_path_factory, array, zipped):
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if zipped else "a")
    path.write_bytes(gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path, array.ndim), array)


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_an_array_of_many_pieces_is_read_back(tmp_path, name):
    content = idx_bytes(LARGE)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    np.testing.assert_array_equal(read_idx(tmp_path / name, 3), LARGE.astype(np.uint8))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an IDX file: it must start with two zero bytes, got ''"),
        (b"\x89PNG" + GOOD, "is not an IDX file: it must start with two zero bytes, got '89 50 4e 47'"),
        (GOOD[:3], "is not an IDX file: it must start with two zero bytes, got '00 00 08'"),
        (idx_bytes(IMAGES, kind=13), r"must hold unsigned bytes \(IDX type 0x08\), got type 0x0d"),
        (idx_bytes(IMAGES[0]), "must have 3 axes, got 2"),
        (GOOD[:9], "is truncated: its header needs 12 bytes, got 5"),
        (GOOD[:-1], r"is truncated: its data of shape \(2, 3, 4\) needs 24 bytes, got 23"),
        (GOOD + b"x", "is longer than its header says: bytes follow the data"),
        (idx_bytes(LARGE) + b"x", "is longer than its header says: bytes follow the data"),
        (
            idx_bytes(IMAGES[:0]),
            r"must hold 1 to 4294967296 bytes of data, its header claims 0, shape \(0, 3, 4\)",
        ),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path, content, message, zipped):
    path = tmp_path / ("images.gz" if zipped else "images")
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(ValueError, match=rf"{path.name} {message}"):
        read_idx(path, 3)


def test_an_array_of_just_the_limit_is_read(tmp_path, monkeypatch):
    path = tmp_path / "images"
    path.write_bytes(GOOD)
    monkeypatch.setattr(idx, "MAX_BYTES", IMAGES.size)
    np.testing.assert_array_equal(read_idx(path, 3), IMAGES)
    monkeypatch.setattr(idx, "MAX_BYTES", IMAGES.size - 1)
    with pytest.raises(ValueError, match="must hold 1 to 23 bytes of data, its header claims 24"):
        read_idx(path, 3)


@pytest.mark.parametrize("keep", [10, 25, -4])
def test_a_truncated_gzip_is_an_error(tmp_path, keep):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(GOOD)[:keep])
    with pytest.raises(ValueError, match=r"images\.gz is damaged or truncated"):
        read_idx(path, 3)


def test_a_gzip_with_a_flipped_bit_is_an_error(tmp_path):
    path = tmp_path / "images.gz"
    packed = bytearray(gzip.compress(GOOD))
    packed[-6] ^= 1  # in the checksum: the data themselves still decompress
    path.write_bytes(packed)
    with pytest.raises(ValueError, match=r"images\.gz is damaged or truncated: CRC check failed"):
        read_idx(path, 3)


def test_what_follows_the_data_costs_no_memory(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(GOOD + bytes(32 << 20), compresslevel=1))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="is longer than its header says"):
            read_idx(path, 3)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(2**20, 2**10, 2**10), (2**31, 1, 1), (2**32 - 1,) * 3])
def test_a_header_that_claims_too_much_costs_no_memory(tmp_path, shape):
    path = tmp_path / "images"
    path.write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape) + b"few")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"header claims \d+|is truncated"):
            read_idx(path, 3)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20  # the claims are 2 GiB and up
    finally:
        tracemalloc.stop()
