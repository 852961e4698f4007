"""python -m ....trial PIPELINE: prints the mean colour of the pipeline's first picture. Exit code 1 without one."""

from __future__ import annotations

import sys

from .capture import PipelineCapture

PICTURE_S = 8.0


def main(text: str) -> int:
    ok, image = PipelineCapture(text, PICTURE_S, PICTURE_S).read()
    if ok:
        print(*image.mean((0, 1)))
    return int(not ok)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
