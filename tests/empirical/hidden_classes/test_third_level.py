"""The third level: terms that the features show are found, terms dealt out at random are not."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from sklearn.metrics import adjusted_rand_score

from finegrain.empirical.commands.terms import terms as command
from finegrain.empirical.hidden_classes.third_level import adjusted_rand_index, by_class, summary
from finegrain.empirical.readers.data import load
from finegrain.empirical.readers.subtypes import Subtypes
from finegrain.empirical.readers.testing import write_images, write_subtypes

CLASSES = ("cat", "dog", "eel")
# Three terms of cat, two of dog, one of eel.
FINE = np.array([0, 0, 0, 1, 1, 2])
NAMES = ("lion", "lynx", "tabby", "hound", "pug", "eel")


def case(shown=True, train=300, test=120, seed=0):
    """Features (n, 8) in which each class and, where shown, each term has a place of its own."""
    rng = np.random.default_rng(seed)

    def split(count):
        term = np.arange(count) % len(NAMES)
        places = 20 * np.eye(8)[FINE[term]] + (6 * np.eye(8)[2 + term] if shown else 0)
        return (places + rng.standard_normal((count, 8))).astype(np.float32), term

    (x, term), (test_x, test_term) = split(train), split(test)
    return Subtypes(NAMES, FINE, term, test_term), x, test_x


def test_terms_that_the_features_show_are_found_by_every_method():
    rows = by_class(*case(), CLASSES, least=20)
    assert [row["class"] for row in rows] == ["cat", "dog"]  # eel has a single term
    assert [row["terms"] for row in rows] == [["lion", "lynx", "tabby"], ["hound", "pug"]]
    for row in rows:
        # Six standard deviations apart: an image in a thousand is nearer to another term.
        assert min(row["ari"].values()) > 0.9 and row["probe"] > 0.95
        # By chance the index is 0 in the mean, with a deviation of about 1 / n or 0.01.
        assert all(0 < value < 0.1 for value in row["chance"].values())
        assert row["largest"] == pytest.approx(1 / len(row["terms"]))
        assert row["images"] == 50 * len(row["terms"]) and row["test images"] == 20 * len(row["terms"])


def test_terms_dealt_out_at_random_are_as_chance_has_them():
    kept = {"least": 20, "methods": ("k-means",)}
    rows = [row for seed in range(8) for row in by_class(*case(False, seed=seed), CLASSES, **kept)]
    above = [row["ari"]["k-means"] > row["chance"]["k-means"] for row in rows]
    # One in 20 is above its 95 % quantile: of 16 more than 4 with a probability of 1e-3.
    assert sum(above) <= 4
    assert abs(np.mean([row["probe"] - row["largest"] for row in rows])) < 0.1  # standard error 0.03


@given(st.integers(2, 40), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_the_index_is_scikit_learn_s(n, parts, others, seed):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, parts, n) + 3, rng.integers(0, others, n)
    assert adjusted_rand_index(one, other) == pytest.approx(adjusted_rand_score(one, other), abs=1e-12)


def test_terms_of_few_images_are_left_out():
    below, x, test_x = case()
    term = np.where((below.train == 4) & (np.arange(len(x)) > 60), 3, below.train)
    rows = by_class(Subtypes(NAMES, FINE, term, below.test), x, test_x, CLASSES, least=20)
    assert [row["class"] for row in rows] == ["cat"]
    with pytest.raises(ValueError, match=r"least must leave a class with two terms .*, got 1000, which"):
        by_class(below, x, test_x, CLASSES, least=1000)


def test_features_of_other_images_are_refused():
    below, x, test_x = case()
    with pytest.raises(ValueError, match=r"train must have shape \(300, d\), got \(299, 8\)"):
        by_class(below, x[1:], test_x, CLASSES, least=20)
    with pytest.raises(ValueError, match=r"test must have shape \(120, 8\), got \(120, 7\)"):
        by_class(below, x, test_x[:, 1:], CLASSES, least=20)


def test_a_class_without_test_images_has_no_shares():
    below, x, test_x = case(seed=1)
    kept = FINE[below.test] != 1
    rows = by_class(Subtypes(NAMES, FINE, below.train, below.test[kept]), x, test_x[kept], CLASSES, least=20)
    assert [row["probe"] is None for row in rows] == [False, True]
    whole = summary(rows)
    assert whole["probe"] == rows[0]["probe"] and whole["terms"] == 5 and whole["test images"] == 60


def test_the_summary_weighs_shares_by_test_images_and_classes_alike():
    row = {"class": "a", "terms": ["x", "y"], "images": 5, "ari": {"k-means": 0.2}}
    rows = [
        row | {"test images": 30, "probe": 0.5, "largest": 0.1},
        row | {"test images": 10, "probe": 0.9, "largest": 0.5, "ari": {"k-means": 0.6}},
    ]
    whole = summary(rows)
    assert whole["ari"] == {"k-means": pytest.approx(0.4)}
    assert (whole["probe"], whole["largest"]) == (pytest.approx(0.6), pytest.approx(0.2))


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_images(tmp_path / "images.tar.xz", {"cat": "pets", "dog": "pets"}, train=24, test=6)
    data = load("images:images.tar.xz", tmp_path)
    paths = (*data.names.train_paths, *data.names.test_paths)
    write_subtypes(tmp_path / "terms.csv.xz", {path: f"term {int(path[-1]) % 2}" for path in paths})
    return data, {"data": "images:images.tar.xz", "terms": "subtypes:terms.csv.xz", "root": tmp_path}


def test_the_command_reports_on_pixels_and_on_runs(files, tmp_path, capsys):
    data, asked = files
    rng, run = np.random.default_rng(0), tmp_path / "run"
    run.mkdir()
    arrays = {"fine.train": data.train_y, "fine.test": data.test_y}
    arrays |= {f"{s}.as is": rng.standard_normal((n, 5)) for s, n in (("train", 48), ("test", 12))}
    save_file(arrays, run / "representation.safetensors")
    command(**asked, run=[run], least=5, json_file=tmp_path / "terms.json")
    record = json.loads((tmp_path / "terms.json").read_text())
    assert list(record["places"]) == ["64 principal components of pixels", "run"]
    for place in record["places"].values():
        assert [row["class"] for row in place["classes"]] == ["cat", "dog"]
        assert place["all"]["terms"] == 4 and place["all"]["images"] == 48
    assert record["least"] == 5 and "largest" in capsys.readouterr().out


def test_a_run_that_is_not_there_or_of_other_images_is_refused(files, tmp_path):
    data, asked = files
    with pytest.raises(
        FileNotFoundError, match=r"--run needs .*representation\.safetensors, which finegrain"
    ):
        command(**asked, run=[tmp_path / "absent"], least=5)
    arrays = {"fine.train": data.train_y, "fine.test": data.test_y[::-1].copy()}
    save_file(arrays, tmp_path / "representation.safetensors")
    with pytest.raises(ValueError, match=r"is not of these images: its test labels are others"):
        command(**asked, run=[tmp_path], least=5)
