"""The figures, in the order in which the report shows them."""

from finegrain.theory.theorems import THEOREMS

PROOFS = tuple(module.__name__.rsplit(".", 1)[1] for module in THEOREMS)
NAMES = (
    "prediction_fashion_mnist",  # T13, recorded
    "prediction",  # T13, digits
    "prediction_over_seeds",  # T13, recorded
    "where_prediction_breaks",  # T13, recorded
    "erosion_on_images",  # T8, recorded
    "cifar_course",  # recorded
    "cifar_course_resnet18",  # recorded
    "cifar_structure",  # recorded
    "cifar_grid",  # recorded
    "cifar_networks",  # recorded
    "sweep",  # T7 through the sweep engine
    *PROOFS,  # one a theorem
)
# Seven seconds and more on a core, each.
SLOW = ("specialisation", "erosion", "end_state", "crossover", "sampled_end_state")
