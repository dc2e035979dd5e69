"""The table at the head of docs/results/cifar.md: its numbers from recorded runs, its lines from headline.json.

    python benchmarks/headline.py           rows of all recorded runs into headline.json, its table into the page
    python benchmarks/headline.py --check   neither is written; exit status 1 where one is not what it would be

A row is one network on one data set. Its numbers are those of `recover` in one way, the same for all rows:
representation averaged over mirror images and shifts, last two stages, guided mixture.
What no record holds, hardware and minutes, stands in ROWS as the page's text has it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

ROOT = Path(__file__).parents[1]
HEADLINE = ROOT / "paper_figs" / "recorded" / "headline.json"
PAGE = ROOT / "docs" / "results" / "cifar.md"
RECORDED = (HEADLINE.parent, ROOT / "paper_figs" / "gallery" / "recorded")
WAY = {"view": "mirrored and shifted", "stages": "last two", "method": "guided-mixture"}
BEGIN, END = "<!-- headline: drawn by benchmarks/headline.py -->", "<!-- end of headline -->"
JPEG = "CIFAR-10, JPEG copy"
CORES, GPU = "2 cores, AVX2", "one H200"
RUN = "finegrain recover {} --data images:PATH --glance --images 50000 --json FILE"  # trains first
# Records, and what they do not hold.
ROWS: list[dict[str, Any]] = [
    {"records": ("cifar_seeds.json", "cifar_fine.json"), "data": JPEG, "hardware": CORES, "minutes": 26.5}
    | {"command": RUN.format("configs/cifar_seeds.toml")},
    {"records": ("cifar_gpu_resnet18.json",), "data": JPEG, "hardware": GPU, "minutes": 0.7}
    | {"command": RUN.format("configs/gpu_resnet18.toml --device cuda")},
    {"records": ("cifar_gpu_speed.json",), "data": JPEG, "hardware": GPU, "minutes": 0.4}
    | {"command": RUN.format("configs/gpu_speed.toml --device cuda")},
]
# Keys of a row, and what the table calls them; the command stands below the table.
COLUMNS = {
    "data": "data",
    "labels": "labels",
    "network": "network",
    "hardware": "hardware",
    "minutes": "minutes",
    "coarse_accuracy": "coarse accuracy",
    "matched": "matched",
    "clp": "CLP",
    "oracle": "oracle",
    "fine_trained": "fine-trained",
    "seeds": "seeds",
    "interval": "95 % interval of CLP",
}
SHARES = ("coarse_accuracy", "matched", "clp", "oracle", "fine_trained")


def row(runs: list[dict[str, Any]], told: dict[str, Any]) -> dict[str, Any]:
    """A row of headline.json: means over the seeds of the coarse runs, and half the width of CLP's 95 % interval.

    Args:
        runs: of records that `finegrain recover --json` wrote, of one recipe but for labels and seed.
        told: data, hardware, minutes of one coarse training, and the command.
    """
    coarse, fine = ([r for r in runs if r["recipe"]["labels"] == labels] for labels in ("coarse", "fine"))
    found = [one for r in coarse for one in r["by_view"] if WAY.items() <= one.items()]
    clp = [one["clp"] for one in found]
    n, recipe = len(clp), coarse[0]["recipe"]
    half = float(t.ppf(0.975, n - 1) * np.std(clp, ddof=1) / np.sqrt(n)) if n > 1 else None
    fine_accuracy = [r["accuracy"][WAY["view"]] for r in fine]
    numbers = {
        "labels": max(coarse[0]["coarse_map"]) + 1,
        "network": f"{recipe['network']}, width {recipe['width']}, {recipe['epochs']} epochs",
        "coarse_accuracy": float(np.mean([r["accuracy"][WAY["view"]] for r in coarse])),
        "matched": float(np.mean([one["share"] for one in found])),
        "clp": float(np.mean(clp)),
        "oracle": float(np.mean([one["oracle"] for one in found])),
        "fine_trained": float(np.mean(fine_accuracy)) if fine else None,
        "seeds": n,
        "interval": half,
    }
    return {key: (told | numbers)[key] for key in (*COLUMNS, "command")}


def rows() -> list[dict[str, Any]]:
    """Of all of ROWS."""
    return [row([run for name in entry["records"] for run in _record(name)["runs"]], entry) for entry in ROWS]


def _record(name: str) -> dict[str, Any]:
    path = next(folder / name for folder in RECORDED if (folder / name).is_file())
    return dict(json.loads(path.read_text()))


def table(found: list[dict[str, Any]]) -> str:
    """In Markdown, a line for each row, and the commands below."""
    lines = [tuple(COLUMNS.values()), ("---",) * len(COLUMNS)]
    lines += [tuple(_cell(key, one[key]) for key in COLUMNS) for one in found]
    drawn = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{drawn}\n\n" + "\n".join(f"    {one['command']}" for one in found)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key == "interval":
        return f"± {100 * value:.1f} %"
    # Shares of 10,000 images often end in a 5, which no float holds: rounded up.
    return f"{100 * value + 1e-9:.1f} %" if key in SHARES else str(value)


def with_table(page: str, drawn: str) -> str:
    """The page with the table between its two marks; ValueError where they are not there once each, in order."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in before + after:
        raise ValueError(f"the page must have {BEGIN} and then {END}, once each")
    return f"{before}{BEGIN}\n\n{drawn}\n\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; say what differs")
    options = parser.parse_args()
    found = rows()
    wanted = {
        HEADLINE: json.dumps(found, indent=1) + "\n",
        PAGE: with_table(PAGE.read_text(), table(found)),
    }
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        if not options.check:
            path.write_text(wanted[path])
        print(f"{'differs' if options.check else 'written'}: {path.relative_to(ROOT)}")
    return int(bool(stale) and options.check)


if __name__ == "__main__":
    sys.exit(main())
