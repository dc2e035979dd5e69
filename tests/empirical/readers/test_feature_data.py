"""Features in a file: both kinds read alike, and what does not fit is refused by name."""

import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from finegrain.empirical.readers.data import load

RNG = np.random.default_rng(0)
GOOD = {
    "features": RNG.standard_normal((12, 3)).astype(np.float32),
    "labels": np.arange(12) % 4,
    "test_features": RNG.standard_normal((5, 3)).astype(np.float32),
    "test_labels": np.arange(5) % 4,
}


def write(folder, suffix=".npz", **replaced):
    file = folder / f"features{suffix}"
    arrays = {k: v for k, v in (GOOD | replaced).items() if v is not None}
    (save_file if suffix == ".safetensors" else lambda a, f: np.savez(f, **a))(arrays, file)
    return file


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_file_is_a_data_set(tmp_path, suffix):
    data = load(f"features:{write(tmp_path, suffix)}")
    assert data.class_names == ("0", "1", "2", "3")
    found = (data.train_x, data.train_y, data.test_x, data.test_y)
    for array, expected in zip(found, GOOD.values(), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_a_path_starts_at_root_and_maps_are_flattened(tmp_path):
    write(tmp_path, features=np.zeros((12, 2, 2, 5)), test_features=np.ones((5, 2, 2, 5)))
    assert load("features:features.npz", tmp_path).test_x.shape == (5, 20)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (
            {"test_labels": None},
            "must hold features, labels, test_features, test_labels; it lacks test_labels",
        ),
        ({"test_features": np.zeros((5, 4))}, "test_x must have shape (N, 3), got (5, 4)"),
        ({"features": np.full((12, 3), np.nan)}, "features must be finite, got 36 NaN"),
        ({"features": np.zeros(12)}, "features must have shape (N, ...) with N >= 1, got (12,)"),
        ({"features": np.zeros((0, 3))}, "features must have shape (N, ...) with N >= 1, got (0, 3)"),
        ({"labels": np.arange(11)}, "labels must have shape (12,), got (11,)"),
        ({"labels": np.zeros(12)}, "labels must be integers, got dtype float64"),
        ({"test_labels": np.full(5, 7)}, "test_y must lie in 0..3, got values from 7 to 7"),
        ({"features": np.array([[None] * 3] * 12)}, "features.npz"),
        ({"features": np.ones((12, 3)) * 1j}, "features.npz: features must be an array of real numbers, got"),
        (
            {"labels": np.where(np.arange(12) == 3, 1 << 36, 0)},
            "below the number of training samples, 12, got 68719476736",
        ),
        (
            {"labels": np.arange(12) + 1},
            "labels must be 0..C-1, below the number of training samples, 12, got 12",
        ),
        (
            {"labels": np.arange(12) % 4 - 1},
            "labels must be 0..C-1, below the number of training samples, 12, got -1",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, replaced, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(f"features:{write(tmp_path, **replaced)}")


def test_features_that_do_not_fit_in_memory_are_refused_with_their_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("finegrain.theory.tools.memory.allowed", lambda: 100)
    for suffix in (".npz", ".safetensors"):
        with pytest.raises(MemoryError, match=rf"features\{suffix} needs .*, allowed are 100 bytes"):
            load(f"features:{write(tmp_path, suffix)}")


def test_damaged_and_foreign_files_are_refused(tmp_path):
    for suffix in (".npz", ".safetensors"):
        file = write(tmp_path, suffix)
        file.write_bytes(file.read_bytes()[:40])
        with pytest.raises(ValueError, match="is damaged"):
            load(f"features:{file}")
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(ValueError, match=re.escape("features must be a .npy, .npz or .safetensors file")):
        load("features:x.csv", tmp_path)
    with pytest.raises(FileNotFoundError, match="no file"):
        load("features:none.npz", tmp_path)
