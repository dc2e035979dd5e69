"""finegrain's mathematics: Moments of a representation, what is predicted of them, and the proofs.

    from theory import Moments, MomentsAccumulator, Mixture, observables, kinematics

Everything here is NumPy, SciPy and SymPy; nothing imports the other packages of this project.
"""

from theory import kinematics, observables
from theory.mixture import Mixture
from theory.moments import Moments, MomentsAccumulator

__all__ = ["Mixture", "Moments", "MomentsAccumulator", "kinematics", "observables"]
