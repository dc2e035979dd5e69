"""What is not mathematics: argument checks, files, the console, one-line reprs, Hypothesis strategies.

Imports nothing of this project, but for `testing`, which draws objects of theory. Everyone may import it.
"""
