"""T16: psi differences, gate equations and crossover as claimed; each assumption dropped in turn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finegrain.sims.population.flow import population_flow
from finegrain.sims.population.loss import population_loss
from finegrain.sims.theorems import crossover as observed
from finegrain.theory import observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import centred_one_hot, signs
from finegrain.theory.theorems import crossover as law

pytestmark = pytest.mark.T16
EPS = np.finfo(float).eps


@given(
    seed=st.integers(0, 2**32 - 1),
    coarse=st.integers(2, 6),
    subclasses=st.integers(2, 5),
    extra=st.integers(0, 10),
    width=st.integers(1, 64),
    slope=st.floats(0.01, 1),
    weight_decay=st.floats(0, 2),
)
def test_psi_differences_move_as_claimed_at_every_point(
    seed, coarse, subclasses, extra, width, slope, weight_decay
):
    """Any weights, targets in K dimensions, residuals not equal: the law with its integrand."""
    rng = np.random.default_rng(seed)
    C, S = coarse * subclasses, subclasses
    mixture = Mixture.orthonormal(coarse, S, dim=C + extra)
    targets = centred_one_hot(mixture.coarse_map)
    W, A = rng.standard_normal((width, C + extra)), rng.standard_normal((coarse, width))
    loss = population_loss(
        mixture, targets=targets, activation="leaky_relu", slope=slope, weight_decay=weight_decay
    )
    _, dW, _ = loss(W, A)
    stretched = -dW * np.where(W > 0, 1, 1 / slope)
    residuals = targets.T - A @ np.where(W > 0, W, slope * W)[:, :C]
    for c in range(1, S):
        D = law.psi(W[:, 0], slope) - law.psi(W[:, c], slope)
        predicted = law.predict_psi_velocity(D, A, residuals[:, 0] - residuals[:, c], C, weight_decay)
        # Sums over the neurons and outputs, stretched by 1/slope.
        size = (1 + np.abs(A).sum() * np.abs(W).max()) * np.abs(A).sum() + weight_decay * np.abs(W).max()
        np.testing.assert_allclose(
            stretched[:, 0] - stretched[:, c], predicted, atol=16 * EPS * size / slope, rtol=0
        )


@given(
    seed=st.integers(0, 2**32 - 1),
    subclasses=st.integers(2, 4),
    slope=st.floats(0.01, 1),
    weight_decay=st.floats(0, 0.5),
    log_eps=st.floats(-5, -0.5),
    t=st.floats(0.1, 10),
    loss=st.sampled_from(["squared", "logistic"]),
)
def test_psi_differences_only_decay_where_residuals_are_equal(
    seed, subclasses, slope, weight_decay, log_eps, t, loss
):
    eps = 10**log_eps
    W, A = observed.aligned(subclasses, np.random.default_rng(seed))
    start, end, error = observed.psi_course(eps * W, eps * A, slope, weight_decay, t, loss=loss, rtol=1e-6)
    assert np.abs(end - start).max() <= error


@given(
    seed=st.integers(0, 2**32 - 1),
    coarse=st.integers(1, 6),
    width=st.integers(1, 16),
    log_noise=st.floats(-4, 0.5),
)
def test_noisy_gates_are_the_gradient_at_small_weights(seed, coarse, width, log_noise):
    """-dL/dw = (a/C) times the gate's pull, up to the square of the weights' scale."""
    rng = np.random.default_rng(seed)
    noise, scale, C = 10**log_noise, 1e-5, 2 * coarse
    mixture = Mixture.orthonormal(2, coarse, noise=noise)
    labels = signs(mixture.coarse_map)[:, 0]
    W, a = rng.standard_normal((width, C)), rng.standard_normal(width)
    _, dW, dA = population_loss(mixture, targets=labels[:, None])(scale * W, scale * a[None])
    mean, pull = law.noisy(noise)(W, labels)
    # Next order: outputs and their spread, at most scale^2 sum |a| ||w|| (1 + noise), times what they multiply.
    reach = (1 + noise) ** 2 * np.sum(np.abs(a) * np.linalg.norm(W, axis=1))
    bound = scale**2 * reach * (1 + np.abs(a).max()) * (1 + np.linalg.norm(W, axis=1).max()) + 1e-12
    assert np.abs(-dW * C / scale - a[:, None] * pull).max() <= C * bound
    assert np.abs(-dA[0] * C / scale - mean @ labels).max() <= C * bound


@given(
    seed=st.integers(0, 2**32 - 1),
    subclasses=st.integers(2, 4),
    kappa=st.floats(0, 1.5),
    log_eps=st.floats(-6, -2),
)
def test_the_gate_equations_give_the_end_of_training_with_a_leak(seed, subclasses, kappa, log_eps):
    eps = 10**log_eps
    W, A = observed.aligned(subclasses, np.random.default_rng(seed))
    gate = law.leaky(eps**kappa)
    predicted = law.predict_separation(eps * W, eps * A[0], observed.labels_of(W), gate, rtol=1e-8)
    found = observed.final_separation(eps * W, eps * A, "leak", eps**kappa, rtol=1e-8)
    # e^-24 of the residual is left; some hundred steps of 1e-8 on both sides.
    assert found == pytest.approx(predicted, rel=600e-8 + np.exp(-24))


@pytest.mark.parametrize(
    ("subclasses", "kappa", "eps"), [(2, 0.3, 1e-7), (2, 0.5, 1e-4), (2, 1.2, 1e-4), (3, 0.6, 1e-4)]
)
def test_the_gate_equations_give_the_end_of_training_with_noise(subclasses, kappa, eps):
    W, A = observed.aligned(subclasses, np.random.default_rng(0))
    predicted = law.predict_separation(eps * W, eps * A[0], observed.labels_of(W), law.noisy(eps**kappa))
    found = observed.final_separation(eps * W, eps * A, "noise", eps**kappa, rtol=1e-7)
    assert found == pytest.approx(
        predicted, rel=observed.next_order(W, A, "noise", kappa, eps) + 300 * 1e-7 + np.exp(-24)
    )


def test_random_starts_with_noise_follow_them_too():
    W, A = observed.random(2, 8, np.random.default_rng(1))
    predicted, found = observed.slopes(W, A, "noise", 0.5, np.array([1e-5, 1e-6]), rtol=1e-5)
    assert found == pytest.approx(predicted, rel=0.01)


@pytest.mark.parametrize("subclasses", [2, 3])
@pytest.mark.parametrize("kappa", [0.0, 0.2, 0.4, 1.2])
def test_the_exponent_is_approached_with_a_leak(subclasses, kappa):
    """By the gate equations; a fixed leak (kappa = 0) has exponent 1."""
    W, A = observed.aligned(subclasses, np.random.default_rng(0))
    limit, errors = law.predict(kappa, subclasses), []
    scales = (1e-5, 1e-10)
    for e in scales:
        gate = law.leaky if kappa else lambda _: law.leaky(0.1)
        slope = law.predict_slope(W, A[0], observed.labels_of(W), gate, kappa, np.array([e, e / 10]))
        errors.append(abs(slope - limit))
    # Next terms: alpha, in gap x + v with x = v/alpha; slower patterns, eps^(2 (1 - rho)) (T7); the growth that is left
    # when the gate opens, eps^|kappa - rho|.
    rho = np.sqrt((subclasses - 1) / subclasses)
    slowest = min(kappa or 2, 2 * (1 - rho), abs(kappa - rho))
    for e, error in zip(scales, errors, strict=True):
        assert error <= 2**subclasses * e**slowest + 1e-5
    assert errors[1] < max(0.02 * limit, errors[0] / 2)


def test_the_exponent_with_noise_has_a_logarithm():
    """kappa = .4: .6 + 1/(2 ln(1/eps)), up to the next order, ln ln(1/eps)/ln(1/eps)^2."""
    W, A = observed.aligned(2, np.random.default_rng(0))
    kappa, excess = 0.4, []
    for e in (1e-6, 1e-9, 1e-12):
        slope = law.predict_slope(W, A[0], observed.labels_of(W), law.noisy, kappa, np.array([e, e / 2]))
        size = np.log(1 / e)
        assert abs(slope - law.predict_noisy_exponent(kappa, e)) <= 2 * np.log(size) / size**2
        excess.append(slope - law.predict(kappa, 2))
    assert excess[0] > excess[1] > excess[2] > 0.01


@given(v=st.floats(0.1, 3), x=st.floats(0.1, 3), slope=st.floats(0.001, 1), growth=st.floats(0, 1e4))
def test_a_leaky_coordinate_moves_along_psi(v, x, slope, growth):
    """The closed form against the two straight pieces: -v + slope * growth up to zero, then at slope 1."""
    found = law.predict_leaky_coordinate(-v, x, x + growth, slope)
    opening = v / slope
    expected = -v + slope * growth if growth <= opening else growth - opening
    assert found == pytest.approx(expected, abs=8 * EPS * (v / slope + growth + x))


def test_the_one_dimensional_equation_under_noise_that_hides_the_gate():
    """sigma = 1e9: Phi is 1/2, and w' grows half as fast as a neuron whose gate is open."""
    assert law.predict_noisy_coordinate(-1.0, 1.0, 5.0, 1e9) == pytest.approx(1.0, abs=1e-8)


def test_the_one_dimensional_equation_has_an_error_of_order_sigma():
    """Against the full gate equations, whose own error is C sigma^2: ten times that at sigma = .01, a fifth at .001."""
    eps, errors = 1e-6, []
    W = np.kron(np.eye(2), np.array([[1.0, 0], [1, -1], [-1, 1], [1, 1]])[1:])
    a = np.repeat([-1.0, 1], 3) * np.linalg.norm(W, axis=1)
    ends = {}
    for sigma in (1e-2, 1e-3):
        ends[sigma] = law.predict_separation(eps * W, eps * a, np.repeat([-1.0, 1], 2), law.noisy(sigma))
        gap = 1 - law.predict_noisy_coordinate(-eps, eps, 1.0, sigma)
        # f = 1 on a neuron with both active: a = sqrt 2 u, ||h_c||^2 = 1/sqrt 2; two neurons hold the gap.
        errors.append(abs(np.sqrt(2) * gap * 2**0.25 / ends[sigma] - 1))
    assert errors[0] > 10 * 4 * 1e-2**2
    assert errors[1] < errors[0] / 5


def test_necessary_equal_residuals_and_the_integral_that_holds_without():
    """A random start, m = 3: D leaves e^{-lambda t} D(0) also across A(t); the integral over A(s) accounts for it."""
    slope, weight_decay, t, C = 0.3, 0.05, 12.0, 4
    W0, A0 = (
        np.array([[0.9, -0.8, 0.3, -0.5], [-0.4, 1.0, 0.6, 0.2], [0.7, 0.5, -0.6, 0.4]]),
        np.array([[1.0, 0.3, -0.8]]),
    )
    mixture = Mixture.orthonormal(2, 2)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    edges = np.linspace(0, t, 41)
    times = np.concatenate([low + (nodes + 1) * t / 80 for low in edges[:-1]])
    flow = population_flow(
        mixture, W0, A0, targets=signs(mixture.coarse_map), activation="leaky_relu", slope=slope,
        weight_decay=weight_decay, times=np.append(times, t), rtol=1e-9,
    )  # fmt: skip
    residual = np.array([-(A @ h.means.T)[0] for A, h in zip(flow.A, flow.moments, strict=True)])
    difference = residual[:, 2] - residual[:, 3]  # equal targets
    integrand = np.exp(weight_decay * times)[:, None] * flow.A[:-1, 0] * difference[:-1, None]
    integral = np.tile(weights * t / 80, 40) @ integrand / C
    psi = [np.where(W > 0, W, W / slope) for W in (W0, flow.W[-1])]
    D = [each[:, 2] - each[:, 3] for each in psi]
    change = np.exp(weight_decay * t) * D[1] - D[0]
    # Quadrature across the kinks of a gate, and the integrator.
    np.testing.assert_allclose(change, integral, atol=1e-4 * np.linalg.norm(change))
    along = flow.A[-1, 0] / np.linalg.norm(flow.A[-1, 0])
    across = np.linalg.norm(change - along * (along @ change))
    assert np.linalg.norm(change) > 0.2 * np.linalg.norm(D[0])
    assert across > 0.2 * np.linalg.norm(change)


def slope_of(end, eps):
    return float(np.polyfit(np.log(eps), np.log([end(e) for e in eps]), 1)[0])


def end_of(mixture, W, A, eps, size):
    """Separation after training with leak `size`."""
    t = 4 * np.log(1 / eps) / np.sqrt(2) * 2 + 60
    flow = population_flow(
        mixture, eps * W, eps * A, targets=signs(mixture.coarse_map), activation="leaky_relu", slope=size,
        times=[t], rtol=1e-7,
    )  # fmt: skip
    return observables.separation(flow.moments[0], mixture.coarse_map)


def test_necessary_equal_probabilities():
    """Weights (.3, .2): past the crossover the exponent is T7's for them, .168, not .293."""
    weights = np.array([0.3, 0.2, 0.3, 0.2])
    mixture = Mixture.orthonormal(2, 2, weights=weights)
    W, A = observed.aligned(2, np.random.default_rng(0))
    slope = slope_of(lambda e: end_of(mixture, W, A, e, e**1.2), np.array([1e-8, 1e-10]))
    assert slope == pytest.approx(1 - np.sqrt(1 - 0.2**2 / (0.3**2 + 0.2**2)), rel=0.02)
    assert slope < 0.7 * (1 - np.sqrt(1 / 2))


def test_necessary_orthonormal_means():
    """Same-class cosine .3 opens closed gates without any leak: exponent 1, not .293."""
    gram = np.kron(np.eye(2), [[1, 0.3], [0.3, 1]])
    mixture = Mixture.from_means(np.linalg.cholesky(gram), np.repeat([0, 1], 2))
    W, A = observed.aligned(2, np.random.default_rng(0))
    slope = slope_of(lambda e: end_of(mixture, W, A, e, e**1.2), np.array([1e-4, 1e-5]))
    assert slope > 1 - np.sqrt(1 / 2) + 0.5


@pytest.mark.parametrize(("rows", "exponent"), [([1, 2], 0.0), ([0], 1.0)])
def test_necessary_neurons_on_all_and_on_all_but_one(rows, exponent):
    """S = 2 past the crossover. No neuron on both: sep stays near sqrt 2; none on one: exponent 1 at least."""
    block = np.array([[1.0, 0.6], [1, -1], [-1, 1]])[rows]
    block = np.concatenate([block, block[:, ::-1]])
    W = np.kron(np.eye(2), block)
    A = (np.repeat([-1.0, 1], len(block)) * np.linalg.norm(W, axis=1))[None]
    mixture = Mixture.orthonormal(2, 2)
    slope = slope_of(lambda e: end_of(mixture, W, A, e, e**1.2), np.array([1e-4, 1e-5]))
    assert slope == pytest.approx(exponent, abs=0.02)
    assert abs(slope - (1 - np.sqrt(1 / 2))) > 0.25


def test_necessary_no_weight_decay_for_the_exponent():
    """With lambda the separation goes on falling after convergence."""
    W, A = observed.aligned(2, np.random.default_rng(0))
    mixture = Mixture.orthonormal(2, 2)
    flow = population_flow(
        mixture, 1e-2 * W, 1e-2 * A, targets=signs(mixture.coarse_map), activation="leaky_relu", slope=0.1,
        weight_decay=0.1, times=[60.0, 80.0], rtol=1e-8,
    )  # fmt: skip
    sep = [observables.separation(h, mixture.coarse_map) for h in flow.moments]
    assert sep[1] < 0.5 * sep[0]


def test_necessary_noise_along_the_means():
    """Noise eps^.2 in a fifth coordinate alone: exponent .293, where isotropic noise has .8."""
    W, A = observed.aligned(2, np.random.default_rng(0))
    W = np.pad(W, ((0, 0), (0, 1)), constant_values=0.3)

    def end(eps):
        covariance = np.zeros((4, 5, 5))
        covariance[:, 4, 4] = eps**0.4
        mixture = Mixture(Moments(np.full(4, 0.25), np.eye(4, 5), covariance), np.repeat([0, 1], 2))
        t = 4 / np.sqrt(2) * (np.log(1 / eps) + 12)
        flow = population_flow(
            mixture, eps * W, eps * A, targets=signs(mixture.coarse_map), times=[t], rtol=1e-6
        )
        return observables.separation(flow.moments[0], mixture.coarse_map)

    slope = slope_of(end, np.array([1e-5, 1e-6]))
    assert slope < 1 - 0.2 - 0.3


BAD_CALLS = [
    (lambda: law.predict(-0.1, 2), "kappa must be a finite number >= 0, got -0.1"),
    (lambda: law.predict(0.5, 1), "subclasses must be a finite number >= 2, got 1"),
    (lambda: law.psi([1.0], 0.0), r"slope must lie in \(0, 1\], got 0.0"),
    (lambda: law.leaky(1.5), r"slope must lie in \(0, 1\], got 1.5"),
    (lambda: law.noisy(0.0), "noise must be > 0, got 0.0"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_class_without_neurons_is_named():
    with pytest.raises(RuntimeError, match="both margins must reach 1"):
        law.predict_separation([[0.0, 0, 1, 0]], np.ones(1), [-1, -1, 1, 1], law.noisy(0.1))


def number(name, *arguments):
    return law.THEOREM.formulas[name].number(*arguments)


def velocity(residual, difference):
    one = np.ones((1, 1))
    return law.predict_psi_velocity(np.array([difference]), 3 * one, np.array([residual]), 2, 0.5)[0]


# Phi(1) and Phi(-.6) from tables of the normal distribution.
VALUES = {
    "stretch": [(lambda: law.psi([-3.0], 0.25)[0], -12.0)],
    "velocity": [(lambda: velocity(4.0, 5.0), 3.5)],
    "opening": [(lambda: law.predict_leaky_coordinate(-1.0, 2.0, 8.0, 0.25), 2.0)],
    "shut": [(lambda: number("shut", 4), 1 - np.sqrt(3) / 2)],
    "exponent": [
        (lambda: law.predict(0.5, 4), 0.5),
        (lambda: law.predict(2.0, 4), 1 - np.sqrt(3) / 2),
    ],
    "gate": [
        (lambda: law.noisy(0.5)(np.array([[1.0, 0.0]]), np.array([0.0, 1.0]))[1][0, 1], 0.5),
        (lambda: number("gate", 1.0), 0.8413447460685429),
    ],
    "one_dimensional": [(lambda: number("one_dimensional", 4.0, -3.0, 1.0), 0.2742531177500736)],
    "noisy_gap": [(lambda: number("noisy_gap", 3.0, np.exp(-2)), 1.5 * np.exp(2))],
    "noisy_exponent": [(lambda: law.predict_noisy_exponent(0.4, np.exp(-5)), 0.7)],
}
