"""Each theorem's observed side: one file per theorem, with `verify`, predicted against observed.

Imports population, samples, theory and the files of sims. The program `finegrain sims` and figures may import it.
"""
