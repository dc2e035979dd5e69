"""finegrain theory: the ledger of theorems, each with its proof run as you watch."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from finegrain.theory.tools.console import console, program, replaces, say, tracked
from finegrain.theory.tools.files import to_json, writable_file, write_atomic

EXAMPLES = """
Examples:\n
  finegrain theory                             prove everything, print the ledger\n
  finegrain theory --theorem T7                one theorem in full\n
  finegrain theory --theorem T7 --latex        its expressions, ready to paste\n
  finegrain theory --json ledger.json          the ledger as a file
"""


def main(
    theorem: Annotated[str | None, typer.Option(help="One theorem in full, such as T7.")] = None,
    latex: Annotated[
        bool, typer.Option("--latex", help="Print the expressions of the theorems in LaTeX.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the ledger to this file.")] = None,
) -> None:
    """Prove the theorems symbolically, starting from the loss, and print the ledger."""
    from finegrain.theory import ledger

    modules = ledger.choose(theorem)
    if json_file:
        if latex:
            raise ValueError("--json writes the ledger and --latex prints expressions: give one of them")
        writable_file(json_file)
    if latex:
        for module in modules:
            print(f"% {module.THEOREM.id}: {module.THEOREM.subject}", *module.THEOREM.latex, sep="\n")
        return
    rows = [ledger.prove(module) for module in tracked(modules, "proofs", total=len(modules))]
    if theorem:
        _print_in_full(modules[0], rows[0])
    else:
        _print_ledger(rows)
    if json_file:
        replaces(json_file)
        write_atomic(json_file, to_json(rows))
        say(f"ledger written to {json_file}")
    if any(row["failure"] for row in rows):
        raise typer.Exit(1)


app = program(main, EXAMPLES)


def _print_ledger(rows: list[dict[str, Any]]) -> None:
    table = Table(title="finegrain: the ledger", show_lines=True)
    for column in ("theorem", "statement", "assumptions", "proof"):
        table.add_column(column)
    for row in rows:
        assumptions = "\n".join(f"{i}. {a}" for i, a in enumerate(row["assumptions"], 1))
        cells = (f"{row['id']} {row['subject']}", _statement(row), assumptions, _proof(row))
        # Brackets are mathematics here, not styles.
        table.add_row(*map(Text, cells))
    console.print(table)


def _statement(row: dict[str, Any]) -> str:
    """Each claim with its label."""
    return "\n".join(f"{claim['words']} [{claim['label']}]" for claim in row["claims"])


def _proof(row: dict[str, Any]) -> str:
    """The steps with what each says and its sizes, or what failed."""
    if row["failure"]:
        return str(row["failure"])
    steps = [f"{step['name']}: {step['says']} ({step['sizes']})" for step in row["steps"]]
    return "\n".join([*steps, f"{len(steps)} steps and their twins in {row['seconds']} s"])


def _print_in_full(module: ModuleType, row: dict[str, Any]) -> None:
    console.print((module.__doc__ or "").strip(), markup=False, highlight=False)
    console.print("\nAssumptions", style="bold")
    for i, assumption in enumerate(module.THEOREM.assumptions, 1):
        console.print(f"  {i}. {assumption}", markup=False, highlight=False)
    console.print("\nClaims", style="bold")
    for claim in row["claims"]:
        by = f"; by {', '.join(claim['steps'])}" if claim["steps"] else ""
        console.print(f"  {claim['words']}\n    [{claim['label']}{by}]", markup=False, highlight=False)
    console.print("\nProof", style="bold")
    for line in _proof(row).splitlines():
        console.print(f"  {line}", markup=False, highlight=False)
