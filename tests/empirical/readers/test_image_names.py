"""labels.csv: names of classes, of their superclasses and of the official files; or an error that names the row."""

import io
import shutil
import tarfile

import numpy as np
import pytest

from finegrain.empirical.readers.cifar_classes import CIFAR100
from finegrain.empirical.readers.coarse_maps import coarse_map, coarse_names
from finegrain.empirical.readers.data import load
from finegrain.empirical.readers.image_folder import read_images
from finegrain.empirical.readers.image_names import without_suffix
from finegrain.empirical.readers.testing import tar_of, webp, write_images

KINDS = {"apple": "plants", "cat": "animals", "dog": "animals", "fern": "plants"}


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "images.tar.xz"
    return path, write_images(path, KINDS)


def unpacked(archive, folder):
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("cache", [None, "cache"])
def test_images_come_back_with_all_their_names(archive, tmp_path, packed, cache):
    path, written = archive
    path = path if packed else unpacked(path, tmp_path / "folder")
    for _ in range(2):  # the second time from the cache
        data = load(f"images:{path}", cache=cache and tmp_path / cache)
        for name, array in written.items():
            np.testing.assert_array_equal(getattr(data, name), array)
        assert data.class_names == ("apple", "cat", "dog", "fern")
        assert data.superclasses == ("plants", "animals", "animals", "plants")
        assert data.names.train_paths[:4] == (*(f"train/apple/000{i}" for i in range(3)), "train/cat/0000")
        assert data.names.test_files == tuple(f"{name}_0_s_000000.png" for name in KINDS)
        assert len(data.names.train_files) == 12


def test_the_superclasses_are_a_map_by_name(archive):
    data = load(f"images:{archive[0]}")
    np.testing.assert_array_equal(data.coarse_map("superclasses"), [1, 0, 0, 1])
    assert coarse_names("superclasses", 2, data.superclasses) == ["animals", "plants"]


def test_the_data_s_superclasses_go_before_cifar_100_s():
    own = ["odd" if i % 2 else "even" for i in range(100)]
    np.testing.assert_array_equal(coarse_map("superclasses", 100, CIFAR100, own), np.arange(100) % 2)
    with pytest.raises(ValueError, match=r"superclasses must have shape \(100,\), got \(3,\)"):
        coarse_map("superclasses", 100, CIFAR100, own[:3])


def image_tar(tmp_path, table):
    """Two classes of one image each in train and test, with a labels.csv."""
    image = webp(np.zeros((4, 4, 3), np.uint8))
    files = {f"{split}/{c}/0.webp": image for split in ("train", "test") for c in "ab"}
    path = tmp_path / "images.tar"
    path.write_bytes(tar_of(files | {"labels.csv": table.encode()}))
    return path


ROWS = "train/a/0.png,{}\ntrain/b/0.jpg,{}\ntest/a/0,{}\ntest/b/0.webp,{}\n"


def test_folders_may_be_numbers_and_the_table_name_them(tmp_path):
    path = image_tar(tmp_path, "path,class\n" + ROWS.format("zebra", "ant", "zebra", "ant"))
    (_, train_y), _, names = read_images(path)
    assert names.classes == ("zebra", "ant") and train_y.tolist() == [0, 1]
    assert names.superclasses is None and names.train_files == ()


def test_rows_of_images_that_are_not_there_are_left_alone(tmp_path):
    table = "path,superclass\ntrain/c/7,other\n\n" + ROWS.format("one", "two", "one", "two")
    assert read_images(image_tar(tmp_path, "\ufeff" + table))[2].superclasses == ("one", "two")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", r"must have a column 'path' in its first line, got \[\]"),
        ("file,class\n", r"must have a column 'path' in its first line, got \['file', 'class'\]"),
        ("path,path\n" + ROWS.format(*"xyxy"), r"must have one column 'path', got several"),
        ("path,class\n" + ROWS.format(*"xyxx"), r"one class for each class folder, got 'y' and 'x' for 'b'"),
        (
            "path,superclass\n" + ROWS.format(*"xyzy"),
            r"one superclass for each class folder, got 'x' and 'z'",
        ),
        ("path,class\n" + ROWS.format(*"xxxx"), r"name each class folder differently, got class 'x' for two"),
        ("path,class\ntrain/a/0,x\n", r"has no row for 'test/a/0' \(3 of 4 images have none\)"),
        ("path,class\n" + ROWS.format(*"xyxy") + "test/a/0,x", r"has 'test/a/0' twice, .* in line 6"),
        ("path,class\ntrain/a/0,x,y\n", r"must have 2 cells in each line, got 3 in line 2"),
        ("path,class\ntrain/a/0,\n", r"cells of 1 to 1000 characters in column 'class', got 0 in line 2"),
        ("path,class\ntrain/a/0," + "x" * 1001, r"cells of 1 to 1000 characters in column 'class', got 1001"),
        ("path,class\ntrain/a/0," + "x" * 200_000, r"is not a table in UTF-8, .*: field larger than"),
    ],
)
def test_a_table_that_does_not_fit_is_named_with_what_is_wrong(tmp_path, table, message):
    with pytest.raises(ValueError, match=rf"images\.tar: member 'labels\.csv' .*{message}"):
        read_images(image_tar(tmp_path, table))


def test_a_table_that_is_no_text_is_an_error(tmp_path):
    path = tmp_path / "images.tar"
    image = webp(np.zeros((4, 4, 3), np.uint8))
    files = {f"{split}/a/0.webp": image for split in ("train", "test")}
    path.write_bytes(tar_of(files | {"labels.csv": b"path,class\n\xff"}))
    with pytest.raises(ValueError, match=r"'labels\.csv' is not a table in UTF-8, separated by commas: "):
        read_images(path)


def test_a_table_twice_in_a_tar_is_an_error(archive):
    path, _ = archive
    with tarfile.open(path) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar}
    twice = io.BytesIO()
    with tarfile.open(fileobj=twice, mode="w") as tar:
        for name, content in [*files.items(), ("./labels.csv", files["labels.csv"])]:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    path.write_bytes(twice.getvalue())
    with pytest.raises(ValueError, match=r"member 'labels\.csv' is there twice"):
        read_images(path)


def test_a_table_that_is_a_link_is_refused(archive, tmp_path):
    folder = unpacked(archive[0], tmp_path / "folder")
    shutil.move(folder / "labels.csv", tmp_path / "elsewhere.csv")
    (folder / "labels.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(ValueError, match=r"member 'labels\.csv' is a link or a device, which is refused"):
        read_images(folder)


@pytest.mark.parametrize(
    ("path", "stem"),
    [("a/b.c.png", "a/b.c"), ("a.d/b", "a.d/b"), ("b", "b"), ("a/.png", "a/.png"), ("a/b.", "a/b")],
)
def test_a_suffix_is_what_follows_the_last_point_of_the_name(path, stem):
    assert without_suffix(path) == stem
