"""Sweeps: the points that a table asks for, run over processes or a cluster, and their plots.

Imports grid, population, samples and theory. Only the program `finegrain sims` and figures import it.
"""
