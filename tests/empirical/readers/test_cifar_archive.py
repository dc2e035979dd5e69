"""CIFAR's archives: the official one or none, whole, and nothing of it run or unpacked."""

import dataclasses
import gzip
import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from finegrain.empirical.readers import cifar_archive
from finegrain.empirical.readers.cifar_archive import LAYOUTS, read_cifar
from finegrain.empirical.readers.coarse_maps import coarse_map
from finegrain.empirical.readers.data import load
from finegrain.empirical.readers.testing import batch, meta, python2_pickle, tar_gz, write_cifar

CIFAR10, CIFAR100 = LAYOUTS["cifar10"], LAYOUTS["cifar100"]


def files_of(layout):
    """A sound file of each name, with two images each."""
    images = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 32, 32, 3)
    files = {name: batch(layout, images, np.array([3, 1])) for name in (*layout.train, layout.test)}
    return files | {layout.meta: meta(layout)}


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_images_and_labels_come_back_in_order(tmp_path, name):
    path = tmp_path / "archive.tar.gz"
    written = write_cifar(path, name)
    (train_x, train_y), (test_x, test_y), classes = read_cifar(name, path, verify=False)
    for key, array in {"train_x": train_x, "train_y": train_y, "test_x": test_x, "test_y": test_y}.items():
        np.testing.assert_array_equal(array, written[key])
    assert classes == LAYOUTS[name].classes
    assert train_x.dtype == np.uint8 and train_x.flags.c_contiguous and train_y.dtype == np.int64


@pytest.mark.parametrize("progress", [{}, {"progress": False}, {"progress": True}])
def test_the_progress_bar_is_drawn_only_when_asked_for(tmp_path, capfd, progress):
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(tar_gz(CIFAR10, files_of(CIFAR10)))
    read_cifar("cifar10", path, verify=False, **progress)
    out, err = capfd.readouterr()
    assert out == "" and ("reading archive" in err) == progress.get("progress", False)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_generated_files_are_what_python_2_would_have_written(name):
    """Python's own unpickler reads from them what the reader must."""
    files = files_of(LAYOUTS[name])
    content = pickle.loads(files[LAYOUTS[name].test], encoding="bytes")
    assert content[b"data"].dtype == np.uint8 and content[b"data"].shape == (2, 3072)
    red, green, blue = np.split(content[b"data"], 3, axis=1)
    np.testing.assert_array_equal(np.stack([red, green, blue], axis=-1).ravel(), np.arange(6144) % 256)
    assert content[LAYOUTS[name].labels] == [3, 1]


def test_order_of_the_members_and_other_members_do_not_matter(tmp_path):
    path = tmp_path / "archive.tar.gz"
    files = {"readme.html": b"<html>"} | dict(reversed(files_of(CIFAR10).items()))
    path.write_bytes(tar_gz(CIFAR10, files))
    (train_x, train_y), _, _ = read_cifar("cifar10", path, verify=False)
    assert len(train_x) == 10
    np.testing.assert_array_equal(train_y, [3, 1] * 5)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_an_archive_with_another_checksum_is_refused(tmp_path, name):
    path = tmp_path / "archive.tar.gz"
    write_cifar(path, name)
    layout = LAYOUTS[name]
    message = rf"archive\.tar\.gz is not the official {name} archive: .*{layout.sha256}.*{layout.md5}\), got "
    for read in (lambda: read_cifar(name, path), lambda: load(f"{name}:{path}")):
        with pytest.raises(ValueError, match=message):
            read()
    assert list(tmp_path.iterdir()) == [path]


def test_an_archive_with_the_checksum_is_read(tmp_path, monkeypatch):
    path = tmp_path / "archive.tar.gz"
    write_cifar(path, "cifar10")
    sha256 = cifar_archive.hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(LAYOUTS, "cifar10", dataclasses.replace(CIFAR10, sha256=sha256))
    assert len(read_cifar("cifar10", path)[0][0]) == 50


class Call:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


HALF = python2_pickle({b"data": np.ones((2, 1536), np.uint8), b"labels": [3, 1]})


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        (
            CIFAR10,
            {"test_batch": pickle.dumps(Call("called"), 2)},
            r"names 'posix\.system', which is refused",
        ),
        (CIFAR10, {"test_batch": pickle.dumps([1, 2], 2)}, r"must hold a dict, got a list"),
        (CIFAR10, {"test_batch": b"\x80\x02}"}, r"'cifar-10-batches-py/test_batch' is a damaged pickle"),
        (CIFAR10, {"test_batch": python2_pickle({})}, r"test_batch must hold data of shape \(N, 3072\)"),
        (
            CIFAR10,
            {"test_batch": python2_pickle({b"data": [1]})},
            r"test_batch must hold data of shape \(N, 3072\), N >= 1, got list",
        ),
        (
            CIFAR10,
            {"data_batch_2": HALF},
            r"data_batch_2 must hold data of shape \(N, 3072\), .* got \(2, 1536\)",
        ),
        (CIFAR10, {"data_batch_2": None}, r"must hold cifar-10-batches-py/data_batch_2, which is missing"),
        (CIFAR10, {"batches.meta": meta(CIFAR100)}, r"batches\.meta must hold the 10 class names airplane"),
        (CIFAR100, {"meta": None}, r"must hold cifar-100-python/meta, which is missing"),
    ],
)
def test_a_bad_member_is_named_with_what_is_wrong(tmp_path, monkeypatch, layout, change, message):
    monkeypatch.chdir(tmp_path)
    files = {name: content for name, content in (files_of(layout) | change).items() if content is not None}
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(tar_gz(layout, files))
    name = "cifar10" if layout is CIFAR10 else "cifar100"
    with pytest.raises(ValueError, match=rf"archive\.tar\.gz.*{message}"):
        read_cifar(name, path, verify=False)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {b"fine_labels": [3]},
            r"train must hold fine_labels, a list of 2 whole numbers in 0\.\.99, got \[3\]",
        ),
        ({b"fine_labels": [3, 100]}, r"whole numbers in 0\.\.99, got \[3, 100\]"),
        ({b"fine_labels": [3, -1]}, r"whole numbers in 0\.\.99"),
        ({b"fine_labels": [3, True]}, r"whole numbers in 0\.\.99"),
        ({b"fine_labels": b"\3\1"}, r"whole numbers in 0\.\.99"),
        ({b"coarse_labels": [8, 20]}, r"coarse_labels, a list of 2 whole numbers in 0\.\.19, got \[8, 20\]"),
        ({b"coarse_labels": [8, 2]}, r"image 1 of class aquarium_fish must have 1, got 2"),
    ],
)
def test_labels_that_are_not_cifars_are_named(tmp_path, change, message):
    content = {b"data": np.ones((2, 3072), np.uint8), b"fine_labels": [3, 1], b"coarse_labels": [8, 1]}
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(tar_gz(CIFAR100, files_of(CIFAR100) | {"train": python2_pickle(content | change)}))
    with pytest.raises(ValueError, match=rf"member cifar-100-python/{message}|train must hold.*{message}"):
        read_cifar("cifar100", path, verify=False)


def test_a_truncated_archive_is_an_error(tmp_path):
    path = tmp_path / "archive.tar.gz"
    whole = tar_gz(CIFAR100, files_of(CIFAR100))
    for packed in (whole[: len(whole) // 2], whole[:-4], gzip.compress(gzip.decompress(whole)[:8192])):
        path.write_bytes(packed)
        with pytest.raises(ValueError, match=r"archive\.tar\.gz is not a whole tar, tar\.gz or tar\.xz file"):
            read_cifar("cifar100", path, verify=False)


@pytest.mark.parametrize("outside", ["../outside", "/etc/outside", "cifar-10-batches-py/../../outside"])
def test_a_path_that_climbs_out_is_refused(tmp_path, outside):
    path = tmp_path / "below" / "archive.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo(outside))
    with pytest.raises(ValueError, match=rf"member '{outside}' climbs out of the archive, which is refused"):
        read_cifar("cifar10", path, verify=False)
    assert [p.name for p in tmp_path.rglob("*")] == ["below", "archive.tar"]


def test_a_member_twice_is_an_error(tmp_path):
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w") as tar:
        for _ in range(2):
            header = tarfile.TarInfo("cifar-100-python/meta")
            header.size = len(meta(CIFAR100))
            tar.addfile(header, io.BytesIO(meta(CIFAR100)))
    with pytest.raises(ValueError, match="member 'cifar-100-python/meta' is there twice"):
        read_cifar("cifar100", path, verify=False)


def test_a_member_over_the_limit_is_refused(tmp_path):
    path = tmp_path / "archive.tar"
    header = tarfile.TarInfo("cifar-10-batches-py/test_batch")
    header.size = (256 << 20) + 1
    path.write_bytes(header.tobuf())
    with pytest.raises(ValueError, match=r"has 268435457 bytes, over the limit of 268435456"):
        read_cifar("cifar10", path, verify=False)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_folder_in_the_place_of_an_archive_is_named_with_the_cure(tmp_path, name):
    with pytest.raises(
        ValueError, match=rf"{name}:PATH must be the archive, .*such as .* a folder: name the archive"
    ):
        load(f"{name}:.", tmp_path)


def test_a_missing_archive_and_an_unknown_name_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        load("cifar10:absent.tar.gz", tmp_path)
    with pytest.raises(ValueError, match="name must be one of cifar10, cifar100; got 'cifar20'"):
        read_cifar("cifar20", tmp_path / "absent")


def test_the_superclasses_are_those_of_the_official_labels():
    """The first and last labels of the published table, and five classes in each of the 20."""
    g = coarse_map("superclasses", 100, CIFAR100.classes)
    np.testing.assert_array_equal(np.bincount(g), np.full(20, 5))
    np.testing.assert_array_equal(g[:10], [4, 1, 14, 8, 0, 6, 7, 7, 18, 3])
    np.testing.assert_array_equal(g[-10:], [18, 1, 2, 15, 6, 0, 17, 8, 14, 13])
