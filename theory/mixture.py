"""The Gaussian mixture with its coarse map: the inputs of every statement in this package.

Fine class c has probability pi_c; its samples are Gaussian, N(mu_c, Sigma_c), or, when fitted to data with
several components a class, a mixture of Gaussians. Training sees the coarse label coarse_map[c] alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finegrain.theory.moments import Moments
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array, host
from finegrain.theory.tools.brief import brief


@dataclass(frozen=True, eq=False)
class Mixture:
    """Gaussian components, the fine class of each, and the coarse class of each fine class.

    Args:
        moments: weights (J,), means (J, d) and full covariances (J, d, d) of the J components.
        coarse_map: integers (C,), fine class -> coarse class 0..K-1, each taken at least once.
        fine_map: integers (J,), component -> fine class 0..C-1. Default: component j is fine class j.

    Raises:
        ValueError: sizes that do not fit, or a fine or coarse class that nothing maps to.
    """

    moments: Moments
    coarse_map: NDArray[np.int64]
    fine_map: NDArray[np.int64] = None  # type: ignore[assignment]

    __repr__ = brief

    def __post_init__(self) -> None:
        checks.instance("moments", self.moments, Moments)
        if not isinstance(self.moments.means, np.ndarray) and self.moments.kind == "full":
            arrays = (host(a) for a in (self.moments.weights, self.moments.means, self.moments.covariances))
            object.__setattr__(self, "moments", Moments(*arrays))  # mixtures compute in NumPy
        components = len(self.moments.weights)
        fine_map = np.arange(components) if self.fine_map is None else self.fine_map
        fine_map = checks.class_map("fine_map", fine_map, components, "component", "fine class")
        coarse_map = checks.coarse_map(self.coarse_map, int(fine_map.max()) + 1)
        if self.moments.kind != "full":
            raise ValueError(f"moments must hold full covariances (J, d, d), got kind {self.moments.kind!r}")
        object.__setattr__(self, "fine_map", fine_map)
        object.__setattr__(self, "coarse_map", coarse_map)

    @classmethod
    def from_means(
        cls,
        means: ArrayLike,
        coarse_map: ArrayLike,
        *,
        noise: ArrayLike = 0.0,
        weights: ArrayLike | None = None,
    ) -> Mixture:
        """One Gaussian a fine class: means (C, d); covariance noise^2 I, with noise a number or one a class.

        weights: probabilities (C,), equal by default.
        """
        means = checks.real("means", means, ("C", "d"))
        fine, dim = means.shape
        sigma = checks.real("noise", np.atleast_1d(noise), ("C",))
        if sigma.size not in (1, fine):
            raise ValueError(
                f"noise must be one number or one for each of {fine} fine classes, got {sigma.size}"
            )
        if sigma.min() < 0:
            raise ValueError(f"noise must be >= 0, got {sigma.min()}")
        covariances = np.broadcast_to(sigma, (fine,))[:, None, None] ** 2 * np.eye(dim)
        pi = np.full(fine, 1 / fine) if weights is None else checks.real("weights", weights, (fine,))
        return cls(Moments(pi, means, covariances), np.asarray(coarse_map))

    @classmethod
    def orthonormal(
        cls,
        coarse: int,
        subclasses: int,
        *,
        dim: int | None = None,
        noise: float = 0.0,
        weights: ArrayLike | None = None,
    ) -> Mixture:
        """K = `coarse` classes of S = `subclasses` fine classes each, with means e_1..e_{KS}: T6-T9's setting.

        Fine class c has coarse class c // S. `dim` defaults to K S; further coordinates hold noise alone.
        """
        checks.integer("coarse", coarse, 1)
        checks.integer("subclasses", subclasses, 1)
        fine = coarse * subclasses
        dim = fine if dim is None else dim
        checks.integer("dim", dim, fine)
        return cls.from_means(
            np.eye(fine, dim), np.repeat(np.arange(coarse), subclasses), noise=noise, weights=weights
        )

    @classmethod
    def fit(
        cls,
        x: ArrayLike,
        fine: ArrayLike,
        coarse_map: ArrayLike,
        components: int = 1,
        *,
        shape: str = "full",
        directions: ArrayLike | None = None,
        seed: int = 0,
        progress: bool = False,
    ) -> Mixture:
        """Fit `components` Gaussians to each fine class of samples x (N, d) with labels fine (N,).

        Expectation-maximisation gives each sample's responsibilities; the moments weighted by them, pooled to fine
        classes, equal the samples' own to rounding (finegrain.theory.mixture_fit).

        Args:
            shape: of the Gaussians in the search, "full" or "spherical"; the first finds the components of a true
                mixture. The covariances of the result are full either way.
            directions: (d, q), to look for components in x @ directions alone, the moments being those of all of x.
                Full in `mean_span_basis`, and spherical in all of x, are what predicts networks
                (docs/results/prediction.md).
            seed: of k-means.
            progress: show a bar with the time left.

        Raises:
            ValueError: as Moments.from_samples; an unknown shape; or a class with fewer than 2 `components` samples.
        """
        from finegrain.theory.mixture_fit import fit_components  # here, for its progress bar is slow to load

        samples = checks.real("x", x, ("N", "d"))
        coarse = checks.coarse_map(coarse_map)
        checks.integer("components", components, 1)
        checks.integer("seed", seed, 0)
        seen = None
        if directions is not None:
            seen = samples @ checks.real("directions", directions, (samples.shape[1], "q"))
        labels = np.asarray(checks.labels("fine", fine, samples, coarse.size))
        moments = fit_components(
            samples, labels, coarse.size, components, seen=seen, shape=shape, seed=seed, progress=progress
        )
        return cls(moments, coarse, np.repeat(np.arange(coarse.size), components))

    @property
    def num_fine(self) -> int:
        """C, the number of fine classes."""
        return self.coarse_map.size

    @property
    def num_coarse(self) -> int:
        """K, the number of coarse classes."""
        return int(self.coarse_map.max()) + 1

    @property
    def dim(self) -> int:
        """d, the dimension of the inputs."""
        return self.moments.means.shape[1]

    @property
    def fine_moments(self) -> Moments:
        """Moments of the inputs, one entry a fine class."""
        return self.moments.pool(self.fine_map)

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
        """n independent samples: x (n, d) and their fine classes (n,)."""
        checks.integer("n", n, 1)
        checks.instance("rng", rng, np.random.Generator)
        component = rng.choice(len(self.moments.weights), size=n, p=self.moments.weights)
        noise = rng.standard_normal((n, self.dim))
        x = self.moments.means[component]
        for j, root in enumerate(_square_roots(self.moments.covariances)):
            mine = component == j
            x[mine] += noise[mine] @ root
        return x, self.fine_map[component]

    def second_moment(self) -> Array:
        """Sigma = E[x x^T], uncentred, shape (d, d)."""
        pi, mu = self.moments.weights, self.moments.means
        return np.einsum("j,jab->ab", pi, self.moments.covariances) + (mu.T * pi) @ mu

    def cross_moment(self, targets: ArrayLike) -> Array:
        """M = E[t x^T], shape (K, d), for targets (C, K), one row a fine class."""
        t = checks.real("targets", targets, (self.num_fine, "K"))[self.fine_map]
        return (t.T * self.moments.weights) @ self.moments.means


def mean_span_basis(moments: Moments) -> Array:
    """Orthonormal basis (d, q) of the span of the centred class means, q <= C - 1."""
    centred = moments.means - moments.weights @ moments.means
    _, values, right = np.linalg.svd(centred, full_matrices=False)
    return right[values > 1e-10 * max(values.max(), np.finfo(float).tiny)].T


def _square_roots(covariances: Any) -> Array:
    """Symmetric square roots (J, d, d); rounding may leave an eigenvalue slightly negative, which counts as 0."""
    values, vectors = np.linalg.eigh(covariances)
    roots = np.sqrt(np.clip(values, 0, None))
    return np.einsum("jab,jb,jcb->jac", vectors, roots, vectors)
