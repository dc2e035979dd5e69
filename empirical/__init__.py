"""Real data and real networks: readers, training, measurement, prediction, and the hidden classes.

Imports sims and theory. paper_figs may import it.
"""
