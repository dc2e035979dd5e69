"""A third level by the paths of images: each image's term, or an error that names what is missing."""

import gzip
import lzma

import numpy as np
import pytest

from finegrain.empirical.readers import subtypes
from finegrain.empirical.readers.data import load
from finegrain.empirical.readers.subtypes import read_subtypes
from finegrain.empirical.readers.testing import write_images, write_subtypes


@pytest.fixture
def data(tmp_path):
    write_images(tmp_path / "images.tar.xz", {"cat": "pets", "dog": "pets"})
    return load("images:images.tar.xz", tmp_path)


def every(data):
    return (*data.names.train_paths, *data.names.test_paths)


def test_each_image_has_its_term_whatever_the_order_of_the_rows(data, tmp_path):
    terms = {path: "wild" if path.endswith("1") else "tame" for path in every(data)}
    terms |= {"train/dog/0002": "hound", "train/eel/0000": "eel"}
    write_subtypes(tmp_path / "terms.csv.xz", dict(reversed(terms.items())))
    found = read_subtypes("subtypes:terms.csv.xz", data, tmp_path)
    assert found.names == ("tame", "wild", "hound", "tame", "wild")  # a term in two classes is two
    np.testing.assert_array_equal(found.fine, [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(found.train, [0, 1, 0, 3, 4, 2])
    np.testing.assert_array_equal(found.test, [0, 3])


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_packing_does_not_matter(data, tmp_path, pack):
    rows = "path,synset\n" + "".join(f"{path}.png,x\n" for path in every(data))
    (tmp_path / "terms").write_bytes(pack(rows.encode()))
    assert read_subtypes(f"subtypes:{tmp_path / 'terms'}", data).names == ("x", "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,class\n", r"terms must have a column 'synset' in its first line, got \['path', 'class'\]"),
        (b"path,synset\ntrain/cat/0000,x\n", r"terms has no row for 'test/cat/0000' \(7 of 8 images"),
        (lzma.compress(b"path,synset\n")[:-9], r"terms is not a whole file, gzip or xz: "),
        (b"path,synset\n" + b"x" * 200, r"terms must hold at most 100 bytes, got more"),
        (lzma.compress(b"path,synset\n" + b"x" * 200), r"terms must hold at most 100 bytes, got more"),
    ],
)
def test_a_table_that_does_not_fit_is_named(data, tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(subtypes, "MAX_TABLE", 100)
    (tmp_path / "terms").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_subtypes("subtypes:terms", data, tmp_path)


def test_what_is_no_third_level_is_refused(data, tmp_path):
    with pytest.raises(ValueError, match=r"terms must be subtypes:PATH, got 'terms\.csv'"):
        read_subtypes("terms.csv", data)
    with pytest.raises(FileNotFoundError, match=r"terms must be in a file, got .*absent, which is none"):
        read_subtypes("subtypes:absent", data, tmp_path)
    with pytest.raises(ValueError, match=r"paths of images, which only images:PATH has, got digits"):
        read_subtypes("subtypes:terms", load("digits"))
