"""T10: three rules on two Gaussians as claimed, against samples and brute force; each assumption dropped in turn."""

import numpy as np
import pytest
import sympy as sp
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr

from finegrain.sims.theorems import recoverability as observed
from finegrain.theory import kinematics, observables
from finegrain.theory.moments import Moments
from finegrain.theory.theorems import recoverability as law
from finegrain.theory.theorems.symbolic import ProofFailed
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


def test_predicted_against_observed():
    for row in observed.verify(1):
        assert row.holds, row


def test_necessary_gaussian_classes():
    """h = relu(z), z ~ N(+-1/2, 1): the formula gives .661, the best rule, a cut at z = 0, has .6915."""
    inputs = Moments([0.5, 0.5], [[0.5], [-0.5]], np.ones((2, 1, 1)))
    hidden = kinematics.propagate(inputs, [[1.0]], "relu")
    assert float(observables.lda_accuracy(hidden)[0, 1]) < ndtr(0.5) - 0.03


def test_necessary_equal_covariances():
    """Equal means, variances 1 and 9: the formula gives 1/2, a cut at |x| = 1.57 is right 71 % of the time."""
    moments = Moments([0.5, 0.5], np.zeros((2, 1)), np.array([1.0, 9.0]).reshape(2, 1, 1))
    cut = np.sqrt(2 * np.log(3) / (1 - 1 / 9))
    best = ((2 * ndtr(cut) - 1) + 2 * ndtr(-cut / 3)) / 2
    assert best > 0.7
    assert float(observables.lda_accuracy(moments)[0, 1]) == 0.5


def test_necessary_equal_weights_for_the_optimum():
    predicted = law.predict([1.0, 0.0], np.eye(2), prior=0.9)["optimum"]
    assert predicted > ndtr(0.5) + 0.2  # Phi(Delta/2) = .69; always saying the larger class has .9


def test_necessary_equal_weights_for_two_means():
    """Weights .95 and .05, a/s = 1: 2-means cuts the large class in two, far off the midpoint of the means."""
    cuts = np.linspace(-3, 3, 6001)
    best = cuts[np.argmax([gain(1.0, b, 0.95) for b in cuts])]
    assert best > 0.7
    pair = observed.Pair(np.array([2.0, 0.0]), np.eye(2), 0.95)
    x, label = pair.sample(40_000, np.random.default_rng(0))
    share = observed.two_means(x, label)[0].accuracy
    assert share < law.predict(pair.delta, pair.covariance)["two_means"] - 0.1


def test_necessary_an_eigenvector_for_the_bisector():
    """delta = (1, 1), Cov = diag(.1, 10)/2: Delta^2 = 20.2, the bisector .67."""
    found = law.predict([1.0, 1.0], np.diag([0.05, 5.0]))
    assert found["optimum"] > 0.98
    assert found["bisector"] < 0.7


def test_necessary_an_eigenvector_for_the_thresholds():
    """delta off the axes by 30 degrees: all variances are below the threshold, yet 2-means is not the bisector."""
    delta = 2 * np.array([np.cos(np.pi / 6), np.sin(np.pi / 6)])
    cov = np.diag([1.0, 2.0])
    best, _ = law.predict_thresholds(1.0, float(np.sqrt(delta @ cov @ delta) / 2))
    assert best > 2.3  # the largest variance is 2
    found = law.predict(delta, cov)
    assert abs(found["two_means"] - found["bisector"]) > 0.01
    n = observed.rest(observed.Pair(delta, cov), observed.Clustering(delta / 2, 1.0, 1.0))
    assert abs(n @ delta / 2) < np.cos(0.2)  # more than .2 radians off delta


BAD_CALLS = [
    (lambda: law.predict_thresholds(0.0, 1.0), "half must be a finite number > 0, got 0.0"),
    (lambda: law.predict_thresholds(1.0, -1.0), "std must be a finite number > 0, got -1.0"),
    (lambda: law.predict([1.0, 0.0], np.eye(3)), r"covariance must have shape \(2, 2\), got \(3, 3\)"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


DELTA = sp.Symbol("Delta", positive=True)
FALSE_CLAIMS = {
    "variances compared, not mean absolute values": {
        "thresholds": lambda spread, a, s: (a**2 + s**2, s * spread / (2 * law._phi(a / s)))
    },
    "stable up to the best threshold": {
        "thresholds": lambda spread, a, s: (sp.pi / 2 * spread**2, sp.pi / 2 * spread**2)
    },
    "the whole distance, not half": {"equal_priors": law._Phi(DELTA)},
}


@pytest.mark.parametrize("claim", FALSE_CLAIMS.values(), ids=FALSE_CLAIMS.keys())
def test_a_false_claim_is_not_proved(claim):
    with pytest.raises(ProofFailed, match=f"^{law.THEOREM.id}.* is not 0"):
        law.prove(**claim)
