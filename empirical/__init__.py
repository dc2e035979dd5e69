"""Real data and real networks: readers, training, measurement, prediction, and the hidden classes.

by_name.py is `fg.train` and `fg.predict`: names are read there. Imports sims and theory. paper_figs may import it.
"""
