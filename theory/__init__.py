"""finegrain's mathematics: Moments of a representation, what is predicted of them, and the proofs.

    from theory import Moments, MomentsAccumulator, Mixture, observables, kinematics

Everything here is NumPy, SciPy and SymPy; nothing imports the other packages of this project.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theory import kinematics, observables
    from theory.mixture import Mixture
    from theory.moments import Moments, MomentsAccumulator

__all__ = ["Mixture", "Moments", "MomentsAccumulator", "kinematics", "observables"]

# Loaded when first asked for, so that `--help` of a program does not wait for SciPy.
_CLASSES = {"Mixture": "mixture", "Moments": "moments", "MomentsAccumulator": "moments"}


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        return getattr(import_module(f"theory.{_CLASSES[name]}"), name)
    if name in __all__:
        return import_module(f"theory.{name}")
    raise AttributeError(f"module 'theory' has no attribute {name!r}")
