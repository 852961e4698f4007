"""The candidates: the backends of the table x the precisions of the bundle, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...bundle.precision import PRECISIONS, Family, Precision, file_name, row_of
from ...runtime.engines.backends import BACKENDS, Backend
from ...runtime.engines.options import PROVIDERS, BackendName, Provider, providers_of

LIBRARIES: dict[str, Literal["tensorrt", "rtx"]] = {
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "rtx",
}  # as BuildRequest has them


@dataclass(frozen=True)
class Way:
    """One way to run a bundle. runner: the provider of .onnx files, or the backend that builds files of its own.

    precision: of the files that it starts from.
    """

    backend: BackendName
    runner: str
    precision: Precision
    suffix: str

    @property
    def name(self) -> str:
        """As the table shows it and engines.json names it: "onnxruntime int8", "openvino-bf16 fp32", "tensorrt fp16"."""
        runner = self.runner
        if self.backend == "onnxruntime":
            runner = "onnxruntime" if runner == "cpu" else f"onnxruntime-{runner}"
        return f"{runner} {self.precision}"

    @property
    def provider(self) -> Provider | None:
        """What runs the .onnx files; None where files are built."""
        return next((name for name in providers_of(self.backend) if name == self.runner), None)

    @property
    def files(self) -> tuple[str, str]:
        """Names of EE and SAC."""
        if self.provider is not None:
            return file_name("EE", self.precision), file_name("SAC", self.precision)
        return f"ee{self.suffix}", f"sac{self.suffix}"

    def computes_in(self, of_files: Sequence[Precision]) -> list[Precision]:
        """The precisions that its answers are judged by, of files of those precisions."""
        return [*of_files, *([PROVIDERS[self.provider].computes_in] if self.provider else [])]


REFERENCE = Way("onnxruntime", "cpu", "fp32", ".onnx")


def ways(exported: Sequence[Precision], family: Family | None, only: BackendName | None) -> list[list[Way]]:
    """The ways to run a bundle, a list for each runner: first the reference, then the GPU's backends, then the others.

    Of a runner of .onnx files FP32 comes first: where that does not run, nothing does. Of one that builds, the coarsest comes
    first, and FP32 last. exported: the precisions of the bundle, from the finest on.
    """
    precisions = [name for name in exported if family in (None, row_of(name).family)]
    found = [[REFERENCE]]
    for backend in sorted((row for row in BACKENDS if row.key and only in (None, row.key)), key=_is_for_a_cpu):
        assert backend.key
        if backend.key in LIBRARIES:
            families = list(dict.fromkeys(row.family for row in PRECISIONS if row.name in precisions))
            found.append([Way(backend.key, backend.key, name, backend.suffix) for name in reversed(families)])
        for runner in providers_of(backend.key):
            here = [Way(backend.key, runner, name, backend.suffix) for name in precisions]
            found.append([way for way in here if way != REFERENCE])
    return [of_runner for of_runner in found if of_runner]


def _is_for_a_cpu(backend: Backend) -> bool:
    return not backend.needs_gpu
