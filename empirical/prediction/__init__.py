"""T13 on real images: theory fitted to the inputs against the network trained on them.

Imports networks, readers, sims and theory. Only commands, figures and the public names of `finegrain` import it.
"""
