"""The table at the head of docs/results/cifar.md: numbers of recorded runs, and nothing typed by hand."""

import json

import numpy as np
import pytest

from benchmarks import headline

TOLD = {"data": "some images", "hardware": "an abacus", "minutes": 7, "command": "count"}


def run(labels, seed, clp=0.5):
    way = {"share": 0.9, "clp": clp, "oracle": 0.8}
    others = [{"view": "as is"}, {"stages": "last"}, {"method": "k-means"}]
    rows = [way | headline.WAY] + [{"share": 0, "clp": 0, "oracle": 0} | headline.WAY | o for o in others]
    return {
        "recipe": {"labels": labels, "seed": seed, "network": "speed", "width": 8, "epochs": 3},
        "coarse_map": [0, 1, 0, 1],
        "accuracy": {"as is": 0.1, headline.WAY["view"]: 0.7 if labels == "coarse" else 0.6},
        **({"by_view": rows} if labels == "coarse" else {}),
    }


def test_a_row_has_the_means_of_its_runs_and_clps_interval():
    found = headline.row([run("coarse", 0, 0.5), run("fine", 0), run("coarse", 1, 0.6)], TOLD)
    assert list(found) == [*headline.COLUMNS, "command"]
    assert found | TOLD == found
    assert (found["labels"], found["network"], found["seeds"]) == (2, "speed, width 8, 3 epochs", 2)
    shares = [found[key] for key in headline.SHARES]
    np.testing.assert_allclose(shares, [0.7, 0.9, 0.55, 0.8, 0.6])
    # Student's 97.5 % quantile with one degree of freedom, 12.7062, times the standard error of two values.
    assert found["interval"] == pytest.approx(12.7062 * 0.05, rel=1e-5)


def test_one_seed_has_no_interval_and_without_a_fine_run_there_is_none():
    found = headline.row([run("coarse", 0)], TOLD)
    assert found["interval"] is None and found["fine_trained"] is None
    assert "| 50.0 % | 80.0 % | - | 1 | - |" in headline.table([found])


def test_the_recorded_rows_and_the_page_are_what_the_recorded_runs_give():
    kept = json.loads(headline.HEADLINE.read_text())
    for one, other in zip(kept, headline.rows(), strict=True):
        assert list(one) == list(other)
        for key, value in one.items():
            # Sums of the same numbers on another machine: to rounding.
            assert value == (pytest.approx(other[key], rel=1e-12) if isinstance(value, float) else other[key])
    page = headline.PAGE.read_text()
    assert headline.with_table(page, headline.table(kept)) == page


def test_the_table_stands_before_every_section():
    page = headline.PAGE.read_text()
    assert page.index(headline.END) < page.index("\n## ")


@pytest.mark.parametrize(
    "page", ["", headline.BEGIN, headline.END + headline.BEGIN, headline.BEGIN + headline.END * 2]
)
def test_a_page_without_its_marks_is_refused(page):
    with pytest.raises(ValueError, match=r"the page must have .*, once each"):
        headline.with_table(page, "table")
