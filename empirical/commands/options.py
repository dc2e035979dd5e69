"""Command-line options of a settings dataclass: one per field, its default, help text and least value from the field.

    @options(Config)
    def predict(data: ..., *, config: Config, out: ...) -> None: ...

A field says its help text and, where there is one, its least value as metadata (prediction/config.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer


def options(settings: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Put an option for each field of `settings` in the place of a command's parameter `config`."""
    hints = get_type_hints(settings)
    made = {field.name: _option(field, hints[field.name]) for field in fields(settings)}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [p for name, p in signature.parameters.items() if name != "config"]
        first, last = ([p for p in own if (p.kind is p.KEYWORD_ONLY) == keyword] for keyword in (False, True))
        parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in [*first, *made.values(), *last]]

        @wraps(command)
        def called(**arguments: Any) -> None:
            values = {name: arguments.pop(name, option.default) for name, option in made.items()}
            numbers = {n: int(v) for n, v in values.items() if hints[n] == int | str and v.isdecimal()}
            command(config=settings(**values | numbers), **arguments)

        called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        return called

    return decorate


def _option(field: Field[Any], kind: Any) -> inspect.Parameter:
    """What may be a number or a word is read as text."""
    kind = str if kind == int | str else kind
    default = str(field.default) if kind is str else field.default
    option = typer.Option(f"--{field.name.replace('_', '-')}", **field.metadata)
    annotation = Annotated[kind, option]
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
