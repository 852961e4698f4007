"""What Jetson modules can do at most: the GPU's dense peaks and the memory's bandwidth, in each power mode.

A mode caps clocks (and on some modules the number of SMs), never watts. DLA and 2:4 sparsity are left out: these models use
neither. A mode whose GPU clock no source tells is not here; `budget_w` is None where no source tells it. Sources were read in
public copies and quotations. Rates of an SM: 170 sparse = 85 dense INT8 TOPS of 16 SMs at 1.3 GHz (AGX Orin technical
brief), and 1035 sparse INT8, 517 sparse FP16 of 20 SMs at 1.575 GHz (THOR_BLOG).
"""

from __future__ import annotations

from dataclasses import dataclass

from ...bundle.errors import UsageError, nearest


@dataclass(frozen=True)
class Gpu:
    """Operations per SM and clock, a multiply-add being two: dense tensor cores for INT8 and FP16, CUDA cores for FP32."""

    name: str
    int8_ops: int
    fp16_ops: int
    fp32_ops: int


AMPERE = Gpu("Ampere", 4096, 2048, 256)  # Orin, sm_87
BLACKWELL = Gpu("Blackwell", 16384, 8192, 256)  # Thor, sm_110; 128 CUDA cores an SM: forums.developer.nvidia.com 356355


@dataclass(frozen=True)
class Mode:
    """One power mode: SMs that are on, clock caps in MHz, the width of the memory bus, nominal watts of the module."""

    name: str
    gpu: Gpu
    sms: int
    gpu_mhz: float
    memory_mhz: float  # LPDDR5 moves two bits a pin and clock
    bus_bits: int
    budget_w: float | None  # of a MAXN mode, which caps nothing: the module's stated maximum
    source: str

    @property
    def int8_tops(self) -> float:
        return self.sms * self.gpu.int8_ops * self.gpu_mhz / 1e6

    @property
    def fp16_tflops(self) -> float:
        return self.sms * self.gpu.fp16_ops * self.gpu_mhz / 1e6

    @property
    def fp32_tflops(self) -> float:
        return self.sms * self.gpu.fp32_ops * self.gpu_mhz / 1e6

    @property
    def memory_gb_s(self) -> float:
        return 2 * self.memory_mhz * self.bus_bits / 8 / 1e3


@dataclass(frozen=True)
class Board:
    """A module and its modes, fastest first: a bound for the first one holds in every mode."""

    name: str
    module: str
    modes: tuple[Mode, ...]
    l2_mib: float | None = None  # of the GPU
    l2_source: str = ""

    def mode(self, name: str | None = None) -> Mode:
        """The mode of this name, as nvpmodel spells it; the fastest one for None. Raises UsageError."""
        if name is None:
            return self.modes[0]
        for mode in self.modes:
            if mode.name == name.upper():
                return mode
        known = [mode.name for mode in self.modes]
        raise UsageError(f"{self.name} has no mode {name!r}{nearest(name.upper(), known)}; known: {', '.join(known)}")


NANO_DATA_SHEET = "Orin Nano data sheet, scribd.com/document/673174036: 625 MHz, 8GB 40 and 4GB 20 sparse INT8 TOPS"
SUPER = (  # GPU 1020 MHz on Orin Nano, 1173 MHz on Orin NX; 34, 67, 117, 157 sparse INT8 TOPS; 51 and 102 GB/s
    "developer.nvidia.com/blog/nvidia-jetpack-6-2-brings-super-mode-to-nvidia-jetson-orin-nano-and-jetson-orin-nx-modules"
)
NANO_CONF = "nvpmodel.conf of an Orin Nano 8GB, L4T R36: GPU 918 MHz, EMC 3199 MHz"
NX_SHEET = "Orin NX data sheet DS-10712-001: 1024 CUDA cores, 16GB 918 MHz and 15 FP16 TFLOPS, 102.4 GB/s, 25 W"
ARK = "github.com/ARK-Electronics/ark_jetson_kernel docs/power.md"  # and none of these modes needs a reboot: all SMs are on
AGX_BRIEF = "Jetson AGX Orin technical brief: 204.8 GB/s"
AGX_GUIDE = "docs.nvidia.com/jetson/archives/r36.4, Supported Modes and Power Efficiency: 8, 4 and 3 TPCs of two SMs"
AGX_WATTS = "module maximum: forums.developer.nvidia.com 323456"
AGX_32 = f"1792 CUDA cores, 930 MHz: github.com/huggingface/huggingface.js/pull/1333; {AGX_BRIEF}; {AGX_WATTS}"
THOR_BLOG = (
    "developer.nvidia.com/blog/introducing-nvidia-jetson-thor-the-ultimate-platform-for-physical-ai: 273 GB/s, 130 W"
)
T4000_BLOG = (
    "developer.nvidia.com/blog/accelerate-ai-inference-for-edge-and-robotics-with-nvidia-jetson-t4000-and-nvidia-jetpack-7-1:"
    " 1536 CUDA cores, 273 GB/s, 70 W; clock reckoned from its 1200 sparse FP4 TFLOPS"
)

BOARDS = {
    board.name: board
    for board in (
        Board(
            "orin-nano-4gb",
            "Jetson Orin Nano 4GB",
            (
                Mode("MAXN_SUPER", AMPERE, 4, 1020, 3199, 64, 25, SUPER),
                Mode(
                    "10W",
                    AMPERE,
                    4,
                    625,
                    2133,
                    64,
                    10,
                    f"{NANO_DATA_SHEET}; its 10W: github.com/OE4T/meta-tegra/pull/1268",
                ),
            ),
        ),
        Board(
            "orin-nano-8gb",
            "Jetson Orin Nano 8GB",
            (
                Mode("MAXN_SUPER", AMPERE, 8, 1020, 3199, 128, 25, SUPER),
                Mode("25W", AMPERE, 8, 918, 3199, 128, 25, NANO_CONF),
                # before Super, 68 GB/s; Super's own 15W caps the GPU at 612 MHz, so that the bound holds there too
                Mode("15W", AMPERE, 8, 625, 2133, 128, 15, NANO_DATA_SHEET),
            ),
        ),
        Board(
            "orin-nx-8gb",
            "Jetson Orin NX 8GB",
            (
                Mode("MAXN_SUPER", AMPERE, 8, 1173, 3199, 128, None, SUPER),
                Mode("MAXN", AMPERE, 8, 765, 3199, 128, 20, f"{SUPER}: 'from 765 MHz'; 20 W: resellers' tables only"),
            ),
            l2_mib=2,
            l2_source="as Orin NX 16GB",
        ),
        Board(
            "orin-nx-16gb",
            "Jetson Orin NX 16GB",
            (
                Mode("MAXN_SUPER", AMPERE, 8, 1173, 3199, 128, 40, f"{SUPER}; {ARK}"),
                Mode("40W", AMPERE, 8, 1173, 3199, 128, 40, ARK),
                Mode("MAXN", AMPERE, 8, 918, 3199, 128, 25, NX_SHEET),
                Mode("25W", AMPERE, 8, 408, 3199, 128, 25, ARK),
            ),
            l2_mib=2,
            l2_source="deviceQuery, gist.github.com/atinfinity/8cede915acda05d0ff427c09604735dd",
        ),
        Board(
            "agx-orin-32gb",
            "Jetson AGX Orin 32GB",
            (Mode("MAXN", AMPERE, 14, 930, 3200, 256, 40, AGX_32),),
            l2_mib=4,
            l2_source="as AGX Orin 64GB",
        ),
        Board(
            "agx-orin-64gb",
            "Jetson AGX Orin 64GB",
            (
                Mode("MAXN", AMPERE, 16, 1300, 3200, 256, 60, f"{AGX_BRIEF}, 2048 CUDA cores, 1.3 GHz; {AGX_WATTS}"),
                Mode("MODE_50W", AMPERE, 16, 816, 3200, 256, 50, AGX_GUIDE),
                Mode("MODE_30W", AMPERE, 8, 612, 3200, 256, 30, AGX_GUIDE),
                Mode("MODE_15W", AMPERE, 6, 408, 2133, 256, 15, AGX_GUIDE),
            ),
            l2_mib=4,
            l2_source="Jetson AGX Orin technical brief",
        ),
        Board(
            "agx-thor",
            "Jetson AGX Thor, module T5000",
            (Mode("MAXN", BLACKWELL, 20, 1575, 4266, 256, 130, THOR_BLOG),),
            l2_mib=32,
            l2_source="forums.developer.nvidia.com 356355",
        ),
        Board(
            "thor-t4000",
            "Jetson T4000",
            (Mode("MAXN", BLACKWELL, 12, 1526, 4266, 256, 70, T4000_BLOG),),
        ),
    )
}


def find_board(name: str) -> Board:
    """The module of this name. Raises UsageError that lists the known ones."""
    if name not in BOARDS:
        raise UsageError(f"no board {name!r}{nearest(name, BOARDS)}; known: {', '.join(BOARDS)}")
    return BOARDS[name]
