"""T10: three rules on two Gaussians as claimed, against samples and brute force; each assumption dropped in turn."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr

from finegrain.sims.theorems import recoverability as observed
from finegrain.theory import kinematics, observables
from finegrain.theory import pairs as recoverability
from finegrain.theory.moments import Moments, PooledCovariance
from finegrain.theory.theorems import recoverability as law
from finegrain.theory.tools import testing

pytestmark = pytest.mark.T10
EPS = np.finfo(float).eps
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def pairs(draw, kind="any", dim=(2, 40)):
    """A covariance of any kind and a difference of means inside its range, with Delta between 1/2 and 4."""
    cov = draw(testing.psd_matrices(dim=dim, kind=kind, anisotropy=100.0))
    rng = np.random.default_rng(draw(SEEDS))
    values, axes = np.linalg.eigh(cov)
    values = np.where(values > 1e-9 * values[-1], values, 0)
    assume(values.any())
    direction = (values > 0) * rng.standard_normal(len(values))
    delta = (axes * np.sqrt(values)) @ (direction / np.linalg.norm(direction)) * draw(st.floats(0.5, 4))
    return delta, (axes * values) @ axes.T


@given(case=pairs(), prior=st.floats(0.02, 0.98), seed=SEEDS)
def test_the_optimum_and_the_bisector_sort_the_claimed_share_of_samples(case, prior, seed):
    n, pair = 4000, observed.Pair(*case, prior)
    found = observed.count(pair, n, np.random.default_rng(seed))
    predicted = law.predict(*case, prior)
    for rule, share in found.items():
        # 250 draws at most, two rules: exceeded by chance with probability 3e-4 at most.
        assert abs(share - predicted[rule]) <= observed.counting_error(predicted[rule], n, 5.3), rule


def test_200_random_pairs_within_four_standard_errors():
    rng = np.random.default_rng(10)
    linear = [observed.observe_linear(rng, 4) for _ in range(200)]
    found = {rule: np.array([draw[rule] for draw in linear]) for rule in ("optimum", "bisector")}
    found["two_means"] = np.array([observed.observe_two_means(rng, 4) for _ in range(200)])
    for rule, draws in found.items():
        predicted, share, bound = draws.T
        ratio = np.abs(share - predicted) / bound
        assert ratio.max() <= 1, rule
        # The bound has the size of the error: the largest of 200 uses up a third of it, and it says something.
        assert ratio.max() > 0.3, rule
        assert np.median(bound) < 0.05, rule
        if rule != "two_means":  # counting alone: no allowance beyond 4 standard errors is needed
            assert (np.abs(share - predicted) <= 4 * np.sqrt(predicted * (1 - predicted) / 4000)).all(), rule


@given(case=pairs(kind="anisotropic", dim=2))
def test_two_means_takes_the_direction_of_largest_spread(case):
    """d = 2, where every direction can be tried: u maximises E|u.x|."""
    delta, cov = case
    angles = np.linspace(0, np.pi, 20_001)
    u = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    std = np.sqrt(np.einsum("ni,ij,nj->n", u, cov, u))
    spread = law.predict_spread(np.abs(u @ delta) / 2, std)
    best = u[np.argmax(spread)]
    far = np.abs(u @ best) < 0.99
    # E|u.x| is Lipschitz in the angle with the root of the second moment: ties within the grid are not decided.
    grid = 1.6e-4 * np.sqrt(np.linalg.eigvalsh(cov + np.outer(delta, delta) / 4)[-1])
    assume(spread.max() - spread[far].max() > grid)
    n = best
    for _ in range(3000):
        m = law.predict_centre(n, delta, cov)
        last, n = n, m / np.linalg.norm(m)
        if np.linalg.norm(n - last) < 1e-13:
            break
    assert abs(n @ best) > 0.99  # the grid's best lies in the basin of a rest point near it
    expected = ndtr(abs(n @ delta) / 2 / np.sqrt(n @ cov @ n))
    # Both stop at steps of 1e-13, which a contraction of .999 makes an error of 1e-10.
    assert law.predict(delta, cov)["two_means"] == pytest.approx(expected, abs=1e-9)


@given(case=pairs(kind="anisotropic"), seed=SEEDS)
def test_lloyd_never_lowers_the_spread(case, seed):
    delta, cov = case
    n = np.random.default_rng(seed).standard_normal(len(delta))
    n /= np.linalg.norm(n)
    before = 0.0
    for _ in range(10):
        after = float(law.predict_spread(abs(n @ delta) / 2, np.sqrt(n @ cov @ n)))
        assert after >= before * (1 - 64 * len(delta) * EPS)
        m = law.predict_centre(n, delta, cov)
        before, n = after, m / np.linalg.norm(m)
        # ||m|| lies between the spreads of two successive directions.
        assert np.linalg.norm(m) >= before * (1 - 64 * len(delta) * EPS)


@given(
    half=st.floats(0.05, 4),
    std=st.floats(0.05, 4),
    others=st.lists(st.floats(0, 1), min_size=1, max_size=39),
    gap=st.floats(0.001, 0.9),
    above=st.booleans(),
    seed=SEEDS,
)
def test_two_means_is_the_bisector_below_the_threshold_and_blind_above(half, std, others, gap, above, seed):
    assume(half / std < 6)
    threshold, _ = law.predict_thresholds(half, std)
    largest = threshold * (1 + gap if above else 1 - gap)
    variances = np.array([std**2, largest, *(largest * np.array(others[1:]))])
    axes = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(variances),) * 2))[0]
    cov, delta = (axes * variances) @ axes.T, 2 * half * axes[:, 0]
    predicted = law.predict(delta, (cov + cov.T) / 2)["two_means"]
    # The iteration stops at steps of 1e-13 and its axes are right to rounding over the eigenvalues' gap; it contracts
    # by tau^2/stable <= 1 - gap at the bisector and by (a^2 + s^2)/tau^2 <= 1/(1 + gap) across it.
    error = 2 / gap * (1e-13 + 64 * len(variances) * EPS / gap)
    assert predicted == pytest.approx(0.5 if above else ndtr(half / std), abs=error)


@given(half=st.floats(0.05, 4), std=st.floats(0.05, 4), factor=st.floats(0.01, 100))
def test_the_thresholds_are_ordered_and_scale_as_the_variance(half, std, factor):
    best, stable = law.predict_thresholds(half, std)
    assert std**2 * (1 - 8 * EPS) <= best <= stable * (1 + 8 * EPS)
    slack = 64 * EPS * (1 + (half / std) ** 2)  # of exp((a/s)^2/2)
    np.testing.assert_allclose(
        law.predict_thresholds(factor * half, factor * std),
        [factor**2 * best, factor**2 * stable],
        rtol=slack,
    )


def test_the_known_thresholds():
    """delta = (2, 0), s = 1: 2.138 and 2.411; tau^2 = 9: 2-means .50 where the bisector has .841."""
    assert np.round(law.predict_thresholds(1, 1), 3).tolist() == [2.138, 2.411]
    found = law.predict([2, 0], np.diag([1.0, 9.0]))
    assert round(found["two_means"], 12) == 0.5
    assert round(found["bisector"], 3) == 0.841


@given(case=pairs(kind="anisotropic"), factor=st.floats(0.01, 100), seed=SEEDS)
def test_accuracies_are_unchanged_by_scale_and_rotation(case, factor, seed):
    delta, cov = case
    axes = np.linalg.qr(np.random.default_rng(seed).standard_normal(cov.shape))[0] * factor
    moved = axes @ cov @ axes.T
    before, after = (
        law.predict(*case, 0.4) for case in ((delta, cov), (axes @ delta, (moved + moved.T) / 2))
    )
    for rule in ("optimum", "bisector"):
        assert after[rule] == pytest.approx(before[rule], abs=1e4 * len(delta) * EPS)


SCALES = [1e-150, 1e-100, 1e-82, 1e-30, 1e30, 1e82, 1e150]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", ["full", "pooled"])
def test_every_accuracy_is_unchanged_by_scale_over_300_decades(scale, kind):
    """Below 1e-82 the bisector had returned 1.0 where .691 is true."""
    rng = np.random.default_rng(0)
    root, means = rng.standard_normal((3, 3)), rng.standard_normal((2, 3))
    classifier, bias = rng.standard_normal((2, 3)), np.array([0.1, -0.3])

    def accuracies(size):
        cov = root @ root.T * size**2
        spread = np.stack([cov] * 2) if kind == "full" else PooledCovariance(cov, np.full(2, np.trace(cov)))
        moments = Moments([0.3, 0.7], size * means, spread)
        rules = (
            recoverability.mahalanobis,
            recoverability.lda_accuracy,
            recoverability.bisector_accuracy,
            recoverability.two_means_accuracy,
            recoverability.separation,
        )
        by_pair = [float(rule(moments)[0, 1]) for rule in rules]
        return [*by_pair, recoverability.nc4(moments, classifier / size, bias)]

    # Rounding of one product by the scale, and of 2-means' stop at 1e-13.
    np.testing.assert_allclose(accuracies(scale), accuracies(1.0), rtol=1e-12)
    unit = np.eye(1)
    assert law.predict([scale], scale**2 * unit)["bisector"] == pytest.approx(ndtr(0.5), rel=4 * EPS)
    assert law.predict_thresholds(scale, scale) == pytest.approx(
        np.array(law.predict_thresholds(1.0, 1.0)) * scale**2, rel=16 * EPS
    )


def test_two_close_classes_beside_a_far_one_keep_their_bisector():
    """Per pair, not only over all: delta of 1e-100 beside a mean at 1."""
    tiny = 1e-100
    moments = Moments(np.full(3, 1 / 3), [[0.0], [tiny], [1.0]], np.full((3, 1, 1), tiny**2))
    assert float(recoverability.bisector_accuracy(moments)[0, 1]) == pytest.approx(ndtr(0.5), rel=4 * EPS)


@given(case=pairs(kind="anisotropic"))
def test_no_rule_beats_the_optimum(case):
    found = law.predict(*case)
    assert max(found["bisector"], found["two_means"]) <= found["optimum"] + 1e3 * len(case[0]) * EPS


@given(cov=testing.psd_matrices(kind="anisotropic", anisotropy=100.0), index=st.integers(0, 39))
def test_the_bisector_is_optimal_for_an_eigenvector_and_only_then(cov, index):
    values, axes = np.linalg.eigh(cov)
    i = index % len(values)
    found = law.predict(2 * np.sqrt(values[i]) * axes[:, i], cov)
    assert found["bisector"] == pytest.approx(found["optimum"], abs=1e4 * len(values) * EPS)
    low, high = values[0], values[-1]
    assume(high > 1.1 * low)
    mixed = np.sqrt(low) * axes[:, 0] + np.sqrt(high) * axes[:, -1]
    found = law.predict(mixed, cov)
    # Delta^2 = 2 against (low + high)^2/(low^2 + high^2), as in the proof.
    weaker = (low + high) / np.sqrt(low**2 + high**2)
    expected = ndtr(np.sqrt(2) / 2) - ndtr(weaker / 2)
    assert found["optimum"] - found["bisector"] == pytest.approx(expected, abs=1e4 * len(values) * EPS)
    assert expected > 0


@given(half=st.floats(0, 5), threshold=st.floats(0.01, 10))
def test_no_threshold_off_the_midpoint_is_better(half, threshold):
    """Numerical, not proved: the gain of a split at b for 1/2 N(+-a, 1) is largest at b = 0."""
    assert gain(half, threshold, 0.5) < gain(half, 0.0, 0.5)


def gain(half, b, weight):
    """P_1 P_2 (m_1 - m_2)^2 of a split at b, for weight N(a, 1) + (1 - weight) N(-a, 1)."""
    mean = (2 * weight - 1) * half
    upper = weight * ndtr(half - b) + (1 - weight) * ndtr(-half - b)
    tails = [np.exp(-((b - side) ** 2) / 2) / np.sqrt(2 * np.pi) for side in (half, -half)]
    first = weight * (half * ndtr(half - b) + tails[0]) + (1 - weight) * (-half * ndtr(-half - b) + tails[1])
    return (first - mean * upper) ** 2 / (upper * (1 - upper))


@given(half=st.floats(-5, 5), std=st.floats(0.01, 5))
def test_the_spread_is_the_mean_of_the_absolute_value(half, std):
    def integrand(z):
        return abs(half + std * z) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)

    kink = -half / std
    exact = sum(
        quad(integrand, *ends)[0] for ends in ((-40, np.clip(kink, -40, 40)), (np.clip(kink, -40, 40), 40))
    )
    assert float(law.predict_spread(half, std)) == pytest.approx(exact, rel=1e-7)


def test_the_spread_of_a_point_is_its_distance():
    assert law.predict_spread([-2.0, 3.0], [0.0, 0.0]).tolist() == [2, 3]


@pytest.mark.parametrize("seed", range(2))
def test_both_sides_of_each_threshold(seed):
    for name, predicted, share, bound in observed.across_the_thresholds(40_000, seed):
        assert abs(share - predicted) <= bound, name
        assert bound < 0.1  # .841 and .5 are told apart


def test_necessary_gaussian_classes():
    """h = relu(z), z ~ N(+-1/2, 1): the formula gives .661, a cut at h = 0+ sorts .6915 of samples right."""
    label = np.arange(40_000) % 2
    h = np.maximum(np.random.default_rng(0).standard_normal(label.size) + np.where(label, 0.5, -0.5), 0)
    means, variance = [h[label == k].mean() for k in (0, 1)], np.mean([h[label == k].var() for k in (0, 1)])
    # Four standard errors of the count are .01.
    assert np.mean((h > 0) == label) > ndtr((means[1] - means[0]) / np.sqrt(variance) / 2) + 0.02
    inputs = Moments([0.5, 0.5], [[0.5], [-0.5]], np.ones((2, 1, 1)))
    hidden = kinematics.propagate(inputs, [[1.0]], "relu")
    assert float(observables.lda_accuracy(hidden)[0, 1]) < ndtr(0.5) - 0.03


def test_necessary_equal_covariances():
    """Equal means, variances 1 and 9: Phi(0) = 1/2, yet |x| < 1.57 sorts 71 % of samples right."""
    label = np.arange(40_000) % 2
    x = np.random.default_rng(0).standard_normal(label.size) * np.where(label, 1, 3)
    assert np.mean((np.abs(x) < 1.57) == label) > 0.7
    moments = Moments([0.5, 0.5], np.zeros((2, 1)), np.array([1.0, 9.0]).reshape(2, 1, 1))
    cut = np.sqrt(2 * np.log(3) / (1 - 1 / 9))
    best = ((2 * ndtr(cut) - 1) + 2 * ndtr(-cut / 3)) / 2
    assert best > 0.7
    assert float(observables.lda_accuracy(moments)[0, 1]) == 0.5


def test_necessary_equal_weights_for_the_optimum():
    """Phi(Delta/2) = .69 for Delta = 1; of samples with prior .9 always saying the larger class sorts .9 right."""
    rng = np.random.default_rng(0)
    label = rng.uniform(size=40_000) < 0.9
    x = rng.standard_normal(label.size) + label
    assert np.mean(label) > ndtr(0.5) + 0.2
    # So does the best cut, at (1/2) - ln 9.
    assert np.mean((x > 0.5 - np.log(9)) == label) > ndtr(0.5) + 0.2


def test_necessary_equal_weights_for_two_means():
    """Weights .95 and .05, a/s = 1: 2-means cuts the large class in two, far off the midpoint of the means."""
    cuts = np.linspace(-3, 3, 6001)
    best = cuts[np.argmax([gain(1.0, b, 0.95) for b in cuts])]
    assert best > 0.7
    pair = observed.Pair(np.array([2.0, 0.0]), np.eye(2), 0.95)
    x, label = pair.sample(40_000, np.random.default_rng(0))
    share = observed.two_means(x, label)[0].accuracy
    assert share < ndtr(1) - 0.1


def test_necessary_an_eigenvector_for_the_bisector():
    """delta = (1, 1), Cov = diag(.05, 5), on samples: nearest true mean .67, a rule along x_1 alone .98."""
    rng = np.random.default_rng(0)
    label = np.arange(40_000) % 2
    x = rng.standard_normal((label.size, 2)) * np.sqrt([0.05, 5.0]) + np.where(label, 0.5, -0.5)[:, None]
    distances = [np.sum((x - side * 0.5) ** 2, axis=1) for side in (-1, 1)]
    nearest = np.mean((distances[1] < distances[0]) == label)
    assert nearest < 0.7
    assert np.mean((x[:, 0] > 0) == label) > nearest + 0.25


def test_necessary_an_eigenvector_for_the_thresholds():
    """delta off the axes by 30 degrees, variances 1 and 2 below the threshold 2.3: 2-means on samples turns away."""
    rng = np.random.default_rng(0)
    direction = np.array([np.cos(np.pi / 6), np.sin(np.pi / 6)])
    label = np.arange(100_000) % 2
    x = (
        rng.standard_normal((label.size, 2)) * np.sqrt([1.0, 2.0])
        + np.where(label, 1, -1)[:, None] * direction
    )
    # T = (pi/2)(E|X|)^2 along delta, from the same samples: above the largest variance.
    assert np.pi / 2 * np.mean(np.abs(x @ direction)) ** 2 > 2.3
    n = direction
    for _ in range(300):
        n = (np.sign(x @ n) @ x) / len(x)
        n /= np.linalg.norm(n)
    assert abs(n @ direction) < np.cos(0.2)
    nearest = np.mean((x @ direction > 0) == label)
    assert abs(nearest - np.mean((x @ n > 0) == label)) > 0.01


BAD_CALLS = [
    (lambda: law.predict_thresholds(0.0, 1.0), "half must be a finite number > 0, got 0.0"),
    (lambda: law.predict_thresholds(1.0, -1.0), "std must be a finite number > 0, got -1.0"),
    (lambda: law.predict([1.0, 0.0], np.eye(3)), r"covariance must have shape \(2, 2\), got \(3, 3\)"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(case=pairs(kind="anisotropic"), prior=st.floats(0.02, 0.98))
def test_the_accuracies_are_the_formulas_that_are_proved(case, prior):
    """theory/pairs.py, which `predict` calls, beside each formula of T10 as printed."""
    delta, cov = case
    distance = np.sqrt(delta @ np.linalg.solve(cov, delta))
    found, equal = law.predict(delta, cov, prior), law.predict(delta, cov)
    bisector = number("bisector", delta @ delta, delta @ cov @ delta)
    # A condition number of 100 loses two digits, and the priors' logarithm is divided by Delta >= 1/2.
    assert found["optimum"] == pytest.approx(number("optimum", distance, prior), abs=1e4 * len(delta) * EPS)
    assert equal["optimum"] == pytest.approx(number("equal", distance), abs=1e4 * len(delta) * EPS)
    assert found["bisector"] == pytest.approx(bisector, abs=1e4 * len(delta) * EPS)


def number(name, *arguments):
    return law.THEOREM.formulas[name].number(*arguments)


# Phi(1) from a table of the normal distribution, phi(1) = 1/sqrt(2 pi e).
PHI_1, DENSITY_1 = 0.8413447460685429, 1 / np.sqrt(2 * np.pi * np.e)
SPREAD_1 = 2 * DENSITY_1 + 2 * PHI_1 - 1
COLUMN = np.array([[1.0], [2.0]])
VALUES = {
    "score": [(lambda: number("score", COLUMN, COLUMN)[0, 0], 5.0)],
    "variance": [(lambda: number("variance", COLUMN, 3 * np.eye(2))[0, 0], 15.0)],
    # Delta = 1 and odds of sqrt e: Phi(1/2 + 1/2) and Phi(1/2 - 1/2).
    "optimum": [
        (
            lambda: number("optimum", 1.0, np.sqrt(np.e) / (1 + np.sqrt(np.e))),
            (np.sqrt(np.e) * PHI_1 + 0.5) / (1 + np.sqrt(np.e)),
        )
    ],
    "equal": [(lambda: number("equal", 2.0), PHI_1)],
    "bisector": [(lambda: number("bisector", 4.0, 4.0), PHI_1)],
    "unlike": [(lambda: number("unlike", 2.0, 3.0, 1.0, 3.0), 48.0)],
    "spread": [(lambda: float(law.predict_spread(1.0, 1.0)), SPREAD_1)],
    # n = e_1, delta = (2, 4), Cov = [[1, 3], [3, 10]]: (delta/2) (2 Phi(1) - 1) + 2 phi(1) (1, 3).
    "centre": [
        (
            lambda: law.predict_centre([1.0, 0.0], [2.0, 4.0], [[1.0, 3], [3, 10]])[1],
            2 * (2 * PHI_1 - 1) + 6 * DENSITY_1,
        )
    ],
    "best": [(lambda: law.predict_thresholds(1.0, 1.0)[0], np.pi / 2 * SPREAD_1**2)],
    "stable": [(lambda: law.predict_thresholds(1.0, 1.0)[1], SPREAD_1 / (2 * DENSITY_1))],
}
