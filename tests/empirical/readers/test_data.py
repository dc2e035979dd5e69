"""Data sets by name."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from finegrain.empirical.readers import data
from finegrain.empirical.readers.data import Dataset, load
from finegrain.empirical.readers.testing import write_images


def write_idx(folder, zipped=False, **replaced):
    """The four files of a tiny MNIST, any of them replaced or, by None, left out."""
    arrays = {
        "train-images-idx3-ubyte": np.arange(48, dtype=np.uint8).reshape(4, 3, 4),
        "train-labels-idx1-ubyte": np.array([0, 9, 1, 0], dtype=np.uint8),
        "t10k-images-idx3-ubyte": np.ones((2, 3, 4), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": np.array([1, 9], dtype=np.uint8),
    }
    arrays |= {name.replace("_", "-"): array for name, array in replaced.items()}
    for name, array in arrays.items():
        if array is None:
            continue
        content = (
            bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
        )
        path = folder / (name + ".gz" * zipped)
        path.write_bytes(gzip.compress(content) if zipped else content)
    return arrays


def test_digits_are_whole_split_once_and_stratified():
    digits, source = load("digits"), load_digits()
    assert (len(digits.train_x), len(digits.test_x), digits.num_fine) == (1437, 360, 10)
    together = np.concatenate([digits.train_x, digits.test_x]).reshape(1797, 64)
    labels = np.concatenate([digits.train_y, digits.test_y])
    rows = np.column_stack([labels, together]).tolist()
    assert sorted(rows) == sorted(np.column_stack([source.target, source.data.astype(int)]).tolist())
    # Rounding a class's share to whole images moves it by less than one image.
    assert (np.abs(np.bincount(digits.test_y) - np.bincount(source.target) * 360 / 1797) < 1).all()
    np.testing.assert_array_equal(load("digits").train_x, digits.train_x)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files_are_read_from_root(tmp_path, name, zipped):
    arrays = write_idx(tmp_path, zipped)
    dataset = load(name, tmp_path)
    np.testing.assert_array_equal(dataset.train_x, arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(dataset.test_y, arrays["t10k-labels-idx1-ubyte"])
    assert dataset.train_y.dtype == np.int64 and dataset.num_fine == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels_idx1_ubyte": np.zeros(3, np.uint8)}, r"must agree in length, got 4 images, 3 labels"),
        (
            {"t10k_labels_idx1_ubyte": np.array([1, 10], np.uint8)},
            r"t10k-labels.* must hold labels 0\.\.9, got 10",
        ),
        (
            {"t10k_images_idx3_ubyte": np.ones((2, 4, 3), np.uint8)},
            r"train and test images must have one size, got \(3, 4\) and \(4, 3\)",
        ),
    ],
)
def test_idx_files_that_do_not_fit_together_are_named(tmp_path, change, message):
    write_idx(tmp_path, **change)
    with pytest.raises(ValueError, match=message):
        load("mnist", tmp_path)


def test_a_missing_idx_file_is_named(tmp_path):
    write_idx(tmp_path, t10k_labels_idx1_ubyte=None)
    with pytest.raises(
        FileNotFoundError, match=r"mnist needs t10k-labels-idx1-ubyte or t10k-.*\.gz in .* neither"
    ):
        load("mnist", tmp_path)


def test_a_missing_fashion_mnist_says_which_package_brings_it(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "FASHION_MNIST_FOLDER", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"install Debian's package dataset-fashion-mnist, or give root"
    ):
        load("fashion-mnist")


def test_mnist_needs_root():
    with pytest.raises(ValueError, match=r"mnist needs root, the folder that holds its IDX files, got None"):
        load("mnist")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("digit", "digits"),
        ("fashion_mnist", "fashion-mnist"),
        ("image", "images:PATH"),
        ("images:", "images:PATH"),
    ],
)
def test_an_unknown_name_lists_the_known_and_the_nearest(name, nearest):
    with pytest.raises(
        ValueError, match=rf"data must be one of digits, .*; got '{name}' \(nearest: {nearest}\)"
    ):
        load(name)


def test_labels_outside_the_classes_are_refused():
    images, labels = np.zeros((2, 3, 3), np.uint8), np.array([0, 2])
    with pytest.raises(ValueError, match=r"test_y must lie in 0\.\.1, got values from 0 to 2"):
        Dataset("x", images, np.array([0, 1]), images, labels, ("a", "b"))
    with pytest.raises(ValueError, match=r"train_y must have shape \(2,\), got \(3,\)"):
        Dataset("x", images, np.array([0, 1, 1]), images, labels, ("a", "b"))


@pytest.mark.skipif(
    not data.FASHION_MNIST_FOLDER.exists(), reason="Debian's dataset-fashion-mnist is not installed"
)
def test_fashion_mnist_is_balanced():
    dataset = load("fashion-mnist")
    assert dataset.train_x.shape == (60_000, 28, 28) and dataset.test_x.shape == (10_000, 28, 28)
    np.testing.assert_array_equal(np.bincount(dataset.train_y), np.full(10, 6000))
    np.testing.assert_array_equal(np.bincount(dataset.test_y), np.full(10, 1000))


@pytest.mark.skipif(
    "FINEGRAIN_IMAGES" not in os.environ, reason="FINEGRAIN_IMAGES does not name the CIFAR-10 JPEG copy"
)
def test_the_cifar_10_jpeg_copy_is_balanced():
    dataset = load(f"images:{Path(os.environ['FINEGRAIN_IMAGES']).absolute()}")
    assert dataset.train_x.shape == (50_000, 32, 32, 3) and dataset.test_x.shape == (10_000, 32, 32, 3)
    assert dataset.class_names[0] == "airplane" and dataset.num_fine == 10
    np.testing.assert_array_equal(np.bincount(dataset.train_y), np.full(10, 5000))
    np.testing.assert_array_equal(np.bincount(dataset.test_y), np.full(10, 1000))


@pytest.mark.parametrize("name", ["halved:3:digits", "halved:4:digits"])
def test_a_halved_set_has_each_class_twice_and_its_own_classes_above(name):
    data, whole = load(name), load("digits")
    assert data.num_fine == 20 and data.class_names[:3] == ("0 1", "0 2", "1 1") and data.name == name
    np.testing.assert_array_equal(data.coarse_map("superclasses"), np.arange(20) // 2)
    for split in ("train", "test"):
        y, before = getattr(data, f"{split}_y"), getattr(whole, f"{split}_y")
        np.testing.assert_array_equal(y // 2, before)
        first, second = np.bincount(y, minlength=20).reshape(10, 2).T
        assert set((first - second).tolist()) <= {0, 1}
        np.testing.assert_array_equal(getattr(data, f"{split}_x"), getattr(whole, f"{split}_x"))
    np.testing.assert_array_equal(load(name).train_y, data.train_y)
    assert (load("halved:5:digits").train_y != data.train_y).any()


def test_held_out_images_stand_in_the_place_of_the_test_images_with_their_names(tmp_path):
    write_images(tmp_path / "images.tar.xz", {"cat": "pets", "dog": "pets"}, train=20, test=5)
    whole = load("images:images.tar.xz", tmp_path)
    data = load("held-out:12:images:images.tar.xz", tmp_path)
    assert (len(data.train_y), len(data.test_y)) == (28, 12) and data.name.startswith("held-out:12:")
    number = {path: i for i, path in enumerate(whole.names.train_paths)}
    for split in ("train", "test"):
        rows = [number[path] for path in getattr(data.names, f"{split}_paths")]
        np.testing.assert_array_equal(getattr(data, f"{split}_x"), whole.train_x[rows])
        np.testing.assert_array_equal(getattr(data, f"{split}_y"), whole.train_y[rows])
        assert getattr(data.names, f"{split}_files") == tuple(whole.names.train_files[i] for i in rows)
    assert not set(data.names.train_paths) & set(data.names.test_paths)
    again = load("held-out:12:images:images.tar.xz", tmp_path)
    assert again.names == data.names and len(set(data.test_y.tolist())) == 2


@pytest.mark.parametrize("count", [0, 1437])
def test_what_cannot_be_held_out_is_refused(count):
    with pytest.raises(
        ValueError, match=r"count must be (an integer >= 1|below the 1437 training images), got"
    ):
        load(f"held-out:{count}:digits")


@pytest.mark.parametrize("name", ["halved", "halved:3", "halved:x:digits", "halved:-1:digits", "halved:3:"])
def test_a_halved_set_without_a_seed_or_a_name_is_refused(name):
    with pytest.raises(
        ValueError, match=r"halved:NUMBER:NAME needs a whole number >= 0 and the name of a set"
    ):
        load(name)


def test_a_set_is_halved_and_held_out_once_each():
    data = load("halved:1:held-out:100:digits")
    assert data.num_fine == 20 and len(data.test_y) == 100
    with pytest.raises(ValueError, match=r"must change a set once, got 'halved:1:halved:2:digits'"):
        load("halved:1:halved:2:digits")
