"""Observables: agreement with slow per-sample oracles in the papers' symbols, and the invariances each claims."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import special_ortho_group

from theory import observables
from theory.moments import Moments, PooledCovariance

EPS = np.finfo(np.float64).eps
COARSE = np.array([0, 0, 1, 1, 1, 2])

# What each observable of f(moments) survives; the docstrings claim the same.
AFFINE = {
    "vci": observables.vci,
    "mahalanobis": observables.mahalanobis,
    "lda_accuracy": observables.lda_accuracy,
}
EUCLIDEAN = {
    "nc1": observables.nc1,
    "nc1_trace_ratio": observables.nc1_trace_ratio,
    "cdnv": observables.cdnv,
    "equinorm": observables.equinorm,
    "equiangularity": observables.equiangularity,
    "etf_error": observables.etf_error,
    "bisector_accuracy": observables.bisector_accuracy,
    "fine_share": lambda m: observables.fine_share(m, COARSE),
    "fine_share_per_class": lambda m: observables.fine_share_per_class(m, COARSE),
}
PAIRS = {
    name: getattr(observables, name)
    for name in ("class_distances", "separation", "mahalanobis", "lda_accuracy", "bisector_accuracy")
}
seeds = st.integers(0, 2**32 - 1)


def draw(seed, num_classes=6, dim=7, kind="full"):
    """Well-conditioned random Moments: covariances I + L L^T/d, means N(0, I)."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((num_classes, dim, dim))
    covariances = np.eye(dim) + root @ root.transpose(0, 2, 1) / dim
    weights = rng.dirichlet(np.full(num_classes, 5.0))
    return in_size(Moments(weights, rng.standard_normal((num_classes, dim)), covariances), kind)


def in_size(moments, kind):
    """Full Moments in another size."""
    if kind == "diagonal":
        return Moments(moments.weights, moments.means, np.diagonal(moments.covariances, axis1=1, axis2=2))
    if kind == "pooled":
        return Moments(moments.weights, moments.means, PooledCovariance(moments.within, moments.traces))
    return moments


def transformed(moments, matrix, shift=0.0):
    """Moments of T h + shift."""
    covariances = matrix @ moments.covariances @ matrix.T
    covariances = (covariances + covariances.transpose(0, 2, 1)) / 2
    return Moments(moments.weights, moments.means @ matrix.T + shift, covariances)


def slack(moments, condition=1.0):
    """Relative rounding bound: eps times the sizes times the condition numbers that the formulas divide by."""
    centred = np.sqrt(moments.weights)[:, None] * (moments.means - moments.weights @ moments.means)
    scales = np.linalg.svd(centred, compute_uv=False)[: moments.num_classes - 1]
    between = (scales[0] / scales[-1]) ** 2
    within = max(np.linalg.cond(c) for c in moments.covariances)
    return 64 * EPS * moments.dim * between * within * condition**2


def same(a, b, bound):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=bound, atol=bound)


# --- invariances ---


@pytest.mark.parametrize("name", sorted(EUCLIDEAN | AFFINE))
@given(seed=seeds, scale=st.floats(1e-3, 1e3))
def test_unchanged_by_rotation_scale_and_shift(name, seed, scale):
    f, moments = (EUCLIDEAN | AFFINE)[name], draw(seed)
    rotation = special_ortho_group.rvs(moments.dim, random_state=seed)
    shift = scale * np.random.default_rng(seed).standard_normal(moments.dim)
    same(f(transformed(moments, scale * rotation, shift)), f(moments), slack(moments))


@pytest.mark.parametrize("name", AFFINE)
@given(seed=seeds)
def test_unchanged_by_invertible_affine_maps(name, seed):
    moments, rng = draw(seed), np.random.default_rng(seed)
    matrix = np.eye(moments.dim) + rng.uniform(-1, 1, (moments.dim, moments.dim)) / moments.dim
    image = transformed(moments, matrix, rng.standard_normal(moments.dim))
    same(AFFINE[name](image), AFFINE[name](moments), slack(moments, np.linalg.cond(matrix)))


@given(seed=seeds)
def test_pinv_nc1_survives_linear_maps_only_if_the_means_span_the_space(seed):
    matrix = np.diag([4.0, 1.0, 0.25])
    spanning, few = draw(seed, num_classes=6, dim=3), draw(seed, num_classes=3, dim=3)
    same(observables.nc1(transformed(spanning, matrix)), observables.nc1(spanning), slack(spanning, 16))
    change = observables.nc1(transformed(few, matrix)) / observables.nc1(few)
    assert abs(change - 1) > 1e-6


@pytest.mark.parametrize(
    "name", sorted(EUCLIDEAN.keys() - {"bisector_accuracy", "fine_share_per_class"} | {"vci"})
)
@given(seed=seeds)
def test_scalars_do_not_know_the_order_of_the_classes(name, seed):
    moments = draw(seed)
    order = np.random.default_rng(seed).permutation(moments.num_classes)
    shuffled = Moments(moments.weights[order], moments.means[order], moments.covariances[order])
    if name == "fine_share":
        a, b = observables.fine_share(shuffled, COARSE[order]), observables.fine_share(moments, COARSE)
    else:
        f = (EUCLIDEAN | AFFINE)[name]
        a, b = f(shuffled), f(moments)
    same(a, b, slack(moments))


@pytest.mark.parametrize("name", PAIRS)
@given(seed=seeds)
def test_pair_matrices_are_symmetric_and_follow_a_relabelling(name, seed):
    moments = draw(seed)
    order = np.random.default_rng(seed).permutation(moments.num_classes)
    shuffled = Moments(moments.weights[order], moments.means[order], moments.covariances[order])
    matrix = PAIRS[name](moments)
    np.testing.assert_array_equal(matrix, matrix.T)
    same(PAIRS[name](shuffled), matrix[np.ix_(order, order)], slack(moments))


@given(seed=seeds, scale=st.floats(1e-3, 1e3))
def test_separation_and_distances_scale_as_they_say(seed, scale):
    moments = draw(seed)
    rotation = special_ortho_group.rvs(moments.dim, random_state=seed)
    image = transformed(moments, scale * rotation)
    same(observables.separation(image), observables.separation(moments), slack(moments))
    ratio = observables.class_distances(image) / observables.class_distances(moments)
    same(ratio / scale**2, np.ones_like(ratio), slack(moments))


# --- oracles ---


@given(seed=seeds, dim=st.integers(2, 6))
def test_agreement_with_slow_oracles_over_samples(seed, dim):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.repeat(np.arange(6), dim + 2), rng.integers(0, 6, 40)])
    h = rng.standard_normal((6, dim))[y] + rng.standard_normal((len(y), dim))
    moments = Moments.from_samples(h, y)
    mu_G, mu = h.mean(0), np.array([h[y == c].mean(0) for c in range(6)])
    Sigma_W = np.mean([np.outer(x - mu[c], x - mu[c]) for x, c in zip(h, y, strict=True)], axis=0)
    Sigma_B = np.mean([np.outer(mu[c] - mu_G, mu[c] - mu_G) for c in y], axis=0)
    Sigma_T = np.mean([np.outer(x - mu_G, x - mu_G) for x in h], axis=0)
    bound, rank = slack(moments), min(5, dim)
    same(observables.nc1(moments), np.trace(Sigma_W @ np.linalg.pinv(Sigma_B)) / 6, bound)
    same(observables.nc1_trace_ratio(moments), np.trace(Sigma_W) / np.trace(Sigma_B), bound)
    same(observables.vci(moments), 1 - np.trace(np.linalg.pinv(Sigma_T) @ Sigma_B) / rank, bound)
    g = COARSE[y]
    M = np.array([h[g == k].mean(0) for k in range(3)])
    total = np.mean([np.sum((x - M[k]) ** 2) for x, k in zip(h, g, strict=True)])
    between = np.mean([np.sum((mu[c] - M[COARSE[c]]) ** 2) for c in y])
    same(observables.fine_share(moments, COARSE), between / total, bound)
    per_class = [
        np.mean([np.sum((mu[c] - M[k]) ** 2) for c in y[g == k]])
        / np.mean(np.sum((h[g == k] - M[k]) ** 2, 1))
        for k in range(3)
    ]
    same(observables.fine_share_per_class(moments, COARSE), per_class, bound)
    var = [np.mean(np.sum((h[y == c] - mu[c]) ** 2, axis=1)) for c in range(6)]
    pairs = [(i, j) for i in range(6) for j in range(i)]
    V = [(var[i] + var[j]) / (2 * np.sum((mu[i] - mu[j]) ** 2)) for i, j in pairs]
    same(observables.cdnv(moments), np.mean(V), bound)
    D = [[np.mean(np.sum((h[y == i][:, None] - h[y == j]) ** 2, -1)) for j in range(6)] for i in range(6)]
    same(observables.class_distances(moments), D, bound)


@given(seed=seeds)
def test_neural_collapse_geometry_agrees_with_the_papers_formulas(seed):
    moments, rng = draw(seed, num_classes=4), np.random.default_rng(seed)
    M = (moments.means - moments.weights @ moments.means).T  # (d, K), columns mu_c - mu_G
    norms = np.linalg.norm(M, axis=0)
    cosines = [M[:, i] @ M[:, j] / norms[i] / norms[j] for i in range(4) for j in range(i)]
    same(observables.equinorm(moments), np.std(norms) / np.mean(norms), slack(moments))
    same(observables.equiangularity(moments), np.std(cosines), slack(moments))
    G, E = M.T @ M, (np.eye(4) - np.ones((4, 4)) / 4) / np.sqrt(3)
    same(observables.etf_error(moments), np.linalg.norm(G / np.linalg.norm(G) - E), slack(moments))
    A = rng.standard_normal((4, 7))
    distance = np.linalg.norm(A.T / np.linalg.norm(A) - M / np.linalg.norm(M))
    same(observables.nc3(moments, A), distance, slack(moments))
    same(observables.nc3(moments, 3 * M.T), 0, slack(moments))


def test_a_simplex_has_no_nc2_error_and_other_shapes_have():
    simplex = Moments(np.full(4, 0.25), 5 + np.eye(4), np.zeros((4, 4)))
    for f in (observables.equinorm, observables.equiangularity, observables.etf_error):
        assert f(simplex) <= 64 * EPS
    line = Moments(np.full(4, 0.25), np.array([[0.0], [1], [3], [6]]), np.zeros((4, 1)))
    for f in (observables.equinorm, observables.equiangularity, observables.etf_error):
        assert f(line) > 0.5


@pytest.mark.parametrize("kind", ["diagonal", "pooled"])
@given(seed=seeds)
def test_smaller_covariances_serve_what_they_say(kind, seed):
    full = draw(seed)
    small = in_size(full, kind)
    everywhere = ["nc1_trace_ratio", "cdnv", "equinorm", "class_distances", "separation"]
    for name in everywhere + (["nc1", "vci"] if kind == "pooled" else []):
        f = getattr(observables, name)
        same(f(small), f(full), slack(full))
    same(observables.fine_share(small, COARSE), observables.fine_share(full, COARSE), slack(full))
    for name in ("nc1", "vci", "mahalanobis", "lda_accuracy", "bisector_accuracy", "two_means_accuracy"):
        if kind == "diagonal":
            with pytest.raises(
                ValueError, match=f"{name} needs full or pooled covariances, got diagonal ones"
            ):
                getattr(observables, name)(small)


@given(seed=seeds)
def test_pooled_covariances_are_exact_for_pairs_of_equal_covariance(seed):
    moments = draw(seed)
    equal = Moments(moments.weights, moments.means, np.stack([moments.covariances[0]] * 6))
    for name in ("mahalanobis", "lda_accuracy", "bisector_accuracy"):
        f = getattr(observables, name)
        same(f(in_size(equal, "pooled")), f(equal), slack(moments))


@given(seed=seeds, kind=st.sampled_from(["full", "diagonal", "pooled"]))
def test_torch_gives_the_same_table(seed, kind):
    moments = draw(seed, kind=kind)
    covariances = moments.covariances
    if kind == "pooled":
        covariances = PooledCovariance(*(torch.from_numpy(part) for part in covariances))
    else:
        covariances = torch.from_numpy(np.array(covariances))
    there = Moments(torch.from_numpy(moments.weights), torch.from_numpy(moments.means), covariances)
    a, b = observables.table(moments, COARSE), observables.table(there, COARSE)
    assert a.keys() == b.keys()
    same(list(a.values()), list(b.values()), slack(draw(seed)))
    if kind != "diagonal":
        assert isinstance(observables.mahalanobis(there), torch.Tensor)


# --- recoverability ---


@given(seed=seeds)
def test_mahalanobis_and_accuracies_are_their_formulas(seed):
    moments = draw(seed)
    pi, mu, cov = moments.weights, moments.means, moments.covariances
    p = pi[0] / (pi[0] + pi[3])
    delta, pooled = mu[0] - mu[3], p * cov[0] + (1 - p) * cov[3]
    Delta = np.sqrt(delta @ np.linalg.solve(pooled, delta))
    tilt, n = np.log(p / (1 - p)) / Delta, delta / np.linalg.norm(delta)
    lda = p * ndtr(Delta / 2 + tilt) + (1 - p) * ndtr(Delta / 2 - tilt)
    half = np.linalg.norm(delta) / 2
    bisector = p * ndtr(half / np.sqrt(n @ cov[0] @ n)) + (1 - p) * ndtr(half / np.sqrt(n @ cov[3] @ n))
    same(observables.mahalanobis(moments)[0, 3], Delta, slack(moments))
    same(observables.lda_accuracy(moments)[0, 3], lda, slack(moments))
    same(observables.bisector_accuracy(moments)[0, 3], bisector, slack(moments))


@pytest.mark.T10
@given(seed=seeds, share=st.floats(0.05, 0.95))
def test_gaussian_samples_meet_the_predicted_accuracies(seed, share):
    n, rng = 4000, np.random.default_rng(seed)
    drawn = draw(seed, num_classes=2, dim=3)
    cov = drawn.covariances[0]
    moments = Moments([share, 1 - share], drawn.means, np.stack([cov, cov]))
    y = rng.random(n) < share  # True: class 0
    mu = moments.means
    x = np.where(y[:, None], mu[0], mu[1]) + rng.multivariate_normal(np.zeros(3), cov, n)
    score = (x - mu.mean(0)) @ np.linalg.solve(cov, mu[0] - mu[1]) + np.log(share / (1 - share))
    nearest = np.sum((x - mu[0]) ** 2, 1) < np.sum((x - mu[1]) ** 2, 1)
    five_standard_errors = 5 * 0.5 / np.sqrt(n)
    assert abs(np.mean((score > 0) == y) - observables.lda_accuracy(moments)[0, 1]) < five_standard_errors
    assert abs(np.mean(nearest == y) - observables.bisector_accuracy(moments)[0, 1]) < five_standard_errors


@pytest.mark.T10
@given(seed=seeds)
def test_the_nearest_centre_is_never_better_than_lda_where_both_are_exact(seed):
    moments = draw(seed)
    equal = Moments(moments.weights, moments.means, np.stack([moments.covariances[0]] * 6))
    assert (observables.bisector_accuracy(equal) <= observables.lda_accuracy(equal) + 8 * EPS).all()


@pytest.mark.T10
def test_accuracies_are_not_exact_beyond_gaussians():
    """h = relu(z), z ~ N(+-1/2, 1): LDA on Moments 0.661, Bayes accuracy Phi(1/2) = 0.6915 (sign of z - 0)."""
    b = np.array([0.5, -0.5])
    density = np.exp(-(b**2) / 2) / np.sqrt(2 * np.pi)
    means = b * ndtr(b) + density
    variances = (b**2 + 1) * ndtr(b) + b * density - means**2
    relu = Moments([0.5, 0.5], means[:, None], variances[:, None, None])
    assert round(float(observables.lda_accuracy(relu)[0, 1]), 3) == 0.661
    assert round(float(ndtr(0.5)), 4) == 0.6915


@pytest.mark.T10
@pytest.mark.parametrize(("tau2", "expected"), [(1.0, ndtr(1)), (2.13, ndtr(1)), (2.15, 0.5), (9.0, 0.5)])
def test_two_means_leaves_the_bisector_at_its_threshold(tau2, expected):
    """delta = (2, 0), s = 1: the threshold (pi/2)(E|X|)^2 = 2.138."""
    absolute = 2 * np.exp(-0.5) / np.sqrt(2 * np.pi) + 1 - 2 * ndtr(-1)
    assert round(np.pi / 2 * absolute**2, 3) == 2.138
    moments = Moments([0.5, 0.5], [[1.0, 0], [-1, 0]], np.stack([np.diag([1.0, tau2])] * 2))
    # Lloyd stops when steps fall below 1e-13; near the thresholds it contracts by 0.9 a step at worst.
    assert abs(observables.two_means_accuracy(moments)[0, 1] - expected) < 1e-11
    same(observables.bisector_accuracy(moments)[0, 1], ndtr(1), 8 * EPS)


def test_coincident_means_are_a_coin_toss_and_noise_free_differences_are_certain():
    same_means = Moments([0.25, 0.75], np.ones((2, 2)), np.stack([np.eye(2)] * 2))
    assert observables.mahalanobis(same_means)[0, 1] == 0
    assert observables.lda_accuracy(same_means)[0, 1] == 0.75  # the larger class
    assert observables.bisector_accuracy(same_means)[0, 1] == 0.5
    assert observables.two_means_accuracy(same_means)[0, 1] == 0.5
    flat = Moments([0.5, 0.5], [[0.0, 1], [0, 0]], np.stack([np.diag([1.0, 0])] * 2))
    assert observables.mahalanobis(flat)[0, 1] == np.inf
    assert observables.lda_accuracy(flat)[0, 1] == observables.bisector_accuracy(flat)[0, 1] == 1
    assert "mahalanobis" not in observables.table(flat, [0, 0])


@given(seed=seeds, small=st.floats(1e-3, 1))
def test_mahalanobis_in_a_larger_space_keeps_the_distance_of_the_smaller(seed, small):
    """h = W x with m > d: Cov is singular, delta lies in its range, and the pseudo-inverse is right."""
    moments, rng = draw(seed, dim=3), np.random.default_rng(seed)
    W = np.linalg.qr(rng.standard_normal((10, 3)))[0] * np.array([1.0, 1.0, small])
    condition = max(np.linalg.cond(c) for c in moments.covariances) / small**2
    image = transformed(moments, W)
    same(observables.mahalanobis(image), observables.mahalanobis(moments), 64 * 10 * EPS * condition)


@given(seed=seeds)
def test_nc4_is_the_rate_of_agreement_on_gaussian_samples(seed):
    n, rng, moments = 20_000, np.random.default_rng(seed), draw(seed, num_classes=3, dim=4)
    A, b = moments.means + 0.5 * rng.standard_normal((3, 4)), 0.3 * rng.standard_normal(3)
    rates = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        weights = moments.weights[[i, j]] / moments.weights[[i, j]].sum()
        for c, weight in zip((i, j), weights, strict=True):
            h = rng.multivariate_normal(moments.means[c], moments.covariances[c], n)
            network = (h @ (A[i] - A[j]) + b[i] - b[j]) > 0
            centre = np.sum((h - moments.means[i]) ** 2, 1) < np.sum((h - moments.means[j]) ** 2, 1)
            rates.append(weight * np.mean(network == centre) / 3)
    assert abs(sum(rates) - observables.nc4(moments, A, b)) < 5 * 0.5 / np.sqrt(n)


def test_nc4_is_one_for_the_nearest_centre_classifier():
    moments = draw(0)
    bias = -np.sum(moments.means**2, axis=1) / 2
    # arccos of a correlation of 1 - eps: a disagreement of sqrt(eps).
    assert 1 - observables.nc4(moments, moments.means, bias) <= 4 * np.sqrt(EPS)


# --- collapse and degenerate input ---


@pytest.mark.parametrize("scale", [1e-4, 1e-8, 1e-12])
@given(seed=seeds)
def test_collapse_is_seen_in_full_precision_and_never_negative(scale, seed):
    """Within-class covariance scaled by scale^2 about a mean 1e3 away: NC1 and its cousins scale exactly."""
    moments = draw(seed)
    small = Moments(moments.weights, moments.means, scale**2 * moments.covariances)
    for f in (observables.nc1, observables.nc1_trace_ratio, observables.cdnv):
        same(f(small) / scale**2 / f(moments), 1, slack(moments))
    centred = np.sqrt(moments.weights)[:, None] * (moments.means - moments.weights @ moments.means)
    theta = np.linalg.eigvalsh(centred @ np.linalg.solve(moments.within, centred.T))[1:]
    same(observables.vci(small) / np.mean(1 / (1 + theta / scale**2)), 1, slack(moments))


@pytest.mark.parametrize("dim", [2, 3, 9])
def test_means_that_span_less_than_their_number_are_not_divided_by_rounding(dim):
    means = np.zeros((4, dim))
    means[:, 0] = [0.0, 0.1, 0.3, 0.7]  # on a line: Sigma_B has rank 1, not 3
    means = means @ special_ortho_group.rvs(dim, random_state=0).T
    moments = Moments(np.full(4, 0.25), means, np.stack([np.eye(dim)] * 4))
    variance = np.var([0.0, 0.1, 0.3, 0.7])
    same(observables.nc1(moments), 1 / variance / 4, 1e3 * EPS)
    same(observables.vci(moments), 1 / (1 + variance), 1e3 * EPS)


def test_vci_is_zero_for_points_and_counts_only_noisy_directions():
    points = Moments([0.5, 0.5], [[0.0, 1], [1, 0]], np.zeros((2, 2, 2)))
    assert observables.vci(points) == 0
    half = Moments(np.full(3, 1 / 3), [[1.0, 0], [-1, 0], [0, 2]], np.stack([np.diag([1.0, 0])] * 3))
    # Directions: one free of noise (theta infinite), one with Sigma_B = 2/3 against Sigma_W = 1.
    same(observables.vci(half), (0 + 1 / (1 + 2 / 3)) / 2, 64 * EPS)


ONE = Moments([1.0], [[1.0, 2.0]], [np.eye(2)])
EQUAL = Moments([0.5, 0.5], [[1.0, 2.0]] * 2, [np.eye(2)] * 2)
POINTS = Moments([0.5, 0.5], [[1.0, 2.0]] * 2, np.zeros((2, 2)))
ORIGIN = Moments([0.5, 0.5], [[1.0, 2.0], [0.0, 0.0]], [np.eye(2)] * 2)
MIDDLE = Moments([0.25, 0.5, 0.25], [[-1.0], [0.0], [1.0]], np.ones((3, 1)))
DEGENERATE = [
    *((f, (ONE,), "at least 2 classes") for f in (*list(EUCLIDEAN.values())[:6], observables.vci)),
    *((f, (EQUAL,), "class means that differ") for f in list(EUCLIDEAN.values())[:2]),
    (observables.cdnv, (EQUAL,), "distinct class means for cdnv, got classes 0 and 1 equal"),
    (
        observables.equiangularity,
        (MIDDLE,),
        "class means off the global mean for an angle, got class 1 on it",
    ),
    (observables.fine_share, (POINTS, [0, 0]), "variance inside the coarse classes for a fine share, got 0"),
    (observables.fine_share_per_class, (POINTS, [0, 1]), "inside each coarse class, got 0 in [0, 1]"),
    (observables.separation, (ORIGIN,), "class means of norm > 0 for a separation, got 0 in class 1"),
    (observables.separation, (EQUAL, [0, 1]), "send two fine classes to one coarse class, got one to each"),
    (observables.mahalanobis, (EQUAL, [0]), "one entry for each fine class, 2 in all, got 1"),
    (observables.nc3, (EQUAL, np.eye(2)), "class means that differ for nc3"),
    (observables.nc3, (ORIGIN, np.zeros((2, 2))), "classifier must have a non-zero entry, got zeros"),
    (observables.nc3, (ORIGIN, np.eye(3)), "classifier must have shape (2, 2), got (3, 3)"),
    (observables.nc4, (ORIGIN, np.eye(2), np.ones(3)), "bias must have shape (2,), got (3,)"),
    (observables.nc4, (ONE, np.ones((1, 2))), "at least 2 classes for nc4, got 1"),
]


@pytest.mark.parametrize(("f", "arguments", "message"), DEGENERATE)
def test_degenerate_input_is_refused_with_the_reason(f, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        f(*arguments)


# --- coarse classes and the table ---


@given(seed=seeds)
def test_means_inside_coarse_classes_are_those_of_the_matrix(seed):
    moments = draw(seed)
    for f in PAIRS.values():
        matrix = f(moments)
        inside = [matrix[0, 1], np.mean([matrix[2, 3], matrix[2, 4], matrix[3, 4]]), np.nan]
        np.testing.assert_allclose(observables.inside(f, moments, COARSE), inside, rtol=slack(moments))
        pairs = [matrix[0, 1], matrix[2, 3], matrix[2, 4], matrix[3, 4]]
        np.testing.assert_allclose(f(moments, COARSE), np.mean(pairs), rtol=slack(moments))


def test_pairs_in_pieces_are_the_pairs_at_once(monkeypatch):
    moments = draw(1)
    whole = [f(moments) for f in PAIRS.values()]
    monkeypatch.setattr("theory.recoverability.PAIR_ENTRIES", 100)
    for f, expected in zip(PAIRS.values(), whole, strict=True):
        same(f(moments), expected, slack(moments))


def test_table_names_what_is_defined_and_nothing_else():
    names = set(observables.table(draw(0), COARSE))
    scalars = ("nc1", "nc1_trace_ratio", "cdnv", "vci", "equinorm", "equiangularity", "etf_error")
    expected = {f"{name}_{labels}" for name in scalars for labels in ("coarse", "fine")}
    expected |= {
        "fine_share",
        "fine_share[0]",
        "fine_share[1]",
        "fine_share[2]",
        "class_distance",
        "separation",
    }
    assert names == expected | {"mahalanobis", "lda_accuracy", "bisector_accuracy"}
    lonely = observables.table(draw(0), np.arange(6))
    assert "separation" not in lonely and lonely["fine_share"] == 0
    assert observables.table(POINTS, [0, 0]) == {"class_distance": 0, "separation": 0}


def test_table_agrees_with_the_functions():
    moments = draw(2)
    values, coarse = observables.table(moments, COARSE), moments.pool(COARSE)
    assert values["nc1_coarse"] == observables.nc1(coarse) and values["nc1_fine"] == observables.nc1(moments)
    assert values["separation"] == observables.separation(moments, COARSE)
    shares = [values[f"fine_share[{k}]"] for k in range(3)]
    assert shares == observables.fine_share_per_class(moments, COARSE).tolist()
    assert shares[2] == 0  # a coarse class of one fine class
