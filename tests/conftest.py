"""Hypothesis profiles.

`default` draws the same examples every time; `shuffled` others each time, `thorough` ten times as many. `mutation`
draws the default's, `mutation-first` the first few of them, and neither shrinks what fails.
"""

from hypothesis import Phase, settings

settings.register_profile("default", max_examples=25, derandomize=True, deadline=None)
settings.register_profile("shuffled", max_examples=25, deadline=None, print_blob=True)
settings.register_profile("thorough", max_examples=250, deadline=None)
for name, examples in (("mutation-first", 3), ("mutation", 25)):
    phases = [Phase.explicit, Phase.generate]
    settings.register_profile(name, max_examples=examples, derandomize=True, deadline=None, phases=phases)
settings.load_profile("default")


def pytest_report_header() -> str:
    """Whose kernels compute: what fails on one processor may pass on another."""
    import torch  # noqa: F401 (so that its kernels are named)

    from finegrain.sims.processor import in_words, processor

    return f"processor: {in_words(processor())}"
