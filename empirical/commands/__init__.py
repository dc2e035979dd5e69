"""The commands train, predict, measure, discover, recover and terms: one file per command, which imports late.

Imports every other room of empirical. Only the program `finegrain` imports it.
"""

from finegrain.empirical.commands import discover, measure, predict, recover, terms, train

COMMANDS = (
    ("predict", predict.predict, predict.EXAMPLES),
    ("measure", measure.measure, measure.EXAMPLES),
    ("discover", discover.discover, discover.EXAMPLES),
    ("train", train.train, train.EXAMPLES),
    ("recover", recover.recover, recover.EXAMPLES),
    ("terms", terms.terms, terms.EXAMPLES),
)
