"""T14: one hyperbolic rotation moves every neuron of a linear network, and each assumption is needed for that."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_descent, population_flow
from finegrain.sims.population.loss import population_loss
from finegrain.sims.theorems import lorentz as observed
from finegrain.sims.theorems.balancedness import random_mixture
from finegrain.theory.targets import centred_one_hot
from finegrain.theory.theorems import balancedness, invisible_subspace
from finegrain.theory.theorems import lorentz as law
from finegrain.theory.tools import testing

pytestmark = pytest.mark.T14
EPS = np.finfo(float).eps
RTOL = 1e-12
# The trial's promise. An error made in a step grows at most as the flow's own sensitivity does, which the starts here
# (scale <= 1, t <= 4) keep below 100; a step's is 1e-12.
ACCURACY = 1e-10


@given(data=st.data(), weight_decay=st.floats(0, 2))
def test_the_velocity_is_the_generator_for_every_mixture_and_width(data, weight_decay):
    mixture = data.draw(testing.mixtures(scale=(0.1, 10)))
    targets = centred_one_hot(mixture.coarse_map)
    network = data.draw(
        testing.networks(dim=mixture.dim, outputs=targets.shape[1], activations=("identity",), eps=(1e-5, 1))
    )
    W, A = network.W, network.A
    _, dW, dA = population_loss(mixture, targets=targets, activation="identity", weight_decay=weight_decay)(
        W, A
    )
    slope = observed.output_slope(mixture, targets, "squared")(A @ W)
    Z = np.hstack([W, A.T])
    missed = -np.hstack([dW, dA.T]) - (Z @ law.generator(slope) - weight_decay * Z)
    # Rounding of the products A W Sigma and M, then with A or W.
    size = np.linalg.norm(A) * np.linalg.norm(W) * np.trace(mixture.second_moment()) + np.linalg.norm(
        mixture.cross_moment(targets)
    )
    assert np.abs(missed).max() <= 16 * EPS * mixture.dim * len(W) * np.linalg.norm(Z) * (size + weight_decay)


problems = st.fixed_dictionaries(
    {
        "loss": st.sampled_from(["squared", "logistic", "cross-entropy"]),
        "dim": st.integers(2, 40),
        "width": st.integers(1, 64),
        "subclasses": st.integers(1, 4),
        "scale": st.floats(-5, 0).map(lambda x: 10.0**x),
    }
)


@given(problem=problems, seed=st.integers(0, 2**32 - 1), weight_decay=st.floats(0, 1))
def test_the_weights_are_the_start_times_one_lorentz_matrix(problem, seed, weight_decay):
    mixture, targets, W0, A0 = observed.random_problem(np.random.default_rng(seed), **problem)
    found = observed.course(
        mixture,
        W0,
        A0,
        targets=targets,
        loss=problem["loss"],
        weight_decay=weight_decay,
        times=np.array([0.5, 4.0]),
        rtol=RTOL,
    )
    assert found.deviation <= ACCURACY
    # Errors in U are carried on by Lorentz matrices, which leave U eta U^T alone: they add up, a few hundred steps.
    n, size = found.U.shape[1], np.linalg.norm(found.U, axis=(1, 2)).max()
    assert found.form_error <= 1e3 * RTOL * n * size**2
    assert np.linalg.det(found.U) == pytest.approx(1, abs=1e3 * RTOL * n * size**2)


@pytest.mark.parametrize("loss", ["squared", "logistic", "cross-entropy"])
def test_the_law_holds_to_1e_10_in_fixed_cases(loss):
    mixture, targets, W0, A0 = observed.random_problem(
        np.random.default_rng(7), loss=loss, dim=5, width=12, subclasses=2, scale=0.5
    )
    found = observed.course(
        mixture, W0, A0, targets=targets, loss=loss, weight_decay=0.02, times=np.array([1.0, 8.0]), rtol=1e-13
    )
    assert found.deviation <= ACCURACY
    assert found.form_error <= ACCURACY


def test_a_duplicated_neuron_stays_one_and_a_dead_one_dead():
    mixture, targets, W0, A0 = observed.random_problem(
        np.random.default_rng(3), loss="squared", dim=4, width=5, subclasses=2, scale=0.5
    )
    W0[1], A0[:, 1] = -2 * W0[0], -2 * A0[:, 0]
    W0[2], A0[:, 2] = 0, 0
    end = population_flow(mixture, W0, A0, targets=targets, activation="identity", times=[5.0], rtol=1e-11)
    Z = np.hstack([end.W[0], end.A[0].T])
    assert np.abs(Z[1] + 2 * Z[0]).max() <= 1e-9
    assert np.abs(Z[2]).max() == 0


def test_it_contains_balancedness_and_the_invisible_subspace_law():
    """T2 from U eta U^T = eta; T3's velocity from the generator's first columns."""
    rng = np.random.default_rng(5)
    mixture = random_mixture(rng, coarse=2, subclasses=2, dim=4)
    targets = centred_one_hot(mixture.coarse_map)
    W0, A0 = gaussian(6, 4, 2, 0.7, rng)
    found = observed.course(
        mixture, W0, A0, targets=targets, loss="squared", weight_decay=0.1, times=np.array([3.0]), rtol=RTOL
    )
    W, A = law.predict_weights(W0, A0, found.U[0], 0.1, 3.0)
    np.testing.assert_allclose(law.predict_weights(W0, A0, np.eye(6), 0.0, 0.0)[0], W0)
    np.testing.assert_allclose(W @ W.T - A.T @ A, balancedness.predict(W0, A0, 0.1, 3.0), atol=1e-9)
    second, cross = np.diag([1.0, 2.0, 0.5, 0.5]), np.zeros((2, 4))
    cross[:, 0] = 1
    V = invisible_subspace.invisible_subspace(second, cross)
    slope = A0 @ W0 @ second - cross
    velocity = np.hstack([W0, A0.T]) @ law.generator(slope)[:, :4] - 0.1 * W0
    predicted = invisible_subspace.predict_velocity(W0 @ V, A0, V.T @ second @ V, 0.1)
    np.testing.assert_allclose(velocity @ V, predicted, atol=1e-13)


def fixed_problem():
    """Wide enough, m = 16 >= d + K = 6, for U to be read off the weights."""
    rng = np.random.default_rng(0)
    mixture = random_mixture(rng, coarse=2, subclasses=2, dim=4)
    return mixture, centred_one_hot(mixture.coarse_map), *gaussian(16, 4, 2, 1.5, rng)


def form_error(U):
    form = law.eta(4, 2)
    return np.abs(U @ form @ U.T - form).max()


def test_the_observed_transport_is_lorentz_where_all_assumptions_hold():
    mixture, targets, W0, A0 = fixed_problem()
    flow = population_flow(mixture, W0, A0, targets=targets, activation="identity", times=[5.0], rtol=1e-11)
    U, left = observed.observed_transport(W0, A0, flow.W[0], flow.A[0], 0.0, 5.0)
    assert left < 1e-9
    assert form_error(U) < 1e-8


def test_necessary_linear_network():
    """ReLU: no single U moves all neurons; the best one leaves a tenth of the weights unexplained."""
    mixture, targets, W0, A0 = fixed_problem()
    flow = population_flow(mixture, W0, A0, targets=targets, activation="relu", times=[5.0], rtol=1e-8)
    assert observed.observed_transport(W0, A0, flow.W[0], flow.A[0], 0.0, 5.0)[1] > 0.1


def test_necessary_the_same_weight_decay_on_both_layers():
    """One U still moves all neurons, but it is no Lorentz matrix."""
    mixture, targets, W0, A0 = fixed_problem()
    loss = population_loss(mixture, targets=targets, activation="identity")

    def velocity(_, state):
        W, A = state[:64].reshape(16, 4), state[64:].reshape(2, 16)
        _, dW, dA = loss(W, A)
        return -np.concatenate([(dW + 0.2 * W).ravel(), dA.ravel()])

    start = np.concatenate([W0.ravel(), A0.ravel()])
    end = solve_ivp(velocity, (0, 5), start, "DOP853", rtol=1e-11, atol=1e-11).y[:, -1]
    Z = np.hstack([end[:64].reshape(16, 4), end[64:].reshape(2, 16).T])
    Z0 = np.hstack([W0, A0.T])
    U = np.linalg.lstsq(Z0, Z, rcond=None)[0]
    assert np.abs(Z0 @ U - Z).max() < 1e-8
    assert form_error(np.exp(0.1 * 5) * U) > 0.1


def test_necessary_gradient_flow():
    """Descent: a product of I + step * generator, which is Lorentz up to the step only."""
    mixture, targets, W0, A0 = fixed_problem()
    errors = []
    for step in (0.04, 0.02, 0.01):
        run = population_descent(
            mixture,
            W0,
            A0,
            targets=targets,
            activation="identity",
            learning_rate=step,
            steps=[round(5 / step)],
        )
        U, left = observed.observed_transport(W0, A0, run.W[0], run.A[0], 0.0, 5.0)
        assert left < 1e-10  # neurons do not mix in descent either
        errors.append(form_error(U))
    assert errors[0] > 0.01
    # First order: successive ratios tend to 2, each missing it by half as much as the one before (next order).
    missed = [errors[i] / errors[i + 1] - 2 for i in (0, 1)]
    assert abs(missed[1]) < 0.7 * abs(missed[0]) < 0.7


BAD_CALLS = [
    (
        lambda: law.predict(np.ones((3, 2)), np.ones((1, 4)), lambda F: F, 0.0, [1.0]),
        r"A0 must have shape \(K, 3\)",
    ),
    (
        lambda: law.predict(np.ones((3, 2)), np.ones((1, 3)), lambda F: F, -0.1, [1.0]),
        "weight_decay must be a fin",
    ),
    (lambda: law.generator(np.ones(3)), r"slope must have shape \(K, d\), got \(3,\)"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


VALUES = {
    "decay": [
        (lambda: law.predict_weights([[1.0, 2]], [[3.0]], np.eye(3), 0.5, 2.0)[0][0, 1], 2 / np.e),
    ],
    "generator": [(lambda: law.generator([[5.0, 2]])[2, 0], -5.0)],
    "form": [(lambda: law.eta(1, 2)[2, 2], -1.0)],
    "imbalance": [
        (lambda: law.THEOREM.formulas.imbalance.number(np.ones((1, 2)), 3 * np.eye(1))[0, 0], -7.0)
    ],
    # e^{-1} times the entry (1, 0) of U^T U.
    "product": [
        (
            lambda: law.THEOREM.formulas.product.number(
                np.array([[1.0, 2], [3, 4]]), np.eye(2), *law.places(1, 1), 0.5, 1.0
            )[0, 0],
            14 / np.e,
        )
    ],
}
