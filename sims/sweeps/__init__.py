"""Sweeps: the points that a table asks for, run over processes or a cluster, and their plots.

Imports population, samples, theory and the files of sims. Only the program `finegrain sims` and figures import it.
"""
