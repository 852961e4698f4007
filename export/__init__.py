"""Checkpoint in, bundle out. The package is also the function: `from sacvit import export; export("model.pth")`.

Both are called export, and Python binds submodules as attributes of their package, so the one imported last would win. A
callable module does not depend on that order.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType

from .by_name import export


class _CallableModule(ModuleType):
    __call__ = staticmethod(export)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(export)


sys.modules[__name__].__class__ = _CallableModule
