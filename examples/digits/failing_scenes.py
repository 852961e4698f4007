"""Scenes made for failure: each kind changes one thing about a usual scene of the digits example.

    python examples/digits/failing_scenes.py --out data/failing

writes pictures and boxes.csv, as sacvit-tune reads it. A usual scene has difficulty 0.5: a digit 32 pixels high on ground that
is slightly blurred. Every scene has the mask of its labelled digit; its box is `box_of(mask)`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scenes import LARGE, SIDE, SMALL, ImageU8, Material, choose_ink, digit_mask, draw_ground, load_material, paint

Mask = npt.NDArray[np.float32]  # opacity (SIDE, SIDE) in [0, 1]
Rng = np.random.Generator

USUAL = 0.5  # difficulty
USUAL_SIZE = SIDE * (LARGE + (SMALL - LARGE) * USUAL)  # pixels
SMALL_SIZES = (11.0, 15.0)  # pixels; a coarse block has 16
FAINT = (24.0, 56.0)  # grey levels between ink and ground; usually 99 to 149
STROKES = (16, 24)  # of clutter
OTHER_SIZE = (0.6, 0.8)  # of the second digit, over the labelled one: the larger digit is the labelled one
EDGE_SEEN = (0.6, 0.85)  # share of the digit's pixels that is left in the picture
ANGLES = (-12.0, 12.0)  # degrees, as in usual scenes


@dataclass(frozen=True)
class Scene:
    """image: RGB; mask: of the labelled digit; other: the second digit's label, where there is one."""

    image: ImageU8
    label: int
    mask: npt.NDArray[np.bool_]
    other: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a kind may change before the scene is painted."""

    which: int
    size: float
    centre: tuple[float, float]
    ground: ImageU8


def box_of(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x, y, w and h of the labelled digit, in pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def draw_usual(rng: Rng, material: Material) -> Scene:
    plan = _plan(rng, material, USUAL_SIZE * rng.uniform(0.9, 1.1))
    return _painted(rng, material, plan, _mask(material, plan, rng.uniform(*ANGLES)))


def draw_small(rng: Rng, material: Material) -> Scene:
    plan = _plan(rng, material, rng.uniform(*SMALL_SIZES))
    return _painted(rng, material, plan, _mask(material, plan, rng.uniform(*ANGLES)))


def draw_camouflage(rng: Rng, material: Material) -> Scene:
    """The ink differs from the mean of the ground under the digit by a few grey levels only."""
    plan = _plan(rng, material, USUAL_SIZE * rng.uniform(0.9, 1.1))
    mask = _mask(material, plan, rng.uniform(*ANGLES))
    under = (plan.ground * mask[:, :, None]).sum((0, 1)) / mask.sum()
    step = rng.uniform(*FAINT) * (1 if under.mean() < 128 else -1)
    ink = np.clip(under + step, 0, 255).astype(np.float32)
    return _scene(paint(plan.ground, mask, ink), material, plan, mask)


def draw_clutter(rng: Rng, material: Material) -> Scene:
    """Strokes as thick and as strong as a digit's lie beside the digit, and touch it at most."""
    plan = _plan(rng, material, USUAL_SIZE * rng.uniform(0.9, 1.1))
    mask = _mask(material, plan, rng.uniform(*ANGLES))
    near = cv2.dilate(mask, np.ones((5, 5), np.uint8))
    ground = plan.ground
    for _ in range(rng.integers(*STROKES)):
        drawn = np.zeros((SIDE, SIDE), np.uint8)
        at, axes = rng.uniform(0, SIDE, 2), rng.uniform(2, 9, 2)
        start = rng.uniform(0, 360)
        cv2.ellipse(
            drawn, at.astype(int).tolist(), axes.astype(int).tolist(), rng.uniform(0, 180), start, start + rng.uniform(60, 200),
            255, int(rng.integers(2, 5)), cv2.LINE_AA,
        )  # fmt: skip
        stroke = cv2.GaussianBlur(drawn, (0, 0), 0.8).astype(np.float32) / 255 * (1 - near)  # as soft as the digit's
        if stroke.sum() > 1:
            ground = paint(ground, stroke, choose_ink(rng, ground, stroke, USUAL))
    return _scene(paint(ground, mask, choose_ink(rng, plan.ground, mask, USUAL)), material, plan, mask)


def draw_two(rng: Rng, material: Material) -> Scene:
    """A second, smaller digit of another class, which does not overlap the labelled one."""
    while True:
        plan = _plan(rng, material, USUAL_SIZE * rng.uniform(0.9, 1.1))
        mask = _mask(material, plan, rng.uniform(*ANGLES))
        other = _plan(rng, material, plan.size * rng.uniform(*OTHER_SIZE))
        second = _mask(material, other, rng.uniform(*ANGLES))
        far = np.abs(np.subtract(plan.centre, other.centre)).max() > (plan.size + other.size) / 2
        if far and material.labels[plan.which] != material.labels[other.which]:
            break
    ground = paint(plan.ground, second, choose_ink(rng, plan.ground, second, USUAL))
    scene = _scene(paint(ground, mask, choose_ink(rng, ground, mask, USUAL)), material, plan, mask)
    return replace(scene, other=int(material.labels[other.which]))


def draw_edge(rng: Rng, material: Material) -> Scene:
    """The edge of the picture cuts the digit off."""
    plan = _plan(rng, material, USUAL_SIZE * rng.uniform(0.9, 1.1))
    angle = rng.uniform(*ANGLES)
    whole = _mask(material, replace(plan, centre=(SIDE / 2, SIDE / 2)), angle)
    while True:
        place = list(plan.centre)
        inside = rng.uniform(-0.5, 0.5) * plan.size  # of the digit's centre, from the edge
        place[rng.integers(2)] = inside if rng.random() < 0.5 else SIDE - inside
        plan = replace(plan, centre=(place[0], place[1]))
        mask = _mask(material, plan, angle)
        if EDGE_SEEN[0] <= (mask > 0.5).sum() / (whole > 0.5).sum() <= EDGE_SEEN[1]:
            return _painted(rng, material, plan, mask)


KINDS: dict[str, Callable[[Rng, Material], Scene]] = {
    "usual": draw_usual,
    "small": draw_small,
    "camouflage": draw_camouflage,
    "clutter": draw_clutter,
    "two objects": draw_two,
    "at the edge": draw_edge,
}


def _plan(rng: Rng, material: Material, size: float) -> Plan:
    reach = size / 2
    centre = (rng.uniform(reach, SIDE - reach), rng.uniform(reach, SIDE - reach))
    return Plan(int(rng.integers(len(material.labels))), size, centre, draw_ground(rng, material, USUAL, SIDE))


def _mask(material: Material, plan: Plan, angle: float) -> Mask:
    return digit_mask(material.digits[plan.which], plan.size, angle, plan.centre, SIDE)


def _painted(rng: Rng, material: Material, plan: Plan, mask: Mask) -> Scene:
    return _scene(paint(plan.ground, mask, choose_ink(rng, plan.ground, mask, USUAL)), material, plan, mask)


def _scene(picture: ImageU8, material: Material, plan: Plan, mask: Mask) -> Scene:
    image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return Scene(image, int(material.labels[plan.which]), mask > 0.5)  # type: ignore[arg-type]


def draw_kind(material: Material, kind: str, count: int, seed: int) -> list[Scene]:
    """Scenes of a kind; its place in the table is part of the seed."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    return [KINDS[kind](rng, material) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=500, help="Draw this many scenes of each kind.")
    parser.add_argument("--seed", type=int, default=30)
    options = parser.parse_args()
    material, rows = load_material("test"), ["path,label,x,y,w,h"]
    for kind in KINDS:
        folder = options.out / kind.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        for index, scene in enumerate(draw_kind(material, kind, options.scenes, options.seed)):
            path = folder / f"{index:04}.png"
            if not cv2.imwrite(str(path), cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)):
                raise SystemExit(f"{path} cannot be written")
            rows.append(f"{folder.name}/{path.name},{scene.label},{','.join(map(str, box_of(scene.mask)))}")
    (options.out / "boxes.csv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
