"""Hypothesis strategies for the objects that statements here are about, to test statements of your own with.

    from hypothesis import given
    from theory import testing

    @given(mixture=testing.mixtures(covariances="singular"), network=testing.networks(dim=3))
    def test_my_statement(mixture, network): ...

    coarse_maps()    g: [C] -> [K] with 1..5 fine classes each, of equal or unequal number, in any order
    psd_matrices()   zero, isotropic, anisotropic and singular covariances
    mixtures()       Gaussian mixtures with a coarse map, weights equal or not
    networks()       W, A and an activation, from a start of scale eps

A range is a pair (least, largest), both included; one number stands for itself alone. Sizes, weights and spectra
are Hypothesis's own draws and shrink towards the smallest, equal and isotropic. Directions come from a seeded
generator, whose seed 0 stands for the coordinate axes: what fails, shrinks to something that can be read.

Needs hypothesis (`pip install hypothesis`), which no other module imports.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from finegrain.theory import kinematics
from finegrain.theory.mixture import Mixture
from finegrain.theory.moments import Moments
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array

Sizes = int | tuple[int, int]
Range = tuple[float, float]

COVARIANCES = ("anisotropic", "any", "isotropic", "singular", "zero")
FINE, SUBCLASSES, COARSE, DIM, WIDTH, OUTPUTS = (2, 12), (1, 5), (2, 12), (2, 40), (1, 64), (1, 12)


@dataclass(frozen=True, eq=False)
class Network:
    """f(x) = A phi(W x).

    Attributes:
        W: (m, d)
        A: (K, m)
        activation: one of kinematics.ACTIVATIONS
        slope: of leaky_relu below zero, in [0, 1)
        eps: the scale of W and A
    """

    W: Array
    A: Array
    activation: str
    slope: float
    eps: float


def coarse_maps(
    *, fine: Sizes = FINE, subclasses: Sizes = SUBCLASSES, coarse: Sizes = COARSE, balanced: bool = False
) -> st.SearchStrategy[NDArray[np.int64]]:
    """Maps (C,) onto 0..K-1: C in `fine`, K in `coarse`, and fine classes a coarse class in `subclasses`.

    balanced: the same number S of fine classes in every coarse class.

    Raises:
        ValueError: no map has these sizes.
    """
    (least, most), (few, many) = _sizes("fine", fine, 1), _sizes("coarse", coarse, 1)
    small, large = _sizes("subclasses", subclasses, 1)
    fits = [
        (C, K)
        for C in range(least, most + 1)
        for K in range(few, min(many, C) + 1)
        if K * small <= C <= K * large and not (balanced and C % K)
    ]
    if not fits:
        raise ValueError(
            f"fine, subclasses and coarse must allow a map, got {fine}, {subclasses} and {coarse}"
            + (" with balanced classes" if balanced else "")
        )

    @st.composite
    def maps(draw: st.DrawFn) -> NDArray[np.int64]:
        C, K = draw(st.sampled_from(fits))
        sizes: list[int] = []
        for left in range(K, 0, -1):
            rest = C - sum(sizes)
            low, high = max(small, rest - large * (left - 1)), min(large, rest - small * (left - 1))
            sizes.append(C // K if balanced else draw(st.integers(low, high)))
        labels = np.repeat(np.arange(K), sizes).tolist()
        return np.array(draw(st.permutations(labels)), dtype=np.int64)

    return maps()


@st.composite
def psd_matrices(
    draw: st.DrawFn,
    *,
    dim: Sizes = DIM,
    kind: str = "any",
    scale: Range = (1e-2, 1e2),
    anisotropy: float = 1e4,
) -> Array:
    """Symmetric positive semi-definite matrices (d, d), d in `dim`.

    Args:
        kind: "zero"; "isotropic", a multiple of I; "anisotropic", definite, condition number at most `anisotropy`;
            "singular", as anisotropic with 1..d eigenvalues 0; or "any" of these.
        scale: range of the largest eigenvalue.
        anisotropy: the largest ratio of two non-zero eigenvalues.

    Eigenvalues 0 are 0 up to rounding, d eps of the largest, on either side.
    """
    d = draw(st.integers(*_sizes("dim", dim, 1)))
    checks.one_of("kind", kind, COVARIANCES)
    checks.at_least("anisotropy", anisotropy, 1)
    largest = draw(_log_uniform("scale", scale))
    kind = draw(st.sampled_from(["isotropic", "zero", "anisotropic", "singular"])) if kind == "any" else kind
    if kind == "zero":
        return np.zeros((d, d))
    if kind == "isotropic":
        return largest * np.eye(d)
    logs = draw(st.lists(st.floats(0, 1), min_size=d, max_size=d))
    values = largest * anisotropy ** -(np.array(logs) - min(logs))
    if kind == "singular":
        values = np.sort(values)
        values[: draw(st.integers(1, d))] = 0
    axes = draw(_axes(d))
    matrix = (axes * values) @ axes.T
    return (matrix + matrix.T) / 2


@st.composite
def mixtures(
    draw: st.DrawFn,
    *,
    fine: Sizes = FINE,
    subclasses: Sizes = SUBCLASSES,
    coarse: Sizes = COARSE,
    balanced: bool = False,
    dim: Sizes = DIM,
    covariances: str = "any",
    shared_covariance: bool | None = None,
    equal_weights: bool | None = None,
    scale: Range = (1e-2, 1e2),
    anisotropy: float = 1e4,
) -> Mixture:
    """Gaussian mixtures of C fine classes in R^d, with means of entries N(0, 1), one component a fine class.

    Args:
        fine, subclasses, coarse, balanced: as in `coarse_maps`.
        dim, covariances, scale, anisotropy: as `dim`, `kind`, `scale` and `anisotropy` in `psd_matrices`.
        shared_covariance: one covariance for all fine classes (True), one each (False), or either (None).
        equal_weights: pi_c = 1/C (True), unequal within a factor of 10 (False), or either (None).
    """
    coarse_map = draw(coarse_maps(fine=fine, subclasses=subclasses, coarse=coarse, balanced=balanced))
    C, d = coarse_map.size, draw(st.integers(*_sizes("dim", dim, 1)))
    matrices = psd_matrices(dim=d, kind=covariances, scale=scale, anisotropy=anisotropy)
    if draw(st.booleans()) if shared_covariance is None else not shared_covariance:
        spreads = np.stack([draw(matrices) for _ in range(C)])
    else:
        spreads = np.repeat(draw(matrices)[None], C, axis=0)
    means = np.random.default_rng(draw(_seeds())).standard_normal((C, d))
    return Mixture(Moments(draw(_weights(C, equal_weights)), means, spreads), coarse_map)


@st.composite
def networks(
    draw: st.DrawFn,
    *,
    dim: Sizes = DIM,
    width: Sizes = WIDTH,
    outputs: Sizes = OUTPUTS,
    eps: Range = (1e-5, 1.0),
    activations: tuple[str, ...] = kinematics.ACTIVATIONS,
    balanced: bool = False,
) -> Network:
    """Networks of m = `width` neurons on R^d with K = `outputs`, entries of W and A eps N(0, 1)/sqrt(fan-in).

    Args:
        eps: range of the scale, drawn evenly in its logarithm.
        activations: some of kinematics.ACTIVATIONS.
        balanced: ||a_j|| = ||w_j|| for every neuron j, as T6 and T7 assume.
    """
    for activation in activations:
        checks.one_of("activations", activation, kinematics.ACTIVATIONS)
    m, d, K = (
        draw(st.integers(*_sizes(name, sizes, 1)))
        for name, sizes in (("width", width), ("dim", dim), ("outputs", outputs))
    )
    scale = draw(_log_uniform("eps", eps))
    rng = np.random.default_rng(draw(_seeds()))
    W = scale * rng.standard_normal((m, d)) / np.sqrt(d)
    A = scale * rng.standard_normal((K, m)) / np.sqrt(m)
    if balanced:
        A *= np.linalg.norm(W, axis=1) / np.linalg.norm(A, axis=0)
    activation = draw(st.sampled_from(activations))
    return Network(W, A, activation, draw(st.floats(0, 1, exclude_max=True)), scale)


def _sizes(name: str, sizes: Sizes, low: int) -> tuple[int, int]:
    least, most = (sizes, sizes) if isinstance(sizes, int) else sizes
    if not low <= least <= most:
        raise ValueError(f"{name} must be a size or a pair {low} <= least <= largest, got {sizes}")
    return least, most


def _log_uniform(name: str, bounds: Range) -> st.SearchStrategy[float]:
    low, high = bounds
    if not 0 < low <= high < np.inf:
        raise ValueError(f"{name} must be a pair 0 < least <= largest, got {bounds}")
    return st.floats(0, 1).map(lambda u: high * (low / high) ** u)


def _seeds() -> st.SearchStrategy[int]:
    return st.integers(0, 2**32 - 1)


def _axes(d: int) -> st.SearchStrategy[Array]:
    """Orthogonal matrices (d, d): the identity for seed 0, else uniform."""

    def axes(seed: int) -> Array:
        if seed == 0:
            return np.eye(d)
        return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]

    return _seeds().map(axes)


@st.composite
def _weights(draw: st.DrawFn, size: int, equal: bool | None) -> Array:
    if draw(st.booleans()) if equal is None else not equal:
        raw = np.array(draw(st.lists(st.floats(1, 10), min_size=size, max_size=size)))
        if equal is False and np.ptp(raw) == 0:
            raw[0] = 11 - raw[0] if raw[0] != 5.5 else 10
        return raw / raw.sum()
    return np.full(size, 1 / size)
