"""Features of any layers of any PyTorch model: a forward hook on each, nothing of the model changed.

found, labels = features(model, loader, ["layer3", "layer4"])       all at once, as NumPy arrays
for found, labels in feature_batches(model, loader, ["layer3", "layer4"]): ...       what does not fit in memory
for h, labels in layer_batches(model, loader, "layer4"): ...                           of one layer, for `measure`
"""

from __future__ import annotations

import difflib
import runpy
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finegrain.theory.tools import checks

LABEL_KEYS = ("labels", "label", "targets", "target")


def features(
    model: nn.Module,
    loader: Iterable[Any],
    layers: str | Sequence[str],
    *,
    of: str = "output",
    reduce: str = "mean",
) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """Features (N, d) of each of the layers and labels (N,), of all samples of the loader in one pass of the model.

    All of them are held in memory: 4 N d bytes per layer of a float32 model. `feature_batches` holds one batch.

    Args:
        model, loader, layers, of, reduce: as `feature_batches`.

    Returns:
        the features by layer, in the type that the layer gives (bfloat16, which NumPy has not, as float32); the labels.

    Raises:
        ValueError: a loader without batches, and as `feature_batches`.
    """
    parts: dict[str, list[NDArray[Any]]] = {}
    labels: list[NDArray[Any]] = []
    for found, y in feature_batches(model, loader, layers, of=of, reduce=reduce):
        for layer, h in found.items():
            parts.setdefault(layer, []).append(_in_numpy(h))
        labels.append(_in_numpy(y))
    if not labels:
        raise ValueError("loader must give at least one batch, got none")
    return {layer: np.concatenate(blocks) for layer, blocks in parts.items()}, np.concatenate(labels)


def feature_batches(
    model: nn.Module,
    loader: Iterable[Any],
    layers: str | Sequence[str],
    *,
    of: str = "output",
    reduce: str = "mean",
) -> Generator[tuple[dict[str, Tensor], Tensor], None, None]:
    """Features (n, d) of each of the layers and labels (n,), for each batch of the loader, on the model's device.

    The model runs in evaluation mode without gradients; its mode is restored and the hooks removed at the end, also
    after an error.

    Args:
        model: any torch model.
        loader: batches (inputs, labels), or dictionaries with the labels under "labels", "label", "targets" or
            "target" and all else the model's keyword arguments.
        layers: names in model.named_modules(), such as "layer4" or "encoder.layers.3.mlp", or one of them.
        of: "output", or "input": the input of the last linear layer is what a classifier sees.
        reduce: of what has more than two axes, "mean" over positions (the last two axes of (N, c, H, W), the middle
            one of (N, T, d)) or "flatten".

    Raises:
        ValueError: no such layer (the nearest names are given), a batch of another form, a layer whose output is no
            tensor, or one that runs several times in a pass.
    """
    checks.one_of("of", of, ("input", "output"))
    checks.one_of("reduce", reduce, ("flatten", "mean"))
    modules = {layer: _named(model, layer) for layer in ([layers] if isinstance(layers, str) else layers)}
    if not modules:
        raise ValueError("layers must name at least one layer, got none")
    place = next((p.device for p in model.parameters()), torch.device("cpu"))
    with _hooked(model, modules, of) as seen:
        for batch in loader:
            for values in seen.values():
                values.clear()
            positional, keywords, labels = _parts(batch, place)
            with torch.inference_mode():
                model(*positional, **keywords)
            yield {layer: _rows(layer, _once(layer, seen[layer]), reduce) for layer in modules}, labels


def layer_batches(
    model: nn.Module, loader: Iterable[Any], layer: str, *, of: str = "output", reduce: str = "mean"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features (n, d) of one layer and labels (n,), for each batch of the loader: what `measure` takes.

    Arguments and errors are those of `feature_batches`.
    """
    with closing(feature_batches(model, loader, layer, of=of, reduce=reduce)) as batches:
        for found, labels in batches:
            yield found[layer], labels


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


@contextmanager
def _hooked(model: nn.Module, modules: dict[str, nn.Module], of: str) -> Iterator[dict[str, list[Any]]]:
    """What each layer has taken or given in evaluation mode, in order; afterwards the model is as it was."""
    seen: dict[str, list[Any]] = {layer: [] for layer in modules}

    def keep(layer: str) -> Any:
        return lambda _, inputs, output: seen[layer].append(inputs if of == "input" else output)

    was_training = model.training
    with ExitStack() as stack:
        for layer, module in modules.items():
            stack.callback(module.register_forward_hook(keep(layer)).remove)
        stack.callback(model.train, was_training)
        model.eval()
        yield seen


def _once(layer: str, values: list[Any]) -> Any:
    if len(values) != 1:
        raise ValueError(f"layer {layer!r} must run once in a forward pass, got {len(values)} times")
    return values[0]


def _in_numpy(value: Tensor) -> NDArray[Any]:
    value = value.float() if value.dtype == torch.bfloat16 else value
    return value.cpu().numpy()


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
