"""Networks trained on coarse labels: their shapes, recipes, training, and representation.

Imports readers, sims and theory. All rooms but readers may import it.
"""
