"""The population loss of a two-layer network on a Gaussian mixture, and its exact gradient flow.

Imports gates, setting and theory. samples, sweeps and theorems may import it.
"""
