"""The chain on a GPU through TensorRT: parity, then the chain against the plain ViT built the same way, graphs against enqueue.

    python benchmarks/gpu_prepare.py --out build/gpu     where torch is
    python benchmarks/gpu.py --bundles build/gpu         where the GPU and TensorRT are; needs neither torch nor onnx

Prints trtexec's summary lines for every engine and writes all numbers, with their conditions, into profiles/results/.
Contenders alternate in one run; what is compared are the ratios inside a round.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sacvit.bundle.goldens import read_goldens
from sacvit.bundle.manifest import read_manifest
from sacvit.export.plans.build import build, find_machine
from sacvit.export.plans.request import BuildRequest
from sacvit.machine.packages import versions
from sacvit.machine.processor import describe_machine
from sacvit.model.cost import DERIVED_EXIT_RATE
from sacvit.profiles.timing.alternating import round_ratios, time_alternating
from sacvit.profiles.timing.pass_parts import time_pass
from sacvit.profiles.timing.plain import Plain
from sacvit.profiles.timing.trtexec import Pass, summary_lines, write_times
from sacvit.runtime.chain.overlap import Overlap
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.engines.cuda import Cuda, open_cuda
from sacvit.runtime.engines.tensorrt import TensorrtBinding, TensorrtStage

RESULTS = Path(__file__).parent.parent / "profiles" / "results"
PRECISIONS = ("fp32", "fp16", "int8")
WARM_UP = 20


def tell(line: str) -> None:
    print(line, flush=True)


def passes_of(binding: TensorrtBinding, passes: int) -> tuple[list[Pass], float]:
    """Passes call by call, as trtexec measures them, and the wall seconds of all."""
    for _ in range(WARM_UP):
        time_pass(binding, 0.0)
    began = time.perf_counter()
    return [time_pass(binding, began) for _ in range(passes)], time.perf_counter() - began


def gpu_ms(cuda: Cuda, binding: TensorrtBinding, passes: int) -> float:
    """Median time of a pass as the pipeline runs it."""
    times = []
    for _ in range(WARM_UP + passes):
        first = cuda.record(binding.lane)
        binding.start()
        times.append(cuda.elapsed_ms(first, cuda.record(binding.lane)))
    return statistics.median(times[WARM_UP:])


def parity(bundle: Path, plans: Path) -> dict[str, Any]:
    """The pipeline's own answers against ONNX Runtime's, which the goldens hold."""
    manifest, goldens = read_manifest(bundle), read_goldens(bundle)
    eta = manifest.threshold.value
    pipeline = Pipeline.load(plans / "ee.plan", plans / "sac.plan")
    results = pipeline(goldens.images)
    exits = goldens.confidence >= np.float32(eta)
    top1 = np.where(exits, goldens.ee_logits.argmax(1), goldens.sac_logits.argmax(1))
    return {
        "images": len(results),
        "exits_equal": float(
            np.mean([result.exits_early == leaves for result, leaves in zip(results, exits, strict=True)])
        ),
        "decisions_equal": float(np.mean([result.index == index for result, index in zip(results, top1, strict=True)])),
    }


def measure(
    plans: Path, plain: Path, images: Any, batch: int, rounds: int, passes: int, times_dir: Path | None
) -> dict[str, Any]:
    """One batch size: the plain ViT, the chain with graphs, without, and with overlapping stages."""
    cuda = open_cuda()
    chain = Pipeline.load(plans / "ee.plan", plans / "sac.plan")
    confidences = np.sort([result.confidence for result in chain(images)])[::-1]
    place = round(DERIVED_EXIT_RATE * len(images))
    eta = float((confidences[place - 1] + confidences[place]) / 2)
    chain = Pipeline(chain.ee, chain.sac, eta)
    stages = (TensorrtStage(plans / name, use_graphs=False) for name in ("ee.plan", "sac.plan"))
    bare, overlap, single = Pipeline(*stages, eta), Overlap(chain), Plain(plain, batch)
    chunks = [images[start : start + batch] for start in range(0, len(images) - batch + 1, batch)]
    survivors = []

    def chained(pipeline: Pipeline) -> Any:
        def run() -> None:
            for chunk in chunks:
                pipeline.image_slots(batch)[:] = chunk
                pipeline.run(batch)

        return run

    def overlapped() -> None:
        for chunk in chunks:
            overlap.image_slots(batch)[:] = chunk
            overlap.submit(batch)
        overlap.flush()

    def plainly() -> None:
        for chunk in chunks:
            single.images[:batch] = chunk
            single.run(batch)

    for chunk in chunks:
        chain.image_slots(batch)[:] = chunk
        survivors.append(sum(not result.exits_early for result in chain.run(batch)))
    tasks = {"plain": plainly, "chain": chained(chain), "enqueue": chained(bare), "overlap": overlapped}
    times = time_alternating(tasks, rounds, warmup_rounds=2)
    count = len(chunks) * batch
    track = chain.track(batch)
    ee_ms = gpu_ms(cuda, track.ee_binding(batch), passes)
    places = [next(size for size in chain.sac.batches if size >= number) for number in survivors if number]
    sac_ms = {size: gpu_ms(cuda, track.sac_binding(size), passes) for size in sorted(set(places))}
    stages_ms = len(chunks) * ee_ms + sum(sac_ms[size] for size in places)
    engines = {"EE": track.ee_binding(batch), "plain": single.binding(batch)}
    engines |= {f"SAC of {size}": track.sac_binding(size) for size in sac_ms}
    for name, binding in engines.items():
        timed, wall = passes_of(binding, passes)
        tell(f"  {name}, batch {batch}")
        for line in summary_lines(timed, wall):
            tell(f"    {line}")
        if times_dir is not None:
            stem = re.sub(r"\W+", "-", f"{plans.name}-{name}-{batch}".lower())
            write_times(timed, times_dir / f"{stem}.json")
    return {
        "batch": batch,
        "images": count,
        "rounds": rounds,
        "exit_rate": round(1 - sum(survivors) / count, 4),
        "ms_per_image": {name: round(statistics.median(values) / count, 4) for name, values in times.items()},
        "speedup": {
            name: _spread(round_ratios(times, slow, fast))
            for name, slow, fast in (
                ("chain over plain", "plain", "chain"),
                ("graph over enqueue", "enqueue", "chain"),
                ("overlap over chain", "chain", "overlap"),
            )
        },
        "gpu_ms": {"EE": round(ee_ms, 4), **{f"SAC of {size}": round(value, 4) for size, value in sac_ms.items()}},
        "host_overhead_us_per_frame": round(1e3 * (statistics.median(times["chain"]) - stages_ms) / count, 1),
        "captured": all(binding.graph is not None for binding in (track.ee_binding(batch), single.binding(batch))),
    }


def _spread(ratios: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(ratios), 3), "min": round(min(ratios), 3), "max": round(max(ratios), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=Path, required=True, help="what gpu_prepare.py wrote")
    parser.add_argument("--model", default="deit-s", help="the folder in it that speed is measured with")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--passes", type=int, default=200, help="of one engine, timed call by call")
    parser.add_argument(
        "--out", type=Path, help="the .json of the numbers (default: profiles/results/GPU-TENSORRT.json)"
    )
    parser.add_argument("--export-times", type=Path, metavar="DIR", help="a file like trtexec's for every engine")
    options = parser.parse_args()

    work = Path(tempfile.mkdtemp(prefix="sacvit-gpu-"))
    machine = find_machine(work)
    report: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {**describe_machine(), **asdict(machine)},
        "versions": versions(),
        "exit_rate": DERIVED_EXIT_RATE,
        "precisions": {},
    }
    name = re.sub(r"\W+", "-", f"{machine.gpu.name}-tensorrt-{machine.tensorrt}".lower())
    out = options.out or RESULTS / f"{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    if options.export_times is not None:
        options.export_times.mkdir(parents=True, exist_ok=True)
    images = np.load(options.bundles / options.model / "images.npy", allow_pickle=False)
    batches = tuple(sorted(options.batch))
    for precision in options.precision:
        tell(f"{precision}: digits, trained weights")
        digits = work / f"digits-{precision}"
        checked = build(options.bundles / "digits", digits, BuildRequest(family=precision, report=tell))
        entry: dict[str, Any] = {"digits": {"rungs": _rungs(checked), **parity(options.bundles / "digits", digits)}}
        tell(f"{precision}: {options.model}")
        plans = work / precision
        built = build(
            options.bundles / options.model, plans, BuildRequest(family=precision, batches=batches, report=tell)
        )
        entry["rungs"], entry["build_s"] = _rungs(built), round(built.duration_s, 1)
        entry["runs"] = [
            measure(plans, plans / "plain.plan", images, batch, options.rounds, options.passes, options.export_times)
            for batch in batches
        ]
        report["precisions"][precision] = entry
        out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")  # what is measured stays, whatever comes next
        for run in entry["runs"]:
            spread = run["speedup"]["chain over plain"]
            tell(
                f"{precision}, batch {run['batch']}: chain {spread['median']}x over plain ({spread['min']} to"
                f" {spread['max']}), {run['ms_per_image']['chain']} ms per image, host"
                f" {run['host_overhead_us_per_frame']} us per frame"
            )
    tell(f"written: {out}")


def _rungs(plans: Any) -> dict[str, Any]:
    return {outcome.stage: {"rung": outcome.rung.name, "tried": outcome.tried} for outcome in plans.outcomes}


if __name__ == "__main__":
    main()
