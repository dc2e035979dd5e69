"""One file per figure: what it claims, its numbers, its picture.

Imports empirical, sims and theory. Only the program `finegrain` imports it.
"""
