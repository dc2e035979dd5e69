"""Tables as people have them: separators, indices, spellings of a label; what is ambiguous is refused by its place."""

import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finegrain.empirical.measurement.measure import measure
from finegrain.empirical.readers import csv_tables
from finegrain.empirical.readers.feature_files import open_shard
from finegrain.empirical.readers.labelled_stream import labelled_stream

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((24, 3)), np.arange(24) % 3


def written(path, names, rows, separator=","):
    path.write_text("".join(separator.join(map(str, row)) + "\n" for row in [names, *rows]))
    return path


def table(folder, labels=Y, separator=","):
    return written(
        folder / "t.csv", ["u", "v", "w", "label"], np.column_stack([X, labels]).tolist(), separator
    )


def features(path, **options):
    return np.concatenate(list(open_shard(path, **options)[0].blocks(7)))


@pytest.mark.parametrize("first", ["", "sep"])
@pytest.mark.parametrize("separator", csv_tables.SEPARATORS)
def test_a_table_is_read_with_any_of_the_separators(separator, first, tmp_path):
    path = table(tmp_path, separator=separator)
    path.write_text(f"sep={separator}\n" * bool(first) + path.read_text())
    np.testing.assert_array_equal(features(path), X)
    assert measure(path, groups=1).counts.tolist() == [8, 8, 8]


def test_the_separator_is_the_one_that_the_rows_have_too(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a;x,b;y,label\n1,2,c\n3,4,c\n\n5,6,"d"\n7,8,d\n')
    np.testing.assert_array_equal(features(path), [[1, 2], [3, 4], [5, 6], [7, 8]])


@pytest.mark.parametrize("cell", ["1,5", "-0,25", "3,0e2", ",5"])
def test_decimal_commas_are_refused_by_line_and_column(cell, tmp_path):
    path = written(tmp_path / "t.csv", ["u", "v", "label"], [["2", "1", "a"]] * 20 + [["2", cell, "a"]], ";")
    message = (
        f"{path} must write numbers with a decimal point, got the comma of {cell!r} in column 'v' of line 22"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        features(path)


def test_decimal_commas_between_commas_are_guessed(tmp_path):
    path = written(tmp_path / "t.csv", ["u", "v"], [["1", "5", "2", "25"]])
    with pytest.raises(
        ValueError, match="2 cells in each line, got 4 in line 2: are there commas in its numbers"
    ):
        features(path)


@pytest.mark.parametrize("cell", ["12_3", "x", "", "1 2", "--1"])
def test_what_is_no_number_is_refused_by_line_and_column(cell, tmp_path):
    path = written(tmp_path / "t.csv", ["u", "label"], [["1", "a"], [cell, "a"]])
    with pytest.raises(ValueError, match=re.escape(f"got {cell!r} in column 'u' of line 3")):
        features(path)


INDEX = {
    "unnamed": ("", 1000 + 3 * RNG.permutation(24), "it has no name"),
    "of pandas": ("Unnamed: 0", RNG.permutation(24), "it has no name"),
    "numbers": ("id", np.arange(24), "it numbers the rows"),
    "numbers from 1, as points": ("row", np.arange(1.0, 25), "it numbers the rows"),
    "every other": ("nr", np.arange(500, 452, -2), "it numbers the rows"),
}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("kind", INDEX)
def test_an_index_is_no_feature_and_a_note_says_so(kind, ending, tmp_path):
    name, numbers, why = INDEX[kind]
    columns = {name: numbers.tolist()} | dict(zip("uvw", X.T.tolist(), strict=True)) | {"label": Y.tolist()}
    path = tmp_path / f"t.{ending}"
    if ending == "csv":
        written(path, columns, zip(*columns.values(), strict=True))
    else:
        parquet.write_table(pyarrow.table(columns), path)
    np.testing.assert_array_equal(features(path), X)
    found = measure(path, groups=1)
    assert found.moments.dim == 3
    assert found.notes[0] == f"{path}: column {name or 1!r} is left out: {why}"


def test_the_index_of_a_frame_in_parquet_is_no_feature(tmp_path):
    columns = pyarrow.table({"u": X[:, 0], "v": X[:, 1], "label": Y, "key": RNG.permutation(24)})
    described = columns.replace_schema_metadata({"pandas": '{"index_columns": ["key"]}'})
    parquet.write_table(described, tmp_path / "t.parquet")
    np.testing.assert_array_equal(features(tmp_path / "t.parquet"), X[:, :2])


def test_whole_numbers_that_do_not_number_the_rows_are_features(tmp_path):
    counts = RNG.poisson(9, 24)
    path = written(tmp_path / "t.csv", ["n", "one", "label"], zip(counts, [1] * 24, Y, strict=True))
    np.testing.assert_array_equal(features(path), np.column_stack([counts, np.ones(24)]))


def test_a_second_column_without_a_name_is_refused(tmp_path):
    path = written(tmp_path / "t.csv", ["u", "", "label"], [[1, 2, "a"]] * 4)
    with pytest.raises(ValueError, match="must name its columns, got no name for column 2 of 3"):
        features(path)


def test_a_label_column_that_is_there_twice_is_refused(tmp_path):
    path = written(tmp_path / "t.csv", ["label", "u", "label"], [["a", 1, "b"]] * 4)
    with pytest.raises(ValueError, match="holds no single array for the labels"):
        open_shard(path)


SPELLINGS = {
    "0": ["0", "0.0", "0.", " 0 ", "0e0", "0.000000000000000000e+00", "+0", "-0.0"],
    "3": ["3", "3.0", "3.00", "30e-1", "\t3"],
    "cat": ["cat", " cat", "cat ", "\u00a0cat"],
    "caf\u00e9": ["caf\u00e9", "cafe\u0301"],
}


@given(st.data())
def test_spellings_of_one_label_are_one_class(data):
    labels = [data.draw(st.sampled_from(SPELLINGS[name])) for name in SPELLINGS for _ in range(2)]
    stream = labelled_stream(np.ones((8, 2)), np.array(labels))
    assert stream.class_names == sorted(SPELLINGS)
    ((_, y),) = stream.batches
    assert y.tolist() == [sorted(SPELLINGS).index(name) for name in SPELLINGS for _ in range(2)]


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.int8, np.uint64, object, "U4"])
def test_whole_numbers_are_one_class_in_every_type_and_in_the_order_of_their_numbers(kind, tmp_path):
    y = np.repeat(np.arange(14), 2)
    x = np.eye(14)[y]
    for labels in (y.astype(kind), y.astype(float).astype(kind)):
        assert measure(x, labels, groups=1).class_names == [str(i) for i in range(14)]
        if labels.dtype != object:
            np.savez(tmp_path / "f.npz", features=x, labels=labels)
            assert measure(tmp_path / "f.npz", groups=1).class_names == [str(i) for i in range(14)]


WRONG = [
    (-1, "'-1'"),
    (-1.0, "'-1'"),
    ("-1", "'-1'"),
    ("-2.0", "'-2'"),
    ("", "''"),
    (" ", "''"),
    ("nan", "'nan'"),
]


@pytest.mark.parametrize(("label", "said"), [*WRONG, (float("nan"), "'nan'"), (0.5, "0.5"), ("1.5", "1.5")])
@pytest.mark.parametrize("ending", ["array", "npy", "csv", "parquet"])
def test_what_is_no_class_is_refused_in_every_format(label, said, ending, tmp_path):
    labels = np.array([0, 0, label] * 8) if not isinstance(label, str) else np.array(["0", "0", label] * 8)
    path = tmp_path / f"t.{ending}"
    if ending == "csv":
        written(path, ["u", "v", "w", "label"], np.column_stack([X, labels]).tolist())
    if ending == "parquet":
        parquet.write_table(pyarrow.table({"u": X[:, 0], "label": labels}), path)
    if ending == "npy":
        np.save(tmp_path / "x.npy", X)
        np.save(path, labels)
    arguments = {"array": (X, labels), "npy": (tmp_path / "x.npy", path)}.get(ending, (path,))
    with pytest.raises(ValueError, match=rf"must hold labels .*got {re.escape(said)}"):
        measure(*arguments, groups=1)


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_labels_by_the_name_of_a_column(ending, tmp_path):
    path = tmp_path / f"zoo.{ending}"
    words = np.array(["a", "b", "c"])[Y]
    if ending == "npz":
        np.savez(path, features=X, species=words)
    elif ending == "csv":
        written(path, ["u", "v", "w", "species"], np.column_stack([X, words]).tolist())
    else:
        parquet.write_table(pyarrow.table({"u": X[:, 0], "v": X[:, 1], "w": X[:, 2], "species": words}), path)
    for labels in ("species", f"{path}:species", ["species"]):
        found = measure(path, labels, groups=1)
        assert (found.class_names, found.moments.dim) == (["a", "b", "c"], 3)
    assert measure([path, path], "species", groups=1).counts.tolist() == [16, 16, 16]
    with pytest.raises(
        ValueError, match=rf"zoo\.{ending} holds no array 'kind'; name one as zoo\.{ending}:NAME"
    ):
        measure(path, "kind", groups=1)
    with pytest.raises(FileNotFoundError, match=r"no file .*y\.npy"):
        measure(path, tmp_path / "y.npy", groups=1)


class Frame:
    """What a data frame shows of itself."""

    def __init__(self, values):
        self.values, self.columns, self.shape = values, list("uvw"), values.shape

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)

    def __iter__(self):
        return iter(self.columns)


def test_a_data_frame_is_an_array_and_one_of_words_is_refused():
    assert measure(Frame(X), Y, groups=1).moments.dim == 3
    assert measure(Frame(X.astype(object)), Y.astype(object), groups=1).moments.dim == 3
    for values in (X.astype(str), np.array([["a", 1, None]] * 24, dtype=object)):
        with pytest.raises(ValueError, match="features must hold real numbers, got"):
            measure(Frame(values), Y, groups=1)


@pytest.mark.parametrize(
    "kind", [bool, np.int8, np.uint8, np.int64, np.float16, np.float32, np.longdouble, ">f8"]
)
def test_features_of_every_real_type_are_measured_and_said(kind):
    x = (X > 0).astype(kind) if kind is bool else np.round(40 * X).clip(0, 120).astype(kind)
    found, right = (measure(one, Y, groups=1) for one in (x, x.astype(np.float64)))
    assert found.precision["features"] == str(x.dtype)
    assert found.scalars["fine_share"].value == pytest.approx(right.scalars["fine_share"].value, rel=1e-12)


def test_a_long_cell_costs_what_it_is_long(tmp_path):
    lines = ["u,v,label", *["0.5,-1.5,0", "1.5,0.5,1"] * 1000, "0." + "0" * 80_000 + "1,2,0"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    tracemalloc.start()
    assert measure(tmp_path / "t.csv", groups=1).counts.tolist() == [1001, 1000]
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_wide_table_of_few_rows_costs_what_it_holds(tmp_path):
    path = written(tmp_path / "t.csv", [f"c{i}" for i in range(20_000)], [range(20_000)] * 3)
    tracemalloc.start()
    (block,) = csv_tables.read_table(path).numbers(range(20_000), 4096)
    assert block.shape == (3, 20_000)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_blocks_grow_with_their_rows(tmp_path):
    path = written(tmp_path / "t.csv", ["u", "v"], [(i, -i) for i in range(100)])
    table = csv_tables.read_table(path)
    for size in (1, 15, 16, 17, 33, 99, 100, 101, 4096):
        blocks = list(table.numbers([0, 1], size))
        assert [len(block) for block in blocks[:-1]] == [size] * (len(blocks) - 1)
        np.testing.assert_array_equal(np.concatenate(blocks), [(i, -i) for i in range(100)])


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_long_labels_are_refused_before_all_are_as_wide(ending, tmp_path):
    path, words = tmp_path / f"t.{ending}", ["a", "b" * 300] * 12
    if ending == "csv":
        written(path, ["u", "label"], zip(X[:, 0], words, strict=True))
    elif ending == "npz":
        np.savez(path, features=X, label=np.array(words))
    else:
        parquet.write_table(pyarrow.table({"u": X[:, 0], "label": words}), path)
    with pytest.raises(ValueError, match=rf"t\.{ending} must hold labels of at most 256 characters, got"):
        measure(path, groups=1)


def test_lines_and_widths_beyond_the_bounds_are_refused(tmp_path, monkeypatch):
    path = written(tmp_path / "t.csv", list("abcdefgh"), [range(8)] * 3)
    monkeypatch.setattr(csv_tables, "MAX_LINE", 15)
    with pytest.raises(ValueError, match="must have lines of at most 15 characters, got a longer one"):
        features(path)
    monkeypatch.undo()
    monkeypatch.setattr(csv_tables, "MAX_COLUMNS", 7)
    with pytest.raises(ValueError, match="must have at most 7 columns, got 8"):
        features(path)


def test_covariances_that_do_not_fit_are_refused_by_their_size():
    wide = np.lib.stride_tricks.as_strided(np.zeros(1), (4, 900_000), (0, 0))
    message = (
        r"features of 900000 columns: full covariances of 2 classes needs .* GiB, allowed are .*'diagonal'"
    )
    with pytest.raises(MemoryError, match=message):
        measure(wide, [0, 0, 1, 1])
