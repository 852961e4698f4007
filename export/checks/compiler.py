"""What a real compiler makes of a graph: TensorRT for RTX, which builds without a GPU, counts its kernels or refuses it.

It is of TensorRT 11's family (strongly typed networks, the same parser and code generator), so what it fuses and refuses is
what newer TensorRTs do. It is no measurement: nothing runs. docs/graphs.md has what was found this way.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...bundle.errors import SacvitError
from ...runtime.engines.tensorrt_log import RTX_PACKAGES, require_one_version, rtx_packages
from .table import table_lines

LONGEST_BUILD_S = 900
LONGEST_REASON = 600  # characters


@dataclass(frozen=True)
class Compiled:
    """One graph for one target. kernels: by kind, of one pass. products: by type. refusal: empty where it was built."""

    file: str
    target: str
    compiler: str
    kernels: dict[str, int] = field(default_factory=dict)
    fused_attentions: int = 0
    products: dict[str, int] = field(default_factory=dict)
    plan_bytes: int = 0
    seconds: float = 0.0
    refusal: str = ""

    @property
    def launches(self) -> int:
        """Kernels of one pass."""
        return sum(self.kernels.values())

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"launches": self.launches}


def require_compiler() -> str:
    """The version of TensorRT for RTX. Raises SacvitError where it is missing, or its two packages do not fit together."""
    found = rtx_packages()
    for name in RTX_PACKAGES:
        if name not in found:
            raise SacvitError(f"{name} is not installed: pip install 'sacvit[rtx]' (x86_64 Linux, 220 MB)")
    require_one_version(found)
    return found[RTX_PACKAGES[0]]


def compile_all(files: Iterable[Path], targets: Sequence[str], batch: int = 1) -> list[Compiled]:
    """Every file for every target, `batch` images per pass where a graph leaves that open."""
    return [compile_one(file, target, batch) for file in files for target in targets]


def compile_one(file: Path, target: str, batch: int = 1) -> Compiled:
    """One build, in a process of its own. Raises SacvitError where that process dies."""
    # Not -m, which would put the current folder, and whatever lies there, before the library's own path.
    code = "import sys; sys.path[:1] = []; from sacvit.export.checks.compile_worker import main; main(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(file), target, str(batch)]
    what = f"TensorRT for RTX on {file.name} for {target}"
    try:
        done = subprocess.run(  # noqa: S603  # our own interpreter and our own code
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=LONGEST_BUILD_S
        )
    except subprocess.TimeoutExpired:
        raise SacvitError(f"{what} was stopped after {LONGEST_BUILD_S} s") from None
    if done.returncode < 0:
        raise SacvitError(f"{what} died of {signal.Signals(-done.returncode).name}; a lack of memory may be the cause")
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise SacvitError(f"{what} failed: {''.join(last)[:LONGEST_REASON] or f'status {done.returncode}'}")
    said = json.loads(done.stdout)
    said["refusal"] = " ".join(said.get("refusal", "").split())[:LONGEST_REASON]
    return Compiled(file.name, target, **said)


def compiled_lines(found: Sequence[Compiled]) -> list[str]:
    """The builds as a person reads them: a table, and the compiler's reasons for what it refused below it."""
    if not found:
        return []
    built: dict[str, list[str]] = {}  # what was built for a target of a stage, which is all before the first dot
    for one in found:
        if not one.refusal:
            built.setdefault(f"{one.file.partition('.')[0]} {one.target}", []).append(one.file)
    rows = [
        ("TensorRT for RTX " + found[0].compiler, "target", "kernels", "fused attentions", "products", "plan", "build")
    ]
    reasons: dict[str, int] = {}
    for one in found:
        if one.refusal:
            others = built.get(f"{one.file.partition('.')[0]} {one.target}")
            cure = f" What is built there: {', '.join(others)}." if others else ""
            mark = reasons.setdefault(one.refusal + cure, len(reasons) + 1)
            rows.append((one.file, one.target, f"refused [{mark}]", "", "", "", ""))
            continue
        products = ", ".join(f"{count} {kind}" for kind, count in sorted(one.products.items()))
        size, seconds = f"{one.plan_bytes / 2**20:.1f} MiB", f"{one.seconds:.1f} s"
        rows.append((one.file, one.target, str(one.launches), str(one.fused_attentions), products, size, seconds))
    return table_lines(rows, reasons)
