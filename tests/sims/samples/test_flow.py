"""Gradient flow on samples: the population's flow of them, the exact laws, and the error of its steps."""

import numpy as np
import pytest
from small_samples import COARSE, EPS, LOSSES, TARGETS, D, N, samples, starts

from finegrain.sims.population.flow import population_flow
from finegrain.sims.samples.flow import sampled_flow
from finegrain.sims.theorems import finite_samples
from finegrain.theory.kinematics import ACTIVATIONS
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import signs
from finegrain.theory.theorems import balancedness, lorentz
from finegrain.theory.theorems import finite_samples as finite_samples_law


def relative_gap(found, W, A, t):
    """Distance of a trajectory's weights at its time t from W and A, relative to their norm."""
    gap = np.sum((found.W[t] - W) ** 2) + np.sum((found.A[t] - A) ** 2)
    return np.sqrt(gap / (np.sum(W**2) + np.sum(A**2)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_flow_is_the_population_flow_of_the_samples(activation, loss):
    """Each sample a noise-free component of its own: the two share nothing but the loss."""
    (x, fine), (W0, A0), step = samples(9, 12), starts(9), 0.05
    mixture = Mixture(Moments(np.full(12, 1 / 12), x, np.zeros((12, D, D))), np.array(COARSE), fine)
    options = {"targets": TARGETS[loss], "activation": activation, "slope": 0.1, "loss": loss}
    options |= {"weight_decay": 0.05, "times": [0.0, 1.0, 2.0]}
    found = sampled_flow(x, fine, W0, A0, **options, step=step)
    kinks = activation in ("relu", "leaky_relu")
    for b in range(3):
        exact = population_flow(mixture, W0[b], A0[b], **options, rtol=1e-5 if kinks else 1e-10)
        for t in range(3):
            # The adaptive solver's own error: some 300 steps of its tolerance.
            bound = found.info["step_error"][t, b] + 300 * (1e-5 if kinks else 1e-10)
            if kinks:  # each of N gates turned once: N times a step of |a| |residual| |x|/N
                bound += step * np.abs(exact.A).max() * 2 * np.linalg.norm(x, axis=1).max()
            assert relative_gap(found[b], exact.W[t], exact.A[t], t) <= bound
        np.testing.assert_allclose(found.loss[0, b], exact.loss[0], rtol=100 * EPS)


def test_where_gates_turn_the_error_is_of_first_order_in_the_step_and_as_large_as_estimated():
    """Mean logarithms over 24 networks; each network's own error jumps with where in a step its gates turn."""
    (x, fine), (W0, A0) = samples(21, 12), starts(21, (4,) * 24)
    options = {"targets": TARGETS["squared"], "weight_decay": 0.05, "times": [2.0]}
    reference = sampled_flow(x, fine, W0, A0, **options, step=0.002)
    logs, estimates = [], []
    for step in (0.08, 0.02):
        found = sampled_flow(x, fine, W0, A0, **options, step=step)
        errors = [relative_gap(found[b], reference[b].W[0], reference[b].A[0], 0) for b in range(24)]
        logs.append(np.log(errors) / np.log(4))
        estimates.append(np.log(found.info["step_error"][0]) / np.log(4))
    order = logs[0] - logs[1]
    assert abs(order.mean() - 1) <= 4 * order.std() / np.sqrt(24), order.mean()
    ratio = np.array(estimates) - logs
    assert np.abs(ratio.mean(axis=1)).max() < 1, ratio.mean(axis=1)  # within a factor of 4, on average


def test_the_step_error_falls_with_the_fourth_power_of_the_step():
    (x, fine), (W0, A0) = samples(10), starts(10)
    options = {"targets": TARGETS["squared"], "activation": "erf", "times": [2.0]}
    errors = [
        sampled_flow(x, fine, W0, A0, **options, step=s).info["step_error"][0] for s in (0.1, 0.05, 0.025)
    ]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.abs(orders[1] - 4).max() < 0.2, orders
    assert np.abs(orders[0] - 4).max() < 0.5, orders


@pytest.mark.T2
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "square"])
def test_flow_keeps_every_neurons_balance(activation):
    (x, fine), (W0, A0) = samples(11), starts(11)
    t, decay, p = 3.0, 0.1, balancedness.degree(activation)
    options = {"targets": TARGETS["squared"], "activation": activation, "weight_decay": decay}
    found = sampled_flow(x, fine, W0, A0, **options, times=[t], step=0.03)
    for b in range(3):
        W, A = found[b].W[0], found[b].A[0]
        predicted = balancedness.predict_neurons(W0[b], A0[b], p, decay, t)
        norm = np.sqrt(np.sum(W**2) + np.sum(A**2))
        # A relative error e of the weights moves a square of theirs by 2 e, their larger degree p times.
        bound = 2 * p * found.info["step_error"][0, b] * norm**2 + 1e-12
        np.testing.assert_allclose(np.sum(W**2, 1) - p * np.sum(A**2, 0), predicted, rtol=0, atol=bound)
        drift = balancedness.drift(W0[b], A0[b], p, decay, found.times, found[b].W, found[b].A)
        assert found.info["balance_drift"][b] == pytest.approx(drift, abs=100 * EPS)


@pytest.mark.T14
@pytest.mark.parametrize("loss", LOSSES)
def test_linear_networks_move_by_one_lorentz_transformation(loss):
    (x, fine), (W0, A0) = samples(12), starts(12)
    t, decay, rows = 1.0, 0.05, TARGETS[loss][fine]

    def slope(F):
        residual = {
            "squared": lambda f: f - rows,
            "logistic": lambda f: -rows / (1 + np.exp(rows * f)),
            "cross-entropy": lambda f: np.exp(f) / np.exp(f).sum(1, keepdims=True) - rows,
        }[loss](x @ F.T)
        return residual.T @ x / N

    options = {"targets": TARGETS[loss], "loss": loss, "activation": "identity", "weight_decay": decay}
    found = sampled_flow(x, fine, W0, A0, **options, times=[t], step=0.01)
    for b in range(3):
        U = lorentz.predict(W0[b], A0[b], slope, decay, [t], rtol=1e-12)[0]
        W, A = lorentz.predict_weights(W0[b], A0[b], U, decay, t)
        bound = found.info["step_error"][0, b] * np.sqrt(np.sum(W**2) + np.sum(A**2)) + 1e-10
        assert bound < 1e-5
        np.testing.assert_allclose(found[b].W[0], W, rtol=0, atol=bound)
        np.testing.assert_allclose(found[b].A[0], A, rtol=0, atol=bound)


@pytest.mark.T12
def test_the_remainders_gram_is_the_inputs_deflated():
    rng, eps, decay, t = np.random.default_rng(13), 0.1, 0.05, 10.0
    data = finite_samples.draw(rng, coarse=2, samples=8, dim=12)
    W0, A0 = finite_samples.isometric(14, 12, 1, eps, rng)
    order = np.argsort(data.labels, kind="stable")
    assert np.bincount(data.labels).min() >= 2
    X, labels, targets = data.X[:, order], data.labels[order], signs([0, 1])
    found = sampled_flow(
        X.T,
        labels,
        [W0],
        [A0],
        targets=targets,
        activation="identity",
        weight_decay=decay,
        times=[t],
        step=0.05,
    )
    W, A = found[0].W[0], found[0].A[0]
    predicted = finite_samples_law.predict_remainder(X, A @ W, eps, decay, t)
    # The weights' error against a remainder of size eps e^{-lambda t}, twice for a square.
    size = np.sqrt(np.sum(W**2) + np.sum(A**2)) / (eps * np.exp(-decay * t))
    bound = 4 * found.info["step_error"][0, 0] * size + 1e-12
    assert bound < 1e-3
    assert finite_samples.relative_gap(finite_samples.remainder(W, A, X), predicted) <= bound
