"""Each theorem's observed side: one file per theorem, with `verify`, predicted against observed.

Imports population, samples and theory. The program `finegrain sims` and figures may import it.
"""
