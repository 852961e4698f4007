"""Checkpoint in, bundle out. The package is also the function: `from sacvit import export; export("model.pth")`.

Both are called export, and Python binds a package's submodules as its attributes: whichever is imported last would win.
A callable module is the one answer that does not depend on the order.
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
