"""The rows of discover_contest.py as Markdown: python benchmarks/discover_tables.py build/discover"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def table(head: list[str], lines: Iterable[Iterable[object]]) -> list[str]:
    """A Markdown table; the first column to the left."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return ["| " + " | ".join(map(str, line)) + " |" for line in (head, rule, *lines)]


def false_alarms(rows: list[Row]) -> list[str]:
    """Alarms and draws of each law, over all sizes."""
    laws = list(dict.fromkeys(row["law"] for row in rows))
    of = {law: [row for row in rows if row["law"] == law] for law in laws}
    lines = [[law, sum(r["draws"] for r in of[law]), sum(r["alarms"] for r in of[law])] for law in laws]
    total = ["all", sum(r["draws"] for r in rows), sum(r["alarms"] for r in rows)]
    return table(["a class is", "classes", "false alarms"], [*lines, total])


def power(rows: list[Row]) -> list[str]:
    """Found and predicted, a line a case."""
    head = ["samples, dimensions", "share", "distance", "found", "predicted", "Rand index where found"]
    return table(
        head,
        [
            [
                f"{r['samples']:,}, {r['dimensions']}",
                f"{r['share']:.0%}",
                f"{r['distance']:g}",
                f"{r['found']} of {r['draws']}",
                f"{r['predicted']:.2f}",
                f"{r['rand']:.2f}",
            ]
            for r in rows
        ],
    )


def scenarios(rows: list[Row]) -> list[str]:
    """Right numbers of each way, a line a scenario."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    lines = []
    for name in dict.fromkeys((row["kind"], row["scenario"]) for row in rows):
        own = [[r for r in rows if (r["kind"], r["scenario"]) == name and r["way"] == way] for way in ways]
        lines.append([": ".join(name), *(f"{sum(r['right'] for r in o)} of {len(o)}" for o in own)])
    return table(["scenario", *ways], lines)


def digits(rows: list[Row]) -> list[str]:
    """Classes right and mean Rand index of each way, over maps and seeds."""
    lines = []
    for way in rows[0]["ways"]:
        own = [row["ways"][way] for row in rows]
        classes = sum(o["classes"] for o in own)
        right, rand = sum(o["right"] for o in own), sum(o["rand"] for o in own) / classes
        lines.append([way, f"{right} of {classes}", f"{rand:.2f}"])
    return table(["way", "number right", "Rand index"], lines)


def clinc(rows: list[Row]) -> list[str]:
    """Numbers found in the ten domains, and the mean Rand index."""
    return table(
        ["features", "seed", "found of 15", "Rand index"],
        [[r["stage"], r["seed"], ", ".join(map(str, r["found"])), f"{r['rand']:.2f}"] for r in rows],
    )


def seconds(rows: list[Row]) -> list[str]:
    """Processor seconds, a line a size."""
    head = ["samples, dimensions", "strata", "found", "seconds"]
    return table(
        head,
        [
            [f"{r['samples']:,}, {r['dimensions']}", r["strata"], r["found"], f"{r['seconds']:.1f}"]
            for r in rows
        ],
    )


PARTS: dict[str, Callable[[list[Row]], list[str]]] = {
    "false-alarms": false_alarms,
    "power": power,
    "scenarios": scenarios,
    "digits": digits,
    "clinc": clinc,
    "seconds": seconds,
}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, draw in PARTS.items():
        if (folder / f"{name}.json").exists():
            print("\n".join(["", f"## {name}", "", *draw(json.loads((folder / f"{name}.json").read_text()))]))
