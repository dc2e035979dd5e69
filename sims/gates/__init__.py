"""ReLU networks on noise-free, orthogonal inputs: flow integrated from gate event to gate event.

Imports theory alone. population may import it.
"""
