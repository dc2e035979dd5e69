"""Train a network on coarse labels and measure its representation along the way.

A checkpoint, one every `measure_every` epochs, holds the state: weights, momenta, slow weights, and the representation
of a fixed subset of train and test images, from which every observable follows. The first is the untrained network.
All that is random in an epoch is a function of (seed, epoch), so a killed run goes on from its last checkpoint to the
same weights, bit for bit on one CPU; another one, with other vector instructions, rounds differently.

Started by torchrun, every process takes its share of each batch (DistributedDataParallel) and the first writes.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from finegrain.empirical import distributed
from finegrain.empirical.networks.architectures import Network
from finegrain.empirical.networks.augment import Images, batches, pixel_stats
from finegrain.empirical.networks.recipe import Recipe
from finegrain.empirical.networks.representation import classifier_of, represent
from finegrain.empirical.networks.training_state import State, weights_of
from finegrain.empirical.readers.data import Dataset
from finegrain.sims.run_folder import Arrays, RunFolder, digest
from finegrain.sims.samples.loss import device_named
from finegrain.theory import observables
from finegrain.theory.moments import Moments
from finegrain.theory.tools.brief import brief
from finegrain.theory.tools.console import console, tracked
from finegrain.theory.tools.files import to_json, write_atomic

LOOKAHEAD_STEPS = 5
LOOKAHEAD_DECAY = 0.95**LOOKAHEAD_STEPS  # of the slow weights, at the end


class Diverged(RuntimeError):
    """The loss stopped being finite."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What a finished run leaves.

    Attributes:
        recipe, data: what it was trained with; the precision is the one used, never "auto"
        network: in evaluation mode
        images: "train" and "test", on the network's device
        coarse_map: (C,)
        metrics: one entry a checkpoint
        record: the run folder, to read checkpoints from; None in all processes but the first
    """

    recipe: Recipe
    data: Dataset
    network: Network
    images: dict[str, Images]
    coarse_map: NDArray[np.int64]
    metrics: list[dict[str, float]]
    record: RunFolder | None

    __repr__ = brief

    @property
    def pixels(self) -> int:
        """The resolution that the network was last trained on: at another one it is another network."""
        return self.recipe.pixels(self.recipe.epochs - 1, self.data.train_x.shape[1])

    def checkpoint(self, epoch: int) -> Arrays:
        """The state after `epoch` epochs and the measured representation; ValueError if there is no such checkpoint."""
        if self.record is None:
            raise ValueError("checkpoints are read by the first process alone")
        epochs = [int(line["epoch"]) for line in self.metrics]
        if epoch not in epochs:
            raise ValueError(f"epoch must be one that has a checkpoint, {epochs}, got {epoch}")
        return self.record.read(epochs.index(epoch))

    def network_at(self, epoch: int) -> Network:
        """The network as it was after `epoch` epochs, in evaluation mode."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(weights_of(self.checkpoint(epoch)))
        return network.eval()


def train(
    recipe: Recipe,
    data: Dataset,
    folder: Path | str,
    *,
    device: str = "auto",
    steps: int | None = None,
    progress: bool = False,
) -> Trained:
    """Train, or go on with, or only read back, the run in `folder`.

    Args:
        recipe: settings.
        data: images with fine labels.
        folder: the run folder; refused when it holds a run of another recipe, precision or images.
        device: "cpu", "cuda", or "auto".
        steps: stop after so many steps of this call, to try a recipe; only checkpoints are kept.
        progress: show bars with the time left, and a line an epoch.

    Raises:
        ValueError: settings that do not fit the images, or a folder with another run.
        Diverged: the loss stopped being finite; the message names the epoch.
    """
    place, rank, ranks = _processes(device)
    recipe = replace(recipe, precision=precision_on(place, recipe.precision))
    fine_to_coarse = data.coarse_map(recipe.map)
    _check(recipe, len(data.train_x), fine_to_coarse, ranks)
    stats = pixel_stats(data.train_x)
    images = {
        "train": Images.on(place, data.train_x, data.train_y, recipe.crop, stats),
        "test": Images.on(place, data.test_x, data.test_y, 0, stats),
    }
    state = State.start(recipe, images["train"], fine_to_coarse)
    run = _Run(recipe, images, fine_to_coarse, state, place, rank, ranks)
    parts = [data.train_x, data.train_y, data.test_x, data.test_y]
    if recipe.map == "superclasses" and data.superclasses:
        # The recipe names the map, but it is the data that tell it.
        parts.append(fine_to_coarse)
    settings = {"recipe": asdict(recipe), "images": digest(*parts)}
    with _opened(folder, settings, data, rank) as record:
        done = run.resume(record)
        run.epochs(record, done, steps, progress and rank == 0)
        metrics = record.metrics if record else []
    return Trained(recipe, data, state.network.eval(), images, fine_to_coarse, metrics, record)


@dataclass
class _Run:
    """One training: the loop over epochs."""

    recipe: Recipe
    images: dict[str, Images]
    coarse_map: NDArray[np.int64]
    state: State
    device: torch.device
    rank: int
    ranks: int

    def __post_init__(self) -> None:
        self.autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"
        )
        identity = np.arange(self.coarse_map.size)
        labels = identity if self.recipe.labels == "fine" else self.coarse_map
        self.targets = torch.as_tensor(labels).to(self.device)

    def resume(self, record: RunFolder | None) -> int:
        """Load the last checkpoint, or write the first; returns the epochs done."""
        found: list[Any] = [0, None]
        if record:
            self.require_own(record)
        if record and record.completed:
            found = [int(record.metrics[-1]["epoch"]), record.read(record.completed - 1)]
        elif record:
            self.write(record, 0, [])
        if self.ranks > 1:
            dist.broadcast_object_list(found, src=0)
        if found[1] is not None:
            self.state.load(found[1])
        return found[0]

    def require_own(self, record: RunFolder) -> None:
        """Refuse checkpoints of other epochs: earlier versions wrote one every epoch, whatever `measure_every`."""
        found, due = [int(line["epoch"]) for line in record.metrics], self.recipe.checkpoints()
        if found != due[: len(found)]:
            raise ValueError(
                f"run folder {record.path} must hold checkpoints of epochs {due}, got {found}, written by an earlier "
                "version; choose another output folder or delete it"
            )

    def epochs(self, record: RunFolder | None, done: int, steps: int | None, progress: bool) -> None:
        """Train the epochs that are left, with a checkpoint where one is due."""
        if done >= self.recipe.epochs:
            return
        model: Callable[[Tensor], Tensor] = self.state.network
        if self.ranks > 1:
            model = DistributedDataParallel(self.state.network)
        model = torch.compile(model) if self.recipe.compile else model
        lines: list[dict[str, float]] = []
        for epoch in range(done, self.recipe.epochs):
            started = time.perf_counter()
            with _fastest_convolutions():
                loss, accuracy, taken = self.one_epoch(model, epoch, steps, progress)
            steps = None if steps is None else steps - taken
            if steps == 0:
                return
            seconds = time.perf_counter() - started
            line = {"loss": loss, "running_accuracy": accuracy, "seconds": seconds}
            line["images_per_second"] = taken * self.recipe.batch / seconds
            lines.append(line)
            if epoch + 1 in self.recipe.checkpoints():
                if record:
                    line["test.accuracy"] = self.write(record, epoch + 1, lines)["test.accuracy"]
                lines = []
            if progress:
                console.print(_told(epoch + 1, self.recipe.epochs, line))

    def one_epoch(
        self, model: Callable[[Tensor], Tensor], epoch: int, steps: int | None, progress: bool
    ) -> tuple[float, float, int]:
        """Mean loss and accuracy over the augmented batches of one epoch, and the steps taken."""
        recipe, images = self.recipe, self.images["train"]
        self.state.network.train()
        each = len(images) // recipe.batch
        pixels = recipe.pixels(epoch, images.padded.shape[1] - 2 * recipe.crop)
        work = batches(
            images,
            recipe.batch,
            epoch,
            recipe.seed,
            flip=recipe.flip,
            pixels=pixels,
            rank=self.rank,
            ranks=self.ranks,
        )
        total, right = torch.zeros(2, device=self.device, dtype=torch.float64)
        taken = 0
        for x, fine in tracked(work, f"epoch {epoch + 1}/{recipe.epochs}", total=each, show=progress):
            labels = self.targets[fine]
            self.set_rate((epoch * each + taken + 1) / (recipe.epochs * each + 1))
            with self.autocast:
                logits = model(x)
            loss = objective(recipe, logits.float(), labels)
            self.state.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.state.optimizer.step()
            taken += 1
            self.after_step(epoch * each + taken, recipe.epochs * each)
            total += loss.detach()
            right += (logits.argmax(1) == labels).double().mean()
            if taken == steps:
                break
        if self.ranks > 1:
            dist.all_reduce(total)  # so that all processes stop at a divergence, not only those that saw it
            dist.all_reduce(right)
        if not torch.isfinite(total):
            raise Diverged(
                f"the loss stopped being finite in epoch {epoch + 1}; lower learning_rate, {recipe.learning_rate}"
            )
        return float(total) / (taken * self.ranks), float(right) / (taken * self.ranks), taken

    def set_rate(self, progress: float) -> None:
        for group in self.state.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * group["rate"] * self.recipe.rate(progress)

    @torch.no_grad()
    def after_step(self, step: int, last: int) -> None:
        """Lookahead: every few steps, and at the very end the network becomes its slow weights."""
        if not self.recipe.lookahead:
            return
        if step == last:
            self.state.look_ahead(1.0)
        elif step % LOOKAHEAD_STEPS == 0:
            self.state.look_ahead(LOOKAHEAD_DECAY * (step / last) ** 3)

    def write(self, record: RunFolder, epoch: int, lines: list[dict[str, float]]) -> dict[str, float]:
        """Checkpoint, with the representation of the measured subset; returns its metrics.

        Args:
            lines: of the epochs since the last checkpoint; their means are kept.
        """
        arrays, started = self.state.arrays(), time.perf_counter()
        metrics: dict[str, float] = {"epoch": epoch}
        for name in lines[0] if lines else ():
            metrics[name] = float(np.mean([line[name] for line in lines]))
        # At the resolution just trained on: at another one a network is not itself.
        pixels = self.recipe.pixels(max(epoch - 1, 0), self.images["test"].padded.shape[1])
        for split, images in self.images.items():
            chosen = measured_subset(len(images), self.recipe)
            *_, features = represent(
                self.state.network, images, chosen, pixels=pixels, autocast=self.autocast
            )
            fine = images.labels[chosen].cpu().numpy()
            arrays |= {f"features.{split}": features, f"fine.{split}": fine}
            metrics[f"{split}.accuracy"] = self.accuracy(features, fine)
            for name, value in self.observables(features, fine).items():
                metrics[f"{split}.{name}"] = value
        metrics["measure_seconds"] = time.perf_counter() - started
        record.write(self.recipe.checkpoints().index(epoch), arrays, metrics)
        return metrics

    def accuracy(self, features: NDArray[np.float32], fine: NDArray[np.int64]) -> float:
        """On the labels that training saw."""
        logits = features @ classifier_of(self.state.network).T
        return float((logits.argmax(1) == self.targets.cpu().numpy()[fine]).mean())

    def observables(self, features: NDArray[np.float32], fine: NDArray[np.int64]) -> dict[str, float]:
        """Every observable that the subset defines, and how near the classifier is to its neural collapse."""
        moments = Moments.from_samples(features, fine, self.coarse_map.size)
        values = observables.table(moments, self.coarse_map)
        trained_on = moments if self.recipe.labels == "fine" else moments.pool(self.coarse_map)
        classifier = classifier_of(self.state.network)
        calls = {
            "nc3": lambda: observables.nc3(trained_on, classifier),
            "nc4": lambda: observables.nc4(trained_on, classifier),
            "two_means_accuracy": lambda: observables.two_means_accuracy(moments, self.coarse_map),
        }
        for name, call in calls.items():
            try:
                values[name] = float(call())
            except ValueError:  # not defined: the untrained network may have equal means
                continue
        return values


def measured_subset(count: int, recipe: Recipe) -> NDArray[np.int64]:
    """The images (n,) of a split that are measured along training, the same at every epoch."""
    return np.sort(np.random.default_rng([recipe.seed, count]).permutation(count)[: recipe.measured])


def objective(recipe: Recipe, logits: Tensor, labels: Tensor) -> Tensor:
    """Mean loss over a batch of logits (B, K) and labels (B,)."""
    if recipe.loss == "cross-entropy":
        return F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    targets = F.one_hot(labels, logits.shape[1]) - 1 / logits.shape[1]
    return 0.5 * ((logits - targets) ** 2).sum(1).mean()


def precision_on(device: torch.device, asked: str) -> str:
    """The precision that a recipe asks for; "auto" is bf16 on a CUDA device that has such products, else float32.

    On a CPU it does not depend on the processor: one with bf16 products would train another network than one without.
    """
    if asked != "auto":
        return asked
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if has_bf16 else "float32"


def _check(recipe: Recipe, images: int, fine_to_coarse: NDArray[np.int64], ranks: int) -> None:
    if recipe.batch > images:
        raise ValueError(f"batch must be at most the {images} training images, got {recipe.batch}")
    if recipe.batch % ranks:
        raise ValueError(f"batch must be a multiple of the {ranks} processes, got {recipe.batch}")
    if fine_to_coarse.max() == 0:
        raise ValueError(f"map must have at least 2 coarse classes to train on, got {recipe.map!r}")


def _processes(device: str) -> tuple[torch.device, int, int]:
    """Device, rank and number of processes, those of torchrun where it started us."""
    place = device_named(device)
    if place.type == "cuda" and "LOCAL_RANK" in os.environ:
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(place)
    return place, *distributed.join()


@contextmanager
def _opened(
    folder: Path | str, settings: dict[str, Any], data: Dataset, rank: int
) -> Iterator[RunFolder | None]:
    """The run folder, for the first process alone; it says where the images came from, for `recover`."""
    if rank:
        yield None
        return
    with RunFolder(folder, settings) as record:
        write_atomic(record.path / "data.json", to_json({"name": data.name, "root": data.root}))
        yield record


@contextmanager
def _fastest_convolutions() -> Iterator[None]:
    """Batches have one shape, for which a GPU's fastest convolution is worth the search."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _told(epoch: int, epochs: int, line: dict[str, float]) -> str:
    accuracy = f", test accuracy {line['test.accuracy']:.3f}" if "test.accuracy" in line else ""
    speed = f"{line['images_per_second']:.0f} images/s"
    return f"epoch {epoch}/{epochs}: loss {line['loss']:.4f}{accuracy}, {speed}, {line['seconds']:.0f} s"
