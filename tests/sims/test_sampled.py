"""Training on samples: torch's own optimiser, exact laws, the population's limit, networks that do not interfere."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sims import finite_samples, population_descent, population_flow, sample_loss
from sims.balancedness import random_mixture
from sims.initial_weights import gaussian
from sims.sampled import sampled_descent, sampled_flow
from theory import Mixture, Moments
from theory.kinematics import ACTIVATIONS
from theory.targets import centred_one_hot, one_hot, signs
from theory.theorems import balancedness, lorentz
from theory.theorems import finite_samples as finite_samples_law

EPS = np.finfo(float).eps
N, D, K, COARSE = 24, 5, 2, [0, 1, 0, 1]
TARGETS = {
    "squared": centred_one_hot(COARSE),
    "softmax": one_hot(COARSE),
    "logistic": 2 * one_hot(COARSE) - 1,
}
WIDTHS = (3, 6, 1)
LOSSES = tuple(TARGETS)


def samples(seed, count=N):
    rng = np.random.default_rng(seed)
    fine = np.arange(count) % 4
    return rng.standard_normal((4, D))[fine] + 0.5 * rng.standard_normal((count, D)), fine


def starts(seed=0, widths=WIDTHS):
    rng = np.random.default_rng([seed, 1])
    return zip(*(gaussian(m, D, K, 0.7, rng) for m in widths), strict=True)


def loss_in_torch(x, t, W, A, activation, loss, weight_decay):
    """The loss as docs/theory.md writes it, slope 0.1."""
    phi = {
        "identity": lambda z: z,
        "relu": torch.relu,
        "leaky_relu": lambda z: torch.nn.functional.leaky_relu(z, 0.1),
        "erf": torch.erf,
        "square": torch.square,
    }[activation]
    f = phi(x @ W.T) @ A.T
    fit = {
        "squared": lambda: 0.5 * ((f - t) ** 2).sum(1),
        "logistic": lambda: torch.log1p(torch.exp(-t * f)).sum(1),
        "softmax": lambda: -(t * torch.log_softmax(f, 1)).sum(1),
    }[loss]().mean()
    return fit + weight_decay / 2 * ((W**2).sum() + (A**2).sum())


def sgd_loop(x, fine, W0, A0, batches, activation, loss, weight_decay, **rule):
    """torch.optim.SGD on autograd's gradients, one network, one batch a step."""
    W, A = (torch.tensor(w, requires_grad=True) for w in (W0, A0))
    x, t = torch.tensor(x), torch.tensor(TARGETS[loss][fine])
    optimiser = torch.optim.SGD([W, A], **rule)
    for batch in batches:
        optimiser.zero_grad()
        loss_in_torch(x[batch], t[batch], W, A, activation, loss, weight_decay).backward()
        optimiser.step()
    return W.detach().numpy(), A.detach().numpy()


def batches(seed, size, steps):
    """What the documentation says: an order an epoch, drawn from (seed, epoch), cut into whole batches."""
    rounds = N // size
    orders = [np.random.default_rng([seed, epoch]).permutation(N) for epoch in range(-(-steps // rounds))]
    return [orders[s // rounds][s % rounds * size :][:size] for s in range(steps)]


@given(
    seed=st.integers(0, 2**32 - 1),
    activation=st.sampled_from(ACTIVATIONS),
    loss=st.sampled_from(LOSSES),
    weight_decay=st.sampled_from([0.0, 0.1]),
    size=st.sampled_from([None, 1, 7, 24]),
    momentum=st.sampled_from([(0.0, False), (0.9, False), (0.9, True)]),
)
def test_every_network_follows_torchs_own_sgd_step_by_step(
    seed, activation, loss, weight_decay, size, momentum
):
    (x, fine), (W0, A0), steps = samples(seed), starts(seed), 6
    rule = {"momentum": momentum[0], "nesterov": momentum[1]}
    found = sampled_descent(
        x,
        fine,
        W0,
        A0,
        targets=TARGETS[loss],
        activation=activation,
        slope=0.1,
        loss=loss,
        weight_decay=weight_decay,
        learning_rate=0.01,
        batch_size=size,
        seeds=[5, 6, 7],
        steps=[steps],
        **rule,
    )
    for b in range(3):
        wanted = batches(5 + b, size or N, steps) if size else [np.arange(N)] * steps
        W, A = sgd_loop(x, fine, W0[b], A0[b], wanted, activation, loss, weight_decay, lr=0.01, **rule)
        # Two orders of the same sums of N, D, m and K terms, six times over; no intermediate exceeds 1e3.
        bound = steps * (N + D + K + 6) * EPS * 1e3
        np.testing.assert_allclose(found[b].W[0], W, rtol=0, atol=bound)
        np.testing.assert_allclose(found[b].A[0], A, rtol=0, atol=bound)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_recorded_loss_is_the_networks_and_falls(activation, loss):
    (x, fine), (W0, A0) = samples(1), starts(1)
    options = {
        "targets": TARGETS[loss],
        "activation": activation,
        "slope": 0.1,
        "loss": loss,
        "weight_decay": 0.02,
    }
    test_x, test_fine = samples(2, 40)
    found = sampled_descent(
        x, fine, W0, A0, **options, learning_rate=0.02, steps=[0, 20], test=(test_x, test_fine)
    )
    assert (found.loss[1] < found.loss[0]).all()
    for t, b in np.ndindex(2, 3):
        W, A = torch.tensor(found[b].W[t]), torch.tensor(found[b].A[t])
        for value, inputs, labels in ((found.loss, x, fine), (found.test_loss, test_x, test_fine)):
            target = torch.tensor(TARGETS[loss][labels])
            expected = loss_in_torch(torch.tensor(inputs), target, W, A, activation, loss, 0.02)
            assert value[t, b] == pytest.approx(float(expected), rel=100 * EPS)


@given(activation=st.sampled_from(ACTIVATIONS), loss=st.sampled_from(LOSSES), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_padded_neurons_stay_zero_and_networks_do_not_interfere(activation, loss, seed):
    (x, fine), (W0, A0) = samples(seed), starts(seed)
    options = {"targets": TARGETS[loss], "activation": activation, "loss": loss, "learning_rate": 0.02}
    options |= {"steps": [3, 12], "batch_size": 5, "momentum": 0.5, "weight_decay": 0.01, "test": samples(3)}
    together = sampled_descent(x, fine, W0, A0, **options)
    for b, m in enumerate(WIDTHS):
        assert not together.W[:, b, m:].any()
        assert not together.A[:, b, :, m:].any()
        alone = sampled_descent(x, fine, [W0[b]], [A0[b]], seeds=[b], **options)
        # A sum over neurons may be taken in another order beside zeros.
        for one, other in ((together[b].W, alone[0].W), (together[b].A, alone[0].A)):
            np.testing.assert_allclose(one, other, rtol=0, atol=12 * 50 * EPS * 1e3)
        for one, other in zip(together.test_moments, alone.test_moments, strict=True):
            assert one[b].means.shape == other[0].means.shape == (4, m)
            np.testing.assert_allclose(one[b].covariances, other[0].covariances, rtol=0, atol=1e-10)


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_order():
    (x, fine), (W0, A0) = samples(4), starts(4, (3, 3, 3))
    options = {"targets": TARGETS["squared"], "learning_rate": 0.1, "steps": [10], "batch_size": 4}
    first, again = (
        sampled_descent(x, fine, [W0[0]] * 3, [A0[0]] * 3, **options, seeds=[7, 8, 7]) for _ in "ab"
    )
    np.testing.assert_array_equal(first.W, again.W)
    np.testing.assert_array_equal(first.W[:, 0], first.W[:, 2])
    assert np.abs(first.W[:, 0] - first.W[:, 1]).max() > 1e-3


def test_samples_of_its_own_for_each_network_or_the_same_for_all():
    (W0, A0), sets = starts(5), [samples(s) for s in range(3)]
    options = {"targets": TARGETS["squared"], "learning_rate": 0.1, "steps": [0, 8], "batch_size": 6}
    own = sampled_descent(*(np.stack(part) for part in zip(*sets, strict=True)), W0, A0, **options)
    for b, (x, fine) in enumerate(sets):
        shared = sampled_descent(x, fine, W0, A0, **options)
        np.testing.assert_allclose(own[b].W, shared[b].W, rtol=0, atol=1e3 * EPS)
        np.testing.assert_allclose(
            own.moments[1][b].means, shared.moments[1][b].means, rtol=0, atol=1e3 * EPS
        )


def test_moments_are_of_the_recorded_weights(monkeypatch):
    monkeypatch.setattr(sample_loss, "LEAST", 7)  # several blocks, the last one smaller
    monkeypatch.setitem(sample_loss.BLOCK, "cpu", 1)
    (x, fine), (W0, A0), test = samples(6), starts(6), samples(7, 41)
    found = sampled_descent(
        x, fine, W0, A0, targets=TARGETS["squared"], learning_rate=0.1, steps=[0, 5], test=test
    )
    for t, b in np.ndindex(2, 3):
        for moments, (inputs, labels) in ((found.moments, (x, fine)), (found.test_moments, test)):
            expected = Moments.from_samples(np.maximum(inputs @ found[b].W[t].T, 0), labels)
            np.testing.assert_allclose(moments[t][b].means, expected.means, rtol=0, atol=1e3 * EPS)
            np.testing.assert_allclose(
                moments[t][b].covariances, expected.covariances, rtol=0, atol=1e3 * EPS
            )
            np.testing.assert_array_equal(moments[t][b].weights, expected.weights)


def test_float32_is_float64_to_its_own_rounding():
    (x, fine), (W0, A0) = samples(8), starts(8)
    options = {"targets": TARGETS["softmax"], "loss": "softmax", "activation": "erf"}
    single, double = (
        sampled_descent(x, fine, W0, A0, **options, learning_rate=0.1, steps=[20], dtype=dtype)
        for dtype in ("float32", "float64")
    )
    assert 0 < np.abs(single.W - double.W).max() <= 20 * (N + D + 6) * np.finfo(np.float32).eps * 10


# Gradient flow


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
            "softmax": lambda f: np.exp(f) / np.exp(f).sum(1, keepdims=True) - rows,
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


# The population's limit


def test_descent_approaches_the_populations_as_one_over_the_square_root_of_n():
    """Each of R sets of n samples is off by an error of mean square V/n (and smaller terms of order 1/n^2)."""
    rng, R, sizes = np.random.default_rng(14), 24, (400, 1600, 6400)
    mixture = random_mixture(rng, coarse=2, subclasses=2, dim=4)
    targets = centred_one_hot(mixture.coarse_map)
    W0, A0 = gaussian(6, 4, 2, 0.7, rng)
    options = {
        "targets": targets,
        "activation": "relu",
        "weight_decay": 0.01,
        "learning_rate": 0.1,
        "steps": [20],
    }
    limit = population_descent(mixture, W0, A0, **options)
    moved = np.sum((limit.W[0] - W0) ** 2)
    means, errors = [], []
    for n in sizes:
        sets = [mixture.sample(n, rng) for _ in range(R)]
        x, fine = (np.stack(part) for part in zip(*sets, strict=True))
        found = sampled_descent(x, fine, [W0] * R, [A0] * R, **options)
        squares = n * np.sum((found.W[0] - limit.W[0]) ** 2, axis=(1, 2)) / moved
        means.append(squares.mean())
        errors.append(squares.std(ddof=1) / np.sqrt(R))
    # n times the mean square is the same at every n, within the standard errors of the means.
    for i in (0, 1):
        assert abs(means[i] - means[2]) <= 4 * np.hypot(errors[i], errors[2]), (means, errors)
    assert means[2] / sizes[2] < 0.01  # and the samples' network is the population's


# Runs on disk, devices, and what is refused


@pytest.mark.parametrize("scheme", ["descent", "flow"])
def test_a_resumed_run_repeats_the_unbroken_one_bit_for_bit(scheme, tmp_path):
    (x, fine), (W0, A0) = samples(15), starts(15)
    options = {"targets": TARGETS["squared"], "weight_decay": 0.1, "test": samples(16)}
    rule = {"learning_rate": 0.1, "steps": [0, 7, 20], "batch_size": 5, "momentum": 0.9}
    run, options = (
        (sampled_descent, options | rule)
        if scheme == "descent"
        else (sampled_flow, options | {"times": [0, 0.5, 1], "step": 0.1})
    )
    whole = run(x, fine, W0, A0, **options)
    run(x, fine, W0, A0, **options, folder=tmp_path)
    (tmp_path / "checkpoints" / "00002.safetensors").unlink()
    resumed = run(x, fine, W0, A0, **options, folder=tmp_path)
    assert (whole.info["read_back"], resumed.info["read_back"]) == (0, 2)
    for name in ("W", "A", "loss", "test_loss"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    np.testing.assert_array_equal(resumed.test_moments[2][1].means, whole.test_moments[2][1].means)
    with pytest.raises(ValueError, match=r"another config .*weight_decay"):
        run(x, fine, W0, A0, **(options | {"weight_decay": 0.2}), folder=tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_cuda_agrees_with_the_cpu():
    (x, fine), (W0, A0) = samples(17), starts(17)
    options = {"targets": TARGETS["squared"], "learning_rate": 0.1, "steps": [10], "batch_size": 5}
    cpu, cuda = (sampled_descent(x, fine, W0, A0, **options, device=d) for d in ("cpu", "cuda"))
    np.testing.assert_allclose(cuda.W, cpu.W, rtol=0, atol=1e4 * EPS)
    np.testing.assert_allclose(cuda.moments[0][1].means, cpu.moments[0][1].means, rtol=0, atol=1e4 * EPS)


@pytest.mark.filterwarnings("ignore:overflow")
def test_divergence_names_the_networks_the_time_and_the_cure():
    (x, fine), (W0, A0) = samples(18), starts(18)
    W0 = [1e3 * W0[0], W0[1], 1e3 * W0[2]]
    options = {"targets": TARGETS["squared"], "activation": "square"}
    with pytest.raises(
        RuntimeError, match=r"loss of networks 0, 2 stopped .* at step \d+; lower learning_rate, got 0.01"
    ):
        sampled_descent(x, fine, W0, A0, **options, learning_rate=0.01, steps=[100])
    with pytest.raises(RuntimeError, match=r"weights of networks 0, 2 .* at t = \S+; lower step, got 0.05"):
        sampled_flow(x, fine, W0, A0, **options, times=[9.0], step=0.05)


BAD_CALLS = [
    ({"W0": []}, "W0 and A0 must hold one array a network, at least one; got 0 and 3"),
    ({"W0": [np.ones((0, D))] * 3}, r"W0[0] must have m >= 1 neurons and d >= 1 inputs, got shape (0, 5)"),
    (
        {"W0": [np.ones((2, D)), np.ones((2, D + 1)), np.ones((2, D))]},
        "W0[1] must have shape (m, 5), got (2, 6)",
    ),
    ({"A0": [np.ones((K, 3)), np.ones((K, 3)), np.ones((K, 1))]}, "A0[1] must have shape (2, 6), got (2, 3)"),
    ({"x": np.zeros((N, D + 1))}, "x must have shape (N, 5), got (24, 6)"),
    ({"x": np.zeros((2, N, D))}, "x must have shape (3, N, 5), got (2, 24, 5)"),
    ({"x": np.zeros((3, N, D))}, "fine must have shape (3, 24), got (24,)"),
    ({"fine": np.zeros(N, int)}, "fine must hold every class at least twice, got class 1 0 times"),
    ({"test": (np.zeros((1, D)), [0])}, "test fine must hold every class at least twice"),
    ({"activation": "tanh"}, "activation must be one of erf, identity, leaky_relu, relu, square; got 'tanh'"),
    ({"slope": np.inf}, "slope must be a finite number, got inf"),
    ({"loss": "hinge"}, "loss must be one of logistic, softmax, squared; got 'hinge'"),
    ({"loss": "logistic"}, "targets must be -1 or 1 for the logistic loss"),
    ({"weight_decay": -1}, "weight_decay must be a finite number >= 0, got -1"),
    ({"learning_rate": 0}, "learning_rate must be a finite number > 0, got 0"),
    ({"steps": [3, 1]}, "steps must be increasing integers >= 0, got [3, 1]"),
    ({"steps": [-1]}, "steps must be increasing integers >= 0, got [-1]"),
    ({"steps": [0.5]}, "steps must be increasing integers >= 0, got [0.5]"),
    ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
    ({"batch_size": N + 1}, "batch_size must be in 1..24, the number of samples, got 25"),
    ({"momentum": 1.0}, "momentum must lie in [0, 1), got 1.0"),
    ({"nesterov": True}, "momentum must be > 0 for nesterov, got 0.0"),
    ({"seeds": [1]}, "seeds must hold one number a network, 3 in all, got 1"),
    ({"seeds": [1, -2, 3]}, "seeds[1] must be an integer >= 0, got -2"),
    ({"dtype": "float16"}, "dtype must be one of float32, float64; got 'float16'"),
    ({"device": "tpu"}, "device must be one of auto, cpu, cuda; got 'tpu'"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CALLS, ids=[m for _, m in BAD_CALLS])
def test_bad_input_is_named(change, message):
    arguments = dict(zip(("x", "fine", "W0", "A0"), (*samples(19), *starts(19)), strict=True))
    arguments |= {"targets": TARGETS["squared"], "learning_rate": 0.1, "steps": [1]} | change
    with pytest.raises(ValueError, match=re.escape(message)):
        sampled_descent(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [-1.0]}, "times must be non-empty, >= 0 and increasing, got [-1.0]"),
        ({"times": []}, "times must be non-empty, >= 0 and increasing, got []"),
        ({"step": 0}, "step must be a finite number > 0, got 0"),
    ],
)
def test_bad_times_are_named(change, message):
    options = {"targets": TARGETS["squared"], "times": [1.0], "step": 0.1} | change
    with pytest.raises(ValueError, match=re.escape(message)):
        sampled_flow(*samples(20), *starts(20), **options)
