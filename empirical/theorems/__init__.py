"""Theorems held against real data: T8 (erosion) and T10 (recoverability).

Imports networks, readers, sims and theory. Only commands and figures import it.
"""
