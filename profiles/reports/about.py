"""The head of a page: date, host, model, accuracy where it is known, and the work per image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...bundle.errors import ConfigError
from ...model.config import FAMILY_NAMES, PRESETS, ModelConfig
from ...model.cost import count_cost
from ..results.profile_shape import Profile
from ..results.tune_shape import Tune

About = list[tuple[str, str]]


def about_model(model: Mapping[str, Any], exit_rate: float | None) -> About:
    """The model's name and its MACs per image: of both stages, of the plain ViT, and of the chain at this exit rate."""
    try:
        config = ModelConfig.from_dict(dict(model))
    except ConfigError:
        return [("Model", "its geometry is not known")]
    cost, size = count_cost(config), config.image_size
    geometry = f"width {config.width}, depth {config.depth}"
    if config.levels:
        geometry += f" behind levels of {', '.join(map(str, config.levels))}"
    shape = (config.width, config.depth, config.levels)
    known = [name for name, one in PRESETS.items() if (one.width, one.depth, one.levels) == shape]
    name = f"{known[0]} ({geometry})" if known else f"{FAMILY_NAMES[config.family]} of {geometry}"
    macs = [f"EE {_macs(cost.ee.macs)}", f"SAC {_macs(cost.sac.macs)}", f"plain ViT {_macs(cost.plain.macs)}"]
    if exit_rate is not None:
        macs.insert(0, f"chain {_macs(cost.chain_macs(exit_rate))} at {100 * exit_rate:.1f} % exits")
    return [
        (
            "Model",
            f"{name}, {size} x {size} pixels, {config.targets} of {config.blocks} blocks fine, {config.classes} classes",
        ),
        ("MACs per image", ", ".join(macs)),
    ]


def about_engines(result: Profile | Tune) -> tuple[str, str]:
    files = ", ".join(f"{one['file']} ({one['precision']})" for one in result["engines"].values())
    return "Engines", f"{files}; {result['backend']}, batch {result['batch']}"


def day_of(date: str) -> str:
    """The day and minute of a time as it was stored: 2026-11-26T00:34:26+0000."""
    return date[:16].replace("T", " ")


def _macs(count: float) -> str:
    return f"{count / 1e9:.3g} G" if count >= 1e9 else f"{count / 1e6:.3g} M"
