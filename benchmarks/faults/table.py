"""Every kind of input, in the order of the campaign."""

from __future__ import annotations

from . import bundle_kinds, command_kinds, image_kinds, profile_kinds, serving_kinds
from .kind import Kind

KINDS: tuple[Kind, ...] = (
    *bundle_kinds.KINDS,
    *image_kinds.KINDS,
    *profile_kinds.KINDS,
    *serving_kinds.KINDS,
    *command_kinds.KINDS,
)
