"""One file a theorem, named for its subject; THEOREMS lists their modules in the order of docs/theory.md.

Each module has a THEOREM (its row of the ledger), closed forms named predict..., and prove(), which derives the
statement from the loss and raises ProofFailed if a difference does not vanish.
"""

from theory.theorems import collapse_of_scale, invisible_subspace, specialisation

THEOREMS = (invisible_subspace, collapse_of_scale, specialisation)
