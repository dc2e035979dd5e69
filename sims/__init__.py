"""Simulation: exact gradient flow of the population loss, run folders, and each theorem's observed counterpart."""

from sims.flow import Trajectory, population_descent, population_flow
from sims.flows import Flows, population_flows
from sims.population import population_loss

__all__ = [
    "Flows",
    "Trajectory",
    "population_descent",
    "population_flow",
    "population_flows",
    "population_loss",
]
