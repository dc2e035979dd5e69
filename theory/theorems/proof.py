"""A proof is a list of named steps, and each step shows that it could have failed.

A theorem's formulas are written once, as functions of plain operators: on symbols they are printed and proved, on
numbers they are what `predict` evaluates. A step is one function of the formulas, its residual, which must vanish.
The same function is then handed the formulas with one of them false, and must not vanish: the step's twin. So a step
that shows nothing fails by itself: one that is always 0, one that compares a claim with itself, one in which the
formula does not stand at all.

A claim of the statement names the steps that prove it and says what is left open. Its label, proved, part proved or
observed only, follows from that, and is written nowhere. Words take their formulas and numbers from the theorem.

What this cannot see: a residual that derives nothing and compares a formula with a copy of it. `says` tells the reader
where each step starts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef

from finegrain.theory.theorems.words import Words

Residual = Callable[..., Any]


class ProofFailed(AssertionError):
    """A step that does not vanish, or whose twin does."""


class Malformed(AssertionError):
    """A theorem whose claims, steps and formulas do not fit each other."""


class Unknown(sp.Function):
    """A function of which nothing is known but what its class says of its derivatives."""


@dataclass(frozen=True)
class Formula:
    """A function of plain operators, with the symbols that print it.

    Attributes:
        function: works on the symbols, on other expressions and on explicit matrices
        symbols: its arguments as printed; none for a constant
        left: what it is equal to, in words; "" to print the formula alone
        left_latex: the same in LaTeX
    """

    function: Callable[..., Any]
    symbols: tuple[Any, ...] = ()
    left: str = ""
    left_latex: str = ""

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    @cached_property
    def expression(self) -> Any:
        """The formula in its own symbols."""
        return sp.sympify(self.function(*self.symbols))

    @cached_property
    def number(self) -> Callable[..., Any]:
        """The expression as a function of numbers and arrays."""
        return sp.lambdify(self.symbols, self.expression, "scipy")

    @cached_property
    def text(self) -> str:
        """left = expression. Kept, as printing takes long."""
        return f"{self.left} = {self.expression}" if self.left else str(self.expression)

    @cached_property
    def latex(self) -> str:
        """The same in LaTeX."""
        right = sp.latex(self.expression)
        return f"{self.left_latex} = {right}" if self.left_latex else right

    def but(self, function: Callable[..., Any]) -> Formula:
        """The formula with another right side."""
        return replace(self, function=lambda *arguments: function(*arguments))


class Formulas(Mapping[str, Formula]):
    """The formulas of a theorem by name; each is an attribute too."""

    def __init__(self, **formulas: Formula):
        self._formulas = formulas

    def __getitem__(self, name: str) -> Formula:
        return self._formulas[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._formulas)

    def __len__(self) -> int:
        return len(self._formulas)

    def __getattr__(self, name: str) -> Formula:
        # A copy under way has no formulas yet, and asks for its own methods.
        if name.startswith("_"):
            raise AttributeError(name)
        self._known([name])
        return self[name]

    def but(self, **functions: Callable[..., Any]) -> Formulas:
        """A copy in which each named formula has another right side.

        All of them are wrapped anew: nobody can tell a true formula from a false one but by its values.
        """
        self._known(functions)
        return Formulas(**{name: f.but(functions.get(name, f.function)) for name, f in self.items()})

    def _known(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self:
                raise AttributeError(f"formula must be one of {', '.join(self)}; got {name!r}")


@dataclass(frozen=True)
class Step:
    """One thing that is shown, and at least one falsehood that it would notice.

    Attributes:
        name: short, unique in its theorem
        says: what is shown, and from what
        residual: (formulas, *size) -> what must vanish, or an inequality; one, a matrix, words, or several of them
        false: name of a formula -> a false function in its place; each is a twin of its own
        over: what the sizes count, such as "S" or "(m, d)"
        at: the sizes at which the step runs, smallest first; none if the residual holds every size
    """

    name: str
    says: str
    residual: Residual
    false: Mapping[str, Callable[..., Any]]
    over: str = "size"
    at: tuple[Any, ...] = ()

    @property
    def sizes(self) -> str:
        """every size, or S = 2, 3, 4."""
        return f"{self.over} = {', '.join(map(str, self.at))}" if self.at else f"every {self.over}"

    def run(self, formulas: Formulas) -> None:
        """The assertion at all its sizes, then each twin at the smallest.

        Raises:
            ProofFailed: the residual does not vanish, or a twin's does.
        """
        for size in self.at or ((),):
            self._hold(formulas.but(), size)
        if not self.false:
            raise ProofFailed(f"{self.name}: has no twin, so it could not fail")
        for name, function in self.false.items():
            self._refuse(formulas.but(**{name: function}), name)

    def _entries(self, formulas: Formulas, size: Any) -> Iterator[Any]:
        """One by one: a twin is refused by the first that does not vanish, and derives no more."""
        count = 0
        for entry in _flat(self.residual(formulas, *(size if isinstance(size, tuple) else (size,)))):
            if isinstance(entry, sp.Basic) and entry.has(sp.nan, sp.zoo, sp.oo):
                raise ProofFailed(f"{self.name}: {entry} is not a number")
            yield entry
            count += 1
        if count == 0:
            raise ProofFailed(f"{self.name}: has nothing that must vanish")

    def _hold(self, formulas: Formulas, size: Any) -> None:
        where = f"{self.name} at {self.over} = {size}" if self.at else self.name
        for entry in self._entries(formulas, size):
            remainder = left_over(entry)
            if remainder != 0:
                raise ProofFailed(f"{where}: {remainder} is not {_aim(entry)}")

    def _refuse(self, formulas: Formulas, name: str) -> None:
        smallest = self.at[0] if self.at else ()
        if all(left_over(entry) == 0 for entry in self._entries(formulas, smallest)):
            raise ProofFailed(
                f"{self.name}: its twin with a false {name} holds too, so it shows nothing of {name}"
            )


@dataclass(frozen=True)
class Claim:
    """One claim of the statement.

    Attributes:
        words: with {name} for a formula
        steps: the names of the steps that prove it
        open: what of it is not proved
    """

    words: str
    steps: tuple[str, ...] = ()
    open: str = ""

    @property
    def names(self) -> set[str]:
        """The formulas that stand in it."""
        return set(re.findall(r"{(\w+)}", self.words))

    def text(self, formulas: Formulas) -> str:
        """The words with their formulas."""
        return self.words.format(**{name: formulas[name].text for name in self.names})

    def latex(self, formulas: Formulas) -> str:
        """The words with their formulas in LaTeX."""
        return self.words.format(**{name: f"${formulas[name].latex}$" for name in self.names})

    def label(self, passed: Iterable[str]) -> str:
        """proved, part proved: ..., or observed only, from the steps that passed."""
        done = set(passed)
        missing = [name for name in self.steps if name not in done]
        if len(missing) == len(self.steps):
            return "observed only"
        left = "; ".join(filter(None, [self.open, *(f"without step {name!r}" for name in missing)]))
        return f"part proved: {left}" if left else "proved"


@dataclass(frozen=True)
class Result:
    """What became of a step: the seconds that it took, and its failure ("" if it passed)."""

    step: str
    seconds: float
    failure: str


@dataclass(frozen=True)
class Theorem:
    """A row of the ledger, its proof, and the formulas that `predict` evaluates.

    Attributes:
        id: "T1"... as in docs/theory.md
        subject: a few words
        assumptions: numbered from 1; a necessity test drops each
        formulas: the one source of what is printed, proved and predicted
        claims: the statement
        steps: the proof
    """

    id: str
    subject: str
    assumptions: tuple[str, ...]
    formulas: Formulas
    claims: tuple[Claim, ...]
    steps: tuple[Step, ...] = field(repr=False)

    @property
    def statement(self) -> str:
        """All claims."""
        return "; ".join(claim.text(self.formulas) for claim in self.claims)

    @property
    def latex(self) -> tuple[str, ...]:
        """Each formula."""
        return tuple(formula.latex for formula in self.formulas.values())

    @property
    def sizes(self) -> str:
        """Each step's sizes, said once for steps that share them."""
        named: dict[str, list[str]] = {}
        for step in self.steps:
            named.setdefault(step.sizes, []).append(step.name)
        return "; ".join(f"{', '.join(names)}: {sizes}" for sizes, names in named.items())

    def check(self) -> None:
        """Claims name steps that exist, steps are named by claims, and a proved claim's formulas can be false.

        Raises:
            Malformed: naming what does not fit.
        """
        steps = {step.name: step for step in self.steps}
        named = set(chain.from_iterable(claim.steps for claim in self.claims))
        used = set().union(*(claim.names for claim in self.claims), *(step.false for step in self.steps))
        self._require(not named - set(steps), "claims name steps that do not exist", named - set(steps))
        self._require(not set(steps) - named, "no claim names the steps", set(steps) - named)
        self._require(len(steps) == len(self.steps), "steps share a name", [s.name for s in self.steps])
        self._require(used == set(self.formulas), "formulas and their uses differ", used ^ set(self.formulas))
        for claim in self.claims:
            tried = set().union(*(steps[name].false for name in claim.steps))
            if claim.steps:
                why = f"no step of the claim {claim.words!r} has a twin with a false"
                self._require(claim.names <= tried, why, claim.names - tried)

    def _require(self, fits: bool, why: str, names: Iterable[str]) -> None:
        if not fits:
            raise Malformed(f"{self.id} {why}: {', '.join(sorted(names))}")

    def run(self) -> tuple[Result, ...]:
        """Every step with its twins, none stopped by another's failure."""
        self.check()
        return tuple(self._result(step) for step in self.steps)

    def _result(self, step: Step) -> Result:
        started, failure = time.perf_counter(), ""
        try:
            step.run(self.formulas)
        except ProofFailed as error:
            failure = f"{self.id} {error}"
        return Result(step.name, time.perf_counter() - started, failure)

    def prove(self) -> None:
        """Every step with its twins.

        Raises:
            ProofFailed: by the first step that fails.
            Malformed: claims, steps and formulas do not fit each other.
        """
        self.check()
        for step in self.steps:
            failure = self._result(step).failure
            if failure:
                raise ProofFailed(failure)

    def but(self, **functions: Callable[..., Any]) -> Theorem:
        """The theorem with other right sides for its formulas, false if they differ."""
        return replace(self, formulas=self.formulas.but(**functions))


def left_over(entry: Any) -> Any:
    """0 if the entry is shown to vanish (an inequality: to hold), else what is left of it.

    A point at which it does not vanish settles the matter without simplification, which can take long where there is
    nothing to find; only simplification shows that it does.
    """
    if isinstance(entry, (sp.logic.boolalg.BooleanAtom, sp.core.relational.Relational)):
        return sp.S.Zero if _holds(entry) else entry
    if isinstance(entry, Words):
        return sp.S.Zero if entry.vanishes else entry
    entry = sp.expand(entry)
    if entry == 0:
        return entry
    value = at_a_point(entry)
    return entry if value is not None and abs(value) > 1e-20 else sp.simplify(entry)


def at_a_point(entry: sp.Expr) -> sp.Expr | None:
    """The entry at one point of its symbols, each unknown function a smooth one; None where it has no value."""
    known = entry.replace(lambda e: isinstance(e, (AppliedUndef, Unknown)), _stand_in)
    symbols = sorted(known.free_symbols, key=str)
    # Between 1/2 and 3/2, no two alike: positive, as most of our symbols are.
    point = {s: sp.Rational(1, 2) + sp.Rational((37 * i + 11) % 101, 101) for i, s in enumerate(symbols)}
    value = known.subs(point).evalf(30)
    return value if value.is_number and value.is_finite else None


def _stand_in(unknown: sp.Expr) -> sp.Expr:
    """A smooth function that depends on the name and on every argument."""
    phase = sum(ord(letter) * (i + 1) for i, letter in enumerate(type(unknown).__name__))
    return 2 + sp.cos(phase + sum((i + 1) * argument for i, argument in enumerate(unknown.args)))


def _holds(inequality: Any) -> bool:
    """Whether SymPy's assumptions show the inequality; one that they leave open is not shown."""
    if not isinstance(inequality, (sp.StrictGreaterThan, sp.StrictLessThan, sp.GreaterThan, sp.LessThan)):
        return inequality == sp.true
    gap = sp.factor(inequality.gts - inequality.lts)
    strict = isinstance(inequality, (sp.StrictGreaterThan, sp.StrictLessThan))
    return bool(gap.is_positive if strict else gap.is_nonnegative)


def _aim(entry: Any) -> str:
    return "0" if isinstance(entry, (sp.Expr, Words)) else "true"


def _flat(found: Any) -> Iterator[Any]:
    """The entries of a matrix, or of several expressions and matrices."""
    if isinstance(found, Words):
        yield found
    elif isinstance(found, (sp.Basic, int)) and not isinstance(found, sp.MatrixBase):
        yield sp.sympify(found)
    else:
        for part in found:
            yield from _flat(part)
