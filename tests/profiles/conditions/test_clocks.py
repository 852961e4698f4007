from __future__ import annotations

import pytest

from sacvit.profiles.conditions.clocks import ClockState

GPU, EMC = "sys/class/devfreq", "sys/kernel/debug/bpmp/debug/clk/emc"


def test_a_cpu_clock_is_in_mhz_with_its_governor(look):
    assert look("orin-nano").cpu_clocks == (
        ClockState("CPU policy0", "schedutil", 729.6, 1510.4, 1728.0, False),
        ClockState("CPU policy4", "schedutil", 729.6, 729.6, 1728.0, False),
    )


def test_policies_come_by_number(look):
    names = [clock.name for clock in look("pc").cpu_clocks]
    assert names == [f"CPU policy{number}" for number in range(32)]


@pytest.mark.parametrize(
    ("machine", "names"),
    [
        ("orin-nano", ["GPU 17000000.gpu"]),
        ("agx-orin", ["GPU 17000000.ga10b"]),
        ("xavier-nx", ["GPU 17000000.gv11b"]),
        ("thor", ["GPU gpu-gpc-0", "GPU gpu-nvd-0"]),
        ("pc", []),
    ],
)
def test_the_gpus_clocks_are_found_by_name(look, machine, names):
    assert [clock.name for clock in look(machine).gpu_clocks] == names


def test_a_gpu_clock_is_in_mhz(look):
    clock = look("orin-nano").gpu_clocks[0]
    assert (clock.min_mhz, clock.now_mhz, clock.max_mhz) == (306.0, 612.0, 1020.0)


@pytest.mark.parametrize(("machine", "pinned"), [("orin-nano", False), ("agx-orin", True)])
def test_a_clock_is_pinned_when_its_limits_are_one(look, machine, pinned):
    state = look(machine)
    assert [clock.pinned for clock in (*state.cpu_clocks, *state.gpu_clocks)] == [pinned] * 3


def test_a_clock_whose_limit_cannot_be_read_is_neither_pinned_nor_not(look):
    assert look("agx-orin", {f"{GPU}/17000000.ga10b/max_freq": "?"}).gpu_clocks[0].pinned is None


@pytest.mark.parametrize(("locked", "pinned"), [("0", False), ("1", True), ("", None)])
def test_the_memory_clock_of_the_boot_processor_is_pinned_by_its_lock(look, locked, pinned):
    state = look("orin-nano", {f"{EMC}/mrq_rate_locked": locked})
    assert state.memory_clock == ClockState("EMC", None, 204.0, 3199.0, 3199.0, pinned)


def test_the_memory_clock_of_a_thor_is_devfreqs(look):
    assert look("thor").memory_clock == ClockState("EMC", "userspace", 665.6, 4266.0, 4266.0, False)


def test_a_memory_clock_that_only_root_may_read_is_absent(look):
    assert look("agx-orin").memory_clock is None
