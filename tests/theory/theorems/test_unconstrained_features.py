"""T11: direct optimisation ends at the predicted singular values to 1e-8; each assumption is needed."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import minimize

from finegrain.sims.initial_weights import balanced
from finegrain.sims.population.flow import population_flow
from finegrain.sims.theorems import unconstrained_features as observed
from finegrain.theory import observables
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.targets import signs
from finegrain.theory.theorems import unconstrained_features as law

pytestmark = pytest.mark.T11
EPS = np.finfo(float).eps
seeds = st.integers(0, 2**32 - 1)
# Without bias, free, or with a penalty on either side of 1.
bias_decays = st.sampled_from([np.inf, 0.0, 0.1, 1.0, 10.0])
# Gradients end near 1e-15, and the least curvature of a draw below is above 1e-5: 2 w z for a mode
# of weight w that is kept, lambda - w y for one that is lost, 2 lambda for A against H.
BOUND = 1e-8


def clear_of_critical(weight_decay, K, samples, bias_decay):
    """Relative distance of lambda from every threshold at least 1 %: there the curvature vanishes."""
    price = K * np.sqrt(samples) * weight_decay
    prices = [price] + ([price * (1 + 1 / bias_decay)] if bias_decay > 0 else [])
    return all(abs(1 - p) > 0.01 for p in prices)


@given(
    seed=seeds,
    K=st.integers(2, 12),
    extra=st.integers(0, 52),
    samples=st.integers(1, 5),
    bias_decay=bias_decays,
    relative=st.floats(0.01, 2),
    scale=st.floats(0.1, 3),
)
def test_singular_values_from_random_starts_are_the_predicted_ones(
    seed, K, extra, samples, bias_decay, relative, scale
):
    """lambda from 1 % of critical to twice critical; m from K to 64."""
    weight_decay = relative / (K * np.sqrt(samples))
    assume(clear_of_critical(weight_decay, K, samples, bias_decay))
    found = observed.minimise(
        np.full(K, 1 / K),
        width=K + extra,
        samples=samples,
        weight_decay=weight_decay,
        bias_decay=bias_decay,
        seed=seed,
        scale=scale,
    )
    predicted = law.predict(K, weight_decay, samples=samples, bias_decay=bias_decay)
    for matrix in (found.A, found.H):
        assert np.abs(observed.top_values(matrix, K) - predicted).max() <= BOUND
    # Balanced, and one h a class.
    np.testing.assert_allclose(found.A.T @ found.A, found.H @ found.H.T, atol=BOUND)
    by_class = found.H.reshape(-1, K, samples)
    assert np.abs(by_class - by_class[:, :, :1]).max() <= BOUND


@given(seed=seeds, K=st.integers(2, 12), extra=st.integers(0, 8), relative=st.floats(0.05, 3))
def test_unequal_classes_have_orthogonal_features_of_the_predicted_norms(seed, K, extra, relative):
    pi = np.random.default_rng(seed).dirichlet(np.full(K, 3.0))
    weight_decay = relative / K
    assume(pi.min() > 1e-3)
    assume((np.abs(weight_decay / pi - 1) > 0.01).all())
    found = observed.minimise(pi, width=K + extra, weight_decay=weight_decay, seed=seed)
    expected = np.diag(law.predict_unequal(pi, weight_decay))
    np.testing.assert_allclose(found.H.T @ found.H, expected, atol=BOUND)
    np.testing.assert_allclose(found.A @ found.A.T, expected, atol=BOUND)


@given(
    seed=seeds, K=st.integers(2, 12), extra=st.integers(0, 8), relative=st.floats(0.01, 0.9), bias=bias_decays
)
def test_the_gram_matrix_of_class_features(seed, K, extra, relative, bias):
    """Orthogonal features without a bias, a simplex ETF with a free one, between them for a penalised one."""
    weight_decay = relative / K
    assume(clear_of_critical(weight_decay, K, 1, bias))
    found = observed.minimise(
        np.full(K, 1 / K), width=K + extra, weight_decay=weight_decay, bias_decay=bias, seed=seed
    )
    gram = law.predict_gram(K, weight_decay, bias_decay=bias)
    np.testing.assert_allclose(found.H.T @ found.H, gram, atol=BOUND)
    # Centred, a simplex ETF in every case.
    moments = Moments(np.full(K, 1 / K), found.H.T, np.zeros((K, K + extra, K + extra)))
    assert observables.etf_error(moments) <= BOUND / (1 - relative)
    if bias == 0:
        assert np.abs(found.H.sum(axis=1)).max() <= BOUND


@pytest.mark.parametrize("seed", range(2))
def test_a_free_bias_needs_only_k_minus_1_neurons(seed):
    K, weight_decay = 5, 0.08
    found = observed.minimise(
        np.full(K, 1 / K), width=K - 1, weight_decay=weight_decay, bias_decay=0.0, seed=seed
    )
    predicted = law.predict(K, weight_decay, bias_decay=0.0)
    assert np.abs(observed.top_values(found.H, K) - predicted).max() <= BOUND


@given(seed=seeds, K=st.integers(2, 6), relative=st.floats(0.05, 0.9))
def test_no_point_lies_below_the_minimum(seed, K, relative):
    """A mode of singular value z costs lambda z in decay and (1 - z)^2/(2 K) in error."""
    lam = relative / K
    found = observed.minimise(np.full(K, 1 / K), width=K, weight_decay=lam, seed=seed)
    z = law.predict_product_values(K, lam)
    minimum = float(np.sum(lam * z + (1 - z) ** 2 / (2 * K)))
    assert found.loss == pytest.approx(minimum, rel=1e3 * EPS)
    rng = np.random.default_rng(seed)
    for scale in (1e-3, 0.1, 1.0):
        A, H = found.A + scale * rng.standard_normal((K, K)), found.H + scale * rng.standard_normal((K, K))
        loss = np.sum((A @ H - np.eye(K)) ** 2) / (2 * K) + lam / 2 * (np.sum(A**2) + np.sum(H**2))
        assert loss >= minimum * (1 - 1e3 * EPS)


@given(seed=seeds, K=st.integers(2, 4), subclasses=st.integers(2, 3))
def test_the_baseline_is_silent_on_fine_labels(seed, K, subclasses):
    """Any split of a coarse class into fine ones gives fine means that coincide."""
    samples = 2 * subclasses
    found = observed.minimise(
        np.full(K, 1 / K), width=K + 1, samples=samples, weight_decay=0.3 / (K * np.sqrt(samples)), seed=seed
    )
    rng = np.random.default_rng(seed)
    fine = np.concatenate(
        [k * subclasses + rng.permutation(np.arange(samples) % subclasses) for k in range(K)]
    )
    moments = Moments.from_samples(found.H.T, fine)
    assert observables.separation(moments, np.arange(K * subclasses) // subclasses) <= BOUND


def test_known_values():
    assert law.predict(4, 0.1) == pytest.approx([np.sqrt(0.6)] * 4, rel=1e-15)
    assert law.predict(4, 0.1, bias_decay=0.0) == pytest.approx([np.sqrt(0.6)] * 3 + [0], rel=1e-15)
    assert law.predict(4, 0.1, bias_decay=1.0) == pytest.approx(
        [np.sqrt(0.6)] * 3 + [np.sqrt(0.2)], rel=1e-15
    )
    assert law.predict(2, 0.1, samples=4) == pytest.approx([np.sqrt(1.2)] * 2, rel=1e-15)
    assert law.predict(2, 0.6).tolist() == [0, 0]
    assert law.predict_unequal([0.9, 0.1], 0.2) == pytest.approx([1 - 0.2 / 0.9, 0], rel=1e-15)


def test_necessary_unconstrained_features():
    """ReLU features of real inputs, subclasses of probability .35 and .15: weight decay leaves them apart (T8)."""
    mixture = Mixture.orthonormal(2, 2, weights=[0.35, 0.15, 0.35, 0.15])
    W0, A0 = balanced(40, 4, 0.3, np.random.default_rng(0))
    path = population_flow(
        mixture, W0, A0, targets=signs(mixture.coarse_map), weight_decay=0.1, times=[400.0], rtol=1e-6
    )
    assert observables.separation(path.moments[0], mixture.coarse_map) > 0.2


def test_necessary_squared_loss():
    """Cross-entropy with the same lambda: other singular values."""
    K, lam = 3, 0.05

    def loss(x):
        A, H = x[:9].reshape(K, K), x[9:].reshape(K, K)
        f = A @ H
        return float(np.mean(np.log(np.exp(f).sum(axis=0)) - np.diag(f)) + lam / 2 * np.sum(x**2))

    end = minimize(loss, np.random.default_rng(0).standard_normal(18)).x
    values = observed.top_values(end[9:].reshape(K, K), K)
    each = np.sqrt(1 - K * lam)
    assert np.abs(values - each).max() > 0.1
    assert np.abs(values - [each, each, 0]).max() > 0.1


def test_necessary_the_same_weight_decay_on_both():
    """lambda on A and 4 lambda on H act as 2 lambda = sqrt(lambda 4 lambda) on A H, and A and H differ."""
    K, lam = 3, 0.05

    def loss(x):
        A, H = x[:9].reshape(K, K), x[9:].reshape(K, K)
        return float(np.sum((A @ H - np.eye(K)) ** 2) / (2 * K) + lam / 2 * (np.sum(A**2) + 4 * np.sum(H**2)))

    end = minimize(loss, np.random.default_rng(0).standard_normal(18)).x
    A, H = (observed.top_values(part.reshape(K, K), K) for part in (end[:9], end[9:]))
    assert np.abs(A - np.sqrt(1 - K * lam)).min() > 0.1
    assert np.abs(H - np.sqrt(1 - K * lam)).min() > 0.1
    np.testing.assert_allclose(A * H, 1 - 2 * K * lam, atol=1e-4)


def test_necessary_weight_decay_for_collapse_within_classes():
    """lambda = 0: the loss goes to 0 and NC1 keeps the spread of the start."""
    K, samples, spread = 3, 10, []
    for scale in (0.3, 3.0):
        found = observed.minimise(
            np.full(K, 1 / K), width=6, samples=samples, weight_decay=0.0, seed=0, scale=scale
        )
        assert found.loss < 1e-20  # the gradient ends near 1e-15, and the loss is its square
        moments = Moments.from_samples(found.H.T, np.repeat(np.arange(K), samples))
        spread.append(observables.nc1_trace_ratio(moments))
    assert min(spread) > 0.2
    assert abs(spread[1] / spread[0] - 1) > 0.1


def test_necessary_width():
    """m = 2 < K = 4: norms depend on the start, with sum m (1 - K lambda)."""
    K, m, lam = 4, 2, 0.05
    norms = []
    for seed in (0, 1):
        found = observed.minimise(np.full(K, 1 / K), width=m, weight_decay=lam, seed=seed)
        norms.append(np.sort(np.sum(found.H**2, axis=0)))
        assert norms[-1].sum() == pytest.approx(m * (1 - K * lam), abs=BOUND)
        assert observed.top_values(found.H, K) == pytest.approx(
            [np.sqrt(1 - K * lam)] * m + [0] * 2, abs=BOUND
        )
    assert np.abs(norms[0] - norms[1]).max() > 0.05


def test_necessary_equal_classes():
    found = observed.minimise([0.6, 0.25, 0.15], width=4, weight_decay=0.1, seed=0)
    assert np.abs(observed.top_values(found.H, 3) - np.sqrt(1 - 3 * 0.1)).max() > 0.1


BAD_CALLS = [
    (lambda: law.predict(1, 0.1), "classes must be a finite number >= 2, got 1"),
    (lambda: law.predict(3, -0.1), "weight_decay must be a finite number >= 0, got -0.1"),
    (lambda: law.predict(3, 0.1, samples=0), "samples must be a finite number >= 1, got 0"),
    (lambda: law.predict(3, 0.1, bias_decay=-1.0), r"bias_decay must be >= 0 \(inf for no bias\), got -1.0"),
    (lambda: law.predict_unequal([1.0, 0.0], 0.1), "probabilities must be > 0, got 0.0"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def number(name, *arguments):
    return law.THEOREM.formulas[name].number(*arguments)


TWO, ONE = np.array([[2.0]]), np.array([[1.0]])
VALUES = {
    "residual": [(lambda: number("residual", 2 * TWO, 3 * TWO, 0.5)[0, 0], -12.0)],
    "balance": [(lambda: number("balance", TWO, 3 * TWO)[0, 0], 12.0)],
    "within": [(lambda: number("within", TWO, 3 * TWO)[0, 0], 24.0)],
    # sqrt 4 (1 - 2 (2) .1), and with lambda_b = 1: 2 (1 - .4 (2)); at lambda_b = 4: 2 (1 - .4 (5/4)).
    "equal": [(lambda: law.predict_product_values(2, 0.1, samples=4)[0], 1.2)],
    "mean_mode": [(lambda: law.predict_product_values(2, 0.1, samples=4, bias_decay=4.0)[1], 1.0)],
    "gram": [(lambda: law.predict_gram(4, 0.1, bias_decay=0.0)[0, 0], 0.45)],
    "unequal": [(lambda: law.predict_unequal([0.5, 0.5], 0.125)[0], 0.75)],
    "narrow": [(lambda: number("narrow", 3, 0.125, 0.5), 0.3125)],
    "unseen": [(lambda: number("unseen", ONE / 4, TWO)[0, 0], 1.5)],
}
