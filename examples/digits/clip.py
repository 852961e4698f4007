"""A short clip of moving digits on test photographs: each shot begins large and calm and ends small and cluttered."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from scenes import LARGE, SMALL, ImageU8, Material, choose_ink, digit_mask, load_material, paint
from tqdm import tqdm

CLIP_SIDE, FPS = 480, 24
SHOTS, FRAMES_PER_SHOT = 10, 30


def write_clip(path: Path, shots: int = SHOTS, seed: int = 3) -> list[int]:
    """Writes the clip as MP4, and beside it the digit of every frame as .json; returns these digits."""
    material = load_material("test")
    rng = np.random.default_rng(seed)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (CLIP_SIDE, CLIP_SIDE))
    if not writer.isOpened():
        raise SystemExit("this OpenCV cannot write MPEG-4; install opencv-python")
    truth: list[int] = []
    for shot in tqdm(range(shots), desc="clip", unit="shot", disable=None):
        digit = shot % 10
        for frame in draw_shot(rng, material, digit):
            writer.write(frame)
            truth.append(digit)
    writer.release()
    path.with_suffix(".json").write_text(json.dumps(truth) + "\n")
    return truth


def draw_shot(rng: np.random.Generator, material: Material, digit: int) -> list[ImageU8]:
    """One digit drifting over one panning photograph while it shrinks and the ground gets sharper."""
    which = int(rng.choice(np.flatnonzero(material.labels == digit)))
    photograph = material.photographs[rng.integers(len(material.photographs))]
    height, width = photograph.shape[:2]
    extent = min(height, width, int(rng.uniform(110, 180)))
    tops, lefts = (rng.integers(0, side - extent + 1, 2) for side in (height, width))
    start, end = rng.uniform(0.3, 0.7, 2), rng.uniform(0.25, 0.75, 2)
    angle, ink = rng.uniform(-10, 10), None
    frames = []
    for step in np.linspace(0, 1, FRAMES_PER_SHOT):
        difficulty = 0.05 + 0.9 * step**1.5
        top, left = (round(a + (b - a) * step) for a, b in (tops, lefts))
        ground = photograph[top : top + extent, left : left + extent]
        blur = 0.06 * extent * max(0.0, 1 - difficulty / 0.75)
        if blur * CLIP_SIDE / extent > 0.3:
            ground = cv2.GaussianBlur(ground, (0, 0), blur)  # before it is enlarged: a tenth of the time
        ground = cv2.resize(ground, (CLIP_SIDE, CLIP_SIDE), interpolation=cv2.INTER_CUBIC)
        size = CLIP_SIDE * (LARGE + (SMALL - LARGE) * difficulty)
        reach = size / 2
        place = np.clip((start + (end - start) * step) * CLIP_SIDE, reach, CLIP_SIDE - reach)
        mask = digit_mask(material.digits[which], size, angle, (float(place[0]), float(place[1])), CLIP_SIDE)
        if ink is None:
            ink = choose_ink(rng, ground, mask, 0.3)
        frames.append(paint(ground, mask, ink))
    return frames
