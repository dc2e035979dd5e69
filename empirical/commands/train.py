"""finegrain train: every run of a recipe file, each in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finegrain.theory.tools.console import keeps, say

EXAMPLES = """
Examples:\n
  finegrain train cifar --data images:PATH\n
  finegrain train gpu_resnet18 --data cifar10:PATH --steps 2 --device cpu\n
  torchrun --nproc-per-node 8 -m finegrain train mine.toml --data cifar10:PATH\n
"""


def train(
    recipes: Annotated[
        Path,
        typer.Argument(
            help="A recipe file, or the name of one in the package: cifar, cifar100, gpu_resnet18, ..."
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="images:PATH (a folder or tar of {train,test}/CLASS/*.jpg|png|webp), cifar10:PATH or cifar100:PATH "
            "(the official archives), fashion-mnist, mnist, digits."
        ),
    ],
    root: Annotated[
        Path | None, typer.Option(help="Folder of the IDX files; where a relative PATH of --data starts.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Each run goes into OUT/NAME.")] = Path("runs"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after so many steps, to try a recipe; only checkpoints are kept."),
    ] = None,
) -> None:
    """Train each run of a recipe file. A killed one goes on after its last checkpoint, a finished one is read back.

    A run that diverges does not keep the others from being trained; the exit status then is 2.
    """
    # Torch loads here, not for --help.
    from finegrain.empirical.networks import training
    from finegrain.empirical.networks.recipe import read_recipes
    from finegrain.empirical.readers.data import load
    from finegrain.empirical.readers.image_cache import default_folder
    from finegrain.theory.tools.files import inside, writable_folder

    runs = read_recipes(recipes)
    writable_folder(out)  # refused before the images are read
    images = load(data, root, cache=default_folder(), progress=True)
    keeps(f"checkpoints are kept in {out}, and the same command goes on from there")
    diverged = []
    for i, (name, recipe) in enumerate(runs, 1):
        say(f"[{i}/{len(runs)}] {name}")
        try:
            training.train(recipe, images, inside(out, name), device=device, steps=steps, progress=True)
            say(f"written: {out / name}")
        except training.Diverged as error:
            say(f"{name}: {error}")
            diverged.append(name)
    if diverged:
        raise RuntimeError(f"{len(diverged)} of {len(runs)} runs diverged: {', '.join(diverged)}")
