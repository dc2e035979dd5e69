"""Measuring features: right numbers from any source, shards and processes merged exactly, bad input named or right."""

import json
import re

import numpy as np
import pytest
import torch

from finegrain.empirical.commands.measure import measure as command
from finegrain.empirical.measurement.figure import draw
from finegrain.empirical.measurement.measure import measure
from finegrain.empirical.readers.hooks import layer_batches
from finegrain.sims.processor import in_words, processor
from finegrain.theory import observables
from finegrain.theory.moments import Moments

COARSE = np.array([0, 0, 1, 1])


def samples(n=120, dim=5, seed=0):
    rng, labels = np.random.default_rng(seed), np.arange(n) % 4
    return rng.standard_normal((n, dim)) + 3 * np.eye(4, dim)[labels], labels


X, Y = samples()


def same(found, expected, tolerance=1e-11):
    assert found.scalars.keys() == expected.scalars.keys()
    for name, estimate in expected.scalars.items():
        np.testing.assert_allclose(found.scalars[name].value, estimate.value, rtol=tolerance, err_msg=name)


@pytest.fixture(scope="module")
def result():
    return measure(X, Y, coarse_map=COARSE, groups=5)


def test_a_result_is_shown_in_a_few_lines(result):
    shown = repr(result)
    assert "class_names=['0', '1', '2', '3']" in shown
    assert "{fine_share: Estimate(value=" in shown
    assert len(shown) < 1000


def test_the_precision_is_that_of_the_features_as_they_came_and_of_the_sums(result):
    assert result.precision == {"features": "float64", "sums": "float64"}
    assert result.report()["precision"] == result.precision
    assert result.report()["environment"]["processor"]["torch"] == torch.backends.cpu.get_cpu_capability()
    rows = torch.from_numpy(X).to(torch.float32)
    batches = [(rows[:60], Y[:60]), (rows[60:].double(), Y[60:])]
    mixed = measure(iter(batches), num_classes=4, groups=1)
    assert mixed.precision == {"features": "float32, float64", "sums": "float64"}


def test_the_command_says_what_it_computed_in(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("finegrain.empirical.commands.measure._write", lambda result, folder: [])
    np.savez(tmp_path / "x.npz", features=X.astype(np.float32), labels=Y)
    command([str(tmp_path / "x.npz")], out=tmp_path, groups=1)
    line = f"computed in: float32 features, float64 sums; {in_words(processor())}"
    assert line in capsys.readouterr().out.splitlines()


def test_every_observable_is_there_with_its_interval(result):
    moments = Moments.from_samples(X, Y)
    table = observables.table(moments, COARSE)
    for name, value in table.items():
        assert result.scalars[name].value == pytest.approx(value, rel=1e-12)
    matrices = {
        "class_distances",
        "separation",
        "mahalanobis",
        "lda_accuracy",
        "bisector_accuracy",
        "two_means_accuracy",
    }
    assert result.matrices.keys() == matrices
    for name in ("mahalanobis", "lda_accuracy", "bisector_accuracy", "two_means_accuracy"):
        whole, inside = getattr(observables, name)(moments), COARSE[:, None] == COARSE
        np.testing.assert_allclose(result.matrices[name].value[inside], np.asarray(whole)[inside], rtol=1e-10)
        assert np.isnan(result.matrices[name].value[~inside]).all()
        expected = observables.inside(getattr(observables, name), moments, COARSE)
        assert [result.scalars[f"{name}[{k}]"].value for k in (0, 1)] == pytest.approx(expected)
    for estimate in [*result.scalars.values(), *result.matrices.values()]:
        known = np.isfinite(estimate.value)
        assert (estimate.low[known] <= estimate.high[known]).all()
    json.dumps(result.report(), allow_nan=True)


def test_diagonal_and_pooled_covariances_give_what_they_define(result):
    for kind in ("diagonal", "pooled"):
        found = measure(X, Y, coarse_map=COARSE, covariance=kind, groups=5)
        for name in ("fine_share", "nc1_trace_ratio_fine", "cdnv_coarse"):
            for part in ("value", "low", "high"):
                got, expected = getattr(found.scalars[name], part), getattr(result.scalars[name], part)
                assert got == pytest.approx(expected, rel=1e-9)
        assert ("mahalanobis" in found.matrices) == (kind == "pooled")


def test_shards_of_every_type_and_with_missing_classes_merge_exactly(tmp_path, result):
    order = np.argsort(Y, kind="stable")  # class 3 is missing from the first shard, class 0 from the others
    x = np.round(4 * X[order])  # whole numbers, exact in every type
    parts = np.array_split(np.arange(len(Y)), 3)
    types = (">f4", np.int16, np.float64)
    for i, (part, kind) in enumerate(zip(parts, types, strict=True)):
        np.savez(
            tmp_path / f"{i}.npz",
            features=x[part].astype(kind),
            labels=Y[order][part].astype(["i1", "U3", "u8"][i]),
        )
    files = [tmp_path / f"{i}.npz" for i in range(3)]
    same(measure(files, coarse_map=COARSE, groups=5), measure(x, Y[order], coarse_map=COARSE, groups=5))
    assert measure(files, groups=1).class_names == ["0", "1", "2", "3"]


def test_small_blocks_give_the_same(monkeypatch, result):
    monkeypatch.setattr("finegrain.empirical.readers.labelled_stream.BLOCK_BYTES", 8 * 5 * 7)
    monkeypatch.setattr("finegrain.empirical.readers.labelled_stream.LABEL_ROWS", 11)
    same(measure(X, Y, coarse_map=COARSE, groups=5), result)


def test_torch_arrays_and_batches_give_the_same(result):
    same(measure(torch.from_numpy(X), torch.from_numpy(Y), coarse_map=COARSE, groups=5), result)
    batches = [
        (torch.from_numpy(X[part]), torch.from_numpy(Y[part])) for part in (slice(0, 50), slice(50, None))
    ]
    same(measure(iter(batches), coarse_map=COARSE, groups=5), result)
    model = torch.nn.Sequential(torch.nn.Linear(5, 5).double())
    torch.nn.init.eye_(model[0].weight)
    torch.nn.init.zeros_(model[0].bias)
    same(measure(layer_batches(model, batches, "0"), coarse_map=COARSE, groups=5), result, 1e-9)


@pytest.mark.parametrize("give", [
    lambda x: torch.from_numpy(x).requires_grad_(), lambda x: x.tolist(), lambda x: torch.from_numpy(x).int(),
    lambda x: x.astype(np.int16), lambda x: x > 0,
])  # fmt: skip
def test_batches_may_be_of_any_real_type(give):
    x = np.round(8 * X)
    found = measure(iter([(give(x[:60]), Y[:60]), (give(x[60:]), Y[60:])]), num_classes=4, groups=1)
    right = measure(x > 0 if found.precision["features"] == "bool" else x, Y, groups=1)
    same(found, right, 1e-9)


def test_labels_may_be_words_and_the_map_may_name_them(tmp_path):
    words = np.array(["cat", "lynx", "dog", "wolf"])[Y]
    (tmp_path / "coarse.json").write_text(
        json.dumps({"cat": "feline", "lynx": "feline", "dog": "canine", "wolf": "canine"})
    )
    found = measure(X, words.tolist(), coarse_map=tmp_path / "coarse.json", groups=5)
    assert found.class_names == ["cat", "dog", "lynx", "wolf"]
    assert found.coarse_names == ["canine", "feline"]
    expected = measure(X, Y, coarse_map=COARSE, groups=5).scalars["fine_share[0]"]
    assert found.scalars["fine_share[1]"].value == pytest.approx(expected.value)
    numbered = measure(X, Y, coarse_map=dict(enumerate(COARSE)), groups=5)
    assert numbered.scalars["fine_share[0]"].value == expected.value


def test_the_classifier_may_have_coarse_or_fine_rows(tmp_path):
    moments = Moments.from_samples(X, Y)
    A, b = np.random.default_rng(1).standard_normal((2, 5)), np.array([0.5, -0.5])
    found = measure(X, Y, coarse_map=COARSE, classifier=(A, b), groups=1)
    coarse = moments.pool(COARSE)
    assert found.scalars["nc3"].value == pytest.approx(observables.nc3(coarse, A))
    assert found.scalars["nc4"].value == pytest.approx(observables.nc4(coarse, A, b))
    np.savez(tmp_path / "last.npz", weight=np.vstack([A, A]))
    found = measure(X, Y, coarse_map=COARSE, classifier=tmp_path / "last.npz", groups=1)
    assert found.scalars["nc3"].value == pytest.approx(observables.nc3(moments, np.vstack([A, A])))


def test_zero_variance_columns_are_noted_and_harmless(result):
    padded = np.column_stack([X, np.zeros(len(X)), np.full(len(X), 1e3)])
    found = measure(padded, Y, coarse_map=COARSE, groups=5)
    assert found.notes == ["2 of 7 columns are constant, which no observable sees"]
    for name in result.scalars.keys() - {"separation"}:  # the one that a shift changes
        assert found.scalars[name].value == pytest.approx(result.scalars[name].value, rel=1e-9), name


def test_a_value_outside_of_its_own_interval_is_noted():
    x, y = samples(80, 10, seed=11)
    found = measure(x, y, coarse_map=COARSE)
    outside = {
        name for name, e in found.scalars.items() if not e.low <= e.value <= e.high and np.isfinite(e.low)
    }
    told = [note for note in found.notes if "corrected for a bias" in note]
    assert outside and all(name in told[0] for name in outside)


@pytest.mark.parametrize("give", [np.asarray, torch.from_numpy, lambda x: x.astype(np.float32)])
def test_samples_that_are_there_twice_are_noted(give):
    x = np.concatenate([X, X[:7], X[:2]])
    found = measure(give(x), np.concatenate([Y, Y[:7], Y[:2]]), groups=1)
    assert "9 of 129 samples repeat an earlier one" in found.notes[-1]
    assert not any("repeat" in note for note in measure(give(X), Y, groups=1).notes)


def test_more_dimensions_than_samples_is_noted():
    x, y = samples(40, 30)
    found = measure(x, y, coarse_map=COARSE, groups=5)
    assert "the smallest class has 10 samples in 30 dimensions" in found.notes[0]
    assert 0 < found.scalars["fine_share"].value < 1
    assert np.isfinite(found.scalars["fine_share"].low)


def test_a_class_of_two_samples_is_measured_without_intervals():
    keep = (Y != 3) | (np.cumsum(Y == 3) <= 2)
    found = measure(X[keep], Y[keep], coarse_map=COARSE)
    assert "no confidence intervals: every class must have at least 2 samples" in found.notes[-1]
    assert np.isnan(found.scalars["fine_share"].low)
    assert found.counts.tolist() == [30, 30, 30, 2]


def changed(row, column, value):
    x = X.copy()
    x[row, column] = value
    return x


BAD = [
    (
        (changed(7, 2, np.nan), Y),
        {},
        "features must hold finite features, got 1 NaN or infinite entries after row 0, the first in row 7, column 2",
    ),
    (
        (X, np.where(np.arange(120) == 3, 9, Y)),
        {},
        "every class must have at least 2 samples, got 1 of '9': leave such samples out",
    ),
    ((X, Y[:-1]), {}, "features and labels must agree in length, but one ends after 119 rows"),
    ((X, Y[:1]), {}, "features and labels must agree in length, but one ends after 1 rows"),
    ((X, Y - 1), {}, "labels must hold labels >= 0 or text, got '-1'"),
    (
        (X, Y / 2),
        {},
        "labels must hold labels that are integers or text, got 0.5: number the classes, or name them",
    ),
    ((X, ["a", ""] * 60), {}, "labels must hold labels >= 0 or text, got ''"),
    ((X[:, 0], Y), {}, "features must have shape (N, d), got (120,)"),
    ((X * 1j, Y), {}, "features must hold real numbers, got dtype complex128"),
    ((X, None), {}, "labels must be given beside an array of features, got None"),
    ((iter([(X, Y)]), None), {}, "batches (features, labels) need num_classes, and no labels beside them"),
    ((iter([]), None), {"num_classes": 3}, "features must hold at least one sample, got none"),
    ((3, None), {}, "features must be files, an array or batches, got int"),
    ((iter([X]), None), {"num_classes": 4}, "batches must be pairs (features, labels), got ndarray"),
    ((iter([(X[:, 0], Y)]), None), {"num_classes": 4}, "features must have shape (N, d), got (120,)"),
    (
        (iter([(X * 1j, Y)]), None),
        {"num_classes": 4},
        "features must hold real numbers, got dtype complex128",
    ),
    ((iter([(X, ["a"] * 120)]), None), {"num_classes": 4}, "labels must be integers, got list ['a', 'a'"),
    ((X, [None] * 120), {}, "labels must hold integers or text, got objects in list"),
    (([[1], [1, 2]], [0, 1]), {}, "features must be an array, got list of rows of several lengths"),
    ((X[:0], Y[:0]), {}, "features must hold features of shape (N, d), not empty"),
    (
        (X, Y),
        {"coarse_map": {"0": "a", "2": "b"}},
        "coarse_map must name the coarse class of every class, got none for ['1', '3']",
    ),
    ((X, Y), {"coarse_map": "modd"}, "nearest: mod"),
    ((X, Y), {"coarse_map": [0, 1]}, "coarse_map must have one entry for each fine class, 4 in all, got 2"),
    ((X, Y), {"covariance": "ful"}, "covariance must be one of diagonal, full, pooled; got 'ful'"),
    ((X, Y), {"groups": 0}, "groups must be an integer >= 1, got 0"),
    ((X, Y), {"level": 95}, "level must be > 0 and < 1, got 95"),
    (
        (X, Y),
        {"classifier": np.ones((1, 5)), "coarse_map": COARSE},
        "got 1; one row for two classes, A, is given as [-A, A]",
    ),
    ((X, Y), {"classifier": np.ones((4, 3))}, "classifier must have shape (K, 5), got (4, 3)"),
]


@pytest.mark.parametrize(
    ("arguments", "options", "message"), BAD, ids=lambda v: v[:40] if isinstance(v, str) else None
)
def test_bad_input_is_named(arguments, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        measure(*arguments, **options)


def test_files_that_do_not_fit_together_are_named(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y[:-1])
    np.savez(tmp_path / "narrow.npz", features=X[:, :3], labels=Y)
    (tmp_path / "y.csv").write_text("label\n" + "\n".join(map(str, Y[:50])))
    ends = f"{tmp_path / 'x.npy'} and {tmp_path / 'y.npy'} must agree in length, but one ends after 119 rows"
    for arguments, message in (
        ((tmp_path / "x.npy", tmp_path / "y.npy"), ends),
        ((tmp_path / "x.npy", tmp_path / "y.csv"), "must agree in length, but one ends after 50 rows"),
        (
            ([tmp_path / "narrow.npz"] * 2, [tmp_path / "y.npy"]),
            "labels must be one file for each of 2 files",
        ),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            measure(*arguments)
    np.save(tmp_path / "y.npy", Y)
    shards = [tmp_path / "x.npy", tmp_path / "narrow.npz"]
    with pytest.raises(ValueError, match=r"narrow\.npz:features must have 5 columns, as .*x\.npy has, got 3"):
        measure(shards, [tmp_path / "y.npy", tmp_path / "narrow.npz"])


@pytest.mark.parametrize("coarse", [COARSE, None, [0, 1, 2, 3]])
@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_the_figure_draws_whatever_is_defined(coarse, kind):
    figure = draw(measure(X, Y, coarse_map=coarse, covariance=kind, groups=1), "title")
    figure.canvas.draw()
    assert len(figure.axes) == 5  # four panels and a colour bar


def test_groups_follow_the_memory_they_take(monkeypatch):
    assert measure(X, Y).groups == 20
    monkeypatch.setattr("finegrain.empirical.measurement.measure.GROUP_BYTES", 8 * 8 * (4 * 25 + 2 * 20))
    assert measure(X, Y).groups == 8
    monkeypatch.setattr("finegrain.empirical.measurement.measure.GROUP_BYTES", 1)
    found = measure(X, Y)
    assert found.groups == 1
    assert "no confidence intervals" in found.notes[-1]
