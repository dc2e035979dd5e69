"""finegrain: see, prove and measure the fine-grained structure that hides behind neural collapse.

    import finegrain as fg

gives the public names, each loaded when first asked for; `__init__.pyi` beside this file says where each lives.
"""

from pathlib import Path

import lazy_loader

__version__ = "0.1.0"

_HERE = Path(__file__).parent
if not (_HERE / "configs").exists():
    # A checkout keeps theory/, sims/, configs/, ... beside this folder: it imports its own, whatever else is installed.
    __path__.insert(0, str(_HERE.parent))

__getattr__, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["__version__", *_names]


def __dir__() -> list[str]:
    return __all__
