"""Hypothesis profiles.

`default` draws the same examples every time; `thorough` ten times as many, new ones each time; `mutation` draws the
default's, and does not shrink what fails.
"""

from hypothesis import Phase, settings

settings.register_profile("default", max_examples=25, derandomize=True, deadline=None)
settings.register_profile("thorough", max_examples=250, deadline=None)
settings.register_profile(
    "mutation", max_examples=25, derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("default")
