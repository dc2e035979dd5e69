"""The dialect of sweeps and recipes: what a grid and a list of points ask for, and errors that name the place."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finegrain.sims.grid import combinations, named, nearest, read_toml, typed

NAMES, LETTERS = ("width", "eps", "seed"), {"m": "width"}


def asked(content, most=100):
    return combinations("file", content, NAMES, most=most, letters=LETTERS)


def test_without_a_table_there_is_one_run_with_nothing_of_its_own():
    assert asked({"width": 3}) == [{}]


def test_an_empty_grid_has_one_combination():
    assert asked({"grid": {}}) == [{}]


@given(lists=st.dictionaries(st.sampled_from(NAMES), st.lists(st.integers(), min_size=1, max_size=4)))
def test_a_grid_is_its_own_combinations_as_points(lists):
    found = asked({"grid": lists})
    assert len(found) == np.prod([len(values) for values in lists.values()])
    assert asked({"points": found}) == found


def test_the_last_name_of_a_grid_varies_fastest():
    found = asked({"grid": {"eps": [1, 2], "seed": [0, 1]}})
    assert [(own["eps"], own["seed"]) for own in found] == [(1, 0), (1, 1), (2, 0), (2, 1)]


@pytest.mark.parametrize("values", [[1, 2], (1, 2), np.array([1, 2])], ids=lambda v: type(v).__name__)
def test_lists_tuples_and_arrays_are_one_and_letters_are_names(values):
    assert asked({"grid": {"m": values}}) == [{"width": 1}, {"width": 2}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"grid": {}, "points": [{}]}, "file must have [grid] or [[points]], got both"),
        ({"grid": [1]}, "file, [grid] must be a table of lists, got [1]"),
        ({"grid": {"seed": 1}}, "file, [grid]: seed must be a non-empty list, got 1"),
        ({"grid": {"seed": []}}, "file, [grid]: seed must be a non-empty list, got []"),
        (
            {"grid": {"sed": [1]}},
            "file, [grid]: unknown key 'sed'; did you mean 'seed'? Known keys: width, eps",
        ),
        ({"grid": {"m": [1], "width": [1]}}, "file, [grid]: 'width' must be given once, got its letter too"),
        (
            {"grid": {"seed": [*range(101)]}},
            "file, [grid] must cross its lists to at most 100 points, got 101",
        ),
        ({"points": []}, "file must have at least one table [[points]], got []"),
        ({"points": {"seed": 1}}, "file must have at least one table [[points]], got {'seed': 1}"),
        ({"points": [{}, {"sed": 1}]}, "file, point 2: unknown key 'sed'; did you mean 'seed'?"),
    ],
)
def test_an_error_names_the_table_the_entry_and_the_cure(content, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        asked(content)


def test_the_old_dialect_is_refused_with_what_to_write():
    with pytest.raises(
        ValueError, match=r"^file: vary must be written as a table \[grid\] of the lists to cross$"
    ):
        named("file", {"vary": {"seed": [0, 1]}}, NAMES)


def test_the_nearest_name_is_always_a_known_one():
    assert [nearest(key, NAMES) for key in ("widht", "ep", "")] == ["width", "eps", "width"]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int, np.int64(3), 3),
        (float, 3, 3.0),
        (float, np.float32(0.5), 0.5),
        (bool, True, True),
        (str, "a", "a"),
    ],
)
def test_a_value_of_its_type_is_taken_as_python_has_it(kind, value, expected):
    found = typed("x", kind, value)
    assert (found, type(found)) == (expected, kind)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (int, 2.5, "x must be an integer, got 2.5"),
        (int, True, "x must be an integer, got True"),
        (float, True, "x must be a number, got True"),
        (float, "1", "x must be a number, got '1'"),
        (bool, 1, "x must be true or false, got 1"),
        (str, 1, "x must be text, got 1"),
        (int, 2**63, "x must be below 2^63, got a number of 64 bits"),
        (float, -(10**400), "x must be below 2^63, got a number of 1329 bits"),
    ],
)
def test_a_value_of_another_type_or_size_is_refused(kind, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        typed("x", kind, value)


@pytest.mark.parametrize("content", [b"a = [", b"a = 'caf\xe9'", b"a = " + b"[" * 5000])
def test_what_is_no_toml_is_named(tmp_path, content):
    file = tmp_path / "runs.toml"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"runs\.toml must be a TOML file: "):
        read_toml(file)
