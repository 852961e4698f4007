"""Where clustering fails: scenes made for it, and what each stage loses with the targets of several rules.

    python examples/digits/failing.py --out docs/digits

Writes failing.json, the figures and the sheet of docs/where-clustering-fails.md. The scenes are those of failing_scenes.py, the
answers those of failing_measure.py.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from failing_figures import draw_found, draw_shares, draw_stages
from failing_measure import HERE, RULES, Bools, Floats, Measured, measure
from failing_scenes import KINDS
from failing_sheet import write_sheet
from scenes import load_material
from tqdm import tqdm

from sacvit import load_checkpoint
from sacvit.export.write_bundle import export
from sacvit.machine.packages import versions
from sacvit.machine.processor import describe_machine
from sacvit.model.cost import count_cost
from sacvit.profiles.tuning.objects.intervals import bootstrap_mean, wilson
from sacvit.runtime.chain.pipeline import Pipeline

CONFIDENCE_EDGES = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)
LEAST_IN_BIN = 15  # scenes; bins with fewer are not reported
SHARE_EDGES = (0.0, 0.5, 0.8, 0.95, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/digits"))
    parser.add_argument("--scenes", type=int, default=500, help="Draw this many scenes of each kind.")
    parser.add_argument("--seed", type=int, default=30)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        bundle = export(HERE / "model.pth", Path(name) / "build")
        pipeline = Pipeline.load(bundle.ee, bundle.sac)
        material = load_material("test")
        kinds = {
            kind: measure(pipeline, material, kind, options.scenes, options.seed) for kind in tqdm(KINDS, disable=None)
        }
    numbers = {
        "scenes_per_kind": options.scenes,
        "seed": options.seed,
        "targets": kinds["usual"].targets,
        "blocks": pipeline.grid**2,
        "eta": pipeline.threshold,
        "largest_difference_of_logits": max(one.differences[0] for one in kinds.values()),
        "scenes_with_other_targets": sum(one.differences[1] for one in kinds.values()),
        "kinds": {kind: describe(one, pipeline.threshold) for kind, one in kinds.items()},
        "by_share": by_share(list(kinds.values())),
        "megamacs": megamacs(),
        "processor_s": round(time.process_time() - began),
        "machine": describe_machine(),
        "versions": versions(),
    }
    (options.out / "failing.json").write_text(json.dumps(numbers, indent=1) + "\n")
    draw_shares(numbers, options.out / "failing-shares.png")
    draw_stages(numbers, options.out / "failing-stages.png")
    draw_found(numbers, options.out / "failing-found.png")
    write_sheet(kinds, pipeline.grid, options.out / "failing-sheet.jpg")
    print(json.dumps(numbers["kinds"], indent=1))


def describe(one: Measured, eta: float) -> dict[str, Any]:
    """The numbers of a kind, as shares with the ends of their 95 % interval."""
    ee_right, sac_right = one.ee == one.labels, one.right("attention")
    exits = one.confidence >= np.float32(eta)
    places = np.digitize(one.confidence, CONFIDENCE_EDGES[1:-1])
    bins = [np.flatnonzero(places == place) for place in range(len(CONFIDENCE_EDGES) - 1)]
    second = np.array([-1 if scene.other is None else scene.other for scene in one.scenes])
    return {
        "scenes": len(one.scenes),
        "object_pixels": round(float(np.mean([scene.mask.sum() for scene in one.scenes])), 1),
        "blocks_with_object": round(float((one.per_block > 0).sum(1).mean()), 2),
        "confidence": mean(one.confidence),
        "top1": {
            "EE": rate(ee_right),
            **{f"SAC, {rule}": rate(one.right(rule)) for rule in RULES},
            "plain ViT": rate(one.plain == one.labels),
            "chain at eta": rate(np.where(exits, ee_right, sac_right)),
        },
        "exits": rate(exits),
        "exits_wrong": rate(exits & ~ee_right),
        "inside": {rule: mean(one.share[rule]) for rule in RULES},
        "lost": {
            "scene": rate(~one.right("oracle")),
            "selection": gap(one.right("oracle"), sac_right),
            "coarse": gap(sac_right, ee_right),
        },
        "over_attention": {rule: gap(one.right(rule), sac_right) for rule in RULES[1:]},
        "fixed_and_broken_by_oracle": [
            int((one.right("oracle") & ~sac_right).sum()),
            int((~one.right("oracle") & sac_right).sum()),
        ],
        "answers_of_the_second_object": None
        if (second < 0).all()
        else {"EE": rate(one.ee == second), "SAC": rate(one.answers["attention"] == second)},
        "by_confidence": [
            {
                "scenes": len(bin_),
                "confidence": round(float(one.confidence[bin_].mean()), 4),
                "inside": mean(one.share["attention"][bin_]),
                "ee_top1": rate(ee_right[bin_]),
                "sac_top1": rate(sac_right[bin_]),
                "oracle_top1": rate(one.right("oracle")[bin_]),
            }
            for bin_ in bins
            if len(bin_) >= LEAST_IN_BIN
        ],
        "against_attention": {rule: compare(one, rule) for rule in ("leave-one-out", "entropy")},
    }


def compare(one: Measured, rule: str) -> dict[str, Any]:
    """What a rule finds of the object and attention does not, and the reverse: shares of all object area."""

    def chosen(name: str) -> Bools:
        mask = np.zeros(one.per_block.shape, np.bool_)
        np.put_along_axis(mask, one.orders[name][:, : one.targets], True, 1)
        return mask

    mine, other = chosen("attention"), chosen(rule)
    parts = {
        "both": mine & other,
        "attention only": mine & ~other,
        "this rule only": ~mine & other,
        "neither": ~mine & ~other,
    }
    area = {name: (one.per_block * part).sum(1) for name, part in parts.items()}
    missed = area["this rule only"] + area["neither"]
    # A choice at random would find this of it, with as many blocks outside of attention's as this rule takes.
    by_chance = missed * (~mine & other).sum(1) / (~mine).sum(1)
    scenes = np.flatnonzero(missed > 0)
    return {
        "other_blocks": mean((~mine & other).sum(1) / one.targets),
        "area": {name: mean(values) for name, values in area.items()},
        "scenes_with_missed_area": len(scenes),
        "of_missed_area_found": ratio(area["this rule only"], missed),
        "of_missed_area_found_by_chance": ratio(by_chance, missed),
        "of_missed_area_found_over_chance": ratio(area["this rule only"] - by_chance, missed),
    }


def by_share(kinds: Sequence[Measured]) -> list[dict[str, Any]]:
    """All kinds together: SAC's accuracy by the share of the object inside attention's targets."""
    share = np.concatenate([one.share["attention"] for one in kinds])
    right, oracle = (np.concatenate([one.right(rule) for one in kinds]) for rule in ("attention", "oracle"))
    ee = np.concatenate([one.ee == one.labels for one in kinds])
    places = np.digitize(share, SHARE_EDGES[1:-1])
    return [
        {
            "least": SHARE_EDGES[place],
            "most": SHARE_EDGES[place + 1],
            "scenes": int((places == place).sum()),
            "ee_top1": rate(ee[places == place]),
            "sac_top1": rate(right[places == place]),
            "oracle_top1": rate(oracle[places == place]),
            "oracle_gain": gap(oracle[places == place], right[places == place]),
        }
        for place in range(len(SHARE_EDGES) - 1)
    ]


def megamacs() -> dict[str, float]:
    cost = count_cost(load_checkpoint(HERE / "model.pth").config)
    config = load_checkpoint(HERE / "model.pth").config
    return {
        "EE": round(cost.ee.macs / 1e6, 1),
        "SAC": round(cost.sac.macs / 1e6, 1),
        "entropy": round(config.blocks * config.width * config.classes / 1e6, 3),
        "leave-one-out": round(config.blocks * cost.ee.macs / 1e6, 1),
    }


def rate(right: Bools) -> dict[str, float]:
    low, high = wilson(int(right.sum()), len(right))
    return {"value": round(float(right.mean()), 4), "low": round(low, 4), "high": round(high, 4)}


def mean(values: Floats) -> dict[str, float]:
    low, high = bootstrap_mean(values)
    return {"value": round(float(values.mean()), 4), "low": round(low, 4), "high": round(high, 4)}


def gap(one: Bools, other: Bools) -> dict[str, float]:
    """The mean of a paired difference, on the same scenes."""
    return mean(one.astype(np.float64) - other)


def ratio(part: Floats, whole: Floats) -> dict[str, float] | None:
    """Of two sums over the same scenes, which are resampled together; None where the whole is nothing."""
    if not whole.sum():
        return None
    rng = np.random.default_rng(0)
    picks = [rng.integers(0, len(whole), len(whole)) for _ in range(1000)]
    low, high = np.quantile([part[pick].sum() / max(whole[pick].sum(), 1e-9) for pick in picks], (0.025, 0.975))
    value = float(part.sum() / whole.sum())
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


if __name__ == "__main__":
    main()
