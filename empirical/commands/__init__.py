"""The commands train, predict, measure, discover and recover: one file per command, which imports late.

Imports every other room of empirical. Only the program `finegrain` imports it.
"""

from finegrain.empirical.commands import discover, measure, predict, recover, train

COMMANDS = (
    ("predict", predict.predict, predict.EXAMPLES),
    ("measure", measure.measure, measure.EXAMPLES),
    ("discover", discover.discover, discover.EXAMPLES),
    ("train", train.train, train.EXAMPLES),
    ("recover", recover.recover, recover.EXAMPLES),
)
