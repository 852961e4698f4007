"""An engine of TensorRT for RTX: as a TensorRT plan runs, with kernels that this GPU compiled, kept beside the engine.

What differs from tensorrt.py: the library itself says whether an engine fits this machine; the kernels are compiled when a
context is made and first run, and the cache of them makes the next start fast; a context is made by a configuration.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from ...bundle.errors import EngineError
from ...bundle.files import written_whole
from ...bundle.plan_record import RtxRecord, build_command, read_rtx_record, target_of
from .tensorrt import TensorrtStage
from .tensorrt_log import load_tensorrt_rtx

logger = logging.getLogger(__name__)
MAX_CACHE_BYTES = 1 << 30  # DeiT-S has some 10 MB of kernels

# By the names of EngineInvalidityDiagnostics: what is wrong, and what helps. {record}, {gpu} and so on are filled in.
REASONS = {
    "VERSION_MISMATCH": "was built by TensorRT for RTX {record.tensorrt_rtx}; this machine has {version}. {rebuild}",
    "UNSUPPORTED_CC": "was built for {targets}; this machine has {gpu}. {rebuild}",
    "OLD_CUDA_DRIVER": "needs a newer driver than this machine has. Update the driver; nvidia-smi shows its version",
    "OLD_CUDA_RUNTIME": "needs a newer CUDA than this machine has. Update CUDA, or build with an older TensorRT for RTX",
    "INSUFFICIENT_GPU_MEMORY": "needs more memory than {gpu} has free. Close other programs, or build with a smaller --batch",
    "MALFORMED_ENGINE": "is no engine that TensorRT for RTX {version} can read. {rebuild}",
    "CUDA_ERROR": "cannot be checked, since CUDA failed: {said}. Check the driver (nvidia-smi)",
}


class TensorrtRtxStage(TensorrtStage):
    """See `Stage`. Raises EngineError for an engine that the library does not take here, with the command that helps."""

    library = "TensorRT for RTX"
    plan: RtxRecord

    def __init__(self, path: Path, *, use_graphs: bool = True) -> None:
        self._cache: Any = None  # of compiled kernels, shared by the contexts of this engine
        self._stored = b""
        super().__init__(path, use_graphs=use_graphs)
        checked_on = self.plan.verification.get("gpu")
        if checked_on != str(self.cuda.gpu):
            logger.warning(
                "%s was %s, and this is %s. Check it against the reference answers here: %s",
                path,
                "never checked on a GPU" if checked_on is None else f"checked on {checked_on}",
                self.cuda.gpu,
                build_command(path),
            )

    def _read_record(self, path: Path) -> RtxRecord:
        return read_rtx_record(path)

    def _load_library(self) -> Any:
        return load_tensorrt_rtx()

    def _require_place(self, content: bytes) -> None:
        validity, flags = self._runtime.get_engine_validity(content)
        if validity == self.trt.EngineValidity.INVALID:
            raise EngineError(f"{self.path} {self._reason(int(flags))}")
        if validity == self.trt.EngineValidity.SUBOPTIMAL:
            logger.warning("%s runs on %s, slower than one that is built for it", self.path, self.cuda.gpu)

    def _reason(self, flags: int) -> str:
        """The reasons in the library's flags, in our words."""
        known = self.trt.EngineInvalidityDiagnostics
        names = [name for name in REASONS if hasattr(known, name) and flags & int(getattr(known, name))]
        targets = (*self.plan.targets, *({target_of(self.cuda.gpu)} - {*self.plan.targets}))
        said = {
            "record": self.plan,
            "version": self.trt.__version__,
            "targets": ", ".join(self.plan.targets),
            "gpu": self.cuda.gpu,
            "said": self._journal.reason(),
            "rebuild": f"Build it again: {build_command(self.path)} --for {','.join(targets)}",
        }
        if not names:
            return f"is refused by TensorRT for RTX {self.trt.__version__}: {said['said']}"
        return "; it ".join(REASONS[name].format(**said) for name in names)

    def _new_context(self) -> Any:
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(self.trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        config.cuda_graph_strategy = self.trt.CudaGraphStrategy.DISABLED  # a pass is captured whole, with its copies
        # Compiled before the first pass: a captured graph would keep the slower kernels that run until then.
        eager = self.trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            self._read_cache()
        if not config.set_runtime_cache(self._cache):
            raise EngineError(f"{self.path}: its cache of kernels cannot be used: {self._journal.reason()}")
        return self._engine.create_execution_context(config)

    @property
    def cache_path(self) -> Path:
        """Where the compiled kernels are kept: ee.rtx.cache"""
        return self.path.with_name(self.path.name + ".cache")

    def _read_cache(self) -> None:
        """Takes the kernels that an earlier start compiled. The library refuses those of another GPU, driver or version."""
        try:
            if self.cache_path.stat().st_size > MAX_CACHE_BYTES:
                return
            content = self.cache_path.read_bytes()
        except FileNotFoundError:
            return
        if self._cache.deserialize(content):
            self._stored = hashlib.sha256(content).digest()
        else:
            logger.info("%s is of another machine or version: its kernels are compiled again", self.cache_path)

    def _passed(self) -> None:
        content = bytes(self._cache.serialize())
        digest = hashlib.sha256(content).digest()
        if digest == self._stored or len(content) > MAX_CACHE_BYTES:
            return
        self._stored = digest
        try:
            with written_whole(self.cache_path) as partial:
                partial.write_bytes(content)
        except OSError as reason:  # a folder that is read-only: the engine runs, and the next start compiles again
            logger.info("%s cannot be written (%s): every start compiles its kernels", self.cache_path, reason.strerror)
