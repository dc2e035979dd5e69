"""Many two-layer networks trained on finite samples at once: flow, descent and SGD, in torch.

Imports population and theory. sweeps, theorems and empirical may import it.
"""
