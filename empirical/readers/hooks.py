"""Features of any layer of any PyTorch model, batch by batch: a forward hook, nothing of the model changed.

for features, labels in layer_batches(model, loader, "layer4"):
    accumulator.update(features, labels)
"""

from __future__ import annotations

import difflib
import runpy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from finegrain.theory.tools import checks

LABEL_KEYS = ("labels", "label", "targets", "target")


def layer_batches(
    model: nn.Module, loader: Iterable[Any], layer: str, *, of: str = "output", reduce: str = "mean"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features (N, d) of a layer and labels (N,), for each batch of the loader, on the model's device.

    The model runs in evaluation mode without gradients; its mode is restored and the hook removed at the end, also
    after an error.

    Args:
        model: any torch model.
        loader: batches (inputs, labels), or dictionaries with the labels under "labels", "label", "targets" or
            "target" and all else the model's keyword arguments.
        layer: its name in model.named_modules(), such as "layer4" or "encoder.layers.3.mlp".
        of: "output", or "input": the input of the last linear layer is what a classifier sees.
        reduce: of what has more than two axes, "mean" over positions (the last two axes of (N, c, H, W), the middle
            one of (N, T, d)) or "flatten".

    Raises:
        ValueError: no such layer (the nearest names are given), a batch of another form, a layer whose output is no
            tensor, or one that runs several times in a pass.
    """
    checks.one_of("of", of, ("input", "output"))
    checks.one_of("reduce", reduce, ("flatten", "mean"))
    module, seen = _named(model, layer), []

    def hook(_: nn.Module, inputs: Any, output: Any) -> None:
        seen.append(inputs if of == "input" else output)

    was_training, handle = model.training, module.register_forward_hook(hook)
    place = next((p.device for p in model.parameters()), torch.device("cpu"))
    model.eval()
    try:
        for batch in loader:
            seen.clear()
            positional, keywords, labels = _parts(batch, place)
            with torch.inference_mode():
                model(*positional, **keywords)
            if len(seen) != 1:
                raise ValueError(f"layer {layer!r} must run once in a forward pass, got {len(seen)} times")
            yield _rows(layer, seen[0], reduce), labels
    finally:
        handle.remove()
        model.train(was_training)


def model_batches(program: str, layer: str | None) -> Iterator[tuple[Tensor, Tensor]]:
    """layer_batches of the model and loader that a function of a Python file returns, given as FILE.py:FUNCTION.

    The file is run: it is the caller's own program.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no layer, no such function, or a function that returns something else.
    """
    file, _, name = program.rpartition(":")
    if not (file and name and layer):
        raise ValueError(f"model must be FILE.py:FUNCTION, beside a layer, got {program!r} and {layer!r}")
    if not Path(file).is_file():
        raise FileNotFoundError(f"no file {file}, of model {program}")
    function = runpy.run_path(file).get(name)
    if not callable(function):
        raise ValueError(f"{file} must define a function {name}, got {type(function).__name__}")
    made = function()
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module)):
        raise ValueError(
            f"{name} of {file} must return a torch model and its loader, got {type(made).__name__}"
        )
    return layer_batches(*made, layer)


def _named(model: nn.Module, layer: str) -> nn.Module:
    modules = dict(model.named_modules())
    if layer not in modules or not layer:
        nearest = difflib.get_close_matches(layer, [name for name in modules if name], n=3, cutoff=0)
        raise ValueError(
            f"layer must be the name of a module of the model, got {layer!r} (nearest: {', '.join(nearest)})"
        )
    return modules[layer]


def _parts(batch: Any, place: torch.device) -> tuple[list[Tensor], dict[str, Tensor], Tensor]:
    """Positional and keyword arguments of the model, and the labels, on its device."""
    if isinstance(batch, Mapping):
        key = next((k for k in LABEL_KEYS if k in batch), None)
        if key is not None:
            keywords = {k: v.to(place) if isinstance(v, Tensor) else v for k, v in batch.items() if k != key}
            return [], keywords, torch.as_tensor(batch[key], device=place)
    elif isinstance(batch, (tuple, list)) and len(batch) == 2:
        return [batch[0].to(place)], {}, torch.as_tensor(batch[1], device=place)
    form = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
    raise ValueError(f"loader must give (inputs, labels) or a dictionary with {LABEL_KEYS[0]!r}, got {form}")


def _rows(layer: str, value: Any, reduce: str) -> Tensor:
    """(N, d) from what a layer takes or gives: a tensor, or a sequence or dictionary that begins with one."""
    first = next(iter(value.values()), None) if isinstance(value, Mapping) else value
    first = first[0] if isinstance(first, (tuple, list)) and first else first
    if not isinstance(first, Tensor) or first.ndim < 2:
        kind = f"shape {tuple(first.shape)}" if isinstance(first, Tensor) else type(first).__name__
        raise ValueError(f"layer {layer!r} must give a tensor (N, ...), got {kind}")
    if first.ndim == 2:
        return first
    if reduce == "flatten":
        return first.flatten(1)
    return first.mean(dim=1) if first.ndim == 3 else first.flatten(2).mean(dim=2)
