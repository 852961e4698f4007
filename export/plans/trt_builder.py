"""One typed ONNX file -> one TensorRT plan, on the device that will run it. Needs no torch and no onnx.

The one code path that works from TensorRT 8.6 to 11, and with TensorRT for RTX, which builds for GPUs that are not here.
Features are found with hasattr, enum members by name.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...bundle.errors import PlanError, UsageError
from ...bundle.files import written_whole
from ...runtime.engines.tensorrt_log import load_tensorrt, load_tensorrt_rtx, open_journal
from .attention import edit_attention
from .ladder import Rung
from .progress import open_monitor

MIB = 1 << 20
QDQ_WEIGHTS = ". TensorRT before 10 may take no INT8 weights: export with --qdq-weights"


@dataclass(frozen=True)
class BuildOptions:
    """How a plan is built. batches: images per pass, rising. targets: GPUs; with some, TensorRT for RTX builds."""

    batches: tuple[int, ...]
    workspace_mib: int | None  # None leaves TensorRT's default: all memory of the GPU
    level: int | None  # TensorRT's builder optimization level, 0 to 5; None leaves its default of 3
    timing_cache: Path | None
    targets: tuple[str, ...] = ()


def build_plan(
    onnx: Path, stage: Literal["EE", "SAC"], rung: Rung, options: BuildOptions, plan: Path
) -> dict[str, Any]:
    """Writes the plan; returns what was done: seconds, flags, profiles.

    Raises PlanError with TensorRT's reason, UsageError for batches that the graph does not take.
    """
    trt = load_tensorrt_rtx() if options.targets else load_tensorrt()
    journal = open_journal(trt)
    builder = trt.Builder(journal)
    network = builder.create_network(network_flags(trt, rung))
    parser = trt.OnnxParser(network, journal)
    library = f"TensorRT {'for RTX ' if options.targets else ''}{trt.__version__}"
    if not parser.parse(onnx.read_bytes()):
        faults = [str(parser.get_error(index).desc()) for index in range(parser.num_errors)]
        is_old = not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
        cure = QDQ_WEIGHTS if is_old and "INT8" in rung.weak_flags else ""
        raise PlanError(f"{onnx} is not parsed by {library}: {'; '.join(faults) or journal.reason()}{cure}")
    config = builder.create_builder_config()
    flags = set_flags(trt, config, rung)
    if options.targets:
        flags += set_targets(trt, config, options.targets)
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # layer names in profiles; costs nothing at run time
    config.max_aux_streams = 0  # one stream: its capture is one chain of kernels, and the same one every time
    if options.level is not None:
        config.builder_optimization_level = options.level
    profiles = set_batches(trt, builder, network, config, stage, options.batches, onnx)
    edited = edit_attention(trt, network, rung)
    # TensorRT for RTX has no use for times, and asks for a GPU where it is given some.
    cache = None if options.targets else open_timing_cache(config, options.timing_cache)
    if hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = open_monitor(trt, plan.name)
    began = time.monotonic()
    content = builder.build_serialized_network(network, config)
    if content is None:
        raise PlanError(f"{library} does not build {onnx} ({rung.name}): {journal.reason()}")
    seconds = time.monotonic() - began
    plan.write_bytes(content)
    if options.timing_cache is not None:
        keep_timing_cache(config, options.timing_cache)
    return {
        "rung": rung.name,
        "typing": rung.typing,
        "attention": rung.attention,
        "attention_layers_edited": edited,
        "flags": flags,
        "workspace_mib": options.workspace_mib,
        "builder_optimization_level": config.builder_optimization_level,
        "profiles": profiles,
        "timing_cache": cache,
        "seconds": round(seconds, 1),
        "warnings": journal.warnings()[:20],
    }


def network_flags(trt: Any, rung: Rung) -> int:
    """Explicit batch where that has to be said (8.6), strong typing where it exists and is wanted."""
    known, flags = trt.NetworkDefinitionCreationFlag, 0
    if hasattr(known, "EXPLICIT_BATCH"):
        flags |= 1 << int(known.EXPLICIT_BATCH)
    if rung.typing == "strong" and hasattr(known, "STRONGLY_TYPED"):
        flags |= 1 << int(known.STRONGLY_TYPED)
    return flags


def set_flags(trt: Any, config: Any, rung: Rung) -> list[str]:
    """Sets the builder's flags; returns their names, with a minus where one was cleared."""
    known, done = trt.BuilderFlag, []
    wanted = [*rung.weak_flags]  # INT8 among them: the graph has its scales in it, and nothing is calibrated
    if rung.typing == "weak" and rung.attention == "fp32":
        wanted.append("OBEY_PRECISION_CONSTRAINTS")
    for name in wanted:
        config.set_flag(getattr(known, name))
        done.append(name)
    if rung.computes_in == "fp32":
        config.clear_flag(known.TF32)  # FP32 that is FP32: TF32 keeps 10 bits, as FP16 does
        done.append("-TF32")
    return done


def set_targets(trt: Any, config: Any, targets: tuple[str, ...]) -> list[str]:
    """Names the GPUs that an engine of TensorRT for RTX is for; returns the flags that it sets.

    REQUIRE_USER_ALLOCATION: a pass allocates nothing, so that it can be captured in a CUDA graph.
    """
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index)
    config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    return ["REQUIRE_USER_ALLOCATION"]


def set_batches(
    trt: Any,
    builder: Any,
    network: Any,
    config: Any,
    stage: Literal["EE", "SAC"],
    batches: tuple[int, ...],
    onnx: Path,
) -> list[dict[str, list[int]]]:
    """Fixes every input's shape: in the network where there is one batch size, else by a profile for each.

    SAC's images and hand-off always have room for the largest batch; what varies is `row`, the survivors: it gets the
    powers of two up to the largest batch as well.
    """
    inputs = {tensor.name: tensor for tensor in (network.get_input(index) for index in range(network.num_inputs))}
    capacity = batches[-1]
    symbolic = {name: tuple(tensor.shape) for name, tensor in inputs.items()}
    fixed = {shape[0] for shape in symbolic.values()} - {-1}
    if fixed:
        if fixed != set(batches):
            raise UsageError(
                f"{onnx} is fixed to {max(fixed)} images per pass, --batch asks for {', '.join(map(str, batches))}:"
                f" build with --batch {max(fixed)}, or export without --batch"
            )
        return [{name: list(shape) for name, shape in symbolic.items()}]
    places = places_of(stage, batches)

    def shapes(count: int) -> dict[str, tuple[int, ...]]:
        counted = "image" if stage == "EE" else "row"
        return {name: (count if name == counted else capacity, *shape[1:]) for name, shape in symbolic.items()}

    if len(places) == 1:
        for name, shape in shapes(capacity).items():
            inputs[name].shape = shape
    else:
        for count in places:
            profile = builder.create_optimization_profile()
            for name, shape in shapes(count).items():
                profile.set_shape(name, shape, shape, shape)
            if config.add_optimization_profile(profile) < 0:
                raise PlanError(f"TensorRT refuses the profile of {count} images for {onnx}")
        if hasattr(trt, "PreviewFeature") and hasattr(trt.PreviewFeature, "PROFILE_SHARING_0806"):
            config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)  # always on from 11
    return [{name: list(shape) for name, shape in shapes(count).items()} for count in places]


def places_of(stage: str, batches: tuple[int, ...]) -> tuple[int, ...]:
    """How many images per pass of the stage may take."""
    if stage != "SAC":
        return batches
    powers = {1 << power for power in range(batches[-1].bit_length()) if 1 << power < batches[-1]}
    return tuple(sorted(powers | set(batches)))


def open_timing_cache(config: Any, path: Path | None) -> str:
    """Gives the builder the times of earlier builds. "new", "used", or "foreign": from another GPU or TensorRT."""
    content = path.read_bytes() if path is not None and path.is_file() else b""
    cache = config.create_timing_cache(content)
    if content and cache is not None and config.set_timing_cache(cache, False):
        return "used"
    config.set_timing_cache(config.create_timing_cache(b""), False)
    return "foreign" if content else "new"


def keep_timing_cache(config: Any, path: Path) -> None:
    cache = config.get_timing_cache()
    if cache is not None:
        with written_whole(path) as partial:
            partial.write_bytes(cache.serialize())
