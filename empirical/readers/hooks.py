"""Features of any layers of any PyTorch model: a forward hook on each, nothing of the model changed.

found, labels = features(model, loader, ["layer3", "layer4"])       all at once, as NumPy arrays
for found, labels in feature_batches(model, loader, ["layer3", "layer4"]): ...       what does not fit in memory
for h, labels in layer_batches(model, loader, "layer4"): ...                           of one layer, for `measure`

What a layer takes or gives is copied when it runs: a later operation in place, such as ReLU(inplace=True), changes
nothing of it.
"""

from __future__ import annotations

import difflib
import runpy
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from finegrain.empirical.readers import layouts
from finegrain.empirical.readers.layouts import Layout, Reduce
from finegrain.theory.tools import checks

LABEL_KEYS = ("labels", "label", "targets", "target")


def features(
    model: nn.Module,
    loader: Iterable[Any],
    layers: str | Sequence[str],
    *,
    of: str = "output",
    reduce: Reduce = "mean",
    axes: str | None = None,
    call: int | None = None,
) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """Features (N, d) of each of the layers and labels (N,), of all samples of the loader in one pass of the model.

    All of them are held in memory: 4 N d bytes per layer of a float32 model. `feature_batches` holds one batch.

    Args:
        model, loader, layers, of, reduce, axes, call: as `feature_batches`.

    Returns:
        the features by layer, in the type that the layer gives (bfloat16, which NumPy has not, as float32); the labels.

    Raises:
        ValueError: a loader without batches, and as `feature_batches`.
    """
    parts: dict[str, list[NDArray[Any]]] = {}
    labels: list[NDArray[Any]] = []
    for found, y in feature_batches(model, loader, layers, of=of, reduce=reduce, axes=axes, call=call):
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
    reduce: Reduce = "mean",
    axes: str | None = None,
    call: int | None = None,
) -> Generator[tuple[dict[str, Tensor], Tensor], None, None]:
    """Features (n, d) of each of the layers and labels (n,), for each batch of the loader, on the model's device.

    The model runs in evaluation mode without gradients. After each batch, also after an error, every module has the
    mode that it had, and the hooks are gone.

    Args:
        model: any torch model.
        loader: batches (inputs, labels), where inputs may be a tensor, a tuple of the model's arguments or a dictionary
            of its keyword arguments; or dictionaries with the labels under "labels", "label", "targets" or "target" and
            all else the model's keyword arguments.
        layers: names in model.named_modules(), such as "layer4" or "encoder.layers.3.mlp", or one of them.
        of: "output", or "input": the input of the last linear layer is what a classifier sees.
        reduce: of what has more than two axes: "mean" or "max" over positions, "cls" the first and "last" the last
            position of a sequence, "flatten", or a function of the tensor as the layer gives it, to (n, d). Positions
            that a batch's "attention_mask" (1: kept) or "..._padding_mask" (true: padding) leaves out count nowhere.
        axes: the layout, one letter per axis: N samples, C features, any other positions, such as "NCHW" or "TNC".
            Needed where readers/layouts.py cannot know it.
        call: which of its calls, from 0, or from -1 backwards, where a layer runs several times in a pass.

    Raises:
        ValueError: no such layer (the nearest names are given), a batch of another form, a layer whose output is no
            tensor or not one row per label, one that runs several times in a pass, or a layout that must be told.
    """
    checks.one_of("of", of, ("input", "output"))
    if not callable(reduce):
        checks.one_of("reduce", reduce, layouts.REDUCTIONS)
    modules = {layer: _named(model, layer) for layer in ([layers] if isinstance(layers, str) else layers)}
    if not modules:
        raise ValueError("layers must name at least one layer, got none")
    place = next((p.device for p in model.parameters()), torch.device("cpu"))
    either = layouts.sequence_first(model)
    for batch in loader:
        positional, keywords, labels = _parts(batch, place)
        with _hooked(model, modules, of) as seen, torch.inference_mode():
            model(*positional, **keywords)
        rows = {}
        for layer, calls in seen.items():
            try:
                rows[layer] = _chosen(calls, call).rows(reduce, axes, keywords, len(labels), either)
            except layouts.Unclear as error:
                raise ValueError(f"layer {layer!r} gives {error}") from error
            except _Calls as error:
                raise ValueError(f"layer {layer!r} {error}") from error
        yield rows, labels


def layer_batches(
    model: nn.Module,
    loader: Iterable[Any],
    layer: str,
    *,
    of: str = "output",
    reduce: Reduce = "mean",
    axes: str | None = None,
    call: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features (n, d) of one layer and labels (n,), for each batch of the loader: what `measure` takes.

    Arguments and errors are those of `feature_batches`.
    """
    asked = feature_batches(model, loader, layer, of=of, reduce=reduce, axes=axes, call=call)
    with closing(asked) as batches:
        for found, labels in batches:
            yield found[layer], labels


def model_batches(program: str, layer: str | None, **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """layer_batches of the model and loader that a function of a Python file returns, given as FILE.py:FUNCTION.

    The file is run as `python FILE.py` would, its folder first on the path: it is the caller's own program. The
    options are those of `layer_batches`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no layer, no such function, or a function that returns something else.
    """
    file, _, name = program.rpartition(":")
    if not (file and name and layer):
        raise ValueError(f"model must be FILE.py:FUNCTION, beside a layer, got {program!r} and {layer!r}")
    if not Path(file).is_file():
        raise FileNotFoundError(f"no file {file}, of model {program}")
    sys.path.insert(0, str(Path(file).resolve().parent))
    function = runpy.run_path(file).get(name)
    if not callable(function):
        raise ValueError(f"{file} must define a function {name}, got {type(function).__name__}")
    made = function()
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module)):
        raise ValueError(
            f"{name} of {file} must return a torch model and its loader, got {type(made).__name__}"
        )
    return layer_batches(*made, layer, **options)


class _Calls(ValueError):
    """A layer that does not run as often as is asked for."""


@dataclass(frozen=True, eq=False)
class _Taken:
    """What one call of a layer took or gave: a copy, the layout that is known, and which positions are no padding."""

    value: Any
    layout: Layout | None = None
    kept: Tensor | None = None

    def rows(
        self, reduce: Reduce, axes: str | None, keywords: dict[str, Any], count: int, either: bool
    ) -> Tensor:
        """(N, d), one row per label."""
        value = self.value
        if not isinstance(value, Tensor) or value.ndim < 2:
            kind = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise _Calls(f"must give a tensor (N, ...), got {kind}")
        if value.ndim > 2:
            value = (
                reduce(value) if callable(reduce) else self._reduced(reduce, axes, keywords, count, either)
            )
        if not isinstance(value, Tensor) or value.ndim != 2 or len(value) != count:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise layouts.Unclear(f"features {shape} for {count} labels, and not (N, d): give axes or reduce")
        return value

    def _reduced(
        self, reduce: str, axes: str | None, keywords: dict[str, Any], count: int, either: bool
    ) -> Tensor:
        value, shape = self.value, tuple(self.value.shape)
        masks = [self.kept] if self.kept is not None else layouts.masks(keywords)
        layout = layouts.told(axes, value.ndim) if axes else self.layout
        if layout is None and reduce == "flatten" and shape[0] == count:
            layout = Layout(0, value.ndim - 1)
        of_mask = value.ndim == 3 and shape[1] != shape[2] and any(m.shape == shape[:2] for m in masks)
        if layout is None and of_mask:
            layout = Layout(0, 2)
        if layout is None:
            raise layouts.Unclear(
                f"shape {shape} in a layout that is not known: say axes, such as "
                f"{'NTC or NCT' if value.ndim == 3 else 'NCHW or NHWC'}, or reduce as a function"
            )
        try:
            ordered = layouts.arranged(value, layout, count, either)
        except layouts.Unclear as error:
            raise layouts.Unclear(f"shape {shape}, {error}: say axes, NTC or TNC") from error
        fitting = [m for m in masks if m.shape == ordered.shape[:2]]
        if len(fitting) > 1 and not all(torch.equal(m, fitting[0]) for m in fitting):
            raise layouts.Unclear("positions that two masks fit: give reduce as a function")
        if reduce == "flatten" and not masks:
            return value.movedim(layout.samples or 0, 0).flatten(1)
        return layouts.reduced(ordered, reduce, next(iter(fitting or masks), None))


@contextmanager
def _hooked(model: nn.Module, modules: dict[str, nn.Module], of: str) -> Iterator[dict[str, list[_Taken]]]:
    """What each layer takes or gives in evaluation mode, call by call; afterwards the model is as it was."""
    log = _Log(of, {layer: [] for layer in modules})
    modes = [(module, module.training) for module in model.modules()]
    try:
        with ExitStack() as hooks:
            for module in filter(layouts.of_torch, model.modules()):
                hooks.callback(module.register_forward_hook(log.given, with_kwargs=True).remove)
            for layer, module in modules.items():
                if isinstance(module, torch.jit.ScriptModule):
                    raise ValueError(
                        f"layer {layer!r} must be no ScriptModule, which takes no hooks; name one around it"
                    )
                before, after = log.hooks(layer)
                if of == "input":
                    hooks.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
                else:
                    hooks.callback(module.register_forward_hook(after).remove)
            model.eval()
            yield log.seen
    finally:
        for module, training in modes:
            module.training = training


@dataclass(eq=False)
class _Log:
    """What the layers of one pass took or gave, and the shapes whose layout torch documents, in order."""

    of: str
    seen: dict[str, list[_Taken]]
    known: list[tuple[tuple[int, ...], Layout]] = field(default_factory=list)

    def given(self, module: nn.Module, _: Any, __: Any, output: Any) -> None:
        """Note the layout of what a layer of torch's own has given."""
        value = _first(output)
        if isinstance(value, Tensor) and (layout := layouts.documented(module, value.ndim)) is not None:
            self.known.append((tuple(value.shape), layout))

    def hooks(self, layer: str) -> tuple[Any, Any]:
        """To be called before and after a layer: the one keeps what goes in, the other what comes out."""

        def before(module: nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            self.seen[layer].append(self._taken(module, positional or keywords))

        def after(module: nn.Module, _: Any, output: Any) -> None:
            self.seen[layer].append(self._taken(module, output))

        return before, after

    def _taken(self, module: nn.Module, value: Any) -> _Taken:
        first = _first(value)
        if isinstance(first, PackedSequence):
            padded, lengths = pad_packed_sequence(first, batch_first=True)
            kept = torch.arange(padded.shape[1])[None, :] < lengths[:, None]
            return _Taken(padded, Layout(0, 2), kept.to(padded.device))
        if not isinstance(first, Tensor):
            return _Taken(first)
        layout = layouts.documented(module, first.ndim) or layouts.alike(tuple(first.shape), self.known)
        return _Taken(first.detach().clone(), layout)


def _first(value: Any) -> Any:
    """What a layer takes or gives, or the first entry of a sequence or dictionary of it."""
    if isinstance(value, Mapping):
        return _first(next(iter(value.values()), None))
    return value[0] if _several(value) and value else value


def _several(value: Any) -> bool:
    """Whether it is a sequence of values; torch's packed sequence, by type a tuple, is one."""
    return isinstance(value, (tuple, list)) and not isinstance(value, PackedSequence)


def _chosen(calls: list[_Taken], call: int | None) -> _Taken:
    """The one call of a layer in a pass, or the one asked for."""
    times = len(calls)
    if call is None:
        if times != 1:
            cure = f": choose one with call, 0 to {times - 1}" if times else ""
            raise _Calls(f"must run once in a forward pass, got {times} times{cure}")
        return calls[0]
    if not -times <= call < times:
        raise _Calls(f"must have a call {call} in a forward pass, got {times} calls, counted from 0")
    return calls[call]


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


def _parts(batch: Any, place: torch.device) -> tuple[list[Any], dict[str, Any], Tensor]:
    """Positional and keyword arguments of the model, and the labels, on its device."""
    if isinstance(batch, Mapping):
        key = next((k for k in LABEL_KEYS if k in batch), None)
        if key is not None:
            return (
                [],
                _placed({k: v for k, v in batch.items() if k != key}, place),
                _labels(batch[key], place),
            )
        got = f"a dictionary of {sorted(map(str, batch))}"
    elif isinstance(batch, (tuple, list)):
        if len(batch) == 2:
            inputs, labels = _placed(batch[0], place), _labels(batch[1], place)
            if isinstance(inputs, Mapping):
                return [], dict(inputs), labels
            return (list(inputs) if _several(inputs) else [inputs]), {}, labels
        got = f"a batch of {len(batch)} entries"
    else:
        got = type(batch).__name__
    raise ValueError(
        f"loader must give (inputs, labels) or a dictionary with {LABEL_KEYS[0]!r}, got {got}; "
        "several inputs are a tuple, ((a, b), labels)"
    )


def _placed(inputs: Any, place: torch.device) -> Any:
    """Tensors, arrays, and tuples, lists or dictionaries of them, on a device; a list becomes a tuple."""
    if isinstance(inputs, Mapping):
        return {name: _placed(value, place) for name, value in inputs.items()}
    if _several(inputs):
        return tuple(_placed(value, place) for value in inputs)
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "fiub":
        return torch.as_tensor(inputs, device=place)
    return inputs.to(place) if hasattr(inputs, "to") else inputs


def _labels(labels: Any, place: torch.device) -> Tensor:
    """A tensor (n,)."""
    try:
        found = torch.as_tensor(labels, device=place)
    except (TypeError, ValueError, RuntimeError) as error:
        some = labels[0] if isinstance(labels, (list, tuple)) and labels else labels
        raise ValueError(
            f"labels of a batch must be integers, got {type(some).__name__} {some!r:.40}; "
            "numpy.unique(..., return_inverse=True) numbers them"
        ) from error
    if found.ndim != 1:
        raise ValueError(f"labels of a batch must have shape (n,), got {tuple(found.shape)}")
    return found
