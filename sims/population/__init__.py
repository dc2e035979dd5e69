"""The population loss of a two-layer network on a Gaussian mixture, and its exact gradient flow.

Imports gates, theory and the files of sims. samples, sweeps, theorems, empirical and figures may import it.
"""
