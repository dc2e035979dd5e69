"""Simulation: exact gradient flow of the population loss, training on samples, and each theorem's observed side.

Imports theory. empirical and paper_figs may import it.
"""
