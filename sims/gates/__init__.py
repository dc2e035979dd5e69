"""ReLU networks on noise-free, orthogonal inputs: flow integrated from gate event to gate event.

Imports setting and theory. population may import it.
"""
