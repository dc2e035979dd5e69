"""T17: separations in depth and the convex-loss form of T3, and each assumption dropped in turn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.special import expit

from finegrain.sims.theorems import depth as observed
from finegrain.theory.theorems import depth as law

pytestmark = pytest.mark.T17
RTOL = 1e-11


@given(
    seed=st.integers(0, 2**32 - 1),
    depth=st.integers(2, 5),
    hidden=st.integers(1, 60),
    visible=st.integers(1, 4),
    invisible=st.integers(1, 36),
    log_eta=st.floats(-5, 0.3),
    weight_decay=st.floats(0, 1),
)
def test_the_separation_in_layer_l_falls_at_l_lambda_at_all_times(
    seed, depth, hidden, visible, invisible, log_eta, weight_decay
):
    problem = observed.draw_deep(
        np.random.default_rng(seed),
        depth=depth,
        width=visible + hidden,
        visible=visible,
        invisible=invisible,
        eta=10**log_eta,
    )
    times = np.array([0.5, 2.0])
    path = observed.linear_flow(
        problem.second, problem.cross, problem.start, weight_decay=weight_decay, times=times, rtol=RTOL
    )
    initial = observed.separations(problem.start, problem.delta)
    # Each layer errs by RTOL of its norm in each of fewer than 1e3 steps, carried on by the others' norms; twice
    # that, for a leak between the blocks can grow while the visible modes are not at rest.
    size = np.linalg.norm(problem.delta)
    for W in problem.start:
        size = size * max(np.linalg.norm(W), 1)
    for t, layers in zip(times, path, strict=True):
        predicted = law.predict(initial, weight_decay, t)
        np.testing.assert_allclose(
            observed.separations(layers, problem.delta), predicted, rtol=0, atol=2e3 * RTOL * depth * size
        )


def test_the_rates_for_four_layers_are_exact_where_layers_are_aligned():
    problem = observed.draw_deep(np.random.default_rng(0), depth=4, width=8, visible=2, invisible=5, eta=0.3)
    path = observed.linear_flow(
        problem.second, problem.cross, problem.start, weight_decay=0.1, times=np.array([10.0, 20.0])
    )
    rates = -np.diff(np.log([observed.separations(layers, problem.delta) for layers in path]), axis=0)[0] / 10
    for layer in (1, 2, 3):
        assert rates[layer - 1] == pytest.approx(law.predict_rate(layer, 0.1), rel=1e-9)


def converged(eta, turned, seed=1):
    """Separations (2, 3) at times 15 and 20 of four layers whose mode is at rest, lambda = 0.1."""
    problem = observed.draw_converged(
        np.random.default_rng(seed), depth=4, eta=eta, weight_decay=0.1, turned=turned
    )
    path = observed.linear_flow(
        problem.second,
        problem.cross,
        problem.start,
        weight_decay=0.1,
        times=np.array([15.0, 20.0]),
        rtol=1e-12,
    )
    return np.array([observed.separations(layers, problem.delta) for layers in path])


@pytest.mark.parametrize("turned", [True, False])
def test_the_rates_for_four_layers_are_approached_where_layers_are_not_aligned(turned):
    """Left at t = 15: imbalance, e^{-2 lambda t} eta/lambda at most, of the rate."""
    eta = 0.01
    rates = -np.diff(np.log(converged(eta, turned)), axis=0)[0] / 5
    bound = np.exp(-0.2 * 15) * eta / 0.1
    for layer in (1, 2, 3):
        assert rates[layer - 1] == pytest.approx(law.predict_rate(layer, 0.1), rel=bound)


def test_amplitudes_are_eta_to_the_layer_only_where_the_mode_is_balanced():
    """The counterexample to "eta^l" as first stated: unbalanced remainders part layer 3 at order eta^2."""
    exponents = {}
    for turned in (True, False):
        large, small = converged(0.02, turned)[1], converged(0.01, turned)[1]
        exponents[turned] = np.log2(large / small)
    # Next order in eta: exponents are off by (ratio of the next term)/ln 2, some eta.
    np.testing.assert_allclose(exponents[True], [1, 2, 3], atol=0.05)
    np.testing.assert_allclose(exponents[False], [1, 2, 2], atol=0.05)


def test_necessary_aligned_layers_for_the_law_at_all_times():
    """Remainders into the visible mode: far from e^{-l lambda t} at first."""
    problem = observed.draw_deep(
        np.random.default_rng(2), depth=4, width=6, visible=1, invisible=3, eta=0.3, leak=0.3
    )
    path = observed.linear_flow(
        problem.second, problem.cross, problem.start, weight_decay=0.1, times=np.array([2.0])
    )
    claimed = observed.separations(problem.start, problem.delta) * np.exp(-np.arange(1, 4) * 0.1 * 2.0)
    assert (np.abs(observed.separations(path[0], problem.delta) / claimed - 1) > 0.1).any()


def flow_with(activation_slope, decays, times):
    """Rate of the separation in layer 2 of three aligned layers: leaky ReLU of a given slope, one decay a layer.

    Euler steps of 1e-3 change a rate c by c/2 of them, relative: 1e-4.
    """
    x = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    t = x[:, :1]
    layers = [np.diag([1.0, 0.5]), np.diag([1.0, 0.5]), np.array([[1.0, 0.0]])]
    apart = []
    step, now = 1e-3, 0.0
    for time in times:
        while now < time - step / 2:
            h, slopes = [x], []
            for W in layers[:-1]:
                z = h[-1] @ W.T
                slopes.append(np.where(z > 0, 1.0, activation_slope))
                h.append(z * slopes[-1])
            back = (h[-1] @ layers[-1].T - t) / len(x)
            gradients = []
            for i in (2, 1, 0):
                gradients.insert(0, back.T @ h[i])
                back = (back @ layers[i]) * (slopes[i - 1] if i else 1)
            layers = [W - step * (g + c * W) for W, g, c in zip(layers, gradients, decays, strict=True)]
            now += step
        hidden = x
        for W in layers[:2]:
            z = hidden @ W.T
            hidden = z * np.where(z > 0, 1.0, activation_slope)
        apart.append(np.linalg.norm(hidden[0] - hidden[1]))
    return -np.log(apart[1] / apart[0]) / (times[1] - times[0])


def test_necessary_linear_network_in_depth():
    """Leaky ReLU: the labels reach the invisible coordinate through the gates; the rate in layer 2 is off by 10 %."""
    assert flow_with(1.0, (0.1, 0.1, 0.1), (10.0, 20.0)) == pytest.approx(0.2, rel=1e-3)
    assert abs(flow_with(0.2, (0.1, 0.1, 0.1), (10.0, 20.0)) / 0.2 - 1) > 0.1


def test_necessary_the_same_weight_decay_on_every_layer():
    """The rate is the sum of the layers' own, here 0.05 + 0.25, where the three's mean of 0.1 would give 0.2."""
    rate = flow_with(1.0, (0.05, 0.25, 0.0), (10.0, 20.0))
    assert rate == pytest.approx(0.3, rel=1e-3)
    assert abs(rate / (2 * 0.1) - 1) > 0.4


@given(
    seed=st.integers(0, 2**32 - 1),
    loss=st.sampled_from(["logistic", "cross-entropy"]),
    dim=st.integers(1, 2),
    width=st.integers(1, 8),
    weight_decay=st.floats(0, 1),
)
def test_the_velocity_under_a_convex_loss_is_the_law(seed, loss, dim, width, weight_decay):
    """Gradient from first derivatives, law from second ones: Stein's lemma between them."""
    rng = np.random.default_rng(seed)
    problem = observed.draw_convex(rng, loss=loss, dim=dim)
    W = rng.standard_normal((width, 2 + dim)) / np.sqrt(2 * width)
    A = rng.standard_normal((problem.targets.shape[1], width)) / np.sqrt(2 * width)
    slope = np.linalg.norm(A @ W[:, 2:], 2) * np.sqrt(problem.variance)
    dW, _ = problem.gradient(W, A)
    velocity = -(dW + weight_decay * W)[:, 2:]
    second_v = problem.variance * np.eye(dim)
    predicted = law.predict_velocity(W[:, 2:], A, problem.hessian(W, A), second_v, weight_decay)
    # Trapezoidal sums: step 0.4 against the nearest pole, at distance pi/slope (softmax: pi over the largest
    # difference of outputs, sqrt 2 slope); tails beyond 8.4 deviations; rounding.
    error = np.exp(-2 * np.pi**2 / (0.4 * np.sqrt(2) * max(slope, 0.1))) + 1e-15
    assert (
        np.abs(velocity - predicted).max()
        <= 100 * error * (1 + np.linalg.norm(A)) * (1 + np.linalg.norm(W)) ** 2
    )


# A flow of some seconds in two dimensions; the velocity above is tried on all examples.
@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**32 - 1), loss=st.sampled_from(["logistic", "cross-entropy"]), dim=st.integers(1, 2)
)
def test_the_determinant_under_a_convex_loss_is_the_law_to_1e_9(seed, loss, dim):
    rng = np.random.default_rng(seed)
    problem = observed.draw_convex(rng, loss=loss, dim=dim)
    W0 = rng.standard_normal((dim, 2 + dim)) / 2
    A0 = rng.standard_normal((problem.targets.shape[1], dim)) / 2
    predicted, found = observed.convex_log_det(problem, W0, A0, weight_decay=0.05, end=1.5, rtol=1e-12)
    condition = np.linalg.cond(W0[:, 2:])
    assert abs(found - predicted) <= 1e-9 * max(1, condition / 100)


@given(seed=st.integers(0, 2**32 - 1), loss=st.sampled_from(["logistic", "cross-entropy"]))
def test_the_mean_hessian_of_a_convex_loss_is_positive(seed, loss):
    rng = np.random.default_rng(seed)
    problem = observed.draw_convex(rng, loss=loss, dim=1)
    W, A = rng.standard_normal((3, 3)), rng.standard_normal((problem.targets.shape[1], 3))
    assert np.linalg.eigvalsh(problem.hessian(W, A)).min() >= -1e-15


def logistic_force(x, weights, W, A):
    """-dL_0/dW and Hbar for targets 1, f = A W x, over weighted points x (N, 2)."""
    f = (x @ W.T @ A.T)[:, 0]
    mass = weights * expit(-f)
    return np.outer(A[0], mass @ x), float(weights @ (expit(f) * expit(-f)))


def law_gap(x, weights, variance):
    """|dW_v/dt - law| relative to the law, for coordinate 1 of x as x_v."""
    W, A = np.array([[0.8, 0.6], [-0.3, 0.9]]), np.array([[0.9, 0.5]])
    force, hessian = logistic_force(x, weights, W, A)
    predicted = law.predict_velocity(W[:, 1:], A, np.array([[hessian]]), np.array([[variance]]), 0.0)
    return float(np.linalg.norm(force[:, 1:] - predicted) / np.linalg.norm(predicted))


def gaussian_points():
    z = np.linspace(-9, 9, 181)
    return z, np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()


def test_necessary_gaussian_for_convex_losses():
    """x_v = +-2 with a variance of 4, independent of the rest: Stein's lemma fails, by more than 10 %."""
    z, weights = gaussian_points()
    assert law_gap(np.stack([1 + 0 * z, 2 * z], axis=1), weights, 4.0) < 1e-9
    assert law_gap(np.array([[1.0, 2.0], [1.0, -2.0]]), np.full(2, 0.5), 4.0) > 0.1


def test_necessary_independence_for_convex_losses():
    """x_u = x_v^2 - 1, which is uncorrelated with the Gaussian x_v but not independent."""
    z, weights = gaussian_points()
    assert law_gap(np.stack([0 * z, z], axis=1), weights, 1.0) < 1e-9
    assert law_gap(np.stack([z**2 - 1, z], axis=1), weights, 1.0) > 0.1


def invisible_growth(loss_slope, end=2.0):
    """|w_v| at `end` over its start: one neuron, f = a (w_u + w_v z), z ~ N(0, 1), lambda = 0, by RK45.

    loss_slope: f -> dl/df.
    """
    z, weights = gaussian_points()

    def velocity(_, state):
        a, w_u, w_v = state
        h = w_u + w_v * z
        force = -weights * loss_slope(a * h)
        return [force @ h, a * force.sum(), a * (force @ z)]

    run = solve_ivp(velocity, (0, end), [1.0, 0.1, 0.5], rtol=1e-9, atol=1e-12)
    return run.y[2, -1] / 0.5


def test_necessary_convex_for_the_contraction():
    """l = 1 - exp(-(f - 3)^2/2) is concave where |f - 3| > 1, the start: w_v grows; under (f - 3)^2/2 it falls."""
    assert invisible_growth(lambda f: (f - 3) * np.exp(-((f - 3) ** 2) / 2)) > 1.1
    assert invisible_growth(lambda f: f - 3) < 0.9


BAD_CALLS = [
    (lambda: law.predict_rate(0, 0.1), "layer must be a finite number >= 1, got 0"),
    (lambda: law.predict([1.0], -1.0, 1.0), "weight_decay must be a finite number >= 0, got -1.0"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


TWO = 2 * np.ones((1, 1))
VALUES = {
    "remainder": [(lambda: law.THEOREM.formulas.remainder.number(0.5, 2.0), np.exp(-1))],
    "separation": [
        (lambda: law.predict([1.0, 3.0], 0.5, 2.0)[1], 3 * np.exp(-2)),
        (lambda: law.predict_rate(3, 0.5), 1.5),
    ],
    "imbalance": [
        (lambda: law.THEOREM.formulas.imbalance.number(np.ones((1, 2)), 3 * np.eye(1))[0, 0], -7.0)
    ],
    "into_mode": [(lambda: law.THEOREM.formulas.into_mode.number(2.0, 3.0, 2, 0.5), 18.5)],
    "velocity": [(lambda: law.predict_velocity(TWO, 3 * TWO, 5 * TWO, 7 * TWO, 0.5)[0, 0], -10081.0)],
    "log_det": [(lambda: law.predict_log_det(3.0, 2.0), -6.0)],
}
