"""The two reasons for which T13's prediction fails, each on data where it alone acts."""

import re
from dataclasses import replace

import numpy as np
import pytest

from finegrain.empirical.prediction.config import Config
from finegrain.empirical.prediction.error_law import power_law, rms
from finegrain.empirical.prediction.limits import drawn, errors
from finegrain.empirical.readers.data import Dataset

BASE = Config(map="0,0,1,1", dim=4, width=6, steps=60, records=3, components=1, fit_in="all")
REPEATS = 8


@pytest.fixture(scope="module")
def data():
    """Four classes of two well separated Gaussians each: far from one Gaussian a class, exactly two."""
    rng = np.random.default_rng(0)
    fine, side = np.arange(40_000) % 4, rng.choice([-1.0, 1.0], 40_000)
    means, apart = rng.standard_normal((4, 4)), rng.standard_normal((4, 4))
    x = means[fine] + side[:, None] * (1.5 * apart / np.linalg.norm(apart, axis=1)[:, None])[fine]
    x = x + 0.3 * rng.standard_normal(x.shape)
    return Dataset("two-sided", x, fine, x[:200], fine[:200], tuple("abcd"))


def end_errors(data, inputs, count, *components):
    """Signed errors of fine_share at the end, (repeats,), of each number of components; they share the trainings."""
    configs = [replace(BASE, components=R) for R in components]
    found = [errors(data, inputs, count, repeat, configs) for repeat in range(REPEATS)]
    return np.array([[point["fine_share"]["end"] for point in points] for points in found]).T


def test_the_error_of_finite_samples_alone_falls_as_one_over_root_n(data):
    """One Gaussian a class, predicted with R = 1: a sixteenfold n and another, a quarter of the error each."""
    counts = (200, 3_200, 12_800)
    law = power_law(counts, [end_errors(data, "control", n, 1)[0] for n in counts])
    assert law.interval[0] < -0.5 < law.interval[1]
    assert law.interval[1] < -0.2  # it does fall


def test_the_error_of_non_gaussian_classes_stays_where_n_grows_and_goes_with_enough_gaussians(data):
    few, many = (end_errors(data, "images", n, 1, 2) for n in (200, 12_800))
    one, two = (rms([few[place], many[place]]) for place in (0, 1))
    assert 0.7 < one[1] / one[0] < 1.4
    assert two[1] < two[0] / 2
    assert two[1] < one[1] / 10


def test_samples_are_new_for_each_repeat_and_the_same_for_the_same(data):
    for inputs in ("images", "control"):
        a, again, b = (drawn(data, inputs, 100, repeat, BASE.map) for repeat in (0, 0, 1))
        np.testing.assert_array_equal(a.train_x, again.train_x)
        assert not np.array_equal(a.train_x, b.train_x)
        assert a.train_x.shape == (100, 4)
    rows = {tuple(x) for x in data.train_x}
    assert all(tuple(x) in rows for x in drawn(data, "images", 100, 0).train_x)


def test_the_control_has_the_moments_of_the_data(data):
    """Within 5 standard errors of a mean of 10,000 samples a class of the largest variance, about 2.5."""
    control = drawn(data, "control", 40_000, 0, BASE.map)
    for c in range(4):
        found, wanted = (d.train_x[d.train_y == c].mean(axis=0) for d in (control, data))
        assert np.abs(found - wanted).max() < 5 * np.sqrt(2.5 / 10_000)


@pytest.mark.parametrize(
    ("inputs", "count", "message"),
    [
        ("twins", 10, "inputs must be one of control, images; got 'twins'"),
        ("images", 40_001, "count must be at most the 40000 training images, got 40001"),
    ],
)
def test_bad_draws_are_refused(data, inputs, count, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        drawn(data, inputs, count, 0)
