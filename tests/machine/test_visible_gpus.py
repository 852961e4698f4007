"""--device N, against a libcuda.so.1 that is compiled here. Two real GPUs have not been tried."""

from __future__ import annotations

import os
import shutil
import uuid

import pytest
from driver_stub import build_driver

from sacvit.bundle.errors import DeviceError, UsageError
from sacvit.commands.run import main
from sacvit.machine.visible_gpus import leave_visible, list_gpus

COMPILER = shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")
FIRST, SECOND = (f"GPU-{uuid.UUID(bytes=bytes([16 + number]) * 16)}" for number in range(2))


@pytest.fixture
def driver(tmp_path, monkeypatch):
    build_driver(tmp_path, COMPILER)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return lambda gpus: monkeypatch.setenv("STUB_GPUS", str(gpus))


@needs_compiler
def test_gpus_are_listed_with_name_and_identity(driver):
    driver(2)
    assert [tuple(gpu) for gpu in list_gpus()] == [("Stub 0", FIRST), ("Stub 1", SECOND)]


@needs_compiler
@pytest.mark.parametrize(("given", "left"), [({}, SECOND), ({"CUDA_VISIBLE_DEVICES": "3, 5"}, "5")])
def test_only_the_gpu_of_that_number_stays_visible(driver, given, left):
    driver(2)
    leave_visible(1, given)
    assert given == {"CUDA_VISIBLE_DEVICES": left}


@needs_compiler
def test_the_only_gpu_needs_no_choice(driver):
    driver(1)
    environment: dict[str, str] = {}
    leave_visible(0, environment)
    assert environment == {}


@needs_compiler
def test_a_number_that_does_not_exist_lists_those_that_do(driver):
    driver(2)
    with pytest.raises(DeviceError, match=r"--device 2: .*0: Stub 0; 1: Stub 1$"):
        leave_visible(2, {})


@needs_compiler
@pytest.mark.parametrize(("gpus", "said"), [(0, "machine: none"), (-999, "cuInit gives error 999")])
def test_a_driver_without_a_gpu_and_one_that_fails_are_reported(driver, gpus, said):
    driver(gpus)
    with pytest.raises(DeviceError, match=said):
        leave_visible(0, {})


def test_a_negative_number_is_refused_before_the_driver_is_asked():
    with pytest.raises(UsageError, match="--device must be at least 0, found -1"):
        leave_visible(-1, {})


@needs_compiler
def test_plans_run_on_the_gpu_of_that_number(driver, make_plans, video, monkeypatch, capsys):
    """On the stand-in for CUDA, which shows one GPU whatever the variable says."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    driver(2)
    folder = make_plans()
    words = ["--engine", str(folder / "ee.plan"), str(folder / "sac.plan"), "--camera", str(video)]
    assert main([*words, "--device", "1", "--num-frames", "2"]) == 0
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7" and "GPU 1: Stub 1" in capsys.readouterr().err


@needs_compiler
def test_a_missing_gpu_ends_the_command_with_5(driver, engines, video, capsys):
    driver(1)
    assert main(["--engine", *engines, "--camera", str(video), "--device", "1"]) == 5
    assert "0: Stub 0" in capsys.readouterr().err


@needs_compiler
def test_a_machine_where_cuda_does_not_work_is_no_reason_to_take_the_cpu(driver, engines, video, capsys):
    driver(1)
    assert main(["--engine", *engines, "--camera", str(video), "--device", "0"]) == 4
    assert "--provider cuda" in capsys.readouterr().err


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_a_gpu_for_what_runs_on_the_cpu_is_refused(engines, video, capsys, provider):
    assert main(["--engine", *engines, "--camera", str(video), "--device", "0", "--provider", provider]) == 2
    assert f"--provider {provider}, on no GPU of NVIDIA" in capsys.readouterr().err


def test_a_gpu_for_what_a_server_runs_is_refused(video, capsys):
    assert main(["--server", "http://127.0.0.1:1", "--camera", str(video), "--device", "0"]) == 2
    assert "with --server the server chooses" in capsys.readouterr().err
