"""T12: the remainder's Gram and the self-made ridge, on sampled data; each assumption is needed."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from finegrain.sims.population.loss import population_loss
from finegrain.sims.theorems import finite_samples as observed
from finegrain.theory.mixture import Mixture
from finegrain.theory.theorems import finite_samples as law

pytestmark = pytest.mark.T12
EPS = np.finfo(float).eps
seeds = st.integers(0, 2**32 - 1)
five_decades = st.floats(-5, 0).map(lambda exponent: 10.0**exponent)


@given(
    seed=seeds,
    coarse=st.integers(2, 5),
    samples=st.integers(6, 30),
    dim=st.integers(5, 40),
    extra=st.integers(0, 24),
    eps=five_decades,
    weight_decay=st.one_of(st.just(0.0), st.floats(0, 1)),
    loss=st.sampled_from(["squared", "logistic"]),
    t=st.floats(0.1, 10),
)
def test_the_remainder_is_the_gram_matrix_deflated_by_the_rows_of_f(
    seed, coarse, samples, dim, extra, eps, weight_decay, loss, t
):
    """n below and above d, m >= d, lambda past critical, two losses."""
    rng = np.random.default_rng(seed)
    data = observed.draw(rng, coarse=2 if loss == "logistic" else coarse, samples=samples, dim=dim)
    W0, A0 = observed.isometric(dim + extra, dim, data.Y.shape[0], eps, rng)
    path = observed.flow(data, W0, A0, np.array([t]), weight_decay, loss=loss)
    W, A = path.W[0], path.A[0]
    predicted = law.predict_remainder(data.X, A @ W, eps, weight_decay, t)
    bound = observed.integrator_error(W, eps, weight_decay, t)
    # The row space of A is read off A itself, whose least kept singular value sets its error.
    values = np.linalg.svd(A, compute_uv=False)
    values = values[values > 1e-12 * values.max()]
    bound *= values.max() / values.min()
    assume(bound < 1e-2)
    assert observed.relative_gap(observed.remainder(W, A, data.X), predicted) <= bound


@given(
    seed=seeds,
    coarse=st.integers(2, 4),
    samples=st.integers(6, 12),
    extra=st.integers(0, 6),
    eps=five_decades,
    weight_decay=st.floats(0, 0.3),
    t=st.floats(0.5, 10),
)
def test_for_a_commuting_gram_matrix_the_remainder_is_known_before_training(
    seed, coarse, samples, extra, eps, weight_decay, t
):
    rng = np.random.default_rng(seed)
    dim = samples + extra
    data = observed.draw(rng, coarse=coarse, samples=samples, dim=dim, commuting=True)
    W0, A0 = observed.isometric(dim + extra, dim, data.Y.shape[0], eps, rng)
    path = observed.flow(data, W0, A0, np.array([t]), weight_decay)
    W, A = path.W[0], path.A[0]
    values = np.linalg.svd(A, compute_uv=False)
    values = values[values > 1e-12 * values.max()]
    bound = observed.integrator_error(W, eps, weight_decay, t) * values.max() / values.min()
    assume(bound < 1e-2)
    predicted = law.predict_commuting_remainder(data.X, data.Y, eps, weight_decay, t)
    assert observed.relative_gap(observed.remainder(W, A, data.X), predicted) <= bound


@given(
    seed=seeds,
    samples=st.integers(2, 40),
    dim=st.integers(1, 60),
    relative=st.floats(1e-3, 0.999),
    scale=st.floats(0.01, 100),
)
def test_the_ridge_is_the_minimum_over_all_linear_maps(seed, samples, dim, relative, scale):
    """theta minimises ||X^T theta - y||^2/(2n) + lambda ||theta||, a convex function: its gradient vanishes."""
    rng = np.random.default_rng(seed)
    X, y = scale * rng.standard_normal((dim, samples)), rng.choice([-1.0, 1.0], samples)
    pull = X @ y / samples
    weight_decay = relative * np.linalg.norm(pull)
    kappa = law.predict_penalty(X.T @ X, y, weight_decay)
    theta = np.linalg.solve(X @ X.T / samples + kappa * np.eye(dim), pull)
    gradient = X @ (X.T @ theta - y) / samples + weight_decay * theta / np.linalg.norm(theta)
    inverse = np.linalg.inv(X.T @ X / samples + kappa * np.eye(samples))
    norm2 = law.THEOREM.formulas.norm2.number(X.T @ X / samples, inverse, y[:, None], samples).item()
    # The root is found to 1e-14 of ln kappa; the solve loses the condition number.
    condition = 1 + np.linalg.norm(X, 2) ** 2 / samples / kappa
    bound = 1e3 * EPS * condition
    assert np.linalg.norm(gradient) <= bound * np.linalg.norm(pull)
    assert kappa**2 * norm2 == pytest.approx(weight_decay**2, rel=bound)
    fit, b = law.predict_fit(X.T @ X, y, weight_decay)
    assert b == pytest.approx(np.linalg.norm(theta), rel=bound)
    np.testing.assert_allclose(fit, X.T @ theta, atol=bound * np.linalg.norm(y))


@given(seed=seeds, samples=st.integers(4, 20), dim=st.integers(2, 30), relative=st.floats(0.1, 0.7))
def test_the_trained_network_has_the_predicted_scatter(seed, samples, dim, relative):
    rng = np.random.default_rng(seed)
    data = observed.draw(rng, coarse=2, samples=samples, dim=dim)
    weight_decay = relative * float(np.linalg.norm(data.X @ data.Y[0])) / samples
    predicted = law.predict_scatter(data.X.T @ data.X, data.Y[0], data.labels, weight_decay)
    found, change = observed.trained_scatter(data, weight_decay, 8, rng)
    # What is left is less than the change over the last two of the transient's times; the integrator's error is
    # 1e-10 a step, relative to h and not to its scatter.
    fit, b = law.predict_fit(data.X.T @ data.X, data.Y[0], weight_decay)
    size = np.sqrt(np.mean(fit**2) / b)
    assert change <= 1e-5 * size
    assert found == pytest.approx(predicted, abs=change + 1e-7 * size)


@pytest.mark.parametrize("seed", range(3))
def test_the_rate_is_that_of_the_flows_last_stage(seed):
    """Distance from the end between two late times, for data with d < n and an aligned, balanced start."""
    data = observed.draw(np.random.default_rng(seed), coarse=2, samples=12, dim=3)
    X, y = data.X, data.Y[0]
    lam = 0.6 * float(np.linalg.norm(X @ y)) / 12
    kappa = law.predict_penalty(X.T @ X, y, lam)
    theta = np.linalg.solve(X @ X.T / 12 + kappa * np.eye(3), X @ y / 12)
    rate = law.predict_rate(X, y, lam)
    rng = np.random.default_rng(seed)
    direction = theta + 0.3 * np.linalg.norm(theta) * rng.standard_normal(3)
    root = np.sqrt(np.linalg.norm(direction))
    times = np.array([12.0, 15.0]) / rate
    path = observed.flow(data, direction[None] / root, np.array([[root]]), times, lam, rtol=1e-13)
    left = [np.linalg.norm(A @ W - theta) for W, A in zip(path.W, path.A, strict=True)]
    found = np.log(left[0] / left[1]) / (times[1] - times[0])
    # No faster transient can make it slower; the rest, of second order, is e^-12.
    assert found == pytest.approx(rate, rel=0.05)


def gap(data, eps, *, t=15.0, start=None, commuting=False, loss="squared"):
    """Relative distance of the observed remainder from the prediction of (a), or of (b), at lambda = 0."""
    W0, A0 = start or observed.isometric(16, data.X.shape[0], data.Y.shape[0], eps, np.random.default_rng(0))
    path = observed.flow(data, W0, A0, np.array([t]), 0.0, loss=loss, rtol=1e-10)
    W, A = path.W[0], path.A[0]
    predicted = (
        law.predict_commuting_remainder(data.X, data.Y, eps, 0.0, t)
        if commuting
        else law.predict_remainder(data.X, A @ W, eps, 0.0, t)
    )
    return observed.relative_gap(observed.remainder(W, A, data.X), predicted)


@pytest.fixture
def generic():
    return observed.draw(np.random.default_rng(0), coarse=2, samples=8, dim=12)


@pytest.fixture
def commuting():
    return observed.draw(np.random.default_rng(0), coarse=2, samples=8, dim=12, commuting=True)


def test_the_setting_of_the_necessity_tests_obeys_the_law(generic, commuting):
    assert gap(generic, 1e-2) < 1e-5
    assert gap(commuting, 1e-2, commuting=True) < 1e-5


def claimed_remainder(X, F, eps, weight_decay, t):
    """eps^2 e^{-2 lambda t} times the Gram matrix of the inputs off the rows of F, with the rows solved for."""
    off = X - F.T @ np.linalg.solve(F @ F.T, F @ X)
    return eps**2 * np.exp(-2 * weight_decay * t) * off.T @ off


def ridge(X, y, weight_decay):
    """yhat and |b| = lambda/kappa of the ridge whose penalty kappa has kappa ||theta|| = lambda, in input space."""
    d, n = X.shape

    def theta(kappa):
        return np.linalg.solve(X @ X.T / n + kappa * np.eye(d), X @ y / n)

    kappa = brentq(lambda x: x * np.linalg.norm(theta(x)) - weight_decay, 1e-9, 1e6)
    return theta(kappa) @ X, weight_decay / kappa


def test_above_the_critical_weight_decay_no_ridge_is_predicted():
    data = observed.draw(np.random.default_rng(0), coarse=2, samples=8, dim=12)
    critical = float(np.linalg.norm(data.X @ data.Y[0])) / 8
    with pytest.raises(ValueError, match=r"weight_decay must lie in \(0, \|\|X y\|\|/n = .*\), got"):
        law.predict_penalty(data.X.T @ data.X, data.Y[0], 1.1 * critical)


def test_necessary_linear_network(generic):
    """ReLU: the remainder of the features is not that of a linear map of the inputs, whatever F's rows are."""
    t, eps = 15.0, 0.1
    W0, A0 = observed.isometric(16, 12, 1, eps, np.random.default_rng(0))
    # Active half the time, A = 0 moves as before. A coarse tolerance: ReLU on samples is full of kinks.
    path = observed.flow(generic, W0, A0, np.array([t]), 0.0, activation="relu", rtol=1e-4)
    W, A = path.W[0], path.A[0]
    H = np.maximum(W @ generic.X, 0)
    outside = H - A.T @ (A @ H) / np.sum(A**2)
    assert observed.relative_gap(outside.T @ outside, claimed_remainder(generic.X, A @ W, eps, 0.0, t)) > 0.1


def test_necessary_isometric_start_at_any_eps(commuting):
    """The counterexample to (b) as first stated: a Gaussian start of width 16 is off by the same at every eps."""
    rng = np.random.default_rng(1)
    direction = rng.standard_normal((16, 12)) / 4
    found = [
        gap(commuting, eps, start=(eps * direction, np.zeros((1, 16))), commuting=True)
        for eps in (1e-2, 1e-4)
    ]
    assert min(found) > 0.2
    assert found[0] == pytest.approx(found[1], rel=1e-2)


def test_necessary_output_weights_that_start_at_zero(commuting):
    """Output weights of the same scale tilt the mode's neurons into W_v, which is then damped along them."""
    rng = np.random.default_rng(2)
    W = np.linalg.qr(rng.standard_normal((16, 12)))[0]
    A = rng.standard_normal((1, 16)) / 4
    found = [gap(commuting, eps, start=(eps * W, eps * A), commuting=True) for eps in (1e-2, 1e-4)]
    assert min(found) > 0.05


def test_necessary_the_same_weight_decay_on_both_layers(generic):
    """Twice lambda on A: neither e^{-2 lambda t} nor the deflation holds."""
    lam, t, eps = 0.05, 15.0, 0.1
    mixture = Mixture.from_means(generic.X.T, generic.labels)
    loss = population_loss(mixture, targets=generic.Y.T, activation="identity")
    W0, A0 = observed.isometric(16, 12, 1, eps, np.random.default_rng(0))

    def velocity(_, state):
        W, A = state[:192].reshape(16, 12), state[192:].reshape(1, 16)
        _, dW, dA = loss(W, A)
        return -np.concatenate([(dW + lam * W).ravel(), (dA + 4 * lam * A).ravel()])

    end = solve_ivp(velocity, (0, t), np.concatenate([W0.ravel(), A0.ravel()]), rtol=1e-9, atol=1e-12).y[
        :, -1
    ]
    W, A = end[:192].reshape(16, 12), end[192:].reshape(1, 16)
    claimed = claimed_remainder(generic.X, A @ W, eps, lam, t)
    assert observed.relative_gap(observed.remainder(W, A, generic.X), claimed) > 0.05


def test_necessary_commuting_gram_matrix(generic):
    """Generic G, deflated by range(X Y^T): off by an amount that does not fall with eps."""
    found = [gap(generic, eps, commuting=True, t=60.0) for eps in (1e-2, 1e-4)]
    assert min(found) > 0.02
    assert found[0] == pytest.approx(found[1], rel=0.05)


def test_the_deflation_by_labels_holds_for_the_logistic_loss_too(commuting):
    assert gap(commuting, 1e-2, commuting=True, loss="logistic", t=30.0) < 1e-5


def test_with_cross_entropy_the_rows_of_f_lie_in_the_range_of_x_y_and_miss_one_direction():
    rng = np.random.default_rng(0)
    data = observed.draw(rng, coarse=3, samples=9, dim=12, commuting=True, targets=np.eye(3))
    W0, A0 = observed.isometric(12, 12, 3, 0.1, rng)
    path = observed.flow(data, W0, A0, np.array([30.0]), 0.0, loss="cross-entropy")
    F = path.A[0] @ path.W[0]
    seen = np.linalg.qr(data.X @ data.Y.T)[0]
    # Rounding and the integrator, 300 steps of 1e-12.
    assert np.linalg.norm(F - F @ seen @ seen.T) <= 1e-9 * np.linalg.norm(F)
    assert np.linalg.norm(F.sum(axis=0)) <= 1e-9 * np.linalg.norm(F)


def test_necessary_residuals_in_the_row_space_of_the_targets():
    """Cross-entropy, a third class with targets (1/2, 1/2): the three classes' residuals span more than Y's rows."""
    targets = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    rng = np.random.default_rng(0)
    data = observed.draw(rng, coarse=3, samples=9, dim=12, commuting=True, targets=targets)
    assert gap(data, 1e-1, commuting=True, loss="squared", t=100.0) < 1e-5
    assert gap(data, 1e-1, commuting=True, loss="cross-entropy", t=100.0) > 0.01


def test_necessary_weight_decay_below_critical():
    """Above ||X y||/n no ridge exists, and the network dies."""
    data = observed.draw(np.random.default_rng(0), coarse=2, samples=8, dim=12)
    critical = float(np.linalg.norm(data.X @ data.Y[0])) / 8
    assert observed.trained_scatter(data, 1.5 * critical, 8, np.random.default_rng(0))[0] < 1e-3


def test_necessary_positive_weight_decay():
    """lambda = 0: the remainder stays, so h is no ray (second singular value above .1); at lambda > 0 it dies."""
    data = observed.draw(np.random.default_rng(0), coarse=2, samples=8, dim=12)
    W0, A0 = observed.isometric(12, 12, 1, 0.5, np.random.default_rng(0))
    critical = float(np.linalg.norm(data.X @ data.Y[0])) / 8
    second = {}
    for lam in (0.0, 0.1 * critical):
        path = observed.flow(data, W0, A0, np.array([400.0]), lam, rtol=1e-8)
        values = np.linalg.svd(path.W[0] @ data.X, compute_uv=False)
        second[lam] = values[1] / values[0]
    assert second[0.0] > 0.1
    assert second[0.1 * critical] < 1e-3


def test_necessary_squared_loss_for_the_ridge():
    data = observed.draw(np.random.default_rng(0), coarse=2, samples=8, dim=12)
    lam = 0.2 * float(np.linalg.norm(data.X @ data.Y[0])) / 8
    W0, A0 = observed.isometric(12, 12, 1, 0.3, np.random.default_rng(0))
    path = observed.flow(data, W0, A0, np.array([20 / lam]), lam, loss="logistic", rtol=1e-8)
    assert abs(np.sum(path.A[0] ** 2) / ridge(data.X, data.Y[0], lam)[1] - 1) > 0.1


def test_necessary_scalar_targets():
    """Three classes: the outputs share neurons and decay, and no output is the ridge of its own targets."""
    data = observed.draw(np.random.default_rng(0), coarse=3, samples=9, dim=12)
    lam = 0.05
    W0, A0 = observed.isometric(12, 12, 3, 0.3, np.random.default_rng(0))
    path = observed.flow(data, W0, A0, np.array([20 / lam]), lam, rtol=1e-8)
    fit = path.A[0] @ path.W[0] @ data.X
    for k in range(3):
        alone, _ = ridge(data.X, data.Y[k], lam)
        assert np.linalg.norm(fit[k] - alone) > 0.02 * np.linalg.norm(alone)


def test_an_isometric_start_needs_width():
    with pytest.raises(ValueError, match="width must be >= dim = 5"):
        observed.isometric(4, 5, 1, 0.1, np.random.default_rng(0))


ONE = np.ones((1, 1))
PAIR = np.array([1.0, -1.0])
VALUES = {
    "imbalance": [(lambda: law.THEOREM.formulas.imbalance.number(2 * ONE, 3 * ONE)[0, 0], -5.0)],
    "decay": [(lambda: law.THEOREM.formulas.decay.number(0.5, 2.0), np.exp(-2))],
    # F sees the first coordinate alone.
    "remainder": [
        (
            lambda: law.predict_remainder(np.array([[5.0], [3.0]]), np.array([[1.0, 0]]), 2.0, 0.5, 2.0)[
                0, 0
            ],
            36 * np.exp(-2),
        ),
        (
            lambda: law.predict_commuting_remainder(np.diag([1.0, 3]), np.array([[1.0, 0]]), 2.0, 0.5, 2.0)[
                1, 1
            ],
            36 * np.exp(-2),
        ),
    ],
    # G/n = 1/2: kappa ||theta|| = kappa/(sqrt 2 (1/2 + kappa)) is half of critical at kappa = 1/2; fit y/2.
    "fit": [(lambda: law.predict_fit(np.eye(2), PAIR, np.sqrt(0.5) / 2)[0][0], 0.5)],
    "size": [(lambda: law.predict_fit(np.eye(2), PAIR, np.sqrt(0.5) / 2)[1], np.sqrt(0.5))],
    "norm2": [(lambda: law.THEOREM.formulas.norm2.number(2 * ONE, 3 * ONE, 5 * ONE, 4)[0, 0], 112.5)],
    # The fit is (1/2, -1/2) in one class: standard deviation 1/2.
    "scatter": [
        (lambda: law.predict_scatter(np.eye(2), PAIR, [0, 0], np.sqrt(0.5) / 2), 0.5 / np.sqrt(np.sqrt(0.5)))
    ],
}
