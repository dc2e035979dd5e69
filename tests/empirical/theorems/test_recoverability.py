"""Predicted against observed rules on features: right for Gaussian mixtures, and honest about which half is which."""

import re

import numpy as np
import pytest

from finegrain.empirical.theorems.recoverability import RULES, compare
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments

pytestmark = pytest.mark.T10
COARSE = [0, 1, 0, 1, 2]


def draw(n, seed=0, dim=4):
    """Two Gaussians a fine class."""
    rng = np.random.default_rng(seed)
    roots = rng.standard_normal((10, dim, dim)) / 2
    moments = Moments(
        np.full(10, 0.1), 1.5 * rng.standard_normal((10, dim)), roots @ roots.transpose(0, 2, 1)
    )
    return Mixture(moments, COARSE, np.repeat(np.arange(5), 2)).sample(n, rng)


@pytest.fixture(scope="module")
def rows():
    return list(compare(*draw(12_000), COARSE, components=(1, 2), axes=None, held_out=True))


def test_there_is_a_row_for_each_pair_rule_and_number_of_gaussians(rows):
    expected = [(k, rule, R) for k in (0, 1) for R in (1, 2) for rule in RULES]
    assert [(row.coarse, row.rule, row.components) for row in rows] == expected
    assert all(0.5 <= value <= 1 for row in rows for value in (row.predicted, row.observed))


def test_the_right_number_of_gaussians_predicts_within_sampling_error(rows):
    for row in rows:
        if row.components == 2:
            # Counting, and as much again for each of the fit and the observed centres, at 4 standard errors.
            bound = 4 * np.sqrt(3 * row.observed * (1 - row.observed) / row.samples)
            assert abs(row.error) < bound < 0.08, row


def test_on_the_same_samples_only_the_shape_of_the_classes_differs():
    """A third of the held-out bound: neither half's sampling error is in it."""
    for row in compare(*draw(12_000), COARSE, components=(2,), axes=None):
        assert abs(row.error) < 4 * np.sqrt(row.observed * (1 - row.observed) / row.samples), row


def test_directions_that_miss_nothing_change_little(rows):
    again = list(compare(*draw(12_000), COARSE, components=(1,), axes=2, held_out=True))
    first = [row for row in rows if row.components == 1]
    for one, other in zip(first, again, strict=True):
        assert one == other  # one Gaussian is sought nowhere


def test_labels_that_say_nothing_are_predicted_and_observed_at_one_half():
    """The halves share no sample: a rule fitted on one has no luck on the other."""
    x = np.random.default_rng(1).standard_normal((400, 50))
    rows = list(compare(x, np.arange(400) % 2, [0, 0], components=(1,), held_out=True))
    (lda,) = [row for row in rows if row.rule == "LDA"]
    assert lda.observed < 0.5 + 4 * np.sqrt(0.25 / 200)
    assert lda.predicted > 0.7  # 100 samples in 50 dimensions: what is fitted flatters itself


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coarse_map": [0, 0, 0, 1, 2]}, "exactly two fine classes to some coarse class, got none"),
        ({"features": np.full((40, 4), np.nan)}, "features must be finite"),
        ({"components": (9,)}, "components must be at most half the samples"),
    ],
)
def test_bad_calls_are_refused_by_name(change, message):
    x, _ = draw(40)
    arguments = {"features": x, "fine": np.arange(40) % 5, "coarse_map": COARSE}
    with pytest.raises(ValueError, match=re.escape(message)):
        list(compare(**(arguments | change)))
