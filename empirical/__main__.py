"""python -m empirical: real images with coarse labels, and what theory predicts for a network trained on them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from empirical import discover_command, recover_command, train_command
from empirical.prediction_config import Config
from theory.console import console, run

if TYPE_CHECKING:
    from empirical.measure import Measurement
    from empirical.predict import Prediction

PREDICT_EXAMPLES = """
Examples:\n
  python -m empirical predict --data digits\n
  python -m empirical predict --data fashion-mnist --components auto\n
  python -m empirical predict --data fashion-mnist --batch-size 500 --momentum 0.9 --learning-rate 0.03\n
  python -m empirical predict --data features:conv.safetensors\n
  python -m empirical predict --data images:cifar10-images.tar.xz --map halves --width 64 --out runs/halves\n
"""
MEASURE_EXAMPLES = """
Examples:\n
  python -m empirical measure features.npz --coarse-map 0,0,1,1\n
  python -m empirical measure x.npy --labels y.npy --coarse-map coarse.json --out runs/mine\n
  python -m empirical measure --model mine.py:build --layer layer4 --num-classes 10\n
  torchrun --nproc-per-node 4 -m empirical measure shard-*.safetensors --covariance pooled\n
"""
SHOWN = ("loss", "fine_share", "nc1_trace_ratio_coarse", "cdnv_coarse", "mahalanobis", "lda_accuracy")
DEFAULTS = Config()

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help=__doc__,
    epilog=PREDICT_EXAMPLES + MEASURE_EXAMPLES.removeprefix("\nExamples:\n\n"),
)


@app.callback()
def _program() -> None:
    """Real images with coarse labels."""


app.command("discover", epilog=discover_command.EXAMPLES)(discover_command.discover)
app.command("train", epilog=train_command.EXAMPLES)(train_command.train)
app.command("recover", epilog=recover_command.EXAMPLES)(recover_command.recover)


@app.command(epilog=PREDICT_EXAMPLES)
def predict(
    data: Annotated[
        str,
        typer.Option(
            help="digits, fashion-mnist, mnist, images:PATH (a folder or tar of {train,test}/CLASS/*.jpg|png), "
            "cifar10:PATH or cifar100:PATH (the official archives), or features:PATH (.npz or .safetensors: "
            "features, labels, test_features, test_labels)."
        ),
    ] = "digits",
    root: Annotated[Path | None, typer.Option(help="Folder of the IDX files.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help=r"Folder that keeps decoded images \[default: ~/.cache/finegrain].")
    ] = None,
    map_: Annotated[
        str,
        typer.Option(
            "--map", help="mod, halves, random:SEED, semantic, opposed, superclasses, or a list 0,1,0,1."
        ),
    ] = DEFAULTS.map,
    components: Annotated[
        str, typer.Option(help="Gaussians fitted to each fine class, or auto: by held-out likelihood.")
    ] = str(DEFAULTS.components),
    shape: Annotated[
        str, typer.Option(help="full or spherical: of the Gaussians while they are looked for.")
    ] = DEFAULTS.shape,
    fit_in: Annotated[
        str, typer.Option(help="class-means or all: where to look for them.")
    ] = DEFAULTS.fit_in,
    dim: Annotated[int, typer.Option(min=1, help="Principal components kept.")] = DEFAULTS.dim,
    width: Annotated[int, typer.Option(min=1, help="Neurons.")] = DEFAULTS.width,
    steps: Annotated[int, typer.Option(min=1, help="Descent steps.")] = DEFAULTS.steps,
    learning_rate: Annotated[float, typer.Option(help="Of the descent, > 0.")] = DEFAULTS.learning_rate,
    momentum: Annotated[float, typer.Option(help="Of the descent, in [0, 1).")] = DEFAULTS.momentum,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help=r"Samples a step \[default: all of them].")
    ] = DEFAULTS.batch_size,
    weight_decay: Annotated[
        float, typer.Option(min=0, help="lambda, on both layers.")
    ] = DEFAULTS.weight_decay,
    scale: Annotated[float, typer.Option(help="Of the initial weights, > 0.")] = DEFAULTS.scale,
    seed: Annotated[int, typer.Option(min=0, help="Of the initial weights and of the fit.")] = DEFAULTS.seed,
    records: Annotated[int, typer.Option(min=1, help="Recorded times after step 0.")] = DEFAULTS.records,
    dynamics: Annotated[
        str, typer.Option(help="descent or flow, on the population loss.")
    ] = DEFAULTS.dynamics,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda, for the training.")] = "auto",
    out: Annotated[Path | None, typer.Option(help=r"Output folder \[default: runs/predict-DATA].")] = None,
) -> None:
    """Predict a network's Moments from Gaussians fitted to its data, train the network, and compare.

    No parameter is fitted to the network: theory starts from the same initial weights.
    """
    # Torch and scikit-learn load here, not for --help.
    from empirical.data import load
    from empirical.image_cache import default_folder
    from empirical.predict import predict as compare
    from empirical.prediction_figure import draw
    from sims.plotting import save
    from sims.run_folder import hold
    from theory.files import to_json, write_atomic

    config = Config(
        map=map_,
        components=_components(components),
        shape=shape,
        fit_in=fit_in,
        dim=dim,
        width=width,
        steps=steps,
        learning_rate=learning_rate,
        momentum=momentum,
        batch_size=batch_size,
        weight_decay=weight_decay,
        scale=scale,
        seed=seed,
        records=records,
        dynamics=dynamics,
    )
    with hold(out or Path("runs") / f"predict-{data.replace(':', '-').replace('/', '-')}") as folder:
        images = load(data, root, cache=cache or default_folder(), progress=True)
        result = compare(images, config, device=device, folder=folder, progress=True)
        console.print(_table(result, data))
        title = f"{data}, {result.components} Gaussians a fine class, width {width}: no fitted parameter"
        write_atomic(folder / "prediction.json", to_json(result.report()))
        paths = [folder / "prediction.json", *save(draw(result.rows(), title), folder, "prediction")]
    console.print("written: " + ", ".join(str(p) for p in paths), soft_wrap=True)


@app.command(epilog=MEASURE_EXAMPLES)
def measure(
    features: Annotated[
        list[str] | None,
        typer.Argument(help="Shards: .npy, .npz, .safetensors, .csv or .parquet, FILE or FILE:NAME."),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(help=r"One a shard, in order (repeat the option) \[default: in the same file]."),
    ] = None,
    coarse_map: Annotated[
        str | None,
        typer.Option(
            help="mod, halves, random:SEED, a list 0,1,0,1, or FILE.json: class name -> coarse name."
        ),
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(help="File of the last layer's weight and bias, for NC3 and NC4.")
    ] = None,
    covariance: Annotated[
        str, typer.Option(help="full, pooled or diagonal: what is kept of each class.")
    ] = "full",
    groups: Annotated[
        int | None,
        typer.Option(min=1, help=r"Of the jackknife; 1: no intervals \[default: 20, or what fits in 1 GiB]."),
    ] = None,
    level: Annotated[float, typer.Option(help="Of the confidence intervals, in (0, 1).")] = 0.95,
    model: Annotated[
        str | None, typer.Option(help="FILE.py:FUNCTION that returns a torch model and its data loader.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Of the model, as in named_modules().")] = None,
    num_classes: Annotated[int | None, typer.Option(min=1, help="Of the loader's labels.")] = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/measure"),
) -> None:
    """Every observable of your own features, with confidence intervals, a figure sheet and a JSON."""
    from empirical import distributed
    from empirical.hooks import model_batches
    from empirical.measure import measure as measured
    from empirical.measure_figure import draw
    from sims.plotting import save
    from sims.run_folder import hold
    from theory.files import to_json, writable_folder, write_atomic

    if bool(features) == bool(model):
        raise ValueError("measure needs files of features, or --model with --layer, and not both")
    folder = writable_folder(out)
    with distributed.process_group():
        first = distributed.rank_and_size()[0] == 0
        result = measured(
            features or model_batches(str(model), layer),
            labels or None,
            coarse_map=coarse_map,
            num_classes=num_classes,
            classifier=classifier,
            covariance=covariance,
            groups=groups,
            level=level,
            progress=first,
        )
    if not first:
        return
    title = (
        f"{result.counts.sum():,} samples, {len(result.class_names)} classes, {result.moments.dim} dimensions"
    )
    with hold(folder, wait=True):  # the files of two processes are not mixed
        write_atomic(folder / "measure.json", to_json(result.report()))
        paths = [folder / "measure.json", *save(draw(result, title), folder, "measure")]
    console.print(_measured(result))
    for note in result.notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False, highlight=False)
    console.print("written: " + ", ".join(str(p) for p in paths), soft_wrap=True)


def _measured(result: Measurement) -> Table:
    table = Table(title=f"observables, {100 * result.level:g} % confidence intervals")
    for column in ("observable", "value", "low", "high"):
        table.add_column(column, justify="left" if column == "observable" else "right", overflow="fold")
    for name, estimate in result.scalars.items():
        numbers = (estimate.value, estimate.low, estimate.high)
        table.add_row(escape(name), *("-" if math.isnan(x) else f"{x:.4g}" for x in numbers))
    return table


def _components(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _table(result: Prediction, data: str) -> Table:
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in result.seconds.items())
    table = Table(title=f"{data}: predicted against observed ({seconds})")
    for column in ("step", "time", "observable", "predicted", "observed", "error", "test images"):
        left = column == "observable"
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    shown = [row for row in result.rows() if row["observable"] in SHOWN]
    for last, row in zip([*shown[1:], None], shown, strict=True):
        ends = last is None or last["observable"] != row["observable"]
        numbers = (f"{row[part]:.4f}" for part in ("predicted", "observed"))
        cells = (str(row["step"]), f"{row['time']:.4g}", row["observable"], *numbers)
        table.add_row(*cells, f"{100 * row['error']:.2f} %", f"{row['test']:.4f}", end_section=ends)
    return table


if __name__ == "__main__":
    run(app)
