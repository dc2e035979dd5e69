"""T2: the layers' imbalance decays at 2 lambda exactly, and each assumption is needed for that."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_descent, population_flow
from finegrain.sims.population.loss import population_loss
from finegrain.sims.theorems import balancedness as observed
from finegrain.theory.targets import centred_one_hot
from finegrain.theory.theorems import balancedness as law
from finegrain.theory.tools import testing

pytestmark = pytest.mark.T2
EPS = np.finfo(float).eps
RTOL = 1e-9
HOMOGENEOUS = tuple(law.DEGREES)


def imbalance_velocity(W, A, dW, dA, activation):
    """dB/dt from the gradients, with B as in `observed.imbalance`."""
    if activation == "identity":
        half = dA.T @ A - dW @ W.T
        return half + half.T
    p = law.degree(activation)
    return 2 * (p * np.sum(A * dA, axis=0) - np.sum(W * dW, axis=1))


@given(data=st.data(), weight_decay=st.floats(0, 2))
def test_the_velocity_of_the_imbalance_is_the_law_for_every_mixture_and_width(data, weight_decay):
    mixture = data.draw(testing.mixtures(scale=(0.1, 10)))
    targets = centred_one_hot(mixture.coarse_map)
    network = data.draw(
        testing.networks(dim=mixture.dim, outputs=targets.shape[1], activations=HOMOGENEOUS, eps=(1e-5, 1))
    )
    W, A, activation = network.W, network.A, network.activation
    loss = population_loss(
        mixture, targets=targets, activation=activation, slope=network.slope, weight_decay=weight_decay
    )
    _, dW, dA = loss(W, A)
    B = observed.imbalance(W, A, activation)
    missed = imbalance_velocity(W, A, dW, dA, activation) + 2 * weight_decay * B
    # Rounding of the gradient's terms: h has size |W| ||x|| (squared for phi = square), f has size |A| |h|.
    x = np.sqrt(np.trace(mixture.second_moment())) + 1
    h = max(np.linalg.norm(W) * x, (np.linalg.norm(W) * x) ** 2 if activation == "square" else 0)
    f = np.linalg.norm(A) * h
    terms = f * (f + 1) + weight_decay * (np.linalg.norm(W) ** 2 + np.linalg.norm(A) ** 2)
    assert np.abs(missed).max() <= 64 * EPS * W.shape[0] * mixture.dim * terms


@given(
    seed=st.integers(0, 2**32 - 1),
    activation=st.sampled_from(HOMOGENEOUS),
    loss=st.sampled_from(["squared", "cross-entropy", "logistic"]),
    subclasses=st.integers(1, 3),
    width=st.integers(1, 8),
    log_scale=st.floats(-5, 0),
    weight_decay=st.floats(0, 1),
)
def test_the_imbalance_along_a_flow_is_the_law_for_every_loss(
    seed, activation, loss, subclasses, width, log_scale, weight_decay
):
    rng = np.random.default_rng(seed)
    noisy = loss == "squared"
    dim = int(rng.integers(2, 9)) if noisy else 2 * subclasses
    mixture = observed.random_mixture(rng, coarse=2, subclasses=subclasses, dim=dim, noisy=noisy)
    targets = observed.targets_for(mixture, loss)
    W0, A0 = gaussian(width, mixture.dim, targets.shape[1], 10**log_scale, rng)
    flow = population_flow(
        mixture,
        W0,
        A0,
        targets=targets,
        activation=activation,
        slope=0.2,
        loss=loss,
        weight_decay=weight_decay,
        times=[1.0, 3.0],
        rtol=RTOL,
    )
    assert observed.deviation(flow, W0, A0) <= observed.error_bound(flow, W0, A0)


def test_the_prediction_is_the_start_at_time_zero_and_nothing_at_infinity():
    W, A = gaussian(4, 3, 2, 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(law.predict(W, A, 0.3, 0.0), W @ W.T - A.T @ A)
    np.testing.assert_array_equal(law.predict_neurons(W, A, 1, 0.3, 0.0), np.diag(law.predict(W, A, 0, 0)))
    assert np.abs(law.predict(W, A, 0.3, 1e4)).max() == 0


def reference_run(activation, **options):
    """One run from a start of order one, K = 2 noisy classes."""
    rng = np.random.default_rng(0)
    mixture = observed.random_mixture(rng, coarse=2, subclasses=2, dim=4)
    W0, A0 = gaussian(6, 4, 2, 2.0, rng)
    targets = 2 * centred_one_hot(mixture.coarse_map)
    run = population_descent if "learning_rate" in options else population_flow
    return run(mixture, W0, A0, targets=targets, activation=activation, **options), W0, A0


def relative_deviation(flow, W0, A0):
    return (
        observed.deviation(flow, W0, A0) / np.abs(observed.imbalance(W0, A0, flow.info["activation"])).max()
    )


def test_necessary_homogeneous():
    """erf has no degree: its imbalance with p = 1 moves by more than 1, and keeps moving; ReLU's by 1e-6 at most."""
    moved = [observed.deviation(*reference_run("erf", times=[t])) for t in (20.0, 40.0)]
    assert 1 < moved[0] < moved[1]
    assert observed.deviation(*reference_run("relu", times=[20.0])) < 1e-6


def imbalance(W, A):
    return W @ W.T - A.T @ A


def test_necessary_identity_for_the_law_between_neurons():
    """ReLU: off the diagonal W W^T - A^T A does not keep its value."""
    flow, W0, A0 = reference_run("relu", times=[20.0])
    moved = np.abs(imbalance(flow.W[0], flow.A[0]) - imbalance(W0, A0))
    assert moved.max() > 0.1
    assert np.diag(moved).max() < 1e-6


def test_necessary_the_same_weight_decay_on_both_layers():
    rng = np.random.default_rng(0)
    mixture = observed.random_mixture(rng, coarse=2, subclasses=2, dim=4)
    loss = population_loss(mixture, targets=centred_one_hot(mixture.coarse_map), activation="identity")
    W0, A0 = gaussian(6, 4, 2, 2.0, rng)

    def end(decay_W, decay_A):
        def velocity(_, state):
            W, A = state[:24].reshape(6, 4), state[24:].reshape(2, 6)
            _, dW, dA = loss(W, A)
            return -np.concatenate([(dW + decay_W * W).ravel(), (dA + decay_A * A).ravel()])

        state = solve_ivp(velocity, (0, 5), np.concatenate([W0.ravel(), A0.ravel()]), rtol=1e-9, atol=1e-9)
        W, A = state.y[:24, -1].reshape(6, 4), state.y[24:, -1].reshape(2, 6)
        claimed = np.exp(-(decay_W + decay_A) * 5.0) * imbalance(W0, A0)
        return np.abs(imbalance(W, A) - claimed).max() / np.abs(imbalance(W0, A0)).max()

    assert end(0.1, 0.1) < 1e-6
    assert end(0.2, 0.0) > 0.1


def test_necessary_gradient_flow():
    """Descent misses the law in proportion to its step, by 1 % of the imbalance at a step of 0.1."""
    steps = np.array([0.1, 0.05, 0.025])
    missed = [
        relative_deviation(*reference_run("relu", learning_rate=step, steps=[round(4 / step)]))
        for step in steps
    ]
    assert missed[0] > 0.01
    orders = np.log2(np.array(missed[:-1]) / missed[1:])
    # The next order in the step changes the fitted one by a fraction of the step times the largest curvature.
    assert orders[1] == pytest.approx(1.0, abs=0.2)


def test_the_drift_by_hand():
    """w = a = 1 at the start; w = 2, a = 1 later, lambda = 0: missed by 3, of 4 + 1 + 1 + 1."""
    one, two = np.ones((1, 1)), 2 * np.ones((1, 1, 1))
    assert law.drift(one, one, 1, 0.0, np.ones(1), two, one[None]) == pytest.approx(3 / 7, rel=1e-15)


def test_an_activation_without_a_degree_is_named():
    with pytest.raises(
        ValueError, match="activation must be one of identity, leaky_relu, relu, square; got 'erf'"
    ):
        law.degree("erf")


def test_weights_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"A0 must have shape \(K, 3\), got \(2, 4\)"):
        law.predict(np.ones((3, 2)), np.ones((2, 4)), 0.0, 1.0)


# W = (1, 2), A = 3 and w = (1, 2), a = 3: 1 + 4 - 9 and, for p = 2, 1 + 4 - 18; e^{-2 (.5) 2} of either.
VALUES = {
    "imbalance": [(lambda: law.predict([[1.0, 2]], [[3.0]], 0.0, 0.0)[0, 0], -4.0)],
    "neuron": [(lambda: law.predict_neurons([[1.0, 2]], [[3.0]], 2, 0.0, 0.0)[0], -13.0)],
    "decay": [
        (lambda: law.predict([[1.0, 2]], [[3.0]], 0.5, 2.0)[0, 0], -4 * np.exp(-2)),
        (lambda: law.predict_neurons([[1.0, 2]], [[3.0]], 2, 0.5, 2.0)[0], -13 * np.exp(-2)),
    ],
}
