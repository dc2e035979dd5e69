"""Every observable of a representation with confidence intervals, and its figure.

Imports networks, readers, sims and theory. Only commands and figures import it.
"""
