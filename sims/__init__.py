"""Simulation: exact gradient flow of the population loss, run folders, and each theorem's observed counterpart."""

from sims.flow import Trajectory, population_descent, population_flow
from sims.population import population_loss

__all__ = ["Trajectory", "population_descent", "population_flow", "population_loss"]
