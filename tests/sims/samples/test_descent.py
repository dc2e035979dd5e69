"""Descent on samples: torch's own optimiser, the population's limit, networks that do not interfere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_samples import EPS, LOSSES, TARGETS, WIDTHS, D, K, N, samples, starts

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_descent
from finegrain.sims.samples import loss as sample_loss
from finegrain.sims.samples.flow import sampled_descent
from finegrain.sims.theorems.balancedness import random_mixture
from finegrain.theory.kinematics import ACTIVATIONS
from finegrain.theory.moments import Moments
from finegrain.theory.targets import centred_one_hot


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
        "cross-entropy": lambda: -(t * torch.log_softmax(f, 1)).sum(1),
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
    options = {"targets": TARGETS["cross-entropy"], "loss": "cross-entropy", "activation": "erf"}
    single, double = (
        sampled_descent(x, fine, W0, A0, **options, learning_rate=0.1, steps=[20], dtype=dtype)
        for dtype in ("float32", "float64")
    )
    assert 0 < np.abs(single.W - double.W).max() <= 20 * (N + D + 6) * np.finfo(np.float32).eps * 10


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
