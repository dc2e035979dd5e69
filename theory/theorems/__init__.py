"""One file a theorem, named for its subject; THEOREMS lists their modules in the order of docs/theory.md.

Each module has a THEOREM (its row of the ledger), closed forms named predict..., and prove(), which derives the
statement from the loss and raises ProofFailed if a difference does not vanish.
"""

from finegrain.theory.theorems import (
    active_sets,
    balancedness,
    collapse_of_scale,
    crossover,
    depth,
    end_state,
    erosion,
    finite_samples,
    gaussian_equivalence,
    gaussian_kinematics,
    invisible_subspace,
    lorentz,
    loss_universality,
    recoverability,
    relu_gates,
    specialisation,
    time_course,
    unconstrained_features,
    where_to_look,
)

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
)
