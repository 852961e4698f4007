from __future__ import annotations

from dataclasses import replace

import pytest

from sacvit.machine.jetson import PowerMode
from sacvit.profiles.conditions.clocks import ClockState
from sacvit.profiles.conditions.gpu import NvmlState
from sacvit.profiles.conditions.state import MachineState
from sacvit.profiles.conditions.validity import Change, describe_changes

JETSON = MachineState(
    board="NVIDIA Jetson Orin Nano Developer Kit",
    l4t="36.4.3",
    cores=6,
    power_mode=PowerMode(2, "MAXN_SUPER"),
    nvpmodel_table="aaaaaaaaaaaa",
    cpu_clocks=(ClockState("CPU policy0", "schedutil", 1728.0, 1728.0, 1728.0, True),),
    gpu_clocks=(ClockState("GPU 17000000.gpu", "nvhost_podgov", 1020.0, 1020.0, 1020.0, True),),
    memory_clock=ClockState("EMC", None, 204.0, 3199.0, 3199.0, True),
    temperatures_c={"tj-thermal": 50.0},
    cooling={"cpu-throttle-alert": 0},
    over_current={"oc1": 0, "oc3": 179},
    used_swap_mib=0,
    load_1min=0.5,
    nvml=NvmlState("Orin (nvgpu)"),
)
DESKTOP = MachineState(nvml=NvmlState("NVIDIA H200", power_limit_mw=700000, reasons=("idle",)))


def clock(low: float, now: float, high: float, governor: str | None = "nvhost_podgov") -> ClockState:
    return ClockState("GPU 17000000.gpu", governor, low, now, high, low == high)


def gpu(low: float, now: float, high: float, governor: str | None = "nvhost_podgov") -> MachineState:
    return replace(JETSON, gpu_clocks=(clock(low, now, high, governor),))


def only(before: MachineState, after: MachineState) -> Change:
    (change,) = describe_changes(before, after)
    return change


def held_by(*reasons: str) -> MachineState:
    return replace(DESKTOP, nvml=NvmlState("NVIDIA H200", power_limit_mw=700000, reasons=reasons))


@pytest.mark.parametrize("state", [JETSON, DESKTOP, MachineState()])
def test_a_machine_that_stays_as_it_is_has_no_changes(state):
    assert describe_changes(state, state) == []


@pytest.mark.parametrize("machine", ["orin-nano", "thor", "pc"])
def test_nothing_is_a_change_only_because_one_look_did_not_see_it(look, machine):
    seen = replace(look(machine), cooling={}, measuring=(), load_1min=None)
    assert describe_changes(seen, MachineState()) == describe_changes(MachineState(), seen) == []


INVALIDATING = {
    "power mode": (JETSON, replace(JETSON, power_mode=PowerMode(0, "15W")), "from 2 (MAXN_SUPER) to 0 (15W)"),
    "power mode without names": (
        replace(JETSON, power_mode=PowerMode(2)),
        replace(JETSON, power_mode=PowerMode(0)),
        "2 to 0",
    ),
    "power table": (JETSON, replace(JETSON, nvpmodel_table="bbbbbbbbbbbb"), "nvpmodel.conf changed"),
    "cores": (JETSON, replace(JETSON, cores=4), "number of cores changed from 6 to 4"),
    "unpinned": (JETSON, gpu(306, 612, 1020), "GPU 17000000.gpu (1020 MHz before, 306 to 1020 now)"),
    "unpinned cure": (JETSON, gpu(306, 612, 1020), "sudo jetson_clocks"),
    "unlocked memory": (
        JETSON,
        replace(JETSON, memory_clock=ClockState("EMC", None, 204.0, 3199.0, 3199.0, False)),
        "no longer pinned: EMC",
    ),
    "pinned elsewhere": (JETSON, gpu(612, 612, 612), "clock limits changed: GPU 17000000.gpu (1020 MHz before, 612"),
    "upper limit": (gpu(306, 612, 1020), gpu(306, 612, 918), "306 to 1020 MHz before, 306 to 918 now"),
    "lower limit": (gpu(306, 612, 1020), gpu(408, 612, 1020), "306 to 1020 MHz before, 408 to 1020 now"),
    "pinned meanwhile": (gpu(306, 612, 1020), gpu(1020, 1020, 1020), "clock limits changed"),
    "governor": (gpu(306, 612, 1020), gpu(306, 612, 1020, "performance"), "nvhost_podgov to performance"),
    "over-current": (
        JETSON,
        replace(JETSON, over_current={"oc1": 2, "oc3": 200}),
        "oc1 (under-voltage) by 2, oc3 (peak power) by 21; each lowers the clocks for a moment. Use a better supply",
    ),
    "throttled before": (replace(JETSON, cooling={"gpu-throttle-alert": 1}), JETSON, "gpu-throttle-alert at 1 before"),
    "throttled after": (JETSON, replace(JETSON, cooling={"gpu-throttle-alert": 1}), "gpu-throttle-alert at 1 after"),
    "swap": (JETSON, replace(JETSON, used_swap_mib=17), "swap grew by 17 MiB"),
    "band of Orin": (JETSON, replace(JETSON, temperatures_c={"tj-thermal": 99.0}), "tj-thermal is at 99 C"),
    "HW slowdown": (DESKTOP, held_by("HW slowdown"), "HW slowdown after"),
    "HW thermal slowdown": (DESKTOP, held_by("HW thermal slowdown"), "HW thermal slowdown after"),
    "SW thermal slowdown": (held_by("SW thermal slowdown"), DESKTOP, "SW thermal slowdown before"),
    "HW power brake": (DESKTOP, held_by("HW power brake"), "HW power brake after"),
    "power limit": (DESKTOP, replace(DESKTOP, nvml=NvmlState(power_limit_mw=350000)), "from 700 to 350 W"),
}


@pytest.mark.parametrize("name", INVALIDATING)
def test_what_makes_numbers_invalid_is_said_with_what_and_how_much(name):
    before, after, text = INVALIDATING[name]
    change = only(before, after)
    assert text in change.text and change.invalidates


TOLD = {
    "drift": (gpu(306, 306, 1020), gpu(306, 1020, 1020), "GPU 17000000.gpu 306 to 1020 MHz"),
    "drift cure": (gpu(306, 306, 1020), gpu(306, 1020, 1020), "sudo jetson_clocks"),
    "SW power cap": (DESKTOP, held_by("SW power cap"), "power limit"),
    "company": (JETSON, replace(JETSON, measuring=("jtop (process 812)",)), "jtop (process 812)"),
    "busy": (replace(JETSON, load_1min=1.6), JETSON, "load 1.6 on 6 cores"),
    "hot, band unknown": (DESKTOP, replace(DESKTOP, temperatures_c={"x86_pkg_temp": 91.0}), "x86_pkg_temp is at 91 C"),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_is_only_worth_telling_does_not_invalidate(name):
    before, after, text = TOLD[name]
    change = only(before, after)
    assert text in change.text and not change.invalidates


UNREMARKABLE = {
    "swap within its noise": (JETSON, replace(JETSON, used_swap_mib=16)),
    "swap that shrank": (replace(JETSON, used_swap_mib=500), JETSON),
    "old over-current events": (JETSON, replace(JETSON, over_current={"oc3": 179})),
    "counters of a machine that started anew": (JETSON, replace(JETSON, over_current={"oc3": 0})),
    "a counter that appeared": (replace(JETSON, over_current={}), JETSON),
    "a clock within a hundredth": (gpu(306, 1000, 1020), gpu(306, 1009, 1020)),
    "a pinned clock's own ripple": (JETSON, gpu(1020, 1000, 1020)),
    "a name that one look lacks": (JETSON, replace(JETSON, power_mode=PowerMode(2))),
    "just below the band": (JETSON, replace(JETSON, temperatures_c={"tj-thermal": 98.5})),
    "a load of our own making": (JETSON, replace(JETSON, load_1min=6.0)),
    "a usual load": (replace(JETSON, load_1min=1.5), JETSON),
    "application clocks": (DESKTOP, held_by("application clocks")),
    "a clock that cannot be judged": (
        replace(JETSON, gpu_clocks=(ClockState("GPU g", None, None, 306.0, None, None),)),
        replace(JETSON, gpu_clocks=(ClockState("GPU g", None, None, 918.0, None, None),)),
    ),
}


@pytest.mark.parametrize("name", UNREMARKABLE)
def test_what_does_not_matter_is_not_told(name):
    assert describe_changes(*UNREMARKABLE[name]) == []


def test_what_invalidates_comes_first():
    before = replace(gpu(306, 306, 1020), load_1min=6.0)
    after = replace(gpu(306, 918, 1020), used_swap_mib=100)
    assert [change.invalidates for change in describe_changes(before, after)] == [True, False, False]


def test_the_cure_for_a_pcs_clocks_is_not_jetson_clocks():
    before, after = (MachineState(cpu_clocks=(replace(clock(2200, now, 3400), name="CPU 0"),)) for now in (2200, 3400))
    change = only(before, after)
    assert "cpupower" in change.text and "jetson" not in change.text


def test_many_clocks_are_told_in_a_few_words(look):
    before = look("pc")
    after = replace(before, cpu_clocks=tuple(replace(one, now_mhz=3400.0) for one in before.cpu_clocks))
    change = only(before, after)
    assert "and 28 more" in change.text and len(change.text) < 300


def test_a_thor_slows_down_later_than_an_orin():
    thor = MachineState(board="NVIDIA Jetson AGX Thor Developer Kit", temperatures_c={"tj": 105.0})
    assert describe_changes(thor, thor) == []
