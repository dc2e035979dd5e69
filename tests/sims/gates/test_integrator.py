"""The gate-aware integrator: against SciPy on the plain field, at every width, scale, activation and late time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from finegrain.sims.gates import integrator
from finegrain.sims.gates.crossings import _projection
from finegrain.sims.gates.integrator import GateIntegrator, applies
from finegrain.sims.initial_weights import balanced, gaussian
from finegrain.sims.population.flow import population_flow
from finegrain.sims.population.flows import population_flows
from finegrain.sims.population.loss import population_loss
from finegrain.sims.setting import Setting
from finegrain.sims.theorems.active_sets import own_gates
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import centred_one_hot, one_hot, signs
from finegrain.theory.theorems import relu_gates

RTOL = 1e-8


def by_scipy(mixture, targets, W0, A0, t, **network):
    """Weights at time t from SciPy's RK45 on the plain field at 1e-11: the slow twin."""
    field = population_loss(mixture, targets=targets, **network)
    shape, split = W0.shape, W0.size

    def velocity(_, state):
        _, dW, dA = field(state[:split].reshape(shape), state[split:].reshape(A0.shape))
        return -np.concatenate([dW.ravel(), dA.ravel()])

    start = np.concatenate([W0.ravel(), A0.ravel()])
    end = solve_ivp(velocity, (0, t), start, rtol=1e-11, atol=1e-13 * np.abs(start).max()).y[:, -1]
    return end[:split].reshape(shape), end[split:].reshape(A0.shape)


def problem(seed, coarse, subclasses, width, kind, rotate):
    """Orthogonal means of unequal norms and weights, in a space with room to spare; any outputs."""
    rng = np.random.default_rng(seed)
    fine = coarse * subclasses
    axes = (
        np.linalg.qr(rng.standard_normal((fine + 1, fine + 1)))[0][:fine]
        if rotate
        else np.eye(fine, fine + 1)
    )
    mixture = Mixture.from_means(
        rng.uniform(0.5, 1.5, (fine, 1)) * axes,
        np.repeat(np.arange(coarse), subclasses),
        weights=rng.dirichlet(np.full(fine, 5.0)),
    )
    targets = {"signs": signs, "one_hot": one_hot, "centred": centred_one_hot}[kind](mixture.coarse_map)
    return mixture, targets, *gaussian(width, fine + 1, targets.shape[1], 1.0, rng)


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from(
        [(2, 1, "signs"), (2, 2, "signs"), (2, 2, "one_hot"), (3, 1, "centred"), (3, 2, "one_hot")]
    ),
    width=st.integers(1, 12),
    rotate=st.booleans(),
    weight_decay=st.sampled_from([0.0, 0.1]),
    slope=st.sampled_from([0.0, 0.1, 0.5]),
    scale=st.sampled_from([0.1, 1.0]),
)
def test_it_agrees_with_scipy_on_the_plain_field(seed, size, width, rotate, weight_decay, slope, scale):
    mixture, targets, W0, A0 = problem(seed, *size[:2], width, size[2], rotate)
    W0, A0 = scale * W0, scale * A0
    network = {"activation": "leaky_relu" if slope else "relu", "slope": slope, "weight_decay": weight_decay}
    t = 4.0
    flow = population_flow(mixture, W0, A0, targets=targets, times=[t], rtol=RTOL, **network)
    assert flow.info["method"] == "gates"
    W, A = by_scipy(mixture, targets, W0, A0, t, **network)
    # Some tens of steps, each within RTOL of the largest neuron, and what the flow makes of an error in time 4: it
    # grows as the weights can, by e^{4 max pi nu |t - f|} < 10 here. The twin's own error is what kinks let it be.
    size = max(np.abs(W).max(), np.abs(A).max())
    assert np.abs(flow.W[0] - W).max() <= 100 * RTOL * size
    assert np.abs(flow.A[0] - A).max() <= 100 * RTOL * size
    assert flow.info["balance_drift"] <= 100 * RTOL


def reference(eps, weight_decay, width=60, seeds=2):
    mixture = Mixture.orthonormal(2, 2)
    starts = [balanced(width, 4, eps, np.random.default_rng(s)) for s in range(seeds)]
    W0, A0 = (np.array(part) for part in zip(*starts, strict=True))
    return mixture, signs(mixture.coarse_map), W0, A0, {"weight_decay": weight_decay}


def flow_within(rtol):
    mixture, targets, W0, A0, network = reference(0.3, 0.05)
    return population_flow(mixture, W0[0], A0[0], targets=targets, times=[20.0], rtol=rtol, **network)


@pytest.fixture(scope="module")
def exact():
    """At a thousandth of the finest tolerance that it is held against."""
    return flow_within(1e-12)


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8, 1e-9])
def test_the_error_follows_the_tolerance(exact, rtol):
    found = flow_within(rtol)
    # Some tens of steps, each within rtol of every neuron, most of whose errors the flow forgets.
    assert np.abs(found.W - exact.W).max() <= 20 * rtol * np.abs(exact.W).max()
    assert np.abs(found.A - exact.A).max() <= 20 * rtol * np.abs(exact.A).max()


def test_networks_of_a_batch_do_not_feel_each_other():
    mixture, targets, W0, A0, network = reference(0.1, 0.05, seeds=3)
    W0[1] *= 1e-3  # another scale, other steps
    A0[1] *= 1e-3
    times = [0.0, 2.0, 30.0]
    flows = population_flows(mixture, W0, A0, targets=targets, times=times, **network)
    for b in range(3):
        alone = population_flow(mixture, W0[b], A0[b], targets=targets, times=times, **network)
        np.testing.assert_allclose(flows[b].W, alone.W, rtol=1e-9, atol=1e-9 * np.abs(alone.W).max())
        np.testing.assert_allclose(flows[b].loss, alone.loss, rtol=1e-9)
        assert [h.means.shape for h in flows[b].moments] == [(4, 60)] * 3
    assert len(flows) == 3


def test_a_batch_that_needs_scipy_is_run_one_by_one():
    mixture = Mixture.orthonormal(2, 2, noise=0.3)
    W0, A0 = balanced(3, 4, 0.5, np.random.default_rng(0))
    flows = population_flows(mixture, [W0, 2 * W0], [A0, A0], targets=signs(mixture.coarse_map), times=[1.0])
    alone = population_flow(mixture, 2 * W0, A0, targets=signs(mixture.coarse_map), times=[1.0])
    np.testing.assert_array_equal(flows[1].W, alone.W)
    assert flows.info[0]["method"] == "DOP853"


def test_closed_gates_never_open_and_closed_coordinates_only_decay():
    mixture, targets, W0, A0, network = reference(0.5, 0.05)
    flow = population_flow(mixture, W0[0], A0[0], targets=targets, times=np.linspace(0, 40, 21), **network)
    closed = flow.W <= 0
    assert (closed[1:] >= closed[:-1]).all()
    frozen = relu_gates.predict_frozen(W0[0], 0.05, 40.0)
    known = ~np.isnan(frozen)
    np.testing.assert_allclose(flow.W[-1][known], frozen[known], rtol=1e-13)


@pytest.mark.parametrize("eps", [1e-3, 1e-10, 1e-40])
def test_the_scale_of_the_start_costs_no_accuracy(eps):
    """While f is of order eps^2 the flow is linear in the start."""
    mixture, targets, W0, A0, _ = reference(1.0, 0.0, width=8)
    ends = []
    for scale in (eps, eps / 2):
        end = population_flow(mixture, scale * W0[0], scale * A0[0], targets=targets, times=[3.0]).W[0]
        ends.append(end / scale)
    grown = 8 * np.abs(ends[0]).max() ** 2
    assert np.abs(ends[0] - ends[1]).max() <= (eps**2 * grown + 100 * RTOL) * np.abs(ends[0]).max()


def test_weight_decay_is_followed_to_time_1e5():
    """Slow inputs, nu = 0.1, so that the end is near at 1e3 and the rest is waiting: T9's end, and no drift."""
    mixture, lam = Mixture.from_means(0.1 * np.eye(4), [0, 0, 1, 1]), 0.01
    W0, A0 = balanced(8, 4, 0.3, np.random.default_rng(0))
    targets = signs(mixture.coarse_map)
    flow = population_flow(mixture, W0, A0, targets=targets, times=[1e5], weight_decay=lam, rtol=1e-6)
    f = (flow.A[0] @ np.maximum(flow.W[0] @ mixture.moments.means.T, 0))[0]
    threshold = 0.1 * np.sqrt(2) / 4  # lambda_c of T9, rates scaled by nu
    np.testing.assert_allclose(f, (1 - lam / threshold) * targets[:, 0], atol=10 * 1e-6)
    assert flow.info["balance_drift"] <= 1e-9


def test_time_zero_and_a_network_without_open_gates_stay_put():
    mixture = Mixture.orthonormal(2, 1)
    W0, A0 = -np.ones((3, 2)), np.ones((1, 3))
    flow = population_flow(
        mixture, W0, A0, targets=signs(mixture.coarse_map), times=[0.0, 2.0], weight_decay=0.5
    )
    np.testing.assert_array_equal(flow.W[0], W0)
    np.testing.assert_allclose(flow.W[1], np.exp(-1) * W0, rtol=1e-14)


@pytest.mark.parametrize(
    ("mixture", "activation", "loss", "expected"),
    [
        (Mixture.orthonormal(2, 2), "relu", "squared", True),
        (Mixture.orthonormal(2, 2), "leaky_relu", "squared", True),
        (Mixture.from_means([[1.0, 0, 0], [0, 0, 0]], [0, 1]), "relu", "squared", True),
        (Mixture.orthonormal(2, 2), "erf", "squared", False),
        (Mixture.orthonormal(2, 2), "relu", "logistic", False),
        (Mixture.orthonormal(2, 2, noise=0.1), "relu", "squared", False),
        (Mixture.from_means([[1.0, 0], [0.3, 1]], [0, 1]), "relu", "squared", False),
    ],
)
def test_it_applies_to_orthogonal_points_and_the_squared_loss(mixture, activation, loss, expected):
    assert applies(mixture, Setting(activation, 0.1, loss)) is expected


def test_a_negative_slope_where_gates_can_slide_is_left_to_scipy():
    assert not applies(Mixture.orthonormal(2, 2), Setting("leaky_relu", -0.1))


def test_other_means_fall_back_on_scipy():
    mixture = Mixture.from_means([[1.0, 0], [0.3, 1]], [0, 1])
    W0, A0 = balanced(3, 2, 0.5, np.random.default_rng(0))
    flow = population_flow(mixture, W0, A0, targets=signs(mixture.coarse_map), times=[1.0])
    assert flow.info["method"] == "RK45"


def test_a_step_that_collapses_is_an_error_that_says_where(monkeypatch):
    monkeypatch.setattr(integrator, "MAX_STEPS", 3)
    mixture, targets, W0, A0, network = reference(0.1, 0.0)
    with pytest.raises(
        RuntimeError, match=r"network 0 stopped at t = .*: its step fell to .* Raise rtol = 1e-08"
    ):
        population_flow(mixture, W0[0], A0[0], targets=targets, times=[50.0], **network)


def test_an_overflow_is_an_error():
    mixture, targets, W0, A0, _ = reference(1e200, 0.0, width=4)
    with (
        np.errstate(all="ignore"),
        pytest.raises(RuntimeError, match="overflowed: lower the scale of W0 and A0"),
    ):
        population_flow(mixture, W0[0], A0[0], targets=targets, times=[1.0])


def test_a_projection_keeps_its_moments():
    """The projection of theta^k is itself, from its integrals against Legendre's polynomials."""
    q = 5
    x, weights = np.polynomial.legendre.leggauss(q + 1)
    theta = (x + 1) / 2
    integrals = np.polynomial.legendre.legvander(x, q).T @ (
        weights[:, None] / 2 * np.vander(theta, q + 1, increasing=True)
    )
    np.testing.assert_allclose(_projection(q) @ integrals, np.eye(q + 1), atol=1e-11)


def test_vanishing_noise_meets_the_noise_free_flow_at_second_order():
    """Noise moves a gate that is far from zero (10 sigma and more here) by e^{-50}, and all else at order sigma^2."""
    mixture, W0, A0 = own_gates(5, 2, 0.3, np.random.default_rng(2))
    W0 = np.sign(W0) * np.maximum(np.abs(W0), 0.2)
    options = {"targets": signs(mixture.coarse_map), "times": [5.0], "rtol": 1e-9}
    exact = population_flow(mixture, W0, A0, **options)
    gaps = []
    for sigma in (0.02, 0.01):
        noisy = population_flow(Mixture.orthonormal(2, 2, noise=sigma), W0, A0, **options)
        assert noisy.info["method"] == "DOP853"
        gaps.append(np.abs(noisy.W - exact.W).max())
    assert gaps[0] / gaps[1] == pytest.approx(4, abs=4 * 10 * 0.02**2)  # the next order is sigma^2 smaller
    assert gaps[1] < 0.01


def test_the_width_does_not_change_the_function():
    """Neurons split in equal parts: h is another, f is the same at every time."""
    mixture, targets, W0, A0, network = reference(0.3, 0.05, width=20)
    few = population_flow(mixture, W0[0], A0[0], targets=targets, times=[15.0], **network)
    W, A = np.repeat(W0[0], 50, axis=0) / np.sqrt(50), np.repeat(A0[0], 50, axis=1) / np.sqrt(50)
    flow = GateIntegrator(mixture, targets, Setting(**network), RTOL)
    W_end, A_end = flow(0.0, 15.0, W, A)
    f, g = (a @ np.maximum(w, 0) for w, a in ((few.W[0], few.A[0]), (W_end, A_end)))
    np.testing.assert_allclose(g, f, atol=20 * RTOL)
