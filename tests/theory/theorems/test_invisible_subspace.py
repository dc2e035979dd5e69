"""T3: the labels exert no force on the invisible subspace, and each assumption is needed for that."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population.flow import population_flow
from finegrain.sims.population.loss import population_loss
from finegrain.sims.theorems import invisible_subspace as observed
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import signs
from finegrain.theory.theorems import invisible_subspace as law

pytestmark = pytest.mark.T3
EPS = np.finfo(float).eps


@st.composite
def problems(draw, isotropic=False, coarse=12, dim=40, most=64):
    """d up to `dim`, m up to `most`, starts over five decades; eigenvalues of Sigma_v all equal if `isotropic`."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    visible = draw(st.integers(1, 6))
    n, width = draw(st.integers(1, dim - visible)), draw(st.integers(1, most))
    eigenvalues = np.full(n, rng.uniform(0.1, 2)) if isotropic else rng.uniform(0, 2, n)
    return observed.draw(
        rng,
        coarse=draw(st.integers(2, coarse)),
        visible=visible,
        eigenvalues=eigenvalues,
        width=width,
        scale=10.0 ** draw(st.floats(-5, 0)),
    )


@given(problem=problems(), weight_decay=st.floats(0, 1))
def test_the_velocity_on_the_invisible_subspace_is_the_law(problem, weight_decay):
    loss = population_loss(
        problem.mixture, targets=problem.targets, activation="identity", weight_decay=weight_decay
    )
    _, dW, _ = loss(problem.W0, problem.A0)
    second_v = np.diag(problem.eigenvalues)
    predicted = law.predict_velocity(problem.W0 @ problem.basis, problem.A0, second_v, weight_decay)
    second = problem.mixture.second_moment()
    # Rounding of a product of five matrices, relative to the product of their norms.
    size = np.linalg.norm(problem.A0) ** 2 * np.linalg.norm(problem.W0) * np.linalg.norm(second) + 10
    assert np.abs(-dW @ problem.basis - predicted).max() <= 100 * EPS * size


@given(problem=problems())
def test_the_drawn_coordinates_are_found_invisible(problem):
    basis = law.invisible_subspace(
        problem.mixture.second_moment(), problem.mixture.cross_moment(problem.targets)
    )
    # Every drawn coordinate lies in V (a larger V is possible: fewer targets than visible dimensions).
    assert np.abs(problem.basis - basis @ (basis.T @ problem.basis)).max() < 1e-6
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=100 * EPS)


@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(1, 6), outputs=st.integers(1, 3))
def test_the_subspace_is_invariant_and_unseen(seed, dim, outputs):
    rng = np.random.default_rng(seed)
    # Few distinct eigenvalues, so that V is not trivial.
    vectors = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    second = (vectors * rng.choice([0.0, 1.0, 3.0], dim)) @ vectors.T
    cross = rng.standard_normal((outputs, dim))
    V = law.invisible_subspace(second, cross)
    image = second @ V
    assert np.abs(cross @ V).max(initial=0) < 1e-9
    assert np.abs(image - V @ (V.T @ image)).max(initial=0) < 1e-8


def test_labels_that_see_nothing_leave_everything_invisible():
    assert law.invisible_subspace(np.eye(3), np.zeros((2, 3))).shape == (3, 3)


def test_labels_that_see_everything_leave_nothing():
    assert law.invisible_subspace(np.diag([1.0, 2.0, 3.0]), np.ones((1, 3))).shape == (3, 0)


@given(problem=problems(isotropic=True, coarse=4, dim=14, most=8), weight_decay=st.floats(0, 0.5))
def test_transport_is_a_contraction_of_positive_determinant(problem, weight_decay):
    width, n = problem.W0.shape[0], problem.eigenvalues.size
    if n < width:
        return  # T_s cannot be read off fewer than m invisible coordinates
    end = 2.0
    rtol = 1e-10
    trajectory = observed.flow(problem, np.array([end]), weight_decay, rtol)
    T = observed.transported(problem, trajectory.W[0], end, weight_decay)
    condition = np.linalg.cond(problem.W0 @ problem.basis)
    error = 1e3 * rtol * condition
    if error > 0.01:
        return
    assert np.linalg.norm(T, 2) <= 1 + error
    assert np.linalg.det(T) > 0


def test_necessary_linear_network():
    """ReLU: the labels push on coordinates that M does not see."""
    rng = np.random.default_rng(0)
    problem = observed.draw(rng, coarse=2, visible=2, eigenvalues=np.ones(2), width=4)
    _, dW, _ = population_loss(problem.mixture, targets=problem.targets, activation="relu")(
        problem.W0, problem.A0
    )
    claimed = -problem.A0.T @ problem.A0 @ problem.W0 @ problem.basis
    assert np.linalg.norm(-dW @ problem.basis - claimed) > 0.3 * np.linalg.norm(claimed)


def test_necessary_invariance():
    """Sigma = [[1, .5], [.5, 1]], M = (1, 0): M v = 0 for v = e_2, yet A W v ends at -2/3 from any start."""
    second, cross = np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([[1.0, 0.0]])
    assert law.invisible_subspace(second, cross).shape == (2, 0)
    # Targets +-2 and class means +-M/2: E t x^T = M, with noise making up E x x^T = Sigma.
    means = np.vstack([-cross, cross]) / 2
    noise = second - means[:1].T @ means[:1]
    mixture = Mixture(Moments(np.full(2, 0.5), means, np.stack([noise] * 2)), np.array([0, 1]))
    targets = 2 * signs(mixture.coarse_map)
    np.testing.assert_allclose(mixture.second_moment(), second, atol=1e-15)
    np.testing.assert_allclose(mixture.cross_moment(targets), cross, atol=1e-15)
    for seed in (0, 1):
        W0, A0 = gaussian(3, 2, 1, 0.3, np.random.default_rng(seed))
        end = population_flow(mixture, W0, A0, targets=targets, activation="identity", times=[120.0])
        assert (end.A[0] @ end.W[0])[0, 1] == pytest.approx(-2 / 3, abs=1e-6)


def test_necessary_squared_loss():
    """Logistic loss on x = t(1,1), t(2,-2), t(3,1), equally likely: M e_2 and Sigma_12 vanish, A W e_2 does not."""
    x = np.array([[1.0, 1.0], [2.0, -2.0], [3.0, 1.0]])
    assert x[:, 1].sum() == 0
    assert x[:, 0] @ x[:, 1] == 0
    W, A = 0.1 * np.eye(2), np.array([[0.1, 0.0]])
    for _ in range(20_000):
        f = (x @ W.T @ A.T)[:, 0]
        force = 1 / (3 * (1 + np.exp(f)))  # -d/df of ln(1 + exp(-t f)), with t x drawn as x
        W, A = W + 0.01 * A.T @ (force @ x)[None], A + 0.01 * (force @ (x @ W.T))[None]
    assert abs((A @ W)[0, 1]) > 0.1


def test_necessary_labels_do_not_see_it():
    mixture = Mixture.orthonormal(2, 1)
    targets = signs(mixture.coarse_map)
    W0, A0 = 0.1 * np.eye(2), np.array([[-0.1, 0.1]])
    _, dW, _ = population_loss(mixture, targets=targets, activation="identity")(W0, A0)
    claimed = -A0.T @ A0 @ W0 @ mixture.second_moment()
    assert np.linalg.norm(-dW - claimed) > 10 * np.linalg.norm(claimed)


def bare_flow(W0, A0, second, weight_decay, t):
    """W along gradient flow where the labels see nothing, E x x^T = second, M = 0: SciPy's RK45, 40 times to t."""
    m, n = W0.shape

    def velocity(_, state):
        W, A = state[: m * n].reshape(m, n), state[m * n :].reshape(-1, m)
        pull = A @ W @ second
        return -np.concatenate(
            [(A.T @ pull + weight_decay * W).ravel(), (pull @ W.T + weight_decay * A).ravel()]
        )

    start = np.concatenate([W0.ravel(), A0.ravel()])
    run = solve_ivp(velocity, (0, t), start, t_eval=np.linspace(0, t, 40), rtol=1e-9, atol=1e-12)
    return run.t, run.y[: m * n].T.reshape(-1, m, n)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 4),
    width=st.integers(1, 4),
    weight_decay=st.floats(0, 0.5),
)
def test_the_frobenius_norm_and_every_eigendirection_shrink(seed, n, width, weight_decay):
    rng = np.random.default_rng(seed)
    eigenvalues = rng.uniform(0, 2, n)
    W0, A0 = rng.standard_normal((width, n)), rng.standard_normal((2, width))
    times, W = bare_flow(W0, A0, np.diag(eigenvalues), weight_decay, 3.0)
    for norms in (np.linalg.norm(W, axis=(1, 2)), *np.linalg.norm(W, axis=1).T):
        allowed = [law.predict_largest_norm(norms[0], weight_decay, t) for t in times]
        # Some hundred steps of rtol.
        assert (norms <= np.array(allowed) + 1e-6 * np.linalg.norm(W0)).all()


UNEVEN = np.diag([1.0, 0.01])


def test_a_direction_that_mixes_eigenvalues_may_grow():
    """The counterexample to "W_v only shrinks": what had cancelled along (1, 1) decays at two rates."""
    _, W = bare_flow(np.array([[1.0, -1.0], [0.1, 0.1]]), np.array([[3.0, 0.0]]), UNEVEN, 0.0, 1.0)
    norms = np.linalg.norm(W @ np.ones(2), axis=1)
    assert norms[-1] > 4 * norms[0]


def test_the_operator_norm_may_grow_and_stays_below_the_frobenius_norm_of_the_start():
    _, W = bare_flow(np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([[3.0, 0.0]]), UNEVEN, 0.0, 1.0)
    norms = np.linalg.norm(W, 2, axis=(1, 2))
    assert norms.max() > 1.1 * norms[0]
    assert norms.max() <= np.linalg.norm(W[0])


def test_one_transport_serves_no_two_eigenvalues():
    """Sigma_v = diag(.5, 2): T_.5 and T_2 differ, so W_v(t) is not T W_v(0) for one T."""
    rng = np.random.default_rng(1)
    eigenvalues = np.array([0.5, 0.5, 2.0, 2.0])
    problem = observed.draw(rng, coarse=2, visible=2, eigenvalues=eigenvalues, width=2)
    W = observed.flow(problem, np.array([3.0]), 0.0, 1e-10).W[0] @ problem.basis
    start = problem.W0 @ problem.basis
    slow, fast = (W[:, i] @ np.linalg.inv(start[:, i]) for i in (slice(0, 2), slice(2, 4)))
    assert np.linalg.norm(slow - fast) > 0.1


ONES = np.ones((1, 1))
VALUES = {
    "velocity": [
        (lambda: law.predict_velocity(2 * ONES, 3 * ONES, 0.5 * ONES, 0.25)[0, 0], -9.5),
        (lambda: law.predict_velocity(np.eye(2), np.array([[1.0, 2]]), np.diag([1.0, 3]), 0.0)[0, 1], -6.0),
    ],
    "decay": [(lambda: law.predict_largest_norm(3.0, 0.5, 4.0), 3 * np.exp(-2))],
    "transport": [(lambda: law.predict_transport(2 * ONES, 3 * ONES, 0.5)[0, 0], -9.0)],
    "log_det": [(lambda: law.predict_log_det(3.0, 0.5), -1.5)],
    "norm_rate": [(lambda: law.THEOREM.formulas.norm_rate.number(3.0, 2.0, 0.5), -7.0)],
}
