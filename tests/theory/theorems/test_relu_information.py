"""T23: what h tells of noisy inputs is the same at every scale while subclasses merge; and every assumption."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from finegrain.sims import plain
from finegrain.sims.initial_weights import balanced, served
from finegrain.sims.theorems import relu_information as observed
from finegrain.theory import observables
from finegrain.theory.moments import Moments
from finegrain.theory.theorems import relu_information as law

pytestmark = pytest.mark.T23
EPS = np.finfo(float).eps
NOISE = 0.3
ALL = [(0,), (1,), (0, 1)]
# The claim at S = 2, all patterns, noise .3, by quadrature of the features' moments in the trial.
CLAIMED = 5.06997


def test_separation_falls_tenfold_and_the_distance_stays():
    x, labels = observed.noisy_inputs(2, NOISE, 4000, 0)
    seps, distances = [], []
    for eps in (1e-1, 1e-3, 1e-6):
        network = observed.trained(ALL, 2, eps, 0)
        seps.append(network.separation)
        distances.append(observables.mahalanobis(Moments.from_samples(network.features(x), labels))[0, 1])
    assert seps[0] > 10 * seps[2]
    # One sample: the same numbers but for the rounding of a covariance whose scales are apart by sep^2.
    np.testing.assert_allclose(distances, distances[0], rtol=1e-6)
    assert distances[0] == pytest.approx(CLAIMED, rel=0.05)


@given(
    subclasses=st.integers(2, 4),
    noise=st.floats(0.1, 2),
    scales=st.lists(st.floats(0.01, 100), min_size=15, max_size=15),
)
def test_scales_of_neurons_do_not_matter(subclasses, noise, scales):
    patterns = observed.every_set(subclasses)
    x, labels = observed.noisy_inputs(subclasses, noise, 200, 0)
    member = np.array([[float(c in Q) for c in range(subclasses)] for Q in patterns])
    h = np.maximum(x @ member.T, 0)
    scaled = h * np.array(scales[: len(patterns)])
    one, other = (observables.mahalanobis(Moments.from_samples(y, labels)) for y in (h, scaled))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-9)


@given(noise=st.floats(0.05, 5))
def test_the_accuracy_lies_between_a_half_and_the_best(noise):
    accuracy, best = law.predict_accuracy(noise), law.predict_best(noise)
    assert 0.5 < accuracy <= best + 1e-12
    # What is lost needs both gates closed.
    assert best - accuracy < ndtr(-1 / noise) / 2 + 1e-12


def test_more_patterns_tell_more_and_full_ones_nothing():
    single, every = (law.predict(patterns, 2, NOISE)[0, 1] for patterns in ([(0,), (1,)], ALL))
    assert 0 < single <= every
    assert law.predict([(0, 1)], 2, NOISE)[0, 1] == pytest.approx(0, abs=1e-7)


def test_from_a_random_start_a_classifier_learns_no_less():
    """S = 2, eps = 1e-3, 24 neurons: the distance in h is at least the claim, and the inputs' own at most."""
    W, A = balanced(24, 4, 1e-3, np.random.default_rng(0))
    problem = plain.Problem(np.eye(4), np.repeat([[1.0], [-1.0]], 2, axis=0))
    end = plain.flow(problem, [W, A], [2 * np.sqrt(2) * (np.log(1e3) + 10)], rtol=1e-7)[0][0]
    x, labels = observed.noisy_inputs(2, NOISE, 20_000, 0)
    h = np.maximum(np.pad(x, ((0, 0), (0, 2))) @ end.T, 0)
    h = h[:, h.std(axis=0) > 0]
    h /= h.std(axis=0)
    within = Moments.from_samples(h, labels).within
    delta = h[labels == 0].mean(axis=0) - h[labels == 1].mean(axis=0)
    found = np.sqrt(delta @ np.linalg.pinv(within, rcond=1e-13) @ delta)
    assert found > 0.97 * CLAIMED


def distance_of(h, labels):
    return observables.mahalanobis(Moments.from_samples(h, labels))[0, 1]


def test_necessary_relu():
    """Squares of the same inputs: another distance by a tenth and more."""
    x, labels = observed.noisy_inputs(2, NOISE, 20_000, 0)
    network = observed.trained(ALL, 2, 1e-3, 0)
    assert distance_of(network.features(x), labels) == pytest.approx(CLAIMED, rel=0.03)
    assert abs(distance_of((x @ network.W.T) ** 2, labels) / CLAIMED - 1) > 0.1


def test_necessary_orthonormal_means():
    """Same-class cosine .3: single neurons open on the other subclass, and the distance falls below that of the inputs
    by another amount."""
    root = np.linalg.cholesky(np.kron(np.eye(2), [[1, 0.3], [0.3, 1]]))
    problem = plain.Problem(root, np.repeat([[1.0], [-1.0]], 2, axis=0))
    start = served(ALL, 1e-3 * np.ones(3), 2)
    end = plain.flow(problem, start, [40.0], rtol=1e-8)[0][0][:3, :2]
    x, labels = observed.noisy_inputs(2, NOISE, 20_000, 0)
    found = distance_of(np.maximum((x - np.eye(2)[labels] + root[:2, :2][labels]) @ end.T, 0), labels)
    assert abs(found / CLAIMED - 1) > 0.1


def test_necessary_aligned_neurons():
    """The correction: with the pattern {1, 2} alone Phi tells nothing; two neurons of it 1e-5 apart tell .97 of it."""
    x, labels = observed.noisy_inputs(2, NOISE, 20_000, 0)
    aligned = np.maximum(x @ np.ones((2, 2)), 0)
    assert abs(np.mean((aligned[:, 0] > aligned[:, 1]) == (labels == 0)) - 0.5) < 0.02
    apart = np.maximum(x @ np.array([[1 + 1e-5, 1], [1, 1 + 1e-5]]), 0)
    assert np.mean((apart[:, 0] > apart[:, 1]) == (labels == 0)) > 0.97


def test_necessary_a_neuron_for_each_alone():
    """With {0} and {0, 1} in place of {0} and {1} the larger of the two is right on far fewer."""
    x, labels = observed.noisy_inputs(2, NOISE, 20_000, 0)
    network = observed.trained([(0,), (0, 1)], 2, 1e-3, 0)
    first, second = (network.features(x) / np.linalg.norm(network.W, axis=1)).T
    assert np.mean((first > second) == (labels == 0)) < 0.96


def test_necessary_test_noise_of_one_variance():
    """Noise .1 and .9 along the two means, the same in sum: accuracy .8 of the claim at most."""
    rng, labels = np.random.default_rng(0), np.arange(40_000) % 2
    x = np.eye(2)[labels] + rng.standard_normal((40_000, 2)) * [0.1, 0.9]
    h = np.maximum(x, 0)
    share = np.mean(np.where(h[:, 0] == h[:, 1], 0.5, (h[:, 0] > h[:, 1]) == (labels == 0)))
    equal = np.sqrt((0.1**2 + 0.9**2) / 2)
    density = lambda z: np.exp(-((z - 1) ** 2) / (2 * equal**2)) / (equal * np.sqrt(2 * np.pi))  # noqa: E731
    grid = np.linspace(0, 1 + 9 * equal, 20_001)
    claimed = np.trapezoid(density(grid) * ndtr(grid / equal), grid) + ndtr(-1 / equal) / 4
    assert abs(share - claimed) > 0.01


def test_necessary_h_to_full_precision():
    """Noise of 5 % of h's length: at eps = .1 the distance hardly changes, at eps = 1e-6 it falls to a third."""
    x, labels = observed.noisy_inputs(2, NOISE, 20_000, 0)
    for eps, kept in ((1e-1, True), (1e-6, False)):
        h = observed.trained(ALL, 2, eps, 0).features(x)
        blurred = h + 0.05 * np.linalg.norm(h, axis=1).mean() * np.random.default_rng(1).standard_normal(
            h.shape
        )
        found = distance_of(blurred, labels)
        assert found > 0.8 * CLAIMED if kept else found < CLAIMED / 3


BAD_CALLS = [
    (lambda: law.predict([(0,)], 1, 0.3), "subclasses must be a finite number >= 2, got 1"),
    (lambda: law.predict_accuracy(0.0), "noise must be a finite number > 0, got 0.0"),
    (lambda: law.predict([(2,)], 2, 0.3), r"patterns must be sets of numbers 0..1, got \[2\]"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def number(name, *arguments):
    return law.THEOREM.formulas[name].number(*arguments)


# By hand: (3, 4) at covariance (1/2) I. At huge noise an input is N(0, sigma^2): 3/8 of it above 0 and in order, and an
# eighth of ties.
VALUES = {
    "feature": [(lambda: number("feature", 2.0, 3.0), 6.0), (lambda: number("feature", 2.0, -3.0) + 1, 1.0)],
    "distance": [(lambda: number("distance", np.array([[3.0], [4.0]]), 2 * np.eye(2))[0, 0], 50.0)],
    "reach": [(lambda: number("reach", 0.5), np.sqrt(2))],
    "correlation": [(lambda: number("correlation"), np.sqrt(0.5))],
    "accuracy": [(lambda: law.predict_accuracy(1e300), 0.5), (lambda: law.predict_accuracy(1e-3), 1.0)],
    "best": [(lambda: law.predict_best(np.sqrt(0.5)), float(ndtr(1.0)))],
}


def test_the_accuracy_is_that_of_the_bivariate_normal():
    """P(x_1 > 0, x_1 > x_2) by scipy's bivariate normal, correlation 1/sqrt 2."""
    from scipy.stats import multivariate_normal

    for noise in (0.3, 1.0):
        r = np.sqrt(0.5)
        both = multivariate_normal([0, 0], [[1, r], [r, 1]]).cdf([1 / noise, r / noise])
        assert law.predict_accuracy(noise) == pytest.approx(both + ndtr(-1 / noise) / 4, abs=1e-6)
