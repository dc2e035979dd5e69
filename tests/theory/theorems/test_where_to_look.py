"""T18: off the classifier's row space fine structure is whole, and 2-means meets T10's threshold there."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import ndtr

from finegrain.sims import plain
from finegrain.sims.population.loss import population_loss
from finegrain.sims.theorems import where_to_look as observed
from finegrain.sims.theorems.invisible_subspace import draw as invisible_problem
from finegrain.sims.theorems.recoverability import Pair, two_means
from finegrain.theory import observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.theorems import recoverability
from finegrain.theory.theorems import where_to_look as law
from finegrain.theory.tools import testing

pytestmark = pytest.mark.T18
EPS = np.finfo(float).eps
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def unseen(draw, kind="anisotropic"):
    """Cov (m, m), a classifier A (K, m) with K < m, and a delta that A does not see."""
    cov = draw(testing.psd_matrices(kind=kind, anisotropy=100.0))
    m = len(cov)
    rng = np.random.default_rng(draw(SEEDS))
    classifier = rng.standard_normal((draw(st.integers(1, min(m - 1, 12))), m))
    delta = law.projector(classifier) @ rng.standard_normal(m)
    return delta * np.sqrt(cov.trace() / m) / np.linalg.norm(delta), cov, classifier


@given(
    seed=SEEDS,
    n=st.integers(1, 34),
    visible=st.integers(1, 6),
    width=st.integers(1, 64),
    coarse=st.integers(2, 12),
    weight_decay=st.floats(0, 1),
)
def test_the_velocity_inside_and_off_the_row_space(seed, n, visible, width, coarse, weight_decay):
    rng = np.random.default_rng(seed)
    problem = invisible_problem(
        rng, coarse=coarse, visible=visible, eigenvalues=rng.uniform(0, 2, n), width=width
    )
    loss = population_loss(
        problem.mixture, targets=problem.targets, activation="identity", weight_decay=weight_decay
    )
    W, A = problem.W0 @ problem.basis, problem.A0
    velocity = -loss(problem.W0, A)[1] @ problem.basis
    P = law.projector(A)
    # Rounding of products of five matrices, relative to the product of their norms, and of P to A's condition.
    values = np.linalg.svd(A, compute_uv=False)
    assume(values[-1] > 1e-4 * values[0])
    second = np.linalg.norm(problem.mixture.second_moment())
    size = np.linalg.norm(A) ** 2 * np.linalg.norm(problem.W0) * second + np.linalg.norm(A) * second + 10
    slack = 200 * EPS * size * values[0] / values[-1]
    assert np.abs(P @ velocity + weight_decay * P @ W).max() <= slack
    predicted = -(weight_decay * A @ W + A @ A.T @ (A @ W) * problem.eigenvalues)
    assert np.abs(A @ velocity - predicted).max() <= slack * (1 + np.linalg.norm(A))


@given(case=unseen())
def test_the_nearest_class_mean_is_as_good_off_the_row_space(case):
    delta, cov, classifier = case
    moments = recoverability.pair(delta, cov)
    whole, off = (observables.bisector_accuracy(m)[0, 1] for m in (moments, law.project(moments, classifier)))
    assert off == pytest.approx(whole, abs=1e3 * len(delta) * EPS)


@given(case=unseen())
def test_the_mahalanobis_distance_falls_by_the_gap_and_stays_if_the_nuisance_is_uncorrelated(case):
    delta, cov, classifier = case
    # The pseudo-inverse of the gap and the axes of P are as exact as A is well conditioned.
    assume(np.linalg.cond(classifier) < 1e3)
    P = law.projector(classifier)
    apart = P @ cov @ P + (np.eye(len(cov)) - P) @ cov @ (np.eye(len(cov)) - P)
    for matrix, falls in ((cov, True), ((apart + apart.T) / 2, False)):
        whole = recoverability.pair(delta, matrix)
        before, after = (
            float(observables.mahalanobis(m)[0, 1]) ** 2 for m in (whole, law.project(whole, classifier))
        )
        # Delta of a condition number up to 100, twice.
        slack = 1e5 * len(delta) * EPS * before
        gap = law.predict_gap(delta, matrix, classifier)
        assert before - after == pytest.approx(gap, abs=slack)
        assert gap >= 0 if falls else abs(gap) <= slack


@given(
    width=st.integers(3, 40),
    outputs=st.integers(1, 12),
    nuisance=st.floats(1.05, 100),
    other=st.floats(0.05, 0.95),
    seed=SEEDS,
)
def test_two_means_is_blind_on_h_and_is_the_bisector_off_the_row_space(width, outputs, nuisance, other, seed):
    assume(outputs <= width - 2)
    rng = np.random.default_rng(seed)
    pair, classifier = observed.hidden_pair(rng, width, outputs, nuisance=nuisance, other=other)
    half, std = np.linalg.norm(pair.delta) / 2, np.sqrt(pair.delta @ pair.covariance @ pair.delta) / 2
    std /= half
    f = law.THEOREM.formulas
    assert f.threshold.number(half, std) == pytest.approx(
        recoverability.predict_thresholds(half, std)[0], rel=1e-13
    )
    whole, off = law.predict(pair.delta, pair.covariance, classifier)["two_means"]
    # As in T10's test: rounding of the axes over a gap of 5 %, magnified by the iteration's 1/gap.
    error = 2 / 0.05 * (1e-13 + 64 * width * EPS * np.linalg.cond(classifier) / 0.05)
    assert whole == pytest.approx(0.5, abs=error)
    assert off == pytest.approx(f.accuracy.number(half, std), abs=error)


@given(case=unseen(kind="any"))
def test_the_projector_is_orthogonal_off_the_rows(case):
    _, _, classifier = case
    P, m = law.projector(classifier), classifier.shape[1]
    np.testing.assert_allclose(P @ P, P, atol=64 * m * EPS)
    np.testing.assert_allclose(P, P.T, atol=0)
    assert np.abs(classifier @ P).max() <= 64 * m * EPS * np.linalg.norm(classifier)
    assert round(np.trace(P)) == m - len(classifier)


def test_rows_of_lower_rank_are_projected_off_once():
    np.testing.assert_allclose(law.projector([[1.0, 0, 0], [2.0, 0, 0]]), np.diag([0.0, 1, 1]), atol=4 * EPS)
    np.testing.assert_array_equal(law.projector(np.zeros((2, 3))), np.eye(3))


def test_weight_decay_makes_every_flow_pass_the_threshold_on_h_and_none_off_the_row_space():
    """(a) and (c) together, by T10's formula on the exact Moments along a flow."""
    found = observed.course(np.array([2.0, 60.0]), seed=0)
    accuracies = []
    for index in range(2):
        pair, classifier = found.pair(index)
        accuracies.append(law.predict(pair.delta, pair.covariance, classifier)["two_means"])
    assert accuracies[1][0] == pytest.approx(0.5, abs=1e-3)
    assert min(off for _, off in accuracies) > 0.9


def test_necessary_gaussian_subclasses_a_scale_of_each_sample_is_not_covered():
    """h = rho (mean + noise), rho log-normal: P h keeps rho and 2-means splits by it; unit norm removes it."""
    off = np.diag([0.0, 1, 1])  # the row space is the first axis
    rng = np.random.default_rng(0)
    n, label = 20_000, np.arange(20_000) % 2
    clean = np.concatenate(
        [np.full((n, 1), 3.0), np.where(label, -1.0, 1.0)[:, None], np.full((n, 1), 2.0)], axis=1
    )
    clean += rng.standard_normal((n, 3)) * [0.1, 0.3, 0.3]
    projected = np.exp(0.6 * rng.standard_normal((n, 1))) * clean @ off
    assert two_means(clean @ off, label)[0].accuracy > 0.99
    assert two_means(projected, label)[0].accuracy < 0.9
    assert two_means(projected / np.linalg.norm(projected, axis=1)[:, None], label)[0].accuracy > 0.99


def sampled_accuracies(delta, covariance, hidden, n=20_000):
    """Share sorted right of samples of h and of h without its `hidden` coordinates: best 2-means, nearest true mean."""
    rng = np.random.default_rng(0)
    label = np.arange(n) % 2
    root = np.linalg.cholesky(covariance)
    h = rng.standard_normal((n, len(delta))) @ root.T + np.where(label, -0.5, 0.5)[:, None] * np.asarray(
        delta
    )
    found = []
    for keep in (np.ones(len(delta)), 1 - np.isin(np.arange(len(delta)), hidden)):
        x, apart = h * keep, delta * keep
        nearest = np.mean((x @ apart > 0) == (label == 0)) if apart.any() else 0.5
        found.append((two_means(x, label)[0].accuracy, nearest))
    return found


def test_necessary_the_output_does_not_tell_the_subclasses_apart():
    """delta in the row space, e_1: 2-means on samples of h sorts .97 right, off the row space it is at chance."""
    (whole, _), (off, _) = sampled_accuracies(np.array([2.0, 0.0, 0.0]), np.diag([0.25, 0.1, 0.1]), [0])
    assert whole > 0.97
    assert off < 0.52


def test_necessary_an_eigenvector():
    """Cov couples delta to another direction off the row space, variances 1 and 2 below T = 2.14: 2-means turns away.

    Along an eigenvector of the same variances it is the nearest-mean rule.
    """
    tilted = 2 * np.array([np.cos(np.pi / 6), np.sin(np.pi / 6), 0.0])
    noise = np.diag([1.0, 2.0, 9.0])
    _, (off, nearest) = sampled_accuracies(tilted, noise, [2], n=100_000)
    assert abs(off - nearest) > 0.01
    _, (off, nearest) = sampled_accuracies(np.array([2.0, 0, 0]), np.diag([1.0, 1.5, 9.0]), [2], n=100_000)
    assert abs(off - nearest) < 0.005


def test_necessary_no_large_variance_off_the_row_space():
    """Another nuisance outside the row space is still there after projecting: 2-means on samples of P h is blind."""
    (_, _), (off, nearest) = sampled_accuracies(np.array([2.0, 0, 0]), np.diag([0.5, 20.0, 9.0]), [2])
    assert off < 0.55
    assert nearest > 0.9


def test_necessary_an_uncorrelated_nuisance_for_the_distance():
    """Noise shared with the row space can be subtracted on h, not on P h: Delta falls from 4.6 to 2."""
    moments = recoverability.pair([2.0, 0.0], [[1.0, 0.9], [0.9, 1.0]])
    before, after = (
        float(observables.mahalanobis(m)[0, 1]) for m in (moments, law.project(moments, [[0.0, 1.0]]))
    )
    assert before > 4.5
    assert after == pytest.approx(2, rel=1e-12)


def test_necessary_equal_weights_and_covariances():
    """Off the row space, delta = (2, 0): 2-means misses Phi(a/s) by 5 % at weights .97 and .03, or spreads .1 and 4."""
    rng = np.random.default_rng(0)
    for share, spreads in ((0.5, (0.7, 0.7)), (0.97, (0.7, 0.7)), (0.5, (0.1, 4.0))):
        label = (rng.random(20_000) > share).astype(int)
        std = np.sqrt(np.mean(np.square(spreads)))
        x = rng.standard_normal((20_000, 2)) * np.stack([np.take(spreads, label), np.full(20_000, 0.3)], 1)
        x[:, 0] += np.where(label, -1.0, 1.0)
        missed = abs(two_means(x, label)[0].accuracy - ndtr(1 / std))
        assert missed < 0.01 if (share, spreads) == (0.5, (0.7, 0.7)) else missed > 0.05


def trained_alone(v, *, activation="identity", loss="squared", weight_decay=0.05):
    """||A W v|| and ||P W v|| after plain training of W alone to t = 4, over what the theorem says; K = 1."""
    mixture = Mixture.orthonormal(2, 2, noise=0.4)
    x, weights, labels = plain.matching_points(
        mixture.moments.means, mixture.moments.covariances, mixture.moments.weights
    )
    problem = plain.Problem(
        x, np.where(labels < 2, 1.0, -1.0)[:, None], weights,
        activation=activation, loss=loss, weight_decay=weight_decay,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    W0, A = rng.standard_normal((8, 4)), rng.standard_normal((1, 8)) / 2
    W = plain.flow(problem, [W0, A], [4.0], fixed=[1])[0][0]
    v = np.array(v) / np.linalg.norm(v)
    s = 0.25 + 0.16  # the share of a class, and the noise
    rates = weight_decay + s * np.sum(A**2), weight_decay
    fall = np.array(observed.sizes(W @ v, A)) / observed.sizes(W0 @ v, A)
    return fall / np.exp(-4 * np.array(rates))


def test_necessary_a_linear_network():
    """ReLU gates: A W v stays five times as large, P W v misses by 1 %; a linear network keeps to both within 1e-6."""
    np.testing.assert_allclose(trained_alone([1, -1, 0, 0]), 1, rtol=1e-6)
    inside, off = trained_alone([1, -1, 0, 0], activation="relu")
    assert inside > 5
    assert abs(off - 1) > 0.01


def test_necessary_squared_loss_inside_alone():
    """The logistic loss pulls less: A W v stays twice as large; off the row space any loss does."""
    inside, off = trained_alone([1, -1, 0, 0], loss="logistic")
    assert inside > 2
    assert off == pytest.approx(1, rel=1e-6)


def test_necessary_labels_that_do_not_see_v_inside_alone():
    """v = (1, 1, 0, 0) points along the classes: A W v goes to what the labels ask for, P W v falls as ever."""
    inside, off = trained_alone([1, 1, 0, 0])
    assert inside > 2
    assert off == pytest.approx(1, rel=1e-6)


def test_necessary_a_fixed_classifier_for_the_decay_inside():
    """A trained too, lambda = .1: the leak falls at about 2 lambda = .2, not at s ||A||^2 > .35."""
    rate = observed.leak_rate(0, weight_decay=0.1)
    found = observed.course(np.array([50.0]), seed=0, weight_decay=0.1)
    assert (0.25 + 0.16) * np.sum(found.A[0] ** 2) > 0.35
    assert rate == pytest.approx(0.2, rel=0.02)


AXIS, COLUMN, SPREAD = [[2.0, 0.0]], np.array([[1.0], [2.0]]), np.array([[3.0, 1.0], [1.0, 2.0]])
VALUES = {
    "projector": [(lambda: law.projector([[2.0, 0, 0], [4.0, 0, 0]])[2, 2], 1.0)],
    "decay": [(lambda: law.predict_images([0.0, 3.0], AXIS, 0.5, 0.25, 4.0)[1][1], 3 / np.e)],
    # lambda + s ||A||^2 = 1/4 + 2.
    "inside": [(lambda: law.predict_images([3.0, 0.0], AXIS, 0.5, 0.25, 4.0)[0][0], 6 * np.exp(-9))],
    "projected": [
        (lambda: law.THEOREM.formulas.projected.number(np.diag([0.0, 1.0]), SPREAD)[1, 1], 2.0),
    ],
    "variance": [(lambda: law.THEOREM.formulas.variance.number(COLUMN, SPREAD)[0, 0], 15.0)],
    "distance": [(lambda: law.THEOREM.formulas.distance.number(COLUMN, SPREAD)[0, 0], 15.0)],
    # Variances 3 and 2, covariance 1, y = 4: u = 2, Z = 1/(3 - 1/2).
    "gap": [(lambda: law.predict_gap([0.0, 4.0], SPREAD, AXIS), 1.6)],
    "threshold": [
        (
            lambda: law.THEOREM.formulas.threshold.number(2.0, 1.0),
            np.pi / 2 * (np.sqrt(2 / np.pi) * np.exp(-2) + 2 * (2 * ndtr(2) - 1)) ** 2,
        )
    ],
    "accuracy": [(lambda: law.THEOREM.formulas.accuracy.number(1.0, 2.0), ndtr(0.5))],
}


BAD_CALLS = [
    (lambda: law.projector([1.0, 0.0]), r"classifier must have shape \(K, m\), got \(2,\)"),
    (lambda: law.projector([[np.nan, 0.0]]), "classifier must be finite"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_pair_of_a_course_is_its_subclasses():
    pair, classifier = observed.course(np.array([1.0]), seed=0).pair(0)
    assert isinstance(pair, Pair)
    assert classifier.shape == (1, 8)
