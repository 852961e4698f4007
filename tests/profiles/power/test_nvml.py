from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from sacvit.profiles.power.nvml import NvmlPower, open_device
from sacvit.profiles.power.source import PowerError


class NVMLError(Exception):
    """As nvidia-ml-py has it: made of a number, and its text is the reason."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return {3: "Not Supported", 6: "Not Found", 9: "Driver Not Loaded", 15: "GPU is lost"}[self.value]


class NVMLError_NotSupported(NVMLError):  # noqa: N801, N818
    def __init__(self, value: int = 3) -> None:
        super().__init__(value)


class Nvml:
    """The module `pynvml` on a machine with GPUs. An answer that is an exception is raised."""

    NVMLError = NVMLError
    NVMLError_NotSupported = NVMLError_NotSupported
    NVML_SUCCESS = 0
    NVML_FI_DEV_POWER_INSTANT = 186

    def __init__(self, *, energy_mj: Any = 5000, instant_mw: Any = 70000, usage_mw: Any = 65000, gpus: Any = 1) -> None:
        self.energy_mj, self.instant_mw, self.usage_mw, self.gpus = energy_mj, instant_mw, usage_mw, gpus
        self.start: Any = None
        self.running = 0  # as NVML counts: starts less ends
        self.starts = 0

    def nvmlInit(self) -> None:
        answer(self.start)
        self.running += 1
        self.starts += 1

    def nvmlShutdown(self) -> None:
        self.running -= 1

    def nvmlDeviceGetCount(self) -> Any:
        return answer(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        if index >= self.gpus:
            raise NVMLError(6)
        return f"GPU {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != "GPU-0a1b":
            raise NVMLError(6)
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, device: str) -> Any:
        return answer(self.energy_mj)

    def nvmlDeviceGetFieldValues(self, device: str, fields: list[int]) -> list[Any]:
        assert fields == [186]
        if isinstance(self.instant_mw, NVMLError):  # of one field: its own return value, and whatever stands in memory
            return [SimpleNamespace(nvmlReturn=self.instant_mw.value, value=SimpleNamespace(uiVal=4711))]
        return [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=self.instant_mw))]

    def nvmlDeviceGetPowerUsage(self, device: str) -> Any:
        return answer(self.usage_mw)


def answer(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


NO = NVMLError_NotSupported()


class OlderNvml(Nvml):
    """Knows no power at an instant."""

    def __getattribute__(self, name: str) -> Any:
        if name == "NVML_FI_DEV_POWER_INSTANT":
            raise AttributeError("module 'pynvml' has no attribute 'NVML_FI_DEV_POWER_INSTANT'")
        return super().__getattribute__(name)


class OrinNvml(Nvml):
    """Starts, counts one GPU, and supports nothing else."""

    def __init__(self) -> None:
        super().__init__(energy_mj=NO, instant_mw=NO, usage_mw=NO)


@pytest.fixture(autouse=True)
def no_choice_of_gpus(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)


def rails_of(power: NvmlPower) -> dict[str, float]:
    (reading,) = power.read()
    return dict(reading.rails)


# -- the way to power -------------------------------------------------------------------------------------------------

WAYS = {
    "energy counter": {},
    "instantaneous power": {"energy_mj": NO},
    "power usage": {"energy_mj": NO, "instant_mw": NO},
}


@pytest.mark.parametrize("way", WAYS)
def test_the_best_way_that_answers_is_taken(way):
    assert NvmlPower(nvml=Nvml(**WAYS[way])).name == f"NVML, {way}"


@pytest.mark.parametrize(
    ("way", "value"), [("energy counter", 5000), ("instantaneous power", 70000), ("power usage", 65000)]
)
def test_every_way_gives_nvmls_number(way, value):
    assert rails_of(NvmlPower(nvml=Nvml(**WAYS[way]))) == {"GPU board": value}


@pytest.mark.parametrize(
    ("way", "kind"), [("energy counter", "energy"), ("instantaneous power", "power"), ("power usage", "power")]
)
def test_every_way_says_whether_it_counts_energy(way, kind):
    assert NvmlPower(nvml=Nvml(**WAYS[way])).kind == kind


@pytest.mark.parametrize(
    ("way", "filter_s"), [("energy counter", 0.1), ("instantaneous power", 0.1), ("power usage", 1.0)]
)
def test_every_way_has_its_own_filter(way, filter_s):
    assert NvmlPower(nvml=Nvml(**WAYS[way])).sensors["GPU board"].filter_s == filter_s


def test_a_counter_that_stands_at_zero_is_not_taken():
    assert NvmlPower(nvml=Nvml(energy_mj=0)).kind == "power"


def test_a_power_of_zero_is_not_taken():
    assert NvmlPower(nvml=Nvml(energy_mj=NO, instant_mw=0)).name == "NVML, power usage"


def test_a_library_without_power_at_an_instant_gives_the_mean():
    assert NvmlPower(nvml=OlderNvml(energy_mj=NO)).name == "NVML, power usage"


def test_the_board_is_the_total():
    assert NvmlPower(nvml=Nvml()).total_rails == ("GPU board",)


def test_a_reading_stands_in_the_middle_of_its_duration():
    ticks = iter([1.0, 4.0])
    (reading,) = NvmlPower(clock=lambda: next(ticks), nvml=Nvml()).read()
    assert reading.time_s == 2.5


# -- no power ---------------------------------------------------------------------------------------------------------


def test_an_orin_starts_and_has_no_power_for_a_reason_of_every_way():
    reasons = "energy counter: Not Supported; instantaneous power: Not Supported; power usage: Not Supported"
    with pytest.raises(PowerError, match=rf"NVML starts but reports no power \({reasons}\)"):
        NvmlPower(nvml=OrinNvml())


def test_a_gpu_whose_every_number_is_zero_has_no_power():
    with pytest.raises(PowerError, match=r"\(energy counter: 0; instantaneous power: 0; power usage: 0\)"):
        NvmlPower(nvml=Nvml(energy_mj=0, instant_mw=0, usage_mw=0))


def test_nvml_that_was_started_in_vain_is_ended():
    nvml = OrinNvml()
    with pytest.raises(PowerError):
        NvmlPower(nvml=nvml)
    assert (nvml.starts, nvml.running) == (1, 0)


def test_nvml_that_does_not_start_gives_its_reason():
    nvml = Nvml()
    nvml.start = NVMLError(9)
    with pytest.raises(PowerError, match="NVML does not start: Driver Not Loaded"):
        NvmlPower(nvml=nvml)


def test_nvml_that_does_not_start_is_not_ended():
    nvml = Nvml()
    nvml.start = NVMLError(9)
    with pytest.raises(PowerError):
        NvmlPower(nvml=nvml)
    assert nvml.running == 0


def test_nvml_runs_until_it_is_closed():
    nvml = Nvml()
    power = NvmlPower(nvml=nvml)
    before = nvml.running
    power.close()
    assert (before, nvml.running) == (1, 0)


@pytest.mark.parametrize("way", ["energy_mj", "instant_mw", "usage_mw"])
def test_a_gpu_that_is_lost_in_the_middle_is_an_error(way):
    nvml = Nvml(**{other: NO for other in ("energy_mj", "instant_mw", "usage_mw") if other != way})
    power = NvmlPower(nvml=nvml)
    setattr(nvml, way, NVMLError(15))
    with pytest.raises(PowerError, match="GPU is lost"):
        power.read()


def test_without_nvidia_ml_py_the_cure_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(PowerError, match=r"pip install 'sacvit\[nvml\]'"):
        NvmlPower()


def test_the_module_that_is_installed_is_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(energy_mj=1234))
    assert rails_of(NvmlPower()) == {"GPU board": 1234}


# -- which GPU --------------------------------------------------------------------------------------------------------


def test_a_machine_with_one_gpu_uses_that():
    assert open_device(Nvml()) == "GPU 0"


@pytest.mark.parametrize(
    ("visible", "device"),
    [
        ("0", "GPU 0"),
        ("2", "GPU 2"),
        ("3,1", "GPU 3"),
        (" 1 , 2", "GPU 1"),
        ("GPU-0a1b", "GPU-0a1b"),
        ("GPU-0a1b,0", "GPU-0a1b"),
    ],
)
def test_the_first_gpu_that_cuda_sees_is_measured(monkeypatch, visible, device):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert open_device(Nvml(gpus=4)) == device


@pytest.mark.parametrize("order", [None, "FASTEST_FIRST"])
def test_among_several_gpus_a_number_is_refused_where_cuda_counts_otherwise(monkeypatch, order):
    if order is not None:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    with pytest.raises(PowerError, match="several GPUs: set CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        open_device(Nvml(gpus=2))


def test_among_several_gpus_a_uuid_needs_no_order(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-0a1b")
    assert open_device(Nvml(gpus=2)) == "GPU-0a1b"


@pytest.mark.parametrize("visible", ["MIG-0a1b", "MIG-GPU-0a1b/1/0", "", "-1", "all"])
def test_what_is_no_whole_gpu_is_refused(monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(PowerError, match=f"CUDA_VISIBLE_DEVICES={visible}: power is of whole GPUs"):
        open_device(Nvml())


@pytest.mark.parametrize("visible", ["1", "GPU-ffff"])
def test_a_gpu_that_is_not_there_is_named(monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(PowerError, match=f"NVML finds no GPU {visible}: Not Found"):
        open_device(Nvml())


def test_gpus_that_cannot_be_counted_are_an_error():
    with pytest.raises(PowerError, match="NVML finds no GPU 0: Not Supported"):
        open_device(Nvml(gpus=NO))


def test_a_refusal_of_the_gpu_ends_nvml(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-0a1b")
    nvml = Nvml()
    with pytest.raises(PowerError):
        NvmlPower(nvml=nvml)
    assert (nvml.starts, nvml.running) == (1, 0)
