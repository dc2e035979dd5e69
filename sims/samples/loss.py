"""The loss of many two-layer networks on finite samples, in one batched array in torch, and its exact gradient.

    h = phi(W x),   f = A h,   L = mean over samples of loss(f, t) + lambda/2 (||W||^2 + ||A||^2)

B networks are arrays W (B, m, d) and A (B, K, m). A narrower one is padded with neurons of zero weights: every phi
here has phi(0) = 0, so a padded neuron's h is exactly 0 and so, A's column being 0, is what is propagated back to it.
Both its gradients are exactly 0 and it stays where it is, unseen by the rest.

The gradient is written out and summed over blocks of samples small enough to stay in a processor's cache: twice as
fast as autograd over all samples at once. `population/loss.py` is the same loss for infinitely many samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from finegrain.sims.setting import Setting
from finegrain.theory.moments import MomentsAccumulator
from finegrain.theory.tools import checks
from finegrain.theory.tools.arrays import Array, Arrays, Labels

DTYPES = {"float32": torch.float32, "float64": torch.float64}
# Entries of h, over all networks, at a time.
BLOCK = {"cpu": 2**17, "cuda": 2**26}
# Samples at a time, below which what a call costs would show.
LEAST = 256


def device_named(name: str) -> torch.device:
    """The device of "cpu", "cuda", or "auto", which takes CUDA when there is one; raises ValueError otherwise."""
    checks.one_of("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "device must be cpu or auto on a machine where torch sees no CUDA device, got 'cuda'"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@dataclass(frozen=True, eq=False)
class Samples:
    """N labelled inputs on a device, shared by all networks (S = 1) or a set for each of them (S = B)."""

    x: Tensor  # (S, N, d)
    targets: Tensor  # (S, N, K)
    fine: Tensor  # (S, N)

    @classmethod
    def checked(
        cls, prefix: str, x: ArrayLike, fine: ArrayLike, targets: Array, networks: int, dim: int, where: Any
    ) -> Samples:
        """From x (N, d) or (B, N, d), fine (N,) or (B, N) and targets (C, K); errors name them with the prefix."""
        own = np.ndim(x) == 3
        inputs = checks.real(f"{prefix}x", x, (networks, "N", dim) if own else ("N", dim))
        if own:
            checks.shape(f"{prefix}fine", np.asarray(fine), inputs.shape[:2])
        inputs, rows = (inputs, list(np.asarray(fine))) if own else (inputs[None], [fine])
        pairs = zip(rows, inputs, strict=True)
        labels = np.stack([_labels(f"{prefix}fine", row, part, len(targets)) for row, part in pairs])
        y = torch.tensor(labels, device=where["device"])
        return cls(torch.tensor(inputs, **where), torch.tensor(targets, **where)[y], y)

    @property
    def count(self) -> int:
        """N."""
        return self.x.shape[1]

    def blocks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets, `size` samples at a time."""
        return zip(self.x.split(size, dim=1), self.targets.split(size, dim=1), strict=True)

    def chosen(self, index: Tensor) -> Samples:
        """The samples of index (B, n), network by network."""
        rows = torch.arange(len(index), device=index.device)[:, None] if len(self.x) > 1 else 0
        return Samples(self.x[rows, index], self.targets[rows, index], self.fine[rows, index])


class SampleLoss:
    """(W, A, samples) -> (L (B,), dL/dW, dL/dA) of B networks, and the Moments of their representations."""

    def __init__(self, setting: Setting) -> None:
        self.phi, self.loss = _activation(setting.activation, setting.slope), FUNCTIONS[setting.loss]
        self.weight_decay = setting.weight_decay

    def __call__(self, W: Tensor, A: Tensor, samples: Samples) -> tuple[Tensor, Tensor, Tensor]:
        """L in float64, and its gradient in the type of the weights."""
        dW, dA = torch.zeros_like(W), torch.zeros_like(A)
        total = torch.zeros(len(W), dtype=torch.float64, device=W.device)
        W_turned, A_turned = W.mT, A.mT
        for x, t in samples.blocks(_block(W)):
            x = x.expand(len(W), -1, -1)
            h, slopes = self.phi(torch.bmm(x, W_turned))
            value, residual = self.loss(torch.bmm(h, A_turned), t)
            back = torch.bmm(residual, A)
            if slopes is not None:
                back *= slopes
            dW.baddbmm_(back.mT, x)
            dA.baddbmm_(residual.mT, h)
            total += value
        decay = self.weight_decay
        squares = W.double().square().sum((1, 2)) + A.double().square().sum((1, 2))
        dW.div_(samples.count).add_(W, alpha=decay)
        dA.div_(samples.count).add_(A, alpha=decay)
        return total / samples.count + decay / 2 * squares, dW, dA

    def moments(self, W: Tensor, widths: tuple[int, ...], samples: Samples, num_fine: int) -> Arrays:
        """Weights (B, C), means (B, C, m) and covariances (B, C, m, m) of h; zeros where a network is padded.

        The features never leave their device.
        """
        B, m, _ = W.shape
        shapes = {
            "weights": (B, num_fine),
            "means": (B, num_fine, m),
            "covariances": (B, num_fine, m, m),
        }
        arrays = {name: np.zeros(shape) for name, shape in shapes.items()}
        for b, width in enumerate(widths):
            own = b if len(samples.x) > 1 else 0
            accumulator = MomentsAccumulator(num_fine, width)
            size = _block(W[b : b + 1])
            for x, y in zip(samples.x[own].split(size), samples.fine[own].split(size), strict=True):
                accumulator.update(self.phi(x @ W[b, :width].T)[0], y)
            found = accumulator.compute()
            arrays["weights"][b] = found.weights.cpu().numpy()
            arrays["means"][b, :, :width] = found.means.cpu().numpy()
            arrays["covariances"][b, :, :width, :width] = found.covariances.cpu().numpy()
        return arrays


def _block(W: Tensor) -> int:
    """Samples at a time."""
    return max(LEAST, BLOCK[W.device.type] // (W.shape[0] * W.shape[1]))


def _activation(name: str, slope: float) -> Callable[[Tensor], tuple[Tensor, Tensor | None]]:
    """z -> (phi(z), phi'(z)), with None for the slope 1 everywhere; z may be overwritten."""
    return {
        "identity": lambda z: (z, None),
        "relu": _relu,
        "leaky_relu": lambda z: _leaky_relu(z, slope),
        "erf": lambda z: (torch.erf(z), 2 / math.sqrt(math.pi) * torch.exp(-z.square())),
        "square": lambda z: (z.square(), 2 * z),
    }[name]


def _relu(z: Tensor) -> tuple[Tensor, Tensor]:
    h = z.relu_()
    # The sign is 1 where h > 0 and 0 where h = 0.
    return h, h.sign()


def _leaky_relu(z: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    gain = torch.full_like(z, slope).masked_fill_(z > 0, 1.0)
    return z * gain, gain


def _squared(f: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    residual = f.sub_(t)
    return residual.square().sum((1, 2)).double() / 2, residual


def _logistic(f: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    margin = t * f
    return torch.nn.functional.softplus(-margin).sum((1, 2)).double(), -t * torch.sigmoid(-margin)


def _cross_entropy(f: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    logs = torch.log_softmax(f, dim=2)
    return -(t * logs).sum((1, 2)).double(), logs.exp() - t


# (f, t), both (B, n, K) -> the loss summed over samples (B,), and its derivative by f (B, n, K).
FUNCTIONS = {"squared": _squared, "logistic": _logistic, "cross-entropy": _cross_entropy}


def _labels(name: str, value: ArrayLike, x: Array, num_fine: int) -> Labels:
    """Fine labels (N,), each class often enough to have a covariance: learned now, not after the training."""
    labels = checks.labels(name, value, x, num_fine)
    counts = np.bincount(labels, minlength=num_fine)
    if counts.min() < 2:
        rare = int(counts.argmin())
        raise ValueError(
            f"{name} must hold every class at least twice, got class {rare} {counts[rare]} times"
        )
    return labels
