"""Whether two machines decided alike: sacvit-run --json of each, frame by frame.

python tests/aarch64/compare_decisions.py HOST.jsonl OTHER.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

host, other = ([json.loads(line) for line in Path(path).read_text().splitlines()] for path in sys.argv[1:3])
if len(host) != len(other) or not host:
    sys.exit(f"{len(host)} frames here, {len(other)} there")
unequal = [
    place
    for place, (a, b) in enumerate(zip(host, other, strict=True))
    if (a["stage"], a["index"]) != (b["stage"], b["index"])
]
apart = max(abs(a["confidence"] - b["confidence"]) for a, b in zip(host, other, strict=True))
exits = sum(frame["stage"] == "EE" for frame in other)
print(
    f"decisions: {len(host) - len(unequal)} of {len(host)} equal (stage and class), {exits} exits; "
    f"confidences at most {apart:.1g} apart"
)
if unequal:
    sys.exit(f"unequal frames: {unequal}")
