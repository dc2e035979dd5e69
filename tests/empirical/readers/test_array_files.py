"""Arrays of untrusted files, whole: as they were written, or an error that names the file; no claim is believed."""

import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from finegrain.empirical.readers.array_files import read_json, read_whole
from finegrain.empirical.readers.feature_files import open_shard

X = np.random.default_rng(0).standard_normal((23, 3)).astype(np.float32)
NUMBERS = np.arange(23) % 3


def test_nothing_is_unpickled(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    objects = np.array([Hostile()] * 3, dtype=object)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "f.npz", features=objects, labels=objects)
    for name, said in (
        ("x.npy", "Python objects in dtype"),
        ("f.npz", r"got Python objects in features\.npy"),
    ):
        for read in (lambda f: open_shard(f, f), lambda f: read_whole(f, "classifier")):
            with pytest.raises(ValueError, match=rf"{name} .*{said}"):
                read(tmp_path / name)
    assert not (tmp_path / "owned").exists()


def test_an_npy_of_version_2_is_read_alone_and_inside_an_npz(tmp_path):
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array(file, X, version=(2, 0))
    np.testing.assert_array_equal(read_whole(tmp_path / "x.npy", "x")["x"], X)
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        for name, array in {"features": X, "labels": NUMBERS}.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, version=(2, 0))
    (x,) = open_shard(tmp_path / "f.npz")[0].blocks(100)
    np.testing.assert_array_equal(x, X)


def test_whole_arrays_are_read_by_name(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", a=X, b=NUMBERS)
    save_file({"a": torch.from_numpy(X), "b": torch.from_numpy(NUMBERS)}, tmp_path / "x.safetensors")
    np.testing.assert_array_equal(read_whole(tmp_path / "x.npy", "a")["a"], X)
    for ending in ("npz", "safetensors"):
        arrays = read_whole(tmp_path / f"x.{ending}", "x")
        assert set(arrays) == {"a", "b"}
        np.testing.assert_array_equal(arrays["a"], X)
        np.testing.assert_array_equal(
            read_whole(tmp_path / f"x.{ending}", "x", lambda _: ["b"])["b"], NUMBERS
        )


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int64", "bool"])
def test_tensors_keep_the_types_that_numpy_has(tmp_path, kind):
    save_file({"x": torch.ones(3, dtype=getattr(torch, kind))}, tmp_path / "x.safetensors")
    assert read_whole(tmp_path / "x.safetensors", "x")["x"].dtype == kind


def test_json_is_read_and_a_damaged_or_missing_file_named(tmp_path):
    path = tmp_path / "map.json"
    path.write_text('{"cat": "animal"}')
    assert read_json(path) == {"cat": "animal"}
    path.write_text("{")
    with pytest.raises(ValueError, match=r"map\.json is no JSON file"):
        read_json(path)
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.json"):
        read_json(tmp_path / "absent.json")


def test_arrays_that_claim_more_than_they_hold_cost_no_memory(tmp_path):
    """A header of 4 GiB or longer than the file, and an array of 8 GiB in a zip file with the right checksum."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1073741824, 1), }\n"
    claims = {
        "header.npy": b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + header,
        "longer.npy": b"\x93NUMPY\x02\x00" + (300).to_bytes(4, "little") + header,
        "array.npz": b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header,
    }
    for name in ("header.npy", "longer.npy"):
        (tmp_path / name).write_bytes(claims[name])
    with zipfile.ZipFile(tmp_path / "array.npz", "w") as file:
        file.writestr("features.npy", claims["array.npz"])
    np.save(tmp_path / "labels.npy", NUMBERS)
    tracemalloc.start()
    try:
        for name in claims:
            message = "claims shape" if name == "array.npz" else "header claims to be longer"
            for read in (lambda f: open_shard(f, tmp_path / "labels.npy"), lambda f: read_whole(f, "x")):
                with pytest.raises(ValueError, match=rf"{name} is damaged.*{message}"):
                    read(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("offset", "message"),
    [(6, "zip file version"), (8, "is encrypted"), (10, "compression method is not supported")],
)
def test_an_archive_that_zipfile_cannot_open_is_named(tmp_path, offset, message):
    path = tmp_path / "x.npz"
    np.savez(path, features=X, labels=NUMBERS)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + offset] = 1 if offset == 8 else 99
    path.write_bytes(content)
    for read in (open_shard, lambda f: read_whole(f, "x")):
        with pytest.raises(ValueError, match=rf"x\.npz is damaged.*{message}"):
            read(path)
