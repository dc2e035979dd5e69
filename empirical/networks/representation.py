"""What a network makes of images: the pooled output of each of its stages, in evaluation mode."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from finegrain.empirical.networks.architectures import Network
from finegrain.empirical.networks.augment import Images, scaled

Features = NDArray[np.float32]

BATCH = 500


def represent(
    network: Network,
    images: Images,
    chosen: NDArray[np.int64] | slice = slice(None),
    *,
    flipped: bool = False,
    shift: int = 0,
    pixels: int | None = None,
    autocast: AbstractContextManager[Any] | None = None,
) -> list[Features]:
    """The pooled output of every stage, (N, d_i) each, of the chosen images; the last is the representation.

    Args:
        chosen: indices (N,) or a slice; the images are not augmented.
        flipped: of their mirror images.
        shift: move the images so many pixels down and to the right (up and left below 0), the border reflected.
        pixels: scale the images to so many on a side first.
    """
    network.eval()
    parts = []
    indices = torch.arange(len(images), device=images.labels.device)[chosen]
    with torch.no_grad(), autocast or nullcontext():
        for part in indices.split(BATCH):
            x = scaled(_shifted(images.plain(part), shift), pixels)
            outputs = network.stage_features(x.flip(-1) if flipped else x)
            parts.append([h.float().cpu().numpy() for h in outputs])
    return [np.concatenate(stage) for stage in zip(*parts, strict=True)]


def _shifted(x: torch.Tensor, shift: int) -> torch.Tensor:
    if not shift:
        return x
    rows, columns = x.shape[2:]
    pad = abs(shift)
    inside = slice(pad - shift, pad - shift + rows), slice(pad - shift, pad - shift + columns)
    return F.pad(x, (pad,) * 4, mode="reflect")[:, :, *inside]


def classifier_of(network: Network) -> NDArray[np.float64]:
    """Weights (K, d) of the layer that reads the representation."""
    return network.classifier.weight.detach().cpu().double().numpy()
