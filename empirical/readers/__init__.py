"""What comes from outside, none of it trusted: images, archives, features, labels, models, coarse maps.

Imports theory and `distributed`. Every other room of empirical and figures may import it.
"""
