"""Many two-layer networks trained on finite samples at once: flow, descent and SGD, in torch.

Imports population, theory and the files of sims. sweeps, theorems, empirical and figures may import it.
"""
