"""Discover: where it looks, what it reports, and what it writes."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from finegrain.empirical.commands.discover import discover as command
from finegrain.empirical.hidden_classes.contact_sheet import COLUMNS, draw
from finegrain.empirical.hidden_classes.discover import discover
from finegrain.empirical.hidden_classes.discovered_files import write
from finegrain.empirical.hidden_classes.score import match
from finegrain.empirical.networks.coarse_network import train_on_coarse_labels
from finegrain.empirical.readers.data import load
from finegrain.empirical.readers.testing import write_cifar


def stratified(seed=0, n=120):
    """Features, coarse labels, hidden labels and classifier of three classes told apart by coordinates 0 and 1.

    Class 1 hides two subclasses along coordinate 2; a nuisance that the classifier sees, along 1, is larger.
    """
    rng = np.random.default_rng(seed)
    coarse = rng.permutation(np.repeat([0, 1, 2], n))
    hidden = np.where(coarse == 1, rng.integers(0, 2, 3 * n), 0)
    x = rng.standard_normal((3 * n, 6))
    x[:, 1] *= 10
    x[:, :2] += 60 * np.eye(3, 2)[coarse]
    x[:, 2] += 8 * (hidden - 0.5)
    x[:, 3] += 9
    return x, coarse, hidden, np.eye(2, 6)


@pytest.fixture(scope="module")
def found():
    x, coarse, _, classifier = stratified()
    return discover(x, coarse, classifier)


def test_the_hidden_stratum_is_found_where_it_is_and_nowhere_else(found):
    _, coarse, hidden, _ = stratified()
    assert found.counts.tolist() == [1, 2, 1]
    assert found.p_values[1] < 1e-4
    assert found.p_values[[0, 2]].min() > 0.05
    assert found.held_out.tolist() == [1, 2, 1]
    own = found.subclass[coarse == 1]
    right = np.mean(own == hidden[coarse == 1])
    assert max(right, 1 - right) > 0.99


def test_what_the_classifier_sees_is_not_looked_at():
    """Two groups along a row of the classifier are its own business."""
    x, coarse, _, _ = stratified(1)
    x[:, 1] += 100 * (np.arange(len(x)) % 2)
    assert discover(x, coarse, np.eye(2, 6)).counts.tolist() == [1, 2, 1]
    assert discover(x, coarse, np.eye(1, 6)).counts.min() == 2  # blind to coordinate 1


def test_without_a_classifier_the_class_means_stand_in():
    x, coarse, _, _ = stratified(2)
    x[:, 1] /= 10
    found = discover(x, coarse)
    assert found.counts.tolist() == [1, 2, 1]


def test_clusters_number_the_subclasses_through(found):
    assert set(found.clusters[found.coarse == 0]) == {0}
    assert set(found.clusters[found.coarse == 1]) == {1, 2}
    assert set(found.clusters[found.coarse == 2]) == {3}
    sizes = np.bincount(found.subclass[found.coarse == 1])
    assert sizes[0] >= sizes[1]


def test_the_files_say_what_was_found(found, tmp_path):
    paths = write(replace(found, class_names=["cat", "dog", "tree"]), tmp_path / "out", seed=0)
    assert [p.name for p in paths] == ["subclasses.csv", "subclasses.npz", "discovery.json"]
    rows = list(csv.DictReader(paths[0].read_text().splitlines()))
    assert [int(row["sample"]) for row in rows] == list(range(len(found.coarse)))
    assert [row["coarse_class"] for row in rows] == [["cat", "dog", "tree"][k] for k in found.coarse]
    assert [int(row["subclass"]) for row in rows] == found.subclass.tolist()
    assert [row["confidence"] for row in rows] == [f"{sure:.6f}" for sure in found.confidence]
    arrays = np.load(paths[1])
    for name, expected in (("coarse_class", found.coarse), ("subclass", found.subclass)):
        np.testing.assert_array_equal(arrays[name], expected)
    np.testing.assert_array_equal(arrays["confidence"], found.confidence)
    report = json.loads(paths[2].read_text())
    assert report["seed"] == 0
    entry = report["classes"][1]
    assert (entry["class"], entry["samples"], entry["subclasses"]) == ("dog", 120, 2)
    assert sum(entry["sizes"]) == 120
    assert entry["tests"][0]["found"] is True
    assert [test["guarantee"] for test in entry["tests"]] == ["exact", "nominal", "nominal"]
    assert arrays["directions"].shape == (1, 6)


def test_new_samples_go_to_the_stratum_they_belong_to(found):
    x, coarse, hidden, _ = stratified(7)
    subclass, sure = found.predict(x, coarse)
    own = subclass[coarse == 1]
    right = np.mean(own == hidden[coarse == 1])
    assert max(right, 1 - right) > 0.99
    assert (subclass[coarse != 1] == 0).all() and (sure[coarse != 1] == 1).all()
    assert sure.min() > 0.5


def test_new_samples_are_not_told_apart_by_what_the_classifier_sees(found):
    x, coarse, _, classifier = stratified(8)
    moved = x + 1e3 * np.random.default_rng(0).standard_normal((len(x), 2)) @ classifier
    for as_is, after in zip(found.predict(x, coarse), found.predict(moved, coarse), strict=True):
        np.testing.assert_allclose(after, as_is, atol=1e-6)


def test_the_stratum_that_fails_is_named_first(found):
    _, coarse, _, _ = stratified()
    failing = (coarse == 1) & (found.subclass == 1)
    worst, *others = found.errors(np.where(failing & (np.arange(len(coarse)) % 4 > 0), 0, coarse))
    assert (worst["class"], worst["subclass"], worst["samples"]) == ("1", 1, failing.sum())
    assert worst["low"] < worst["error"] < worst["high"]
    assert 0.5 < worst["error"] < 0.95
    assert all(row["error"] == 0 and 0 < row["high"] < 0.1 for row in others)


def test_what_could_have_been_seen_is_said_for_each_class(found):
    told = found.smallest_subclass(share=0.3, power=0.8)
    assert len(told) == 3
    assert told[0].startswith(
        "in class 0, of 120 samples in 4 dimensions, a stratum of 30% would be found with probability 0.8"
    )
    assert re.search(r"if \d+\.\d standard deviations away", told[0])
    assert "at no distance" in found.smallest_subclass(share=0.01)[0]


def test_words_halves_and_processes_change_nothing(found):
    x, coarse, _, classifier = stratified()
    words = discover(x, np.array(["ash", "elm", "yew"])[coarse], classifier, jobs=2)
    assert words.class_names == ["ash", "elm", "yew"]
    np.testing.assert_array_equal(words.subclass, found.subclass)
    np.testing.assert_array_equal(words.confidence, found.confidence)


def test_tensors_are_taken_as_measure_takes_them(found):
    torch = pytest.importorskip("torch")
    x, coarse, _, classifier = stratified()
    weights = torch.nn.Parameter(torch.tensor(classifier))
    half = discover(torch.tensor(x).bfloat16(), torch.tensor(coarse), weights)
    assert half.counts.tolist() == found.counts.tolist()


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3)])
def test_the_sheet_has_a_row_a_subclass_from_sure_to_unsure(found, shape):
    images = np.random.default_rng(0).random((len(found.coarse), *shape))
    figure = draw(replace(found, class_names=["cat", "dog", "tree"]), images)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert [label.split("\n")[0] for label in labels] == ["cat, 0", "dog, 0", "dog, 1", "tree, 0"]
    assert figure.axes[0].get_images()[0].get_array().shape[:2] == (5, 4 * COLUMNS)


def test_digits_with_hidden_halves():
    """Two digits merged a class, a small network on the coarse labels; docs/results/discover.md has the full width."""
    data = load("digits")
    network = train_on_coarse_labels(data, "mod", width=128, steps=300, seed=0)
    assert network.test_accuracy > 0.9
    found = discover(network.features, network.coarse, network.classifier)
    assert found.counts.tolist() == [2] * 5
    assert match(found.clusters, found.coarse, data.train_y).share > 0.9


def test_the_command_reads_its_images_below_the_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"in {tmp_path / 'idx'}, which has neither"):
        command(data="mnist", root=tmp_path / "idx", out=tmp_path / "out")


X, COARSE, _, ROWS = stratified(n=20)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: discover(X, COARSE[1:]), "features and labels must agree in length"),
        (lambda: discover(X, COARSE, ROWS[:, 1:]), "classifier must have shape (K, 6), got (2, 5)"),
        (lambda: discover(X, COARSE, level=1.0), "level must be in (0, 1), got 1.0"),
        (lambda: discover(X, COARSE, jobs=0), "jobs must be an integer >= 1, got 0"),
        (lambda: discover(X, COARSE, most=0), "most must be an integer >= 1, got 0"),
        (lambda: discover(X, COARSE, seed=-1), "seed must be an integer >= 0, got -1"),
        (
            lambda: discover(X, 0 * COARSE),
            "coarse must have at least 2 classes where no classifier is given, got 1",
        ),
        (lambda: discover(np.where(X > 5, np.nan, X), COARSE), "features must hold finite features"),
        (
            lambda: draw(discover(X, COARSE), X),
            "images must have shape (60, H, W) or (60, H, W, 3), got (60, 6)",
        ),
        (
            lambda: train_on_coarse_labels(load("digits"), "0,0,0,0,0,0,0,0,0,0"),
            "map must have at least 2 coarse",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_maps_by_name_go_by_the_names_of_the_classes_and_name_the_coarse_ones(tmp_path, monkeypatch):
    write_cifar(tmp_path / "cifar-10-python.tar.gz", "cifar10", train=400, test=20)
    images = load("cifar10:cifar-10-python.tar.gz", tmp_path, verify=False)
    monkeypatch.setattr("finegrain.empirical.readers.data.load", lambda *_, **__: images)
    command(data="cifar10:small", map_="semantic", width=16, steps=2, out=tmp_path / "out")
    found = json.loads((tmp_path / "out" / "discovery.json").read_text())
    names = [entry["class"] for entry in found["classes"]]
    assert names == ["airplane + ship", "automobile + truck", "cat + dog", "deer + horse", "bird + frog"]
    assert [entry["samples"] for entry in found["classes"]] == [80] * 5
