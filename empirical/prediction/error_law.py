"""How an error falls with a setting, over repeats: its root mean square at each value, and a power law through them.

    rms_i = sqrt(mean over repeats r of e_ir^2),   ln rms_i = const + exponent * ln x_i + rest

A repeat (a draw of the samples, a start of the network) may be shared by all x_i, so the errors of one repeat are left
out together: the delete-one jackknife over repeats gives the exponent's standard error, and Student's t its interval.

Source: least squares; Tukey (1958) for the jackknife.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array


@dataclass(frozen=True)
class PowerLaw:
    """rms = prefactor * x^exponent.

    Attributes:
        exponent: of the least-squares line through (ln x, ln rms)
        standard_error: of the exponent, over repeats
        interval: 95 % interval of the exponent
        prefactor: rms of the line at x = 1
    """

    exponent: float
    standard_error: float
    interval: tuple[float, float]
    prefactor: float

    def __call__(self, x: ArrayLike) -> Array:
        return self.prefactor * np.asarray(x, dtype=np.float64) ** self.exponent


def rms(errors: ArrayLike) -> Array:
    """Root mean square over repeats, (X,), of errors (X, repeats)."""
    return np.sqrt(np.mean(np.square(checks.real("errors", errors, ("X", "repeats"))), axis=1))


def power_law(x: ArrayLike, errors: ArrayLike) -> PowerLaw:
    """The power law of the root mean square of errors (X, repeats) at settings x (X,).

    Raises:
        ValueError: fewer than two values of x or three repeats, an x <= 0, or a value of x at which all errors but
            one are zero.
    """
    at = checks.real("x", x, ("X",))
    e = checks.real("errors", errors, (at.size, "repeats"))
    if np.unique(at).size < 2 or at.min() <= 0:
        raise ValueError(f"x must hold at least two values, all > 0, got {at.tolist()}")
    if e.shape[1] < 3:
        raise ValueError(f"errors must hold at least 3 repeats, got {e.shape[1]}")
    repeats = e.shape[1]
    squares = np.sum(e**2, axis=1, keepdims=True)
    left_out = (squares - e**2) / (repeats - 1)  # (X, repeats): the mean square without each repeat
    if left_out.min() <= 0:
        raise ValueError("errors must have at least two repeats that are not zero at each x")
    log_x = np.log(at) - np.log(at).mean()
    weights = log_x / (log_x @ log_x)
    log_rms = 0.5 * np.log(squares[:, 0] / repeats)
    exponent = float(weights @ log_rms)
    without = weights @ (0.5 * np.log(left_out))
    error = float(np.sqrt((repeats - 1) / repeats * np.sum((without - without.mean()) ** 2)))
    reach = float(stdtrit(repeats - 1, 0.975)) * error
    prefactor = float(np.exp(log_rms.mean() - exponent * np.log(at).mean()))
    return PowerLaw(exponent, error, (exponent - reach, exponent + reach), prefactor)
