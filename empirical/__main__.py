"""python -m empirical: real images with coarse labels, and what theory predicts for a network trained on them."""

from __future__ import annotations

import typer

from empirical import discover_command, measure_command, predict_command, recover_command, train_command
from theory.console import run

EXAMPLES = """
Examples:\n
  python -m empirical predict --data digits\n
  python -m empirical measure features.npz --coarse-map 0,0,1,1\n
  python -m empirical discover --data digits\n
  python -m empirical train configs/cifar.toml --data images:PATH\n
  python -m empirical recover configs/cifar.toml --data images:PATH\n
"""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help=__doc__,
    epilog=EXAMPLES,
)


@app.callback()
def _program() -> None:
    """Real images with coarse labels."""


app.command("predict", epilog=predict_command.EXAMPLES)(predict_command.predict)
app.command("measure", epilog=measure_command.EXAMPLES)(measure_command.measure)
app.command("discover", epilog=discover_command.EXAMPLES)(discover_command.discover)
app.command("train", epilog=train_command.EXAMPLES)(train_command.train)
app.command("recover", epilog=recover_command.EXAMPLES)(recover_command.recover)


if __name__ == "__main__":
    run(app)
