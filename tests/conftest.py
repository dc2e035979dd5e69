"""Hypothesis profiles: the default draws the same examples every time; `thorough` draws ten times as many."""

from hypothesis import settings

settings.register_profile("default", max_examples=25, derandomize=True, deadline=None)
settings.register_profile("thorough", max_examples=250, deadline=None)
settings.load_profile("default")
