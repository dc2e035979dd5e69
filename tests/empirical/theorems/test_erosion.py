"""T8 on samples: the linear law for any data, the ReLU law where its assumptions hold, and what `shrunk` keeps."""

import numpy as np
import pytest

from finegrain.empirical.theorems.erosion import predicted_rate, separations, shrunk, train
from finegrain.theory.moments import Moments
from finegrain.theory.theorems import erosion as law

COARSE = np.array([0, 1, 0, 1])


def samples(noise, count=80):
    rng = np.random.default_rng(0)
    fine = np.arange(count) % 4
    means = np.eye(4, 5) + 0.2 * rng.standard_normal((4, 5))
    return means[fine] + noise * rng.standard_normal((count, 5)), fine


@pytest.mark.T8
def test_off_the_classifier_a_linear_network_forgets_at_lambda_whatever_the_data():
    x, fine = samples(0.5)
    found = train(x, fine, COARSE, activation="identity", weight_decay=0.05, width=8, lifetimes=14)
    # The classifier settles at twice the distance of lambda from its singular value: by the end to 1e-3 and better.
    np.testing.assert_allclose(found.rates("off")[-3:], found.rate, rtol=1e-3)
    assert found.rate == pytest.approx(0.05, rel=0.01)
    assert abs(found.rates("total")[-1]) < 1e-3 * found.rate  # a floor: the fit tells the subclasses apart


@pytest.mark.T8
def test_points_at_orthonormal_means_merge_at_t8s_rate():
    x, fine = samples(0.5)
    points = shrunk(x, fine, 0.0)
    np.testing.assert_allclose(points, np.eye(4)[fine], atol=1e-14)
    found = train(points, fine, COARSE, activation="relu", weight_decay=0.05, width=40, lifetimes=24)
    assert found.rate == pytest.approx(law.predict_rate(0.05, 2, 4, target_norm=np.sqrt(0.5)), rel=0.01)
    np.testing.assert_allclose(found.rates("total")[-2:], found.rate, rtol=0.02)


def test_separation_in_full_and_off_the_row_space():
    """Means at right angles, of which the classifier sees the first axis alone."""
    hidden = Moments(np.full(2, 0.5), np.array([[3.0, 0, 0], [0, 4, 0]]), np.zeros((2, 3, 3)))
    total, off = separations(hidden, np.array([[2.0, 0, 0]]), np.array([0, 0]))
    assert total == pytest.approx(5 / np.sqrt(12))
    assert off == pytest.approx(4 / np.sqrt(12))


def test_shrinking_keeps_the_noise_in_proportion():
    x, fine = samples(0.5)
    whole, tenth = (shrunk(x, fine, noise) - np.eye(4)[fine] for noise in (1.0, 0.1))
    np.testing.assert_allclose(tenth, 0.1 * whole, atol=1e-14)


def test_the_predicted_rate_counts_the_finite_step():
    assert predicted_rate("identity", 0.1, COARSE, 1e-6) == pytest.approx(0.1, rel=1e-6)
    assert predicted_rate("identity", 0.1, COARSE, 0.5) == pytest.approx(-2 * np.log(0.95))


def test_bad_input_is_named():
    x, fine = samples(0.5)
    with pytest.raises(
        ValueError, match=r"coarse_map must have classes of one size >= 2, got sizes \[3, 1\]"
    ):
        train(x, fine, np.array([0, 0, 0, 1]), activation="relu", weight_decay=0.1)
    with pytest.raises(ValueError, match=r"activation must be one of identity, relu; got 'erf'"):
        train(x, fine, COARSE, activation="erf", weight_decay=0.1)
    with pytest.raises(ValueError, match=r"linearly independent class means, got rank 2 for 4 classes"):
        shrunk(x[:, :2], fine, 0.1)
