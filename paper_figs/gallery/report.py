"""figures/report.html: the ledger, every figure with its claim, and the prediction as a view one can play with.

One file that needs no network: images, style and script are inside. Its text is the template report.html.j2.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from finegrain.paper_figs.gallery.changes import changes
from finegrain.sims.run_folder import environment
from finegrain.theory.tools.files import to_json, write_atomic

Record = dict[str, Any]

VIEWED = "prediction"  # the figure whose class distances the page lets one step through


def write(folder: Path, figures: list[Record], ledger: list[Record]) -> Path:
    """Write folder/report.html from the figures' records, whose PNG files lie in `folder`, and the ledger's rows."""
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    page = template.render(
        figures=[_shown(record, folder, ledger) for record in figures],
        ledger=ledger,
        view=_view(figures),
        environment=environment(),
    )
    path = folder / "report.html"
    write_atomic(path, page)
    return path


def _shown(record: Record, folder: Path, ledger: list[Record]) -> Record:
    """What the page says of one figure."""
    theorem = next((row for row in ledger if row["name"] == record["name"]), None)
    title = f"{theorem['id']} {theorem['subject']}" if theorem else record["title"]
    image = base64.b64encode((folder / f"{record['name']}.png").read_bytes()).decode()
    differences = changes(record)
    return record | {"title": title, "image": image, "changes": differences}


def _view(figures: list[Record]) -> Markup | None:
    """Data of the interactive view as JSON that is safe inside a script element; None without that figure."""
    record = next((r for r in figures if r["name"] == VIEWED), None)
    if record is None:
        return None
    numbers = record["numbers"]
    rows = [row for row in numbers["rows"] if row["observable"] == "fine_share"]
    data = numbers["class_distances"] | {
        "times": [row["time"] for row in rows],
        "fineShare": [[row["predicted"], row["observed"]] for row in rows],
        "coarseMap": numbers["coarse_map"],
    }
    return Markup(to_json(data).replace("<", "\\u003c"))
