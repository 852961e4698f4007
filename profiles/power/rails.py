"""Which power rails make up a module's total: by the names that a board prints. A parent is never added to its children.

Carrier, fan, disk and USB lie outside: a total here is the module's input, never the board's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Total:
    """A module's input: the sum of these rails, all of which must be there."""

    rails: tuple[str, ...]
    modules: str
    source: str


TOTALS = (
    Total(("VDD_IN",), "TX1, TX2, TX2 NX, Xavier NX, Orin Nano, Orin NX", "forums.developer.nvidia.com 200883; EML"),
    Total(("POM_5V_IN",), "Nano", "rbonghi/jetson_stats#51: its children must not be added"),
    Total(
        ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
        "AGX Orin",
        "VDDQ_VDD2_1V8AO lies inside VIN_SYS_5V0, which is no total itself: rbonghi/jetson_stats#344; EML",
    ),
    Total(
        ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
        "AGX Thor",
        "VIN, where a carrier measures it, is the kit's input and holds all three: rbonghi/jetson_stats#900",
    ),
    Total(("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"), "AGX Xavier", "forums.developer.nvidia.com 81016; EML"),
)


def total_of(rails_mw: Mapping[str, float]) -> tuple[float, Total] | None:
    """The module's power in mW and the rails that it is made of; None for a board that no row knows."""
    for total in TOTALS:
        if all(name in rails_mw for name in total.rails):
            return sum(rails_mw[name] for name in total.rails), total
    return None


# What one step of the current sensor is worth, where the source does not tell: read off logs of these boards.
STEPS_MW = {
    "VDD_CPU_GPU_CV": 40.0, "VDD_SOC": 40.0, "VDD_IN": 40.0,  # Orin Nano, Orin NX, Xavier NX; TX2's VDD_IN 38
    "VDD_GPU_SOC": 400.0, "VDD_CPU_CV": 400.0, "VIN_SYS_5V0": 100.0,  # AGX Orin
    "VDD_CPU_SOC_MSS": 379.0,  # AGX Thor
    "VDD_SYS_GPU": 76.0, "VDD_SYS_SOC": 76.0, "VDD_SYS_CPU": 76.0, "VDD_SYS_DDR": 76.0,  # TX2
}  # fmt: skip
