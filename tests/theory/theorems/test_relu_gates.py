"""T6: closed gates stay closed, small starts keep the predicted gates, and each assumption is needed."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import ortho_group

from finegrain.sims.initial_weights import balanced
from finegrain.sims.population.flow import population_descent, population_flow
from finegrain.sims.population.loss import population_loss
from finegrain.sims.theorems import relu_gates as observed
from finegrain.theory.mixture import Mixture
from finegrain.theory.targets import centred_one_hot, one_hot, signs
from finegrain.theory.theorems import relu_gates as law

pytestmark = pytest.mark.T6
EPS = np.finfo(float).eps
seeds = st.integers(0, 2**32 - 1)


@st.composite
def orthogonal_mixtures(draw, fine=(2, 12), coarse=None, spare=28, even=False):
    """C fine classes at orthogonal means of unequal norm in up to 40 dimensions, any coarse map, unequal weights."""
    rng = np.random.default_rng(draw(seeds))
    C = draw(st.integers(*fine))
    K = coarse or draw(st.integers(2, C))
    coarse_map = rng.permutation(np.concatenate([np.arange(K), rng.integers(0, K, C - K)]))
    dim = C + draw(st.integers(0, spare))
    basis = ortho_group.rvs(dim, random_state=rng)[:C]
    norms = np.ones(C) if even else rng.uniform(0.5, 2, C)
    weights = np.full(C, 1 / C) if even else rng.dirichlet(np.full(C, 8.0))
    return Mixture.from_means(norms[:, None] * basis, coarse_map, weights=weights)


def targets_for(loss, mixture):
    """Targets that the loss is made for: +-1 columns one for each coarse class, or probabilities, or an ETF."""
    hot = one_hot(mixture.coarse_map)
    return {"squared": centred_one_hot(mixture.coarse_map), "logistic": 2 * hot - 1, "cross-entropy": hot}[
        loss
    ]


@given(
    mixture=orthogonal_mixtures(),
    loss=st.sampled_from(["squared", "logistic", "cross-entropy"]),
    width=st.integers(1, 64),
    weight_decay=st.floats(0, 2),
    seed=seeds,
)
def test_the_velocity_of_every_gate_is_the_law_for_every_loss(mixture, loss, width, weight_decay, seed):
    rng = np.random.default_rng(seed)
    t, pi, means = targets_for(loss, mixture), mixture.moments.weights, mixture.moments.means
    W, A = rng.standard_normal((width, mixture.dim)), rng.standard_normal((t.shape[1], width))
    _, dW, _ = population_loss(mixture, targets=t, loss=loss, weight_decay=weight_decay)(W, A)
    w = W @ means.T
    f = np.maximum(w, 0).T @ A.T
    force = {
        "squared": t - f,
        "logistic": t / (1 + np.exp(t * f)),
        "cross-entropy": t - np.exp(f - f.max(1)[:, None]) / np.exp(f - f.max(1)[:, None]).sum(1)[:, None],
    }[loss]
    scale = pi * np.sum(means**2, axis=1)
    predicted = (w > 0) * scale * (force @ A).T - weight_decay * w
    # Rounding of sums of C, d and m terms, relative to the largest product; orthogonality holds to rounding.
    size = (1 + np.abs(force).max()) * np.abs(A).max() * 4 * mixture.dim * width + 10 * np.abs(w).max()
    assert np.abs(-dW @ means.T - predicted).max() <= 30 * EPS * size


@given(
    mixture=orthogonal_mixtures(fine=(2, 8), spare=4),
    loss=st.sampled_from(["squared", "logistic", "cross-entropy"]),
    width=st.integers(1, 8),
    weight_decay=st.floats(0, 1),
    eps=st.floats(-4, 1).map(lambda x: 10**x),
    seed=seeds,
)
def test_closed_coordinates_decay_and_open_sets_shrink(mixture, loss, width, weight_decay, eps, seed):
    rng = np.random.default_rng(seed)
    t, means, rtol = targets_for(loss, mixture), mixture.moments.means, 1e-6
    W = eps * rng.standard_normal((width, mixture.dim)) / np.sqrt(width)
    A = eps * rng.standard_normal((t.shape[1], width)) / np.sqrt(width)
    times = np.array([0.0, 0.3, 1.0, 3.0])
    flow = population_flow(
        mixture, W, A, targets=t, loss=loss, weight_decay=weight_decay, times=times, rtol=rtol
    )
    w = flow.W @ means.T
    for early in range(times.size):
        for late in range(early, times.size):
            closed = w[early] <= 0
            # A mean's coordinate mixes the neuron's weights by rotation: zero is met to rounding of its norm.
            rounding = 100 * EPS * np.linalg.norm(flow.W[early], axis=1)[:, None] * 2
            assert (w[late] <= rounding)[closed].all()
            predicted = law.predict_frozen(w[early], weight_decay, times[late] - times[early])
            allowed = 300 * rtol * np.linalg.norm(flow.W[: late + 1], axis=2).max(0)[:, None] * 2
            assert (np.abs(w[late] - predicted) <= allowed)[closed].all()


@given(
    mixture=orthogonal_mixtures(fine=(2, 8), coarse=2, spare=4),
    loss=st.sampled_from(["squared", "logistic"]),
    weight_decay=st.floats(0, 1),
    eps=st.floats(-4, 1).map(lambda x: 10**x),
    surplus=st.floats(1, 3),
    seed=seeds,
)
def test_outputs_keep_their_sign_at_every_scale(mixture, loss, weight_decay, eps, surplus, seed):
    W, A = balanced(6, mixture.dim, eps / np.sqrt(6 * mixture.dim), np.random.default_rng(seed))
    flow = population_flow(
        mixture,
        W,
        surplus * A,
        targets=signs(mixture.coarse_map),
        loss=loss,
        weight_decay=weight_decay,
        times=[0.5, 2.0, 8.0],
        rtol=1e-6,
    )
    assert (np.sign(flow.A[:, 0]) == np.sign(A[0])).all()


@given(
    mixture=orthogonal_mixtures(fine=(2, 10), coarse=2, spare=0),
    loss=st.sampled_from(["squared", "logistic"]),
    weight_decay=st.floats(0, 0.02),
    eps=st.floats(-6, 0).map(lambda x: 10**x),
    seed=seeds,
)
def test_guaranteed_neurons_lose_every_wrong_gate(mixture, loss, weight_decay, eps, seed):
    """At any eps; and for the logistic loss they keep every gate of their own, so end exactly as predicted."""
    found = observed.train(
        mixture, eps, seed, width=6, weight_decay=weight_decay, loss=loss, records=2, rtol=1e-6
    )
    assume(found.guaranteed.any())
    assert not (found.guaranteed & found.wrong_left).any()
    if loss == "logistic":
        assert found.follows_rule[found.guaranteed].all()


@given(
    mixture=orthogonal_mixtures(fine=(2, 10), coarse=2, spare=0, even=True),
    exponent=st.floats(-9, -4),
    seed=seeds,
)
def test_small_starts_end_with_exactly_the_predicted_gates(mixture, exponent, seed):
    """Squared loss, equal pi_c nu_c^2: an overshoot of f, which alone could close an own gate, vanishes with eps."""
    found = observed.train(mixture, 10**exponent, seed, width=6, records=2, rtol=1e-6)
    assume(found.guaranteed.all())
    assert found.follows_rule.all()


def test_a_neuron_on_wrong_classes_alone_never_closes():
    """The counterexample to "exact for eps small": w on class 1 alone, a = -||w||, at any eps."""
    mixture = Mixture.orthonormal(2, 1)
    for eps in (1e-1, 1e-6):
        W, A = eps * np.array([[0.0, 1.0]]), eps * np.array([[-1.0]])
        flow = population_flow(mixture, W, A, targets=signs(mixture.coarse_map), times=[20.0])
        # w = |a| falls as e^{-t/2}: f on class 1 is below eps^2 all along.
        assert flow.W[0, 0, 1] == pytest.approx(eps * np.exp(-10), rel=eps**2 + 1e-5)
        t = signs(mixture.coarse_map)[:, 0]
        sure = law.guaranteed(W / eps, A[0] / eps, t, weights=[0.5, 0.5], norms=[1, 1], eps=1e-300)
        assert not sure.any()


def test_small_is_not_one_number_for_all_draws():
    """The other half of the correction: at eps = .01 some neurons break the rule; the guarantee knows of them."""
    uneven = Mixture.orthonormal(2, 2, weights=[0.48, 0.02, 0.02, 0.48])
    for mixture, most in ((Mixture.orthonormal(2, 1), 0.99), (uneven, 0.95)):
        found = observed.train(mixture, 1e-2, 0, width=200, records=1, rtol=1e-5)
        assert 0.85 < found.follows_rule.mean() <= most
        assert not (found.guaranteed & ~found.follows_rule).any()


def test_necessary_even_classes_for_the_squared_loss_to_keep_own_gates():
    """Unequal pi_c nu_c^2 and 6 neurons for 4 subclasses: f overshoots by 7 % and closes a gate of a_j's own sign, also
    as eps -> 0; with equal ones the same start ends as predicted."""
    rng = np.random.default_rng(301)
    means, coarse_map = rng.uniform(0.5, 2, 8)[:, None] * np.eye(8), [0] * 4 + [1] * 4
    uneven = Mixture.from_means(means, coarse_map, weights=rng.dirichlet(np.full(8, 8.0)))
    for eps in (1e-5, 1e-8):
        found = observed.train(uneven, eps, 301, width=6, records=12)
        assert found.overshoot > 1.05
        assert found.guaranteed.all()
        assert not found.wrong_left.any()
        assert (~found.follows_rule).sum() == 1
        assert observed.train(Mixture.orthonormal(2, 4), eps, 301, width=6).follows_rule.all()


def reopened(mixture, W, A, **network):
    """Share of gates closed at the start that are open after 800 Euler steps (kinks stall adaptive solvers)."""
    flow = population_descent(
        mixture, W, A, targets=signs(mixture.coarse_map), learning_rate=0.05, steps=[800], **network
    )
    means = mixture.moments.means
    closed = W @ means.T <= 0
    return float((flow.W[0] @ means.T > 0)[closed].mean())


def test_necessary_relu():
    """A leaky unit that is off still learns, and is switched on."""
    mixture = Mixture.orthonormal(2, 2)
    W, A = balanced(300, 4, 1e-3, np.random.default_rng(0))
    assert reopened(mixture, W, A) == 0
    assert reopened(mixture, W, A, activation="leaky_relu", slope=0.3) > 0.1


def test_necessary_orthogonal_means():
    """Means with cosine .3: over a fifth of the closed gates open again."""
    gram = 0.7 * np.eye(4) + 0.3
    mixture = Mixture.from_means(np.linalg.cholesky(gram), [0, 0, 1, 1])
    W, A = balanced(300, 4, 1e-3, np.random.default_rng(0))
    assert reopened(mixture, W, A) > 0.2


def test_necessary_no_input_noise():
    mixture = Mixture.orthonormal(2, 2, noise=0.5)
    W, A = balanced(24, 4, 1e-3, np.random.default_rng(0))
    assert reopened(mixture, W, A) > 0.1


def served(targets, A, mixture):
    """Share of neurons with open gates in two coarse classes or more at the end, from eps = 1e-3."""
    eps, C = 1e-3, mixture.num_fine
    W = np.random.default_rng(0).standard_normal((A.shape[1], C))
    A = A * np.linalg.norm(W, axis=1) / np.linalg.norm(A, axis=0)
    end = 1.5 * C * (np.log(1 / eps) + 8) / np.sqrt(2)
    flow = population_flow(mixture, eps * W, eps * A, targets=targets, times=[end], rtol=1e-4)
    by_class = (flow.W[0] > 0).reshape(len(W), mixture.num_coarse, -1).any(axis=2)
    return float((by_class.sum(axis=1) >= 2).mean())


def test_necessary_scalar_output():
    """K = 3 vector outputs at random: a third of the neurons serve several coarse classes with one-hot targets, a
    tenth with centred ones; centred and each output along one target: the scalar rule holds again."""
    mixture = Mixture.orthonormal(3, 2)
    hot, centred = one_hot(mixture.coarse_map), centred_one_hot(mixture.coarse_map)
    A = np.random.default_rng(1).standard_normal((3, 200))
    assert served(hot, A, mixture) > 0.3
    assert 0.05 < served(centred, A, mixture) < 0.2
    assert served(centred, centred[::2][np.arange(200) % 3].T, mixture) < 0.02


def test_necessary_large_outputs():
    """|a_j| = ||w_j||/10: the larger half of the active classes wins and many outputs change sign."""
    mixture = Mixture.orthonormal(2, 2)
    W, A = balanced(100, 4, 1e-3, np.random.default_rng(0))
    flow = population_flow(mixture, W, A / 10, targets=signs(mixture.coarse_map), times=[30.0], rtol=1e-5)
    assert np.mean(np.sign(flow.A[0, 0]) != np.sign(A[0])) > 0.2


def test_necessary_small_start():
    """At eps = 1 fewer than three neurons in five keep the rule."""
    found = observed.train(Mixture.orthonormal(2, 2), 1.0, 0, width=200, records=1, rtol=1e-5)
    assert found.follows_rule.mean() < 0.6
    assert not found.guaranteed.any()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="targets must be -1 or 1 for a scalar output"):
        law.predict_open(np.ones((1, 2)), [1.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="loss must be one of logistic, squared; got 'cross-entropy'"):
        law.guaranteed(np.ones((1, 1)), [1.0], [1.0], weights=[1], norms=[1], loss="cross-entropy")


def number(name, *arguments):
    return law.THEOREM.formulas[name].number(*arguments)


# z/sqrt D = .6/.8 = 3/4, and asinh(3/4) = ln 2.
VALUES = {
    "velocity": [(lambda: number("velocity", 1, 2.0, 3.0, 4.0, 0.5), 4.0)],
    "drive": [(lambda: number("drive", 0.5, 3.0, 4.0), 6.0)],
    "frozen": [(lambda: law.predict_frozen([-3.0], 0.5, 2.0)[0], -3 * np.exp(-1))],
    "pace": [(lambda: number("pace", 2.0, 3.0), 36.0)],
    "slack": [(lambda: number("slack", 5.0, 3.0), 16.0)],
    "closing": [(lambda: law.predict_closing(1.2, 1.0, 2.0, 0.25, 0.5), 4 * np.log(2))],
    "small": [(lambda: number("small", np.exp(-2), -12.0, 2.0, 0.5), 5.0)],
}


def test_the_guarantee_is_put_together_from_its_two_times():
    """C = 2, one neuron with w = .6 on its wrong class: it closes by 2 ln 2/low, and |f| <= delta until
    (ln delta - ln a^2 eps^2)/high; they meet at a = 1 where eps = sqrt(delta) 2^(-high/low), delta the best bound."""
    best = max(np.log(x) / 2 - np.log(2) * (1 + x) / (1 - x) for x in law.DELTAS)
    for shift, sure in ((-0.01, True), (0.01, False)):
        eps = np.exp(best + shift)
        found = law.guaranteed([[0.0, 0.6]], [-1.0], [-1, 1], weights=[0.5, 0.5], norms=[1, 1], eps=eps)
        assert found.tolist() == [sure]
