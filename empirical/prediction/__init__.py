"""T13 on real images: theory fitted to the inputs against the network trained on them.

Imports networks, readers, sims and theory. Only commands and figures import it.
"""
