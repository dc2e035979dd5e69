"""Experiments: the points that a config asks for, and configs that are refused by name."""

import re
from itertools import product

import numpy as np
import pytest
from quick_experiment import GRID, QUICK

from finegrain.sims.sweeps.points import Point, read_points
from finegrain.sims.sweeps.sweep import sweep


def test_a_grid_and_the_list_of_its_points_agree():
    points = [{"eps": e, "seed": s} for e, s in product([0.1, 0.01], [0, 1])]
    assert read_points(GRID) == read_points(QUICK | {"points": points})


def test_a_file_and_a_mapping_agree_and_letters_are_names(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("times = [1.0]\nlambda = 0.1\nm = 5\n[grid]\nS = [2, 3]\nK = [2]\nsigma = [0, 0.5]\n")
    grid = {"subclasses": np.array([2, 3]), "coarse": (2,), "noise": [0.0, 0.5]}
    assert read_points(file) == read_points({"times": [1], "weight_decay": 0.1, "width": 5, "grid": grid})
    assert [p.dim for p in read_points(file)] == [4, 4, 6, 6]


def test_a_point_goes_before_what_all_share_and_no_grid_is_one_point():
    (point,) = read_points(QUICK | {"eps": 0.5, "points": [{"eps": 0.25, "times": [3]}]})
    assert (point.eps, point.times, point.width) == (0.25, (3.0,), 4)
    assert read_points(QUICK) == [Point(times=(0.5, 1.0), activation="identity", rtol=1e-5, width=4)]


def test_every_setting_changes_the_name_of_the_run():
    other = {"times": [2.0], "coarse": 3, "subclasses": 3, "noise": 0.1, "dim": 7, "width": 5, "eps": 0.2}
    other |= {"weight_decay": 0.1, "activation": "erf", "loss": "logistic", "rtol": 1e-6, "seed": 1}
    base = {"times": [1.0], "start": "gaussian"}
    names = {Point(**base | {k: v}).name for k, v in other.items()}
    names |= {Point(**base).name, Point(times=[1.0], start="balanced").name}
    assert len(names) == len(other) + 2


REFUSED = [
    ({"widht": 3}, "config: unknown key 'widht'; did you mean 'width'? Known keys: times, coarse, "),
    ({"grid": {"ep": [0.1]}}, "config, [grid]: unknown key 'ep'; did you mean 'eps'? Known keys: times"),
    ({"points": [{"sed": 1}]}, "config, point 1: unknown key 'sed'; did you mean 'seed'?"),
    ({"grid": {"eps": 0.1}}, "config, [grid]: eps must be a non-empty list, got 0.1"),
    ({"grid": {"eps": []}}, "config, [grid]: eps must be a non-empty list, got []"),
    ({"grid": [1]}, "config, [grid] must be a table of lists, got [1]"),
    ({"points": []}, "config must have at least one table [[points]], got []"),
    ({"grid": {}, "points": []}, "config must have [grid] or [[points]], got both"),
    ({"grid": {"S": [2], "subclasses": [2]}}, "[grid]: 'subclasses' must be given once, got its letter too"),
    ({"grid": {"seed": [0, 1, 0]}}, "config must have each point once, got points [1, 3] equal"),
    ({"times": [-1.0]}, "times must be non-empty, finite, >= 0 and increasing, got [-1.0]"),
    ({"times": 3}, "times must be a list of numbers, got 3"),
    ({"grid": {"eps": [0.1, 0]}}, "config, point 2: eps must be a finite number > 0 (zero is a fixed point"),
    ({"eps": float("nan")}, "eps must be a finite number > 0"),
    ({"width": 0}, "config, point 1: width must be a finite number >= 1, got 0"),
    ({"width": 2.5}, "width must be an integer, got 2.5"),
    ({"width": True}, "width must be an integer, got True"),
    ({"eps": "0.1"}, "eps must be a number, got '0.1'"),
    ({"activation": 1}, "activation must be text, got 1"),
    ({"activation": "tanh"}, "one of erf, identity, leaky_relu, relu, square; got 'tanh'"),
    ({"loss": "hinge"}, "loss must be one of cross-entropy, logistic, squared; got 'hinge'"),
    ({"loss": "logistic", "noise": 0.1}, "loss must be squared for inputs with noise, got 'logistic'"),
    ({"start": "zero"}, "start must be one of balanced, gaussian; got 'zero'"),
    ({"coarse": 3}, "start must be gaussian for more than one output"),
    ({"dim": 3}, "dim must be a finite number >= 4, got 3"),
    ({"coarse": 1}, "coarse must be a finite number >= 2, got 1"),
    ({"weight_decay": -0.1}, "weight_decay must be a finite number >= 0, got -0.1"),
    ({"rtol": 1.0}, "rtol must lie in [1e-13, 1e-2], got 1.0"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[str(c) for c, _ in REFUSED])
def test_a_config_is_refused_by_name_before_any_work(changes, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        sweep(QUICK | changes, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_config_is_refused(tmp_path):
    with pytest.raises(ValueError, match="config, point 1: times must be given"):
        read_points({"eps": 0.1})
    file = tmp_path / "config.toml"
    file.write_text("times = [")
    with pytest.raises(ValueError, match=r"config.toml must be a TOML file: "):
        read_points(file)
    for wrong, message in (({"jobs": 0}, "jobs must be >= 1"), ({"backend": "mpi"}, "one of dask, loky")):
        with pytest.raises(ValueError, match=message):
            sweep(QUICK, tmp_path, **wrong)


def test_numbers_beyond_64_bits_are_refused_by_name():
    for setting in ({"width": 2**63}, {"eps": 10**400}, {"seed": -(10**400)}):
        with pytest.raises(
            ValueError, match=rf"{next(iter(setting))} must be below 2\^63, got a number of \d+ bits"
        ):
            read_points({"times": [1.0]} | setting)


def test_a_grid_of_too_many_points_is_refused_before_it_is_built():
    lists = {name: list(range(1, 101)) for name in ("width", "subclasses", "seed", "dim")}
    with pytest.raises(ValueError, match=r"must cross its lists to at most 1000000 points, got 100000000"):
        read_points({"times": [1.0], "grid": lists})
