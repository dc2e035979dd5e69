"""T19 observed: neurons of a ReLU network beside z_j(0) U_s(t), with the U_s integrated from Gram matrices alone.

The observed flow knows nothing of active sets: RK45 on m (d + K) weights, while no gate changes. `verify` trains
plainly, on the bare loss with autograd gradients; `course` takes the exact gradient of a mixture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from finegrain.sims import plain
from finegrain.sims.initial_weights import gaussian
from finegrain.sims.population import pointwise
from finegrain.sims.population.loss import population_loss
from finegrain.sims.theorems.balancedness import targets_for
from finegrain.sims.theorems.comparison import Comparison
from finegrain.theory.mixture import Mixture
from finegrain.theory.theorems import active_sets as law
from finegrain.theory.tools.arrays import Array

SETTINGS = (
    ("squared", 0.0, 0.05),
    ("squared", 0.2, 0.0),
    ("logistic", 0.0, 0.02),
    ("cross-entropy", 0.3, 0.1),
)

STEPS = "3 times the change when RK45's tolerance is 10 times coarser, and rounding"


@dataclass(frozen=True, eq=False)
class Course:
    """Predicted and observed weights and outputs at the recorded times.

    Attributes:
        predicted: active sets, their U and the outputs
        W, A: observed, (T, m, d) and (T, K, m)
        outputs: observed, (T, n, K)
        deviation: largest |z_j - e^{-lambda t} z_j(0) U| over all neurons and times, relative to the largest |z_j|
    """

    predicted: law.Prediction
    W: Array
    A: Array
    outputs: Array
    deviation: float


def random_problem(
    rng: np.random.Generator, *, loss: str, dim: int, width: int, subclasses: int, scale: float
) -> tuple[Mixture, Array, Array, Array]:
    """Points in any position and of any weight, targets, and a start."""
    coarse = 2 if loss == "logistic" else 3
    fine = coarse * subclasses
    means = rng.standard_normal((fine, dim)) / np.sqrt(dim)
    mixture = Mixture.from_means(
        means, np.repeat(np.arange(coarse), subclasses), weights=rng.dirichlet(np.full(fine, 5.0))
    )
    targets = targets_for(mixture, loss)
    return mixture, targets, *gaussian(width, dim, targets.shape[1], scale, rng)


def course(
    mixture: Mixture,
    W0: Array,
    A0: Array,
    *,
    targets: Array,
    loss: str,
    closed: float,
    weight_decay: float,
    times: Array,
    rtol: float,
) -> Course:
    """Both integrations at `times`, with tolerance `rtol`."""
    field = population_loss(
        mixture,
        targets=targets,
        activation="leaky_relu" if closed else "relu",
        slope=closed,
        loss=loss,
        weight_decay=weight_decay,
    )
    split, points = W0.size, mixture.moments.means

    def velocity(_: float, state: Array) -> Array:
        _, dW, dA = field(state[:split].reshape(W0.shape), state[split:].reshape(A0.shape))
        return -np.concatenate([dW.ravel(), dA.ravel()])

    start = np.concatenate([W0.ravel(), A0.ravel()])
    run = solve_ivp(velocity, (0, times[-1]), start, t_eval=times, rtol=rtol, atol=rtol * np.abs(start).max())
    W, A = run.y[:split].T.reshape(-1, *W0.shape), run.y[split:].T.reshape(-1, *A0.shape)
    predicted = law.predict(
        W0, A0, points, output_slope(mixture, targets, loss), weight_decay, times, closed=closed, rtol=rtol
    )
    z = W @ points.T
    outputs = np.swapaxes(A @ np.where(z > 0, z, closed * z), 1, 2)
    expected = [
        law.predict_weights(W0, A0, predicted.member, U, weight_decay, t)
        for U, t in zip(predicted.U, times, strict=True)
    ]
    size = max(np.abs(start).max(), np.abs(run.y).max())
    pairs = zip(W, A, expected, strict=True)
    worst = max(max(np.abs(w - e[0]).max(), np.abs(a - e[1]).max()) for w, a, e in pairs)
    return Course(predicted, W, A, outputs, float(worst / size))


def bare(mixture: Mixture, targets: Array, **options: Any) -> plain.Problem:
    """The same points and targets for plain training; options: activation, slope, loss, weight_decay."""
    means, weights = (
        np.asarray(x, dtype=np.float64) for x in (mixture.moments.means, mixture.moments.weights)
    )
    return plain.Problem(means, targets[mixture.fine_map], weights, **options)


def output_slope(mixture: Mixture, targets: Array, loss: str) -> law.Slope:
    """Outputs (n, K) -> dL_0/df (n, K)."""
    pi, value = mixture.moments.weights[:, None], pointwise.loss(loss)
    return lambda f: pi * value(f, targets[mixture.fine_map])[1]


def quiet(mixture: Mixture, found: Course, W0: Array) -> bool:
    """Whether every gate is at every recorded time as it was at the start."""
    points = mixture.moments.means
    return bool(np.all((found.W @ points.T > 0) == (W0 @ points.T > 0)))


PARTS = np.array([0.25, 0.5, 0.75, 1.0])


def quiet_end(mixture: Mixture, W0: Array, A0: Array, end: float, **options: Any) -> float:
    """Half the longest of the times end, end/2, end/4, ... before which no gate changes."""
    # A kink costs little at this tolerance, and shows.
    while not quiet(mixture, course(mixture, W0, A0, times=end * PARTS, **options | {"rtol": 1e-3}), W0):
        end /= 2
    return end / 2


def quiet_course(mixture: Mixture, W0: Array, A0: Array, end: float, **options: Any) -> Course:
    """A course to `quiet_end`."""
    times = quiet_end(mixture, W0, A0, end, **options) * PARTS
    return course(mixture, W0, A0, times=times, **options)


def own_gates(
    width: int, subclasses: int, scale: float, rng: np.random.Generator
) -> tuple[Mixture, Array, Array]:
    """Orthonormal points of two coarse classes, and neurons open on subclasses of their own sign's class alone."""
    mixture = Mixture.orthonormal(2, subclasses)
    W = rng.standard_normal((width, 2 * subclasses))
    signs = rng.choice([-1.0, 1.0], size=width)
    other = mixture.coarse_map[None] != (signs[:, None] > 0)
    W[other] = -np.abs(W[other])
    return mixture, scale * W, scale * (signs * np.linalg.norm(W, axis=1))[None]


def wide_margins(rng: np.random.Generator, loss: str, width: int) -> tuple[Mixture, Array, Array, Array]:
    """As `random_problem`, with every |w_j . x_i| between .5 and 1 so that gates stay as they are for a while."""
    coarse = 2 if loss == "logistic" else 3
    means = np.eye(2 * coarse) + 0.3 * rng.standard_normal((2 * coarse, 2 * coarse))
    mixture = Mixture.from_means(
        means, np.repeat(np.arange(coarse), 2), weights=rng.dirichlet(np.full(2 * coarse, 5.0))
    )
    targets = targets_for(mixture, loss)
    margins = rng.choice([-1.0, 1.0], (width, len(means))) * rng.uniform(0.5, 1, (width, len(means)))
    W0: Array = np.linalg.solve(means, margins.T).T.astype(np.float64)
    return mixture, targets, W0, 0.2 * rng.standard_normal((targets.shape[1], width))


def verify(seed: int) -> list[Comparison]:
    """||f||^2 and one coordinate of a neuron, by plain training, while no gate changes, in four settings."""
    rows = []
    for index, (loss, closed, decay) in enumerate(SETTINGS):
        rng = np.random.default_rng([seed, 19, index])
        options = {"activation": "leaky_relu", "slope": closed, "loss": loss, "weight_decay": decay}
        mixture, targets, W0, A0 = wide_margins(rng, loss, width=8)
        problem = bare(mixture, targets, **options)
        # Settled by the exact flow: what is observed decides nothing.
        exact = {"targets": targets, "loss": loss, "closed": closed, "weight_decay": decay}
        end = quiet_end(mixture, W0, A0, 4.0, **exact)
        fine, coarser = (plain.flow(problem, [W0, A0], [end], rtol=rtol) for rtol in (1e-9, 1e-8))
        found = law.predict(
            W0, A0, problem.inputs, output_slope(mixture, targets, loss), decay, [end], closed=closed
        )
        f = law.predict_outputs(W0, A0, problem.inputs, found, decay, [end])
        W = law.predict_weights(W0, A0, found.member, found.U[0], decay, end)[0]
        neuron = np.unravel_index(np.abs(W0).argmax(), W0.shape)
        setting = (
            f"t = {end:.3g}, {loss} loss, slope {closed} at closed gates, {len(found.slopes)} active sets"
        )
        squares = [np.sum(plain.outputs(problem, [w[0] for w in layers]) ** 2) for layers in (fine, coarser)]
        entries = [layers[0][0][neuron] for layers in (fine, coarser)]
        for name, predicted, (observed, rough) in (
            ("||f||^2 from Gram matrices", np.sum(f**2), squares),
            ("coordinate of a neuron, the largest at the start,", W[neuron], entries),
        ):
            bound = 3 * abs(rough - observed) / abs(predicted) + 1e-12
            rows.append(
                Comparison(
                    "T19", f"{name} at {setting}", float(predicted), float(observed), float(bound), STEPS
                )
            )
    return rows
