"""T15: squared, logistic and cross-entropy networks erode at one rate, and along one curve in the margin."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finegrain.sims.plotting import PAGE, PALETTE, paper_style
from finegrain.sims.theorems import loss_universality as observed
from finegrain.theory.mixture import Mixture
from finegrain.theory.theorems import loss_universality as law

CLAIM = (
    "subclass separation decays at min(lambda, lambda_c) (1 - rho_S) "
    "for squared, logistic and cross-entropy loss alike"
)
CASES = (("squared", 2, 2), ("logistic", 2, 2), ("cross-entropy", 3, 2), ("logistic", 2, 3))
RATIOS = (0.4, 0.7, 1.4)


def compute(jobs: int, seed: int) -> dict[str, Any]:
    """Late rates over lambda/lambda_c for each loss; separation along training at lambda = 0.5 lambda_c."""
    curves: dict[str, Any] = {}
    for loss, K, S in CASES:
        mixture, C = Mixture.orthonormal(K, S), K * S
        critical = law.predict_critical(loss, S, C, K)
        rates, courses = [], {}
        for ratio in RATIOS:
            _, W, A = observed.start(loss, mixture, 25 * K * S, 0.3, np.random.default_rng([seed, S]))
            weight_decay = ratio * critical
            times = np.arange(1, 9) * 5 / min(weight_decay, critical)
            found = observed.course(loss, mixture, W, A, weight_decay=weight_decay, times=times, rtol=1e-6)
            rates.append(observed.late(found, loss, S, C, weight_decay, K).rate / critical)
            if ratio == 0.4:
                courses = {
                    "scaled_times": (times * weight_decay).tolist(),
                    "separations": found.separations.tolist(),
                }
        predicted = [law.predict_rate(loss, S, C, ratio * critical, K) / critical for ratio in RATIOS]
        curves[f"{loss}, K = {K}, S = {S}"] = {
            "ratios": list(RATIOS),
            "rates": rates,
            "predicted_rates": predicted,
            "factor": law.specialisation.predict(S),
            "worst_relative_error": float(np.abs(np.array(rates) / predicted - 1).max()),
        } | courses
    return curves


def draw(numbers: dict[str, Any]) -> Figure:
    """Left: separation in the time lambda t, with the predicted late slope. Right: rate against lambda/lambda_c."""
    with paper_style():
        figure = Figure(figsize=(PAGE, 2.5))
        course, rate = figure.subplots(1, 2)
        grid = np.linspace(0, max(RATIOS) * 1.05, 200)
        for (name, curve), colour, marker in zip(numbers.items(), PALETTE, "osD^", strict=False):
            t, sep = np.array(curve["scaled_times"]), np.array(curve["separations"])
            course.plot(t, sep[-1] * np.exp(-curve["factor"] * (t - t[-1])), color=colour)
            course.plot(t, sep, marker, color=colour, mfc="none")
            rate.plot(grid, np.minimum(grid, 1) * curve["factor"], color=colour)
            rate.plot(curve["ratios"], curve["rates"], marker, color=colour, mfc="none")
            label = f"{name} (error {curve['worst_relative_error']:.0e})"
            rate.plot([], [], marker + "-", color=colour, mfc="none", label=label)
        course.set(yscale="log", xlabel=r"$\lambda t$", ylabel="relative separation")
        course.set_title(r"$\lambda = 0.4\,\lambda_c$")
        rate.set(xlabel=r"$\lambda / \lambda_c$", ylabel=r"decay rate $/ \lambda_c$", ylim=(0, 0.48))
        rate.legend(loc="upper left")
    return figure
