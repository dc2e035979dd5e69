"""Networks trained on coarse labels: their shapes, recipes, training, and representation.

Imports readers, sims and theory. Every other room of empirical but readers, and figures, may import it.
"""
