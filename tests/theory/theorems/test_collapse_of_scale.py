"""T4: the invisible part's scale falls as claimed, its information stays, and each assumption is needed."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from finegrain.sims.initial_weights import balanced
from finegrain.sims.population.flow import population_flow
from finegrain.sims.theorems import collapse_of_scale as observed
from finegrain.sims.theorems.invisible_subspace import draw, flow
from finegrain.theory import kinematics, observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import signs
from finegrain.theory.theorems import collapse_of_scale as law

pytestmark = pytest.mark.T4
EPS = np.finfo(float).eps
RTOL = 1e-9


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 34),
    visible=st.integers(1, 6),
    width=st.integers(1, 64),
    weight_decay=st.floats(0, 1),
    scale=st.floats(-5, 0.3).map(lambda x: 10.0**x),
)
def test_the_energy_falls_at_least_as_fast_as_weight_decay_asks(seed, n, visible, width, weight_decay, scale):
    rng = np.random.default_rng(seed)
    eigenvalues = rng.uniform(0, 2, n)
    problem = draw(rng, coarse=2, visible=visible, eigenvalues=eigenvalues, width=width, scale=scale)
    times = np.array([0.3, 1.0, 4.0])
    trajectory = flow(problem, times, weight_decay, RTOL)
    # Sigma_v itself, and any C that is diagonal with it.
    for diagonal in (eigenvalues, rng.uniform(0, 1, n)):
        start = np.sum((problem.W0 @ problem.basis) ** 2 * diagonal)
        for t, W in zip(times, trajectory.W, strict=True):
            energy = np.sum((W @ problem.basis) ** 2 * diagonal)
            # Each of at most a few hundred steps errs by RTOL of the weights, visible ones included.
            slack = 1e3 * RTOL * np.linalg.norm(W) ** 2 * max(1.0, diagonal.max())
            assert energy <= law.predict_bound(start, weight_decay, t) + slack


@given(
    seed=st.integers(0, 2**32 - 1),
    subclasses=st.integers(2, 5),
    noise=st.floats(0.05, 1),
    weight_decay=st.sampled_from([0.0, 0.05, 0.3]),
)
def test_every_mahalanobis_distance_is_the_inputs_at_all_times(seed, subclasses, noise, weight_decay):
    width = 2 * subclasses + 2  # dim V + K at least: W_v stays well conditioned
    times = np.array([0.0, 2.0, 20.0])
    found = observed.course(
        subclasses=subclasses, noise=noise, width=width, weight_decay=weight_decay, times=times, seed=seed
    )
    assume(found.condition.max() < 1e8)
    error = np.abs(found.mahalanobis / found.predicted_mahalanobis - 1).max()
    assert error <= 64 * EPS * found.condition.max()


def test_scale_collapses_by_four_decades_while_information_stays_to_1e_8():
    found = observed.course(weight_decay=0.05, times=np.array([0.0, 30.0, 60.0, 120.0]))
    assert found.trace_ratio[0] / found.trace_ratio[-1] >= 1e4
    assert np.abs(found.mahalanobis / found.predicted_mahalanobis - 1).max() <= 1e-8


@pytest.mark.parametrize(
    ("weight_decay", "span"), [(0.05, (120.0, 140.0)), (0.2, (60.0, 70.0)), (0.7, (14.0, 16.0))]
)
def test_the_late_rate_is_twice_weight_decay_or_twice_sigma_1(weight_decay, span):
    """sigma_1(M) = 1/2, and it separates: below it the rate is 2 lambda, above it 1."""
    found = observed.course(weight_decay=weight_decay, times=np.array(span), rtol=1e-11)
    rate = -np.diff(np.log(found.trace_ratio))[0] / (span[1] - span[0])
    # Transients die at 2 (sigma_1 - lambda) below and at sigma_1 or faster above; twice for good measure.
    left = np.exp(-2 * abs(0.5 - weight_decay) * span[0]) + np.exp(-0.5 * span[0])
    assert found.rate == 2 * min(weight_decay, 0.5)
    assert rate == pytest.approx(found.rate, rel=4 * left + 1e-4)


def bare_ratio_rate(means, targets, coarse_map, *, noise, weight_decay, width, span, seed=0):
    """Decay rate of tr Cov_v / tr Sigma_B over `span` by SciPy on the bare loss; equal weights, V from an SVD."""
    C, d = means.shape
    second, cross = means.T @ means / C + noise**2 * np.eye(d), targets.T @ means / C
    rng = np.random.default_rng(seed)
    start = 0.5 * rng.standard_normal(width * (d + targets.shape[1]))

    def velocity(_, state):
        W, A = state[: width * d].reshape(width, d), state[width * d :].reshape(-1, width)
        error = A @ W @ second - cross
        return -np.concatenate(
            [(A.T @ error + weight_decay * W).ravel(), (error @ W.T + weight_decay * A).ravel()]
        )

    run = solve_ivp(velocity, (0, span[1]), start, "DOP853", t_eval=span, rtol=1e-11, atol=1e-14)
    coarse = np.array([means[coarse_map == k].mean(axis=0) for k in coarse_map])
    within = (means - coarse).T @ (means - coarse) / C + noise**2 * np.eye(d)
    seen = np.linalg.svd(cross)[2][: np.linalg.matrix_rank(cross)]
    hidden = np.eye(d) - seen.T @ seen
    ratios = []
    for state in run.y.T:
        W = state[: width * d].reshape(width, d)
        between = np.sum((W @ (coarse - coarse.mean(axis=0)).T) ** 2) / C
        ratios.append(np.trace(W @ hidden @ within @ hidden @ W.T) / between)
    return -np.log(ratios[1] / ratios[0]) / (span[1] - span[0])


COARSE = np.array([0, 0, 1, 1])


def test_necessary_more_neurons_than_modes_above_weight_decay():
    """The counterexample to the first rate: m = 1, sigma_1 = 1/2, lambda = .05 gives 2 sigma_1 and not 2 lambda."""
    signs_of = np.where(COARSE == 0, -1.0, 1.0)[:, None]
    rate = bare_ratio_rate(
        np.eye(4), signs_of, COARSE, noise=0.3, weight_decay=0.05, width=1, span=(40.0, 44.0)
    )
    assert rate > 9 * 2 * 0.05
    assert rate == pytest.approx(1.0, abs=1e-3)


def test_necessary_a_separating_mode_above_weight_decay():
    """One-hot targets, inputs with a common mean: lambda = .8 < sigma_1 = 1.41, yet Sigma_B dies.

    The rate is 2 sigma_2 = .707 and not 2 lambda = 1.6: the top mode is the mean, which separates nothing.
    """
    means = np.hstack([np.eye(4), np.full((4, 1), np.sqrt(3.75))])
    rate = bare_ratio_rate(
        means, np.eye(2)[COARSE], COARSE, noise=0.3, weight_decay=0.8, width=8, span=(28.0, 32.0)
    )
    assert rate < 0.5 * 2 * 0.8
    assert rate == pytest.approx(np.sqrt(2) / 2, rel=1e-3)


def test_the_rate_of_both_counterexamples_is_predicted():
    """2 sigma_1 with one neuron, 2 sigma_2 where the top mode separates nothing: the flows above end there."""
    one_neuron = law.predict_ratio_rate(
        0.05, [0.5], separating=[True], visible=[0.34], invisible=[0.34], width=1
    )
    common_mean = law.predict_ratio_rate(
        0.8,
        [np.sqrt(2), np.sqrt(2) / 4],
        separating=[False, True],
        visible=[4.09, 0.34],
        invisible=[0.34, 0.34, 0.09],
        width=8,
    )
    assert (one_neuron, common_mean) == pytest.approx((1.0, np.sqrt(2) / 2), rel=1e-12)


def test_no_rate_is_claimed_at_the_critical_weight_decay_or_without_neurons():
    options = {"visible": [1.0, 1.0], "invisible": [1.0]}
    with pytest.raises(ValueError, match=r"weight_decay must differ from every sigma_k of M, got 0.5"):
        law.predict_ratio_rate(0.5, [0.9, 0.5], separating=[True, True], width=3, **options)
    with pytest.raises(
        ValueError, match=r"width must be > 2, the modes above weight_decay, or equal .* got 1"
    ):
        law.predict_ratio_rate(0.1, [0.9, 0.5], separating=[True, True], width=1, **options)


@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(1, 40), width=st.integers(1, 64))
def test_no_linear_map_adds_information(seed, dim, width):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((dim, dim))
    covariance = root @ root.T + 0.1 * np.eye(dim)
    moments = Moments(np.full(2, 0.5), rng.standard_normal((2, dim)), np.stack([covariance] * 2))
    W = rng.standard_normal((width, dim))
    hidden = kinematics.propagate(moments, W, "identity")
    before, after = (observables.mahalanobis(m)[0, 1] for m in (moments, hidden))
    assert after <= before * (1 + 1e3 * EPS * np.linalg.cond(covariance) * np.linalg.cond(W) ** 2)


def test_the_total_nc1_has_the_floor_of_visible_noise():
    """(c): with input noise NC1 of the whole representation stops falling; without, it does not."""
    ends = {}
    for noise in (0.0, 0.3):
        mixture = Mixture.orthonormal(2, 2, noise=noise)
        rng = np.random.default_rng(0)
        W0, A0 = 0.3 * rng.standard_normal((6, 4)), 0.3 * rng.standard_normal((1, 6))
        course = population_flow(
            mixture,
            W0,
            A0,
            targets=signs(mixture.coarse_map),
            activation="identity",
            weight_decay=0.05,
            times=[100.0, 150.0],
            rtol=1e-10,
        )
        ends[noise] = [observables.nc1_trace_ratio(m.pool(mixture.coarse_map)) for m in course.moments]
    # The label direction u has between-class variance (u . mu)^2 = 1/4 and noise variance .09.
    assert ends[0.3][1] == pytest.approx(0.09 / 0.25, rel=1e-3)
    assert ends[0.0][1] < 1e-2 * ends[0.0][0]


@pytest.mark.parametrize("broken", ["relu", "logistic loss", "visible"])
def test_necessary_linear_network_squared_loss_and_invisibility(broken):
    """Without one of them the labels pump energy into V: 3 times the start's, at lambda = 0, where it may not grow."""
    mixture = Mixture.orthonormal(2, 2)
    V = np.kron(np.eye(2), [[1.0], [-1.0]]) / np.sqrt(2)  # differences of subclasses
    targets, activation, loss = signs(mixture.coarse_map), "identity", "squared"
    W, A = balanced(6, 4, 0.05, np.random.default_rng(0))
    if broken == "relu":
        activation = "relu"
    elif broken == "logistic loss":  # T3's counterexample: V = e_2
        mixture = Mixture.from_means(
            [[-1.0, -1], [2, -2], [-3, -1], [1, 1], [-2, 2], [3, 1]], [0] * 3 + [1] * 3
        )
        V, targets, loss = np.eye(2)[:, 1:], signs(mixture.coarse_map), "logistic"
        W, A = balanced(6, 2, 0.05, np.random.default_rng(0))
    else:
        V = targets / 2
    path = population_flow(
        mixture, W, A, targets=targets, activation=activation, loss=loss, times=[30.0], rtol=1e-6
    )
    start, end = (np.sum((weights @ V) ** 2) for weights in (W, path.W[0]))
    assert end > 3 * start


def test_necessary_commuting_covariance():
    """The counterexample to (a) as first stated: tr(W_v C W_v^T) grows at lambda = 0."""
    second, c = np.diag([1.0, 0.1]), np.array([1.0, 2.0])
    seen = np.array([[-1.0, 1.0]])  # A W_v, from W_v = I and A = (-1, 1)
    velocity = -seen.T @ seen @ second
    derivative = 2 * np.trace(velocity @ np.outer(c, c))
    assert derivative == pytest.approx(1.6)
    # The same from a flow: points +-x on the two axes have E x x^T = second, and targets that average out on each.
    x = np.array([[np.sqrt(2.0), 0], [-np.sqrt(2.0), 0], [0, np.sqrt(0.2)], [0, -np.sqrt(0.2)]])
    mixture = Mixture.from_means(np.concatenate([x, x]), np.repeat([0, 1], 4))
    path = population_flow(
        mixture,
        np.eye(2),
        seen,
        targets=signs(mixture.coarse_map),
        activation="identity",
        times=[0.0, 0.05],
    )
    energy = [np.sum((W @ c) ** 2) for W in path.W]
    assert energy[1] > energy[0] * 1.01
    whole = [np.trace(W @ second @ W.T) for W in path.W]
    assert whole[1] < whole[0]


def test_necessary_injective():
    """m < dim V: h_v cannot hold all distances; those of the inputs are sqrt 2 over the noise."""
    found = observed.course(subclasses=3, width=3, noise=0.3, times=np.array([0.0, 5.0]))
    assert (found.mahalanobis[1] < 0.9 * np.sqrt(2) / 0.3).any()


def test_the_whole_representation_loses_information_where_w_is_not_injective():
    """The counterexample to (d) read as a statement on h: m = dim V = 2 < d = 3.

    Delta of h_v, from W_v alone, stays; Delta of h falls, for the visible noise stays while h_v shrinks.
    With m = d neurons it stays that of the input.
    """
    noise = 0.3
    mixture = Mixture.orthonormal(2, 2, noise=noise)
    # Three coordinates: the label's and the two differences of subclass means.
    root = np.sqrt(2)
    axes = np.array([[-1, -1, 1, 1], [root, -root, 0, 0], [0, 0, root, -root]]) / 2
    reduced = Mixture(kinematics.propagate(mixture.moments, axes, "identity"), mixture.coarse_map)
    found = {}
    for width in (2, 3):
        rng = np.random.default_rng(1)
        W0, A0 = 0.5 * rng.standard_normal((width, 3)), 0.5 * rng.standard_normal((1, width))
        path = population_flow(
            reduced,
            W0,
            A0,
            targets=signs(reduced.coarse_map),
            activation="identity",
            weight_decay=0.05,
            times=[0.0, 10.0],
            rtol=1e-10,
        )
        apart = reduced.moments.means[[1, 3]] - reduced.moments.means[[0, 2]]
        # Delta^2 is a norm for the pseudo-inverse: of h, and of h_v alone, whose covariance has rank 2 at any width.
        found[width] = [
            [
                np.linalg.norm(np.linalg.pinv(noise * V, rcond=1e-9) @ W @ apart.T, axis=0)
                for V in (W, W[:, 1:])
            ]
            for W in path.W
        ]
    (_, before_v), (after, after_v) = found[2]
    np.testing.assert_allclose(before_v, np.sqrt(2) / noise, rtol=1e-6)
    np.testing.assert_allclose(after_v, before_v, rtol=1e-6)
    # One direction of two is lost in the visible noise: the two Delta^2 add up to that of one pair.
    assert after.min() < 0.72 * before_v.min()
    assert np.sum(after**2) == pytest.approx(before_v[0] ** 2, rel=0.05)
    np.testing.assert_allclose(found[3][1][0], np.sqrt(2) / noise, rtol=1e-6)


def test_necessary_isotropy_for_constancy_at_all_times():
    """Sigma_v = diag(.5, 2), W_v = eta [[.5, 1], [1, 1]], A = (1, 0): at t = ln 2 / 1.5 both rows of
    W_v are along (1, 1), and subclasses that differ along (1, -1) have Delta = 0, though 2 before and after."""
    eta, half = 1e-5, np.log(2) / 1.5
    second_v = np.diag([0.5, 2.0])
    # A visible mode already at rest keeps A = (1, 0) up to eta^2: W_u = 1, Sigma_u = M = 1.
    mixture = _mode_at_rest(second_v)
    W0 = np.hstack([np.array([[1.0], [0.0]]), eta * np.array([[0.5, 1.0], [1.0, 1.0]])])
    path = population_flow(
        mixture,
        W0,
        np.array([[1.0, 0.0]]),
        targets=signs(mixture.coarse_map),
        activation="identity",
        times=[0.0, half, 2 * half],
        rtol=1e-12,
    )
    delta = np.sqrt(2) * np.array([1.0, -1.0])
    found = []
    for W in path.W:
        W_v = W[:, 1:] / eta
        found.append(np.sqrt((W_v @ delta) @ np.linalg.pinv(W_v @ W_v.T, rcond=1e-6) @ (W_v @ delta)))
    assert found == pytest.approx([2.0, 0.0, 2.0], abs=1e-4)


def _mode_at_rest(second_v):
    """E x x^T = diag(1, second_v), E t x^T = (1, 0, 0)."""
    means = np.array([[-1.0, 0, 0], [1.0, 0, 0]])
    covariance = np.zeros((3, 3))
    covariance[1:, 1:] = second_v
    return Mixture(Moments(np.full(2, 0.5), means, np.stack([covariance] * 2)), np.array([0, 1]))


ONE, TWO = np.ones((1, 1)), np.array([[1.0], [2.0]])
RATE = {"visible": [0.5, 0.25], "invisible": [0.3, 0.1]}
VALUES = {
    "energy_rate": [(lambda: law.THEOREM.formulas.energy_rate.number(3.0, 2.0, 0.5), -7.0)],
    "decay": [(lambda: law.predict_bound(3.0, 0.5, 4.0), 3 * np.exp(-4))],
    "kept": [
        (lambda: law.predict_ratio_rate(0.05, [0.9, 0.5], separating=[True, True], width=3, **RATE), 0.1)
    ],
    "dead": [
        (lambda: law.predict_ratio_rate(0.6, [0.9, 0.5], separating=[False, True], width=3, **RATE), 1.0)
    ],
    "full": [
        (
            lambda: law.predict_ratio_rate(0.1, [0.9, 0.5], separating=[True, True], width=2, **RATE),
            2 * (0.1 + 0.1 * 0.8 / 0.5),
        )
    ],
    # Of (1, 2)^T C (1, 2) with C = 1/4, and G = 1/5.
    "inverse": [(lambda: law.THEOREM.formulas.inverse.number(TWO, ONE / 5, 4 * ONE)[1, 1], 16 / 25)],
    "distance": [(lambda: law.predict_mahalanobis(np.array([1.0, 2.0]), np.diag([0.25, 0.5])), np.sqrt(12))],
    "lost": [(lambda: law.THEOREM.formulas.lost.number(TWO, np.diag([0.0, 1.0]))[0, 0], 4.0)],
}
