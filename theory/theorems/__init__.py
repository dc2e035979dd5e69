"""One file per theorem, named for its subject; `theorems` has their modules by number.

    theorems["T7"].predict(3)      theorems["T7"].prove()      theorems.applicable(mixture, setting)

Each module has a THEOREM (its row of the ledger), closed forms named predict..., and prove(), which derives the
statement from the loss and raises ProofFailed if a difference does not vanish.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

from finegrain.theory.theorems import (
    active_sets,
    balancedness,
    collapse_of_scale,
    crossover,
    depth,
    end_state,
    erosion,
    finer_labels,
    finite_samples,
    gaussian_equivalence,
    gaussian_kinematics,
    invisible_subspace,
    leaky_erosion,
    lorentz,
    loss_universality,
    recoverability,
    relu_gates,
    relu_information,
    sampled_end_state,
    specialisation,
    step_size,
    time_course,
    unconstrained_features,
    where_to_look,
)
from finegrain.theory.theorems.applicable import applicable, obstacles

THEOREMS = (
    gaussian_kinematics,  # T1
    balancedness,  # T2
    invisible_subspace,  # T3
    collapse_of_scale,  # T4
    time_course,  # T5
    relu_gates,  # T6
    specialisation,  # T7
    erosion,  # T8
    end_state,  # T9
    recoverability,  # T10
    unconstrained_features,  # T11
    finite_samples,  # T12
    gaussian_equivalence,  # T13
    lorentz,  # T14
    loss_universality,  # T15
    crossover,  # T16
    depth,  # T17
    where_to_look,  # T18
    active_sets,  # T19
    sampled_end_state,  # T20
    step_size,  # T21
    leaky_erosion,  # T22
    relu_information,  # T23
    finer_labels,  # T26
)


class Theorems(Mapping[str, ModuleType]):
    """The modules of the theorems by number, "T1" to "T26"."""

    def __init__(self, modules: Iterable[ModuleType]):
        self._modules = {module.THEOREM.id: module for module in modules}

    def __getitem__(self, number: str) -> ModuleType:
        if number not in self._modules:
            raise KeyError(f"theorem must be one of {', '.join(self)}; got {number!r}")
        module = self._modules[number]
        # Printed when the theorem is asked for: to print all nineteen takes as long as to import SymPy.
        if not hasattr(module, "statement"):
            vars(module)["statement"] = module.THEOREM.statement
        return module

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __repr__(self) -> str:
        return "\n".join(f"{number:4}{module.THEOREM.subject}" for number, module in self._modules.items())

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    applicable = staticmethod(applicable)
    obstacles = staticmethod(obstacles)


theorems = Theorems(THEOREMS)
