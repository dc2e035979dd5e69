"""ReLU networks on noise-free, orthogonal inputs: flow integrated from gate event to gate event.

Imports setting and theory. Every room of sims above it (population, samples, sweeps, theorems) may import it.
"""
