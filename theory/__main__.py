"""python -m finegrain.theory: the same as finegrain theory."""

from finegrain.theory.program import app
from finegrain.theory.tools.console import run

if __name__ == "__main__":
    run(app)
