"""Checkpoint in, bundle out. The package is also the function: `from sacvit import export; export("model.pth")`.

Both are called export, and Python binds a package's submodules as its attributes: whichever is imported last would win.
A callable module is the one answer that does not depend on the order.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallableModule(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from .write_bundle import export

        return export(*arguments, **options)


sys.modules[__name__].__class__ = _CallableModule
