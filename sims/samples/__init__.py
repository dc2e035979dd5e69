"""Many two-layer networks trained on finite samples at once: flow, descent and SGD, in torch.

Imports population, setting and theory. sweeps, theorems and empirical may import it.
"""
