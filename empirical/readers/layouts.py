"""Which axis of what a layer gives counts the samples, which one the features; and how the positions become one row.

    (N, c, H, W), (N, c, L)    convolutions, batch and group norms, pooling: features are axis 1
    (N, T, d), (N, H, W, d)    linear layers, embeddings, layer norms: features are the last axis
    (T, N, d)                  recurrent and attention layers without batch_first

A layer of torch's own has the layout that torch documents. Any other has that of the last such layer that gave a tensor
of the same shape, or of an attention mask (N, T). Where sizes cannot tell two layouts apart, or nothing is known, the
layer is refused, and `axes` says it: one letter per axis, N for samples, C for features, any other for positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv, pooling

Reduce = str | Callable[[Tensor], Tensor]
REDUCTIONS = ("cls", "flatten", "last", "max", "mean")

FEATURES_FIRST = (
    *(conv._ConvNd, batchnorm._NormBase, nn.GroupNorm, nn.LocalResponseNorm),
    *(pooling._MaxPoolNd, pooling._AvgPoolNd, pooling._LPPoolNd),
    *(pooling._AdaptiveAvgPoolNd, pooling._AdaptiveMaxPoolNd),
    *(nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle),
)
FEATURES_LAST = (nn.Linear, nn.Bilinear, nn.Embedding, nn.LayerNorm, nn.RMSNorm)
SEQUENCES = (
    *(nn.RNNBase, nn.MultiheadAttention, nn.Transformer, nn.TransformerEncoder, nn.TransformerDecoder),
    *(nn.TransformerEncoderLayer, nn.TransformerDecoderLayer),
)


class Unclear(ValueError):
    """A layout that must be told."""


@dataclass(frozen=True)
class Layout:
    """The axis of the samples, None where only their number tells it, and the axis of the features."""

    samples: int | None
    features: int


def documented(module: nn.Module, ndim: int) -> Layout | None:
    """What torch documents of one of its own layers; None for others, as for a subclass with its own forward."""
    if not of_torch(module):
        return None
    if isinstance(module, SEQUENCES):
        return Layout(0 if _batch_first(module) else 1, ndim - 1) if ndim == 3 else None
    if isinstance(module, FEATURES_FIRST):
        return Layout(0, 1)
    several = len(getattr(module, "normalized_shape", ())) > 1
    return Layout(None, ndim - 1) if isinstance(module, FEATURES_LAST) and not several else None


def of_torch(module: nn.Module) -> bool:
    """Whether it is a layer of torch's own, by its forward, with a layout that torch documents."""
    forward = getattr(type(module), "forward", None)
    own = getattr(forward, "__module__", "").startswith("torch.nn.modules")
    return own and isinstance(module, (*SEQUENCES, *FEATURES_FIRST, *FEATURES_LAST))


def _batch_first(module: nn.Module) -> bool:
    inner = (m.batch_first for m in module.modules() if hasattr(m, "batch_first"))
    return bool(next(inner, False))


def sequence_first(model: nn.Module) -> bool:
    """Whether some layer of the model takes (T, N, d)."""
    return any(not getattr(module, "batch_first", True) for module in model.modules())


def told(axes: str, ndim: int) -> Layout:
    """The layout of a word such as "NTC", one letter per axis."""
    word = axes.upper().replace("D", "C")
    if len(word) != ndim or word.count("N") != 1 or word.count("C") != 1:
        raise Unclear(
            f"axes must have one letter per axis, {ndim} in all, one of them N for samples and one C for features, "
            f"got {axes!r}"
        )
    return Layout(word.index("N"), word.index("C"))


def alike(shape: tuple[int, ...], seen: list[tuple[tuple[int, ...], Layout]]) -> Layout | None:
    """The layout of the last tensor of this shape; None without one, or where axes in another order look the same."""
    found = next((layout for one, layout in reversed(seen) if one == shape), None)
    if found is None or shape[1] == shape[-1]:
        return None
    return found


def arranged(value: Tensor, layout: Layout, count: int, either: bool) -> Tensor:
    """The tensor as (N, positions..., d); `either`: whether sequences may come first where numbers do not tell."""
    samples = layout.samples
    if samples is None:
        fitting = [i for i in (0, 1) if i < value.ndim - 1 and value.shape[i] == count]
        if len(fitting) == 2 and value.ndim == 3 and either:
            raise Unclear("as many positions as samples, in a model with layers that take sequences first")
        samples = fitting[0] if fitting else 0
    positions = [i for i in range(value.ndim) if i not in (samples, layout.features)]
    return value.permute(samples, *positions, layout.features)


def reduced(value: Tensor, reduce: str, kept: Tensor | None) -> Tensor:
    """Rows (N, d) of (N, positions..., d); `kept` (N, T) says which positions are no padding."""
    if reduce in ("cls", "last") and value.ndim != 3:
        raise Unclear(f"{value.ndim - 2} axes of positions, of which reduce={reduce!r} needs one")
    if kept is None or bool(kept.all()):
        return _of_all(value, reduce)
    if value.ndim != 3 or value.shape[:2] != kept.shape:
        raise Unclear(
            f"positions {tuple(value.shape[1:-1])} that the attention mask {tuple(kept.shape)}, which leaves padding "
            "out, does not fit: give reduce as a function"
        )
    if reduce == "flatten":
        raise Unclear("padding, which reduce='flatten' would keep: take mean, max, cls, last or a function")
    if not bool(kept.any(dim=1).all()):
        raise Unclear("a sample whose attention mask leaves out every position")
    return _of_kept(value, reduce, kept)


def _of_all(value: Tensor, reduce: str) -> Tensor:
    if reduce == "cls":
        return value[:, 0]
    if reduce == "last":
        return value[:, -1]
    flat = value.flatten(1, -2)
    return flat.mean(dim=1) if reduce == "mean" else flat.amax(dim=1)


def _of_kept(value: Tensor, reduce: str, kept: Tensor) -> Tensor:
    if reduce == "max":
        return value.masked_fill(~kept[:, :, None], -torch.inf).amax(dim=1)
    if reduce == "mean":
        # Padding may hold NaN, which a product with 0 would keep.
        total = value.masked_fill(~kept[:, :, None], 0).sum(dim=1)
        return total / kept.sum(dim=1, keepdim=True).to(total.dtype)
    first, last = kept.int().argmax(dim=1), kept.shape[1] - 1 - kept.int().flip(1).argmax(dim=1)
    return value[torch.arange(len(value), device=value.device), first if reduce == "cls" else last]


def masks(keywords: dict[str, Any]) -> list[Tensor]:
    """The masks (N, T) among a model's arguments, true for what is no padding.

    Raises:
        Unclear: one whose entries are neither 0 nor 1.
    """
    found = []
    for name, value in keywords.items():
        if not (isinstance(value, Tensor) and value.ndim == 2):
            continue
        if name.endswith("attention_mask"):
            if not bool(((value == 0) | (value == 1)).all()):
                raise Unclear(f"a mask {name!r} with entries other than 0 and 1")
            found.append(value != 0)
        elif name.endswith("padding_mask"):  # torch's: true for what is padding
            found.append(value == 0)
    return found
