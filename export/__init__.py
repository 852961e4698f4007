"""Checkpoint in, bundle out. The package is also the function: `from sacvit import export; export("model.pth")`.

Both are called export, and Python binds submodules as attributes of their package, so the one imported last would win. A
callable module does not depend on that order. The function is imported when it is called: sacvit-build needs parts of this
package alone, and the start of an engine is timed in a process that imports it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .write_bundle import Bundle


class _CallableModule(ModuleType):
    @property
    def __call__(self) -> Callable[..., Bundle]:
        from .by_name import export

        return export

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.__call__)


sys.modules[__name__].__class__ = _CallableModule
