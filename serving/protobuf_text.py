"""Protobuf's text format, in which a model's config is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class Word(str):
    """A name in protobuf's text format, which has no quotes."""


def text_of(fields: Mapping[str, Any], indent: str = "") -> str:
    """Fields in protobuf's text format. Lists of tables repeat the field; lists of numbers stay on a line."""
    lines = []
    for key, value in fields.items():
        values = value if isinstance(value, list) and value and isinstance(value[0], dict) else [value]
        for one in values:
            if isinstance(one, dict):
                lines.append(f"{indent}{key} {{\n{text_of(one, indent + '  ')}{indent}}}\n")
            else:
                lines.append(f"{indent}{key}: {_literal(one)}\n")
    return "".join(lines)


def _literal(value: Any) -> str:
    if isinstance(value, Word):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return json.dumps(value)  # numbers, and text whose escapes are the same in protobuf
