"""Hypothesis profiles.

`default` draws the same examples every time; `shuffled` others each time, `thorough` ten times as many. `mutation`
draws the default's, `mutation-first` the first few of them, and neither shrinks what fails.
"""

import gc

from hypothesis import Phase, settings

# A million objects of the libraries and of the tests stay to the end: the garbage collector leaves them alone, which
# takes a tenth off the suite's time.
gc.disable()

settings.register_profile("default", max_examples=25, derandomize=True, deadline=None)
settings.register_profile("shuffled", max_examples=25, deadline=None, print_blob=True)
settings.register_profile("thorough", max_examples=250, deadline=None)
for name, examples in (("mutation-first", 3), ("mutation", 25)):
    phases = [Phase.explicit, Phase.generate]
    settings.register_profile(name, max_examples=examples, derandomize=True, deadline=None, phases=phases)
settings.load_profile("default")


def pytest_collection_finish() -> None:
    """From here on garbage is collected, among what the tests make."""
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()


def pytest_report_header() -> str:
    """Whose kernels compute: what fails on one processor may pass on another."""
    import torch  # noqa: F401 (so that its kernels are named)

    from finegrain.sims.processor import in_words, processor

    return f"processor: {in_words(processor())}"
