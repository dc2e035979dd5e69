from .empirical.by_name import predict as predict
from .empirical.by_name import train as train
from .empirical.hidden_classes.discover import discover as discover
from .empirical.hidden_classes.recover import recover as recover
from .empirical.measurement.measure import measure as measure
from .empirical.readers.hooks import features as features
from .sims.population.flow import Trajectory as Trajectory
from .sims.population.flow import population_flow as population_flow
from .sims.setting import Setting as Setting
from .theory import kinematics as kinematics
from .theory import observables as observables
from .theory import targets as targets
from .theory.mixture import Mixture as Mixture
from .theory.moments import Moments as Moments
from .theory.moments import MomentsAccumulator as MomentsAccumulator
from .theory.theorems import theorems as theorems

__version__: str
