from __future__ import annotations

from types import SimpleNamespace

import pytest

from sacvit.profiles.conditions.gpu import NvmlState, name_reasons, read_nvml_state


class NVMLError(Exception):
    pass


class WorkingNvml:
    """A data-center GPU that supports everything; notes when it is started and ended."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    reasons = 0x1

    def __init__(self) -> None:
        self.log: list[str] = []

    def nvmlInit(self) -> None:
        self.log.append("start")

    def nvmlShutdown(self) -> None:
        self.log.append("end")

    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.86.15"

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        if index:
            raise NVMLError("Invalid Argument")
        return "handle"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != "GPU-1":
            raise NVMLError("Not Found")
        return "handle"

    def nvmlDeviceGetName(self, handle: str) -> str:
        return "NVIDIA H200"

    def nvmlDeviceGetClockInfo(self, handle: str, clock: int) -> int:
        return {1: 345, 2: 3201}[clock]

    def nvmlDeviceGetMaxClockInfo(self, handle: str, clock: int) -> int:
        return {1: 1980, 2: 3202}[clock]

    def nvmlDeviceGetTemperatureV(self, handle: str, sensor: int) -> int:
        return 31

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: str) -> int:
        return 700000

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:
        return self.reasons


class OlderNvml(WorkingNvml):
    """Before R535 and CUDA 13: other names, and bytes for text."""

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:
        raise NVMLError("Function Not Found")

    def nvmlDeviceGetTemperatureV(self, handle: str, sensor: int) -> int:
        raise NVMLError("Function Not Found")

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:
        return 0x24

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        return 84

    def nvmlDeviceGetName(self, handle: str) -> bytes:
        return b"Quadro"


class OrinNvml(WorkingNvml):
    """Starts, counts one GPU and names it; all else is not supported."""

    def __getattribute__(self, name: str) -> object:
        known = {"log", "nvmlInit", "nvmlShutdown", "NVMLError", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"}
        if name.startswith("nvml") and name not in known | {"nvmlDeviceGetName"}:
            return _not_supported
        return super().__getattribute__(name)

    def nvmlDeviceGetName(self, handle: str) -> str:
        return "Orin (nvgpu)"


class DeafNvml(WorkingNvml):
    """Starts, and then supports nothing."""

    def __getattribute__(self, name: str) -> object:
        if name.startswith("nvml") and name not in {"nvmlInit", "nvmlShutdown"}:
            return _not_supported
        return super().__getattribute__(name)


class DriverlessNvml(WorkingNvml):
    def nvmlInit(self) -> None:
        raise NVMLError("Driver Not Loaded")


def _not_supported(*_: object) -> None:
    raise NVMLError("Not Supported")


@pytest.fixture(autouse=True)
def no_choice_of_gpus(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_without_nvml_there_is_no_word_of_it():
    assert read_nvml_state(None) is None


def test_a_desktop_gpu_tells_everything():
    assert read_nvml_state(WorkingNvml()) == NvmlState(
        "NVIDIA H200", "570.86.15", 345, 1980, 3201, 3202, 31, 700000, ("idle",), None
    )


def test_an_older_library_is_asked_by_its_own_names():
    state = read_nvml_state(OlderNvml())
    assert state is not None
    assert (state.gpu, state.temperature_c, state.reasons) == ("Quadro", 84, ("SW power cap", "SW thermal slowdown"))


def test_an_orin_tells_its_name_alone():
    assert read_nvml_state(OrinNvml()) == NvmlState(gpu="Orin (nvgpu)")


def test_a_library_that_supports_nothing_gives_the_reason():
    assert read_nvml_state(DeafNvml()) == NvmlState(unavailable="NVML finds no GPU 0: Not Supported")


def test_a_machine_without_a_driver_gives_the_reason():
    assert read_nvml_state(DriverlessNvml()) == NvmlState(unavailable="NVML does not start: Driver Not Loaded")


@pytest.mark.parametrize("library", [WorkingNvml, OrinNvml, DeafNvml])
def test_nvml_is_ended_after_the_look_for_it_does_not_survive_a_fork(library):
    nvml = library()
    read_nvml_state(nvml)
    assert nvml.log == ["start", "end"]


def test_a_library_that_did_not_start_is_not_ended():
    nvml = DriverlessNvml()
    read_nvml_state(nvml)
    assert nvml.log == []


@pytest.mark.parametrize("chosen", ["0", "GPU-1", "0,1"])
def test_the_gpu_that_cuda_sees_first_is_the_one(monkeypatch, chosen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    state = read_nvml_state(WorkingNvml())
    assert state is not None and state.gpu == "NVIDIA H200"


@pytest.mark.parametrize("chosen", ["MIG-8ab1", "MIG-GPU-1/1/0", "", "-1", "1", "GPU-2"])
def test_a_gpu_that_nvml_cannot_look_at_leaves_a_reason(monkeypatch, chosen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    state = read_nvml_state(WorkingNvml())
    assert state is not None and state == NvmlState(unavailable=state.unavailable) and state.unavailable


@pytest.mark.parametrize("error", [AttributeError, OSError, UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")])
def test_a_library_of_another_kind_ends_no_look(error):
    def fail(*_: object) -> None:
        raise error

    assert read_nvml_state(SimpleNamespace(nvmlInit=lambda: None, nvmlShutdown=fail)) is not None
    assert read_nvml_state(SimpleNamespace(nvmlInit=fail)) is not None


def test_a_library_that_fails_to_load_is_as_good_as_none(look):
    def find() -> object:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    assert look("empty", {}, find_nvml=find).nvml is None


def test_nvml_is_part_of_the_look(look):
    state = look("pc", find_nvml=WorkingNvml)
    assert state.nvml is not None and state.nvml.gpu == "NVIDIA H200"


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        (0x0, ()),
        (0x48, ("HW slowdown", "HW thermal slowdown")),
        (0x80, ("HW power brake",)),
        (0x205, ("idle", "SW power cap", "0x200")),
    ],
)
def test_the_bits_of_the_clocks_reasons_have_names(mask, names):
    assert name_reasons(mask) == names
