"""Every observable of a representation with confidence intervals, and its figure.

Imports networks, readers, sims and theory. Only commands, figures and the public names of `finegrain` import it.
"""
