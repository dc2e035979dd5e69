"""Labels finer than a structure: what the representation shows, against what chance gives."""

import json
from dataclasses import replace

import numpy as np
import pytest
from short_training import SHORT
from tiny_images import tiny_images

from finegrain.empirical.hidden_classes.finer import by_epoch, structure
from finegrain.empirical.hidden_classes.report import whole
from finegrain.empirical.networks.training import train
from finegrain.empirical.readers.changed_sets import halved

MAP = np.array([0, 0, 1, 1, 2, 2])


def features(coarse, fine, n=600, seed=0):
    """(n, 12) of six classes in three: places of the coarse ones `coarse` apart, of the fine ones `fine`."""
    rng, y = np.random.default_rng(seed), np.arange(n) % 6
    x = coarse * np.eye(12)[MAP[y]] + fine * np.eye(12)[3 + y] + rng.standard_normal((n, 12))
    return x.astype(np.float32), y


def test_classes_that_lie_together_are_grouped_and_have_a_share():
    found = structure(*features(9, 3), MAP, 0)
    assert found["grouped"] == 1
    # Two places 3 sqrt 2 apart: between them 4.5 of the variance, beside 12 of noise.
    assert found["fine_share"] == pytest.approx(4.5 / 16.5, abs=0.03)
    assert found["by_chance"] == pytest.approx(3 / 600, rel=0.5)


def test_where_the_map_is_not_what_lies_together_its_classes_are_not_grouped():
    x, y = features(9, 3)
    assert structure(x, y, np.array([0, 1, 2, 0, 1, 2]), 0)["grouped"] < 0


def test_a_split_without_structure_has_the_share_of_chance():
    rows = [structure(*features(9, 0, seed=seed), MAP, seed) for seed in range(20)]
    excess = [row["fine_share"] - row["by_chance"] for row in rows]
    standard_error = np.std(excess, ddof=1) / np.sqrt(len(excess))
    assert abs(np.mean(excess)) < 4 * standard_error
    assert np.mean([row["fine_share"] for row in rows]) > 0.003  # and is not 0


def test_a_class_without_images_has_no_numbers():
    x, y = features(9, 3)
    assert set(structure(x[y != 5], y[y != 5], MAP, 0).values()) == {None}


def test_a_run_on_halved_classes_tells_of_them_along_training(tmp_path):
    data = halved(tiny_images(), 0)
    recipe = replace(SHORT, map="superclasses", labels="fine")
    report = whole(recipe, data, tmp_path, device="cpu")
    rows = report["structure_by_epoch"]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert rows == by_epoch(train(recipe, data, tmp_path, device="cpu"))
    assert json.loads((tmp_path / "recovery.json").read_text())["structure_by_epoch"] == rows
    assert report["coarse_map"] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert max(abs(row["test"]["fine_share"] - row["test"]["by_chance"]) for row in rows) < 0.1
