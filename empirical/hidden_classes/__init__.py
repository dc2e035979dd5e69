"""The classes that no label names: where to look, clusters, their score, and what a run tells of them.

Imports networks, readers, sims and theory. Only commands, figures and the public names of `finegrain` import it.
"""
