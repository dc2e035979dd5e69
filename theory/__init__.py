"""finegrain's mathematics: Moments of a representation, what is predicted of them, and the proofs.

NumPy, SciPy and SymPy; `tools` holds what is not mathematics. Imports nothing of sims, empirical or paper_figs.
"""

import lazy_loader

# So that `finegrain` hands them on without loading them.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["kinematics", "observables", "targets"],
    {"mixture": ["Mixture"], "moments": ["Moments", "MomentsAccumulator"]},
)
