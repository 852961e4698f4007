"""torch.compile'd DeiT-S on the GPU that torch sees: the baseline of who never leaves PyTorch.

    python benchmarks/gpu_torch.py --out torch.json

FP16, CUDA graphs (mode "reduce-overhead"), uint8 images from pinned memory and logits back, as benchmarks/gpu.py has it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from sacvit.model.config import preset
from sacvit.model.network import PlainViT

PASSES, WARM_UP = 200, 30


def measure(model: Any, size: int, batch: int) -> dict[str, float]:
    """Wall milliseconds of a pass, from pixels in host memory to logits in host memory."""
    pinned = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8).pin_memory()
    times = []
    for number in range(-WARM_UP, PASSES):
        began = time.perf_counter()
        with torch.inference_mode():
            model(pinned.to("cuda", non_blocking=True)).float().cpu()
        if number >= 0:
            times.append(1e3 * (time.perf_counter() - began))
    return {"median_ms": round(statistics.median(times), 4), "min_ms": round(min(times), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="deit-s")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU")
    config = preset(options.preset)
    network = PlainViT(config).eval().half().cuda()  # takes uint8 images and normalises them itself
    report: dict[str, Any] = {
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name(),
        "cuda": torch.version.cuda,
        "passes": PASSES,
        "batches": {},
    }
    for batch in options.batch:
        torch.compiler.reset()
        compiled = torch.compile(network, mode="reduce-overhead")
        report["batches"][batch] = measure(compiled, config.image_size, batch)
        print(batch, report["batches"][batch], flush=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
