"""The hidden classes in one trained run: from what `train` returned, or from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finegrain.empirical.hidden_classes import report
from finegrain.empirical.networks.recipe import Recipe
from finegrain.empirical.networks.training import Trained
from finegrain.empirical.readers.array_files import read_json
from finegrain.empirical.readers.data import Dataset, as_dataset, load
from finegrain.empirical.readers.image_cache import default_folder

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Recovery:
    """What a run tells of its hidden classes.

    Attributes:
        folder: the run's; recovery.json in it is the report
        report: all that was found; of a run on fine labels, a baseline, without rows
    """

    folder: Path
    report: report.Report

    @property
    def accuracy(self) -> dict[str, float]:
        """Of the network on the test images, from each view of them."""
        return self.report["accuracy"]

    @property
    def by_view(self) -> list[Row]:
        """A row per view, stages and method: "share" matched on training images, "clp" and "oracle" on test images."""
        return self.report.get("by_view", [])

    @property
    def by_place(self) -> list[Row]:
        """The same for every stage of the network, for pixels and for the network before training."""
        return self.report.get("by_place", [])

    @property
    def by_epoch(self) -> list[Row]:
        """The same along training, with what T10 predicts of it."""
        return self.report.get("by_epoch", [])

    def __repr__(self) -> str:
        accuracy = max(self.accuracy.values())
        if not self.by_view:
            return f"Recovery({str(self.folder)!r}, accuracy={accuracy:.3f}, a baseline on fine labels)"
        best = max(self.by_view, key=lambda row: row["share"])
        way = ", ".join(best[key] for key in report.WAY)
        found = f"share={best['share']:.3f}, clp={best['clp']:.3f}, oracle={best['oracle']:.3f}"
        return f"Recovery({str(self.folder)!r}, accuracy={accuracy:.3f}, best of {len(self.by_view)}: {way}, {found})"


def recover(
    run: Trained | Path | str,
    data: Dataset | str | None = None,
    *,
    device: str = "auto",
    jobs: int = 1,
    progress: bool = False,
) -> Recovery:
    """Cluster, match and probe the representation of a trained run; written into its folder as well.

    Args:
        run: what `train` returned, or the run's folder; one that was not finished is trained to its end.
        data: what the run was trained on, as for `train`; by default what the run says it was.
        device: "cpu", "cuda", or "auto".
        jobs: processes that cluster and probe.
        progress: show bars with the time left.

    Raises:
        FileNotFoundError: no run in that folder, or its images are not where they were.
        ValueError: images that are not those of the run, or that no name tells: give `data`.
    """
    if isinstance(run, Trained):
        if run.record is None:
            raise ValueError("run must be what train returned in the first process, got another's")
        folder, recipe, images = run.record.path, run.recipe, run.data if data is None else as_dataset(data)
    else:
        folder = Path(run)
        recipe = Recipe(**read_json(folder / "config.json")["recipe"])
        images = _own_images(folder, progress) if data is None else as_dataset(data, progress=progress)
    found = report.whole(recipe, images, folder, device=device, jobs=jobs, progress=progress)
    return Recovery(folder, found)


def _own_images(folder: Path, progress: bool) -> Dataset:
    """Those that `train` noted beside the run."""
    source = read_json(folder / "data.json")
    return load(source["name"], source["root"], cache=default_folder(), progress=progress)
