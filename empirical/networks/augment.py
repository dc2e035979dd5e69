"""Batches cropped and mirrored in one gather, on the device that holds the images.

Everything random is a function of (seed, epoch): a resumed run needs no state of a generator to go on exactly.
Mirroring: "random" draws a side for each image and epoch; "alternating" draws it once and then changes sides every
epoch, so that two epochs show both sides (Jordan 2024); "none" leaves images as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

FLIPS = ("alternating", "random", "none")


@dataclass(frozen=True, eq=False)
class Images:
    """uint8 images on a device, padded for crops.

    Attributes:
        padded: (N, H + 2 crop, W + 2 crop, channels), reflected at the border
        labels: (N,)
        crop: pixels of padding on each side
        mean, std: (channels,) of the training pixels, in 0..1
    """

    padded: Tensor
    labels: Tensor
    crop: int
    mean: Tensor
    std: Tensor

    @classmethod
    def on(
        cls, device: torch.device, x: NDArray[np.uint8], y: NDArray[np.int64], crop: int, stats: Tensor
    ) -> Images:
        """Images x (N, H, W) or (N, H, W, 3) and labels y (N,); `stats` (2, channels) from `pixel_stats`."""
        pixels = x[..., None] if x.ndim == 3 else x
        reflected = ((0, 0), (crop, crop), (crop, crop), (0, 0))
        padded = np.pad(pixels, reflected, mode="reflect") if crop else pixels
        mean, std = stats.to(device)
        return cls(torch.as_tensor(padded).to(device), torch.as_tensor(y).to(device), crop, mean, std)

    def __len__(self) -> int:
        return len(self.padded)

    def plain(self, indices: Tensor | slice) -> Tensor:
        """Normalised images (B, channels, H, W) as they are, in the memory order of channels last."""
        inside = slice(self.crop, -self.crop or None)
        return self._normalised(self.padded[indices][:, inside, inside])

    def view(self, indices: Tensor, shifts: Tensor, mirrored: Tensor) -> Tensor:
        """Normalised images (B, channels, H, W), cropped at `shifts` (B, 2) in 0..2 crop, mirrored where asked (B,)."""
        size = self.padded.shape[1] - 2 * self.crop, self.padded.shape[2] - 2 * self.crop
        rows, columns = (torch.arange(n, device=indices.device) for n in size)
        columns = torch.where(mirrored[:, None], size[1] - 1 - columns, columns)
        rows, columns = shifts[:, :1] + rows, shifts[:, 1:] + columns
        return self._normalised(self.padded[indices[:, None, None], rows[:, :, None], columns[:, None, :]])

    def _normalised(self, pixels: Tensor) -> Tensor:
        return ((pixels.float() / 255 - self.mean) / self.std).permute(0, 3, 1, 2)


def pixel_stats(x: NDArray[np.uint8]) -> Tensor:
    """Mean and standard deviation of each channel of the training images, (2, channels), in 0..1."""
    pixels = x.reshape(-1, 1 if x.ndim == 3 else x.shape[-1])
    blocks = [pixels[i : i + 1_000_000].astype(np.float64) / 255 for i in range(0, len(pixels), 1_000_000)]
    mean = sum(b.sum(axis=0) for b in blocks) / len(pixels)
    square = sum(((b - mean) ** 2).sum(axis=0) for b in blocks) / len(pixels)
    return torch.tensor(np.stack([mean, np.sqrt(square) + 1e-8]), dtype=torch.float32)


def batches(
    images: Images,
    batch: int,
    epoch: int,
    seed: int,
    *,
    flip: str,
    pixels: int,
    rank: int = 0,
    ranks: int = 1,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch: augmented images (B, channels, pixels, pixels) and labels (B,), every image at most once.

    Batches are full: what is left over at the end waits for another epoch's order. With several ranks each takes
    its share of every batch, so the epoch is the same however many work on it.
    """
    device, n = images.labels.device, len(images)
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(n)
    shifts = rng.integers(0, 2 * images.crop + 1, (n, 2))
    sides = rng.random(n) < 0.5
    if flip == "alternating":
        sides = np.random.default_rng([seed]).random(n) < 0.5
        sides = sides ^ (epoch % 2 == 1)
    elif flip == "none":
        sides[:] = False
    # On the device at once: a copy for every batch would make a GPU wait for the processor.
    whole = [torch.as_tensor(a).to(device) for a in (order, shifts[order], sides[order])]
    for start in range(0, n - batch + 1, batch):
        x, s, m = (a[start : start + batch][rank::ranks] for a in whole)
        yield scaled(images.view(x, s, m), pixels), images.labels[x]


def scaled(images: Tensor, pixels: int | None) -> Tensor:
    """Images (B, channels, H, W) scaled to `pixels` on a side; as they are when they have so many, or for None."""
    if pixels is None or images.shape[2:] == (pixels, pixels):
        return images
    return F.interpolate(images, size=(pixels, pixels), mode="bilinear", antialias=True)
