"""Observables: agreement with slow per-sample oracles in the papers' symbols, and the invariances each claims."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_moments import COARSE, EPS, draw, in_size, same, seeds, slack, transformed
from scipy.stats import special_ortho_group

from finegrain.theory import observables
from finegrain.theory.moments import Moments, PooledCovariance

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


@given(seed=seeds, kind=st.sampled_from(["full", "diagonal", "pooled"]))
def test_torch_gives_the_same_table(seed, kind):
    moments = draw(seed, kind=kind)
    covariances = moments.covariances
    if kind == "pooled":
        covariances = PooledCovariance(*(torch.from_numpy(part) for part in covariances))
    else:
        covariances = torch.from_numpy(np.array(covariances))
    there = Moments(torch.from_numpy(moments.weights), torch.from_numpy(moments.means), covariances)
    a = observables.table(moments, COARSE)
    with torch.device("meta"):  # whatever is made without a device would go there, and have no values
        b = observables.table(there, COARSE)
        assert kind == "diagonal" or observables.mahalanobis(there).device.type == "cpu"
    assert a.keys() == b.keys()
    same(list(a.values()), list(b.values()), slack(draw(seed)))


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


# --- the table ---


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
