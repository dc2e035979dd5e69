"""An experiment of four points, quick enough for a test."""

QUICK = {"times": [0.5, 1.0], "activation": "identity", "rtol": 1e-5, "width": 4}
GRID = QUICK | {"grid": {"eps": [0.1, 0.01], "seed": [0, 1]}}
