"""The population loss: exact gradients, three code paths that agree, and samples that agree with all of them."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from finegrain.sims.population import loss as population
from finegrain.sims.population.loss import population_loss
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import centred_one_hot, one_hot, signs


def problem(seed, width, dim, noise, components=5):
    rng = np.random.default_rng(seed)
    roots = noise * rng.standard_normal((components, dim, dim)) / np.sqrt(dim)
    moments = Moments(
        rng.dirichlet(np.full(components, 3.0)),
        rng.standard_normal((components, dim)),
        roots @ roots.transpose(0, 2, 1),
    )
    mixture = Mixture(moments, np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2, 3]))
    W, A = rng.standard_normal((width, dim)), rng.standard_normal((2, width))
    return mixture, centred_one_hot(mixture.coarse_map), W, A, rng


@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(1, 9),
    dim=st.integers(1, 7),
    noise=st.sampled_from([0.0, 0.03, 1.0]),
    activation=st.sampled_from(["identity", "relu", "leaky_relu", "erf", "square"]),
    loss=st.sampled_from(["squared", "logistic", "cross-entropy"]),
    weight_decay=st.sampled_from([0.0, 0.3]),
)
def test_gradients_agree_with_finite_differences(seed, width, dim, noise, activation, loss, weight_decay):
    mixture, targets, W, A, rng = problem(seed, width, dim, noise)
    kinks = activation in ("relu", "leaky_relu") and noise == 0
    assume(not kinks or np.abs(mixture.moments.means @ W.T).min() > 1e-3)  # differences straddle no kink
    assume(loss == "squared" or noise == 0)
    targets = {
        "squared": targets,
        "logistic": np.sign(targets),
        "cross-entropy": one_hot(mixture.coarse_map),
    }[loss]
    options = {"activation": activation, "slope": 0.3, "loss": loss, "weight_decay": weight_decay}
    loss = population_loss(mixture, targets=targets, **options)
    _, dW, dA = loss(W, A)
    U, V = rng.standard_normal(W.shape), rng.standard_normal(A.shape)
    size = np.sqrt(np.vdot(U, U) + np.vdot(V, V))
    U, V = U / size, V / size

    def directional(step):
        return (loss(W + step * U, A + step * V)[0] - loss(W - step * U, A - step * V)[0]) / (2 * step)

    # Richardson removes the h^2 term; what is left is h^4 and rounding, eps L / h.
    step = 4e-4
    estimate = (4 * directional(step / 2) - directional(step)) / 3
    exact = np.vdot(dW, U) + np.vdot(dA, V)
    scale = np.sqrt(np.vdot(dW, dW) + np.vdot(dA, dA)) + loss(W, A)[0]
    assert abs(estimate - exact) <= 1e-7 * scale


PHI = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "leaky_relu": lambda z: torch.where(z > 0, z, 0.3 * z),
    "erf": torch.erf,
    "square": torch.square,
}


@pytest.mark.parametrize("activation", PHI)
def test_gradients_agree_with_autograd_on_samples_within_four_standard_errors(activation):
    """Inputs with a constant coordinate, whose weights are biases; loss and every entry of both gradients."""
    mixture, targets, W, A, rng = problem(2, 6, 5, 1.0)  # samples reach both sides of every neuron's gate
    m = mixture.moments
    means, covariances = m.means.copy(), m.covariances.copy()
    means[:, -1], covariances[:, -1], covariances[:, :, -1] = 1, 0, 0
    mixture = Mixture(Moments(m.weights, means, covariances), mixture.coarse_map, mixture.fine_map)
    loss, dW, dA = population_loss(mixture, targets=targets, activation=activation, slope=0.3)(W, A)
    weights = [torch.tensor(w, requires_grad=True) for w in (W, A)]
    found, batches = [], 100
    for _ in range(batches):
        x, fine = mixture.sample(4_000, rng)
        f = PHI[activation](torch.from_numpy(x) @ weights[0].T) @ weights[1].T
        value = torch.sum((f - torch.from_numpy(targets[fine])) ** 2) / (2 * len(x))
        gradients = torch.autograd.grad(value, weights)
        found.append(torch.cat([value.detach()[None], *(g.ravel() for g in gradients)]).numpy())
    exact = np.concatenate([[loss], dW.ravel(), dA.ravel()])
    standard_error = np.std(found, axis=0, ddof=1) / np.sqrt(batches)
    assert np.abs((np.mean(found, axis=0) - exact) / standard_error).max() < 4


def test_vanishing_noise_meets_the_noise_free_path():
    mixture, targets, W, A, _ = problem(2, 6, 4, 1.0)
    exact = population_loss(_with_noise(mixture, 0.0), targets=targets)(W, A)
    for sigma in (1e-3, 1e-5, 1e-9):
        near = population_loss(_with_noise(mixture, sigma), targets=targets)(W, A)
        for a, b in zip(near, exact, strict=True):
            # Off the kinks noise enters the loss at order sigma^2, its derivative too.
            assert np.abs(a - b).max() <= 100 * sigma**2 + 1e-13


def _with_noise(mixture, sigma):
    m = mixture.moments
    covariances = np.broadcast_to(sigma**2 * np.eye(mixture.dim), m.covariances.shape).copy()
    return Mixture(Moments(m.weights, m.means, covariances), mixture.coarse_map, mixture.fine_map)


def test_a_relu_network_far_from_its_kinks_is_linear():
    mixture, targets, W, A, _ = problem(3, 5, 3, 0.1)
    m = mixture.moments
    far = Mixture(Moments(m.weights, m.means + 50, m.covariances), mixture.coarse_map, mixture.fine_map)
    W = np.abs(W) + 0.1  # preactivations are positive by hundreds of standard deviations
    relu, linear = (population_loss(far, targets=targets, activation=a)(W, A) for a in ("relu", "identity"))
    for a, b in zip(relu, linear, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11)


def test_scalar_targets_have_one_output():
    mixture = Mixture.orthonormal(2, 2)
    loss, dW, dA = population_loss(mixture, targets=signs(mixture.coarse_map))(
        np.zeros((3, 4)), np.zeros((1, 3))
    )
    assert loss == pytest.approx(0.5)
    assert not dW.any()
    assert not dA.any()


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("noise", [0.03, 1.0])
def test_single_precision_agrees_with_double(activation, noise):
    """Within the bounds of rectified_single, 2e-5 s_k for each partner, which random signs keep far from adding up."""
    mixture, targets, W, A, _ = problem(4, 40, 6, noise)
    W[1], W[2] = W[0], -W[0]
    single, double = (
        population_loss(mixture, targets=targets, activation=activation, slope=0.3, precision=p)(W, A)
        for p in ("single", "double")
    )
    for a, b in zip(single, double, strict=True):
        assert 0 < np.abs(a - b).max() <= 2e-5 * np.abs(b).max()


@pytest.mark.parametrize(("activation", "noise"), [("erf", 1.0), ("identity", 1.0), ("relu", 0.0)])
def test_precision_is_double_where_there_are_no_pairs_of_rectified_neurons(activation, noise):
    mixture, targets, W, A, _ = problem(5, 6, 4, noise)
    single, double = (
        population_loss(mixture, targets=targets, activation=activation, precision=p)(W, A)
        for p in ("single", "double")
    )
    for a, b in zip(single, double, strict=True):
        np.testing.assert_array_equal(a, b)


def test_single_precision_in_parts_is_the_whole(monkeypatch):
    mixture, targets, W, A, _ = problem(6, 8, 5, 1.0)
    field = population_loss(mixture, targets=targets, precision="single")
    whole = field(W, A)
    monkeypatch.setattr(population, "SIZE", 2 * 8**2)  # two components at a time
    for a, b in zip(field(W, A), whole, strict=True):
        assert np.abs(a - b).max() <= 1e-6 * np.abs(b).max()


BAD_CALLS = [
    ({"activation": "tanh"}, "activation must be one of erf, identity, leaky_relu, relu, square; got 'tanh'"),
    ({"weight_decay": -1.0}, "weight_decay must be a finite number >= 0, got -1.0"),
    ({"weight_decay": float("nan")}, "weight_decay must be a finite number >= 0, got nan"),
    ({"targets": np.zeros((3, 1))}, r"targets must have shape \(4, K\), got \(3, 1\)"),
    ({"precision": "half"}, "precision must be one of double, single; got 'half'"),
    ({"loss": "hinge"}, "loss must be one of cross-entropy, logistic, squared; got 'hinge'"),
    ({"loss": "logistic", "targets": np.zeros((4, 1))}, r"targets must be -1 or 1 .* got \[0.0\]"),
    ({"loss": "cross-entropy"}, "targets must be rows of probabilities"),
    ({"targets": np.full((4, 1), np.inf)}, "targets must be finite, got 4 NaN or infinite"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CALLS)
def test_bad_input_is_named(change, message):
    mixture = Mixture.orthonormal(2, 2)
    arguments = {"targets": signs(mixture.coarse_map)} | change
    with pytest.raises(ValueError, match=message):
        population_loss(mixture, **arguments)


def test_other_losses_need_inputs_without_noise():
    mixture = Mixture.orthonormal(2, 2, noise=0.1)
    with pytest.raises(ValueError, match=r"loss must be squared for inputs with noise, .* got 'logistic'"):
        population_loss(mixture, targets=signs(mixture.coarse_map), loss="logistic")
