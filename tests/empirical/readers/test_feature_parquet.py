"""Columns of a parquet file: lists are read as vectors, and what does not fit is an error that names the column."""

import re
import sys

import numpy as np
import pytest

from finegrain.empirical.readers.feature_files import open_shard

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def written(folder, **columns):
    parquet.write_table(pyarrow.table(columns), folder / "f.parquet")
    return folder / "f.parquet"


def test_parquet_without_pyarrow_is_named_with_its_cure(tmp_path, monkeypatch):
    path = written(tmp_path, features=[1.0], label=[0])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(RuntimeError, match=r"needs pyarrow: pip install pyarrow$"):
        open_shard(path)


@pytest.mark.parametrize("cells", [[1.0, None], [[1.0, None], [2.0, 3.0]], [[1.0, 2.0], None]])
def test_empty_cells_of_parquet_are_refused(tmp_path, cells):
    path = written(tmp_path, features=cells, label=[0, 1])
    with pytest.raises(ValueError, match=r"f\.parquet must have no empty cell in features$"):
        list(open_shard(path)[0].blocks(4))


# Cells of a column h, what is asked of them, and what is said.
WRONG_CELLS = {
    "structures": (
        [{"list": 1}] * 2,
        "features",
        " must hold numbers in its feature columns, got struct<list: int64> in h",
    ),
    "text": (["a", "b"], "features", " must hold numbers in its feature columns, got string in h"),
    "lists of text": (
        [["a"], ["b"]],
        "features",
        " must hold numbers in its feature columns, got string in h",
    ),
    "lists of several lengths": (
        [[1.0], [2.0, 3.0, 4.0]],
        "features",
        " must hold lists of one length in h, got 1 to 3",
    ),
    "empty lists": (
        pyarrow.array([[], []], pyarrow.list_(pyarrow.float32())),
        "features",
        ":h must hold features of shape (N, d), not empty, got (2, 0)",
    ),
    "lists as labels": (
        [[1], [2]],
        "labels",
        ":h must hold labels of shape (N,), not empty, got (2, 1): they are one a sample",
    ),
}


@pytest.mark.parametrize(("cells", "role", "said"), WRONG_CELLS.values(), ids=WRONG_CELLS)
def test_a_parquet_column_that_does_not_fit_is_named(cells, role, said, tmp_path):
    path = written(tmp_path, h=cells, x=[1.0, 2.0], label=[0, 1])
    sources = dict(zip(("features", "labels"), open_shard(f"{path}:h", f"{path}:h"), strict=True))
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}{said}')}"):
        list(sources[role].blocks(4))


def test_a_column_of_text_among_features_is_named(tmp_path):
    path = written(tmp_path, a=[1.0], b=["?"], label=[0])
    with pytest.raises(
        ValueError, match=r"f\.parquet must hold numbers in its feature columns, got string in b$"
    ):
        list(open_shard(path)[0].blocks(4))


def test_parquet_lists_of_a_fixed_length_are_read(tmp_path):
    numbers = np.arange(12.0)
    path = written(tmp_path, h=pyarrow.FixedSizeListArray.from_arrays(numbers, 3), label=[0, 1, 0, 1])
    (x,) = open_shard(f"{path}:h")[0].blocks(100)
    np.testing.assert_array_equal(x, numbers.reshape(4, 3))
