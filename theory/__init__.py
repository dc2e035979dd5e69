"""finegrain's mathematics: Moments of a representation, what is predicted of them, and the proofs.

NumPy, SciPy and SymPy; `tools` holds what is not mathematics. Imports nothing of sims, empirical or paper_figs.
"""
