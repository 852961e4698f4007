"""The whole chain on the committed checkpoint: export, a clip, sacvit-run, and where to look.

python examples/digits/demo.py --out demo
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from clip import SHOTS, write_clip

HERE = Path(__file__).parent
CHECKPOINT = HERE / "model.pth"


def run(name: str, *arguments: str | Path, stdout: Path | None = None) -> None:
    """Runs one of our commands, shown as a user would type it; ends the demo with its exit code when it fails."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ {name} {' '.join(words)}{f' > {stdout}' if stdout else ''}", flush=True)
    target = stdout.open("w") if stdout else None
    try:
        code = subprocess.run([Path(sys.executable).parent / name, *words], stdout=target, check=False).returncode
    finally:
        if target:
            target.close()
    if code:
        raise SystemExit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument(
        "--shots", type=int, default=SHOTS, help="Make a clip of this many shots; each shows one digit."
    )
    parser.add_argument("--profile-s", type=float, default=1.5, help="Profile each variant of the chain for this long.")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    run("sacvit-export", "--ckpt", CHECKPOINT, "--plain", "--out", out / "build")
    truth = write_clip(out / "clip.mp4", options.shots)
    run(
        "sacvit-run",
        *("--engine", out / "build" / "ee.onnx", out / "build" / "sac.onnx", "--camera", out / "clip.mp4", "--json"),
        *("--save", out / "annotated.mp4", "--sheet", out / "sheet.png"),
        stdout=out / "frames.jsonl",
    )
    frames = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    right = sum(frame["index"] == digit for frame, digit in zip(frames, truth, strict=True))
    exits = sum(frame["stage"] == "EE" for frame in frames)
    print(f"\n{len(frames)} frames, {exits / len(frames):.0%} left early, {right / len(frames):.0%} right")
    short = ("--warmup-ms", "20") if options.profile_s < 1 else ()  # a look at the page, not at its numbers
    shutil.rmtree(out / "profile", ignore_errors=True)  # or it would go on with the one before
    run(
        "sacvit-profile",
        *("--engine", out / "build" / "ee.onnx", out / "build" / "sac.onnx", "--plain", out / "build" / "plain.onnx"),
        *("--source", out / "clip.mp4", "--duration-s", str(options.profile_s), *short, "--out", out / "profile"),
    )
    print(f"done in {time.monotonic() - began:.0f} s. Look at:")
    for name, what in (
        ("annotated.mp4", "the clip with every decision drawn on it"),
        ("sheet.png", "exits, and SAC frames with the blocks that the fine pass looked at"),
        ("frames.jsonl", "one line per frame, for programs"),
        ("profile/report.html", "time by path and stage, power where it can be read, break-even"),
        ("build/", "the ONNX graphs and their manifest"),
    ):
        print(f"  {out / name!s:24} {what}")


if __name__ == "__main__":
    main()
