"""python -m finegrain.paper_figs: the same as finegrain figures."""

from finegrain.paper_figs.program import app
from finegrain.theory.tools.console import run

if __name__ == "__main__":
    run(app)
