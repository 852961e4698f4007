"""Text on its way to a person's terminal."""

from __future__ import annotations


def terminal_safe(text: str) -> str:
    """`text` on one line, with `?` for every character that could steer a terminal.

    Labels, file names and messages of other programs may hold escape codes, line ends, bidirectional overrides or half
    surrogates. Everything that sacvit prints passes through here.
    """
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)
