"""python -m finegrain.sims: the same as finegrain sims."""

from finegrain.sims.program import app
from finegrain.theory.tools.console import run

if __name__ == "__main__":
    run(app)
