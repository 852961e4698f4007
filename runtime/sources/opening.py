"""Opens the source that a user names after --camera: the table of the kinds of sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ...bundle.errors import UsageError
from .address import scheme_of, without_password
from .csi import CSI
from .files import FILES
from .frame import Finding, OpenOptions, Source, SourceKind
from .gstreamer.user_pipeline import GST
from .network import NETWORK
from .several import Several
from .usb import USB

KINDS: tuple[SourceKind, ...] = (USB, CSI, GST, NETWORK, FILES)  # the first that matches is taken


def describe_kinds() -> str:
    """The texts that --camera takes, for its help and for messages."""
    return "; ".join(kind.help for kind in KINDS)


def kind_of(spec: str, option: str = "--camera") -> SourceKind:
    """The kind of source that the text names. Raises UsageError for none, and for an empty text."""
    if not spec.strip():
        raise UsageError(f"{option} is empty; is a variable of the shell unset?")
    for kind in KINDS:
        if kind.matches(spec):
            return kind
    raise UsageError(f"{option}: no source begins with {scheme_of(spec)}://. Sources are: {describe_kinds()}")


def placed_source(spec: str, folder: Path) -> str:
    """The text, with a path that counts from `folder` where it names files by a relative one."""
    return str(folder / spec) if scheme_of(spec) is None and kind_of(spec) is FILES else spec


def open_source(spec: str, options: OpenOptions | None = None, option: str = "--camera") -> Source:
    """The source that the text names.

    option: where the user gave it. Raises ImageError for files that are not there or cannot be read, UsageError for a text that
    names no source; a live source raises DeviceError when it is iterated over and gives no picture.
    """
    return kind_of(spec, option).open(spec, options or OpenOptions())


def open_sources(specs: Sequence[str], options: OpenOptions | None = None) -> Source:
    """The source of one text, or the sources of all of them as one. Raises as `open_source` does; then all are closed."""
    if len(specs) == 1:
        return open_source(specs[0], options)
    sources: list[Source] = []
    try:
        for spec in specs:
            sources.append(open_source(spec, options))  # noqa: PERF401  # those that opened are closed
    except BaseException:
        for source in sources:
            source.close()
        raise
    return Several(sources, [without_password(spec) for spec in specs])


def diagnose(spec: str, options: OpenOptions | None = None) -> Iterator[Finding]:
    """What was checked about a source, in order: a finding, and its cure, or None where all is well."""
    yield from kind_of(spec, "--check-camera").diagnose(spec, options or OpenOptions())
