"""A whole profile with its surroundings exchanged: power modes, power sources, a machine that changes under it."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from sacvit.bundle.errors import DeviceError, SacvitError, UsageError
from sacvit.bundle.goldens import read_goldens
from sacvit.bundle.manifest import Tuned
from sacvit.bundle.stored_gate import write_tuned
from sacvit.machine.jetson import PowerMode
from sacvit.profiles.conditions import watcher
from sacvit.profiles.conditions.state import MachineState
from sacvit.profiles.power.source import NoPower, PowerError
from sacvit.profiles.profile import profile_pair
from sacvit.profiles.reports.comparison import compare, differences
from sacvit.profiles.reports.profile_page import write_profile_page
from sacvit.profiles.reports.text import summary_lines
from sacvit.profiles.request import ProfileRequest
from sacvit.profiles.results.result import summarise
from sacvit.profiles.results.result_files import PROFILE_NAME, write_result
from sacvit.profiles.timing.contenders import PLAIN
from sacvit.profiles.timing.scenarios import SCENARIOS
from sacvit.profiles.timing.session import Session
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.engines.backends import read_record
from sacvit.runtime.engines.onnx import OnnxStage


@pytest.fixture
def request_(plain_bundle):
    return ProfileRequest(
        engine=(plain_bundle / "ee.onnx", plain_bundle / "sac.onnx"), iterations=3, warmup_ms=1.0, thresholds=[0.3]
    )


def profiled(request, folder, told=None, source=None, **options):
    return profile_pair(
        request,
        folder,
        lambda *_: None,
        (told if told is not None else []).append,
        open_source=lambda wanted, on_gpu: source or NoPower("none here"),
        **options,
    )


def page_of(store):
    """The text of the run's page."""
    write_result(summarise(store), store.folder / PROFILE_NAME)
    write_profile_page(store.folder, store.folder / "report.html")
    return (store.folder / "report.html").read_text()


class Modes:
    """A Jetson with modes 0 to 2, of which 1 wants a reboot."""

    def __init__(self):
        self.mode, self.history = 2, []

    def require(self, modes):
        pass

    def switch(self, mode):
        if mode == 1:
            raise DeviceError("power mode 1 (10W) needs a reboot")
        self.mode = mode
        self.history.append(mode)

    @contextmanager
    def restored(self):
        before = self.mode
        try:
            yield before
        finally:
            self.switch(before)


@pytest.fixture
def modes(monkeypatch):
    here = Modes()
    names = {0: "15W", 2: "MAXN"}
    monkeypatch.setattr(
        watcher, "read_state", lambda own_pids=(): MachineState(power_mode=PowerMode(here.mode, names[here.mode]))
    )
    return here


def test_every_power_mode_is_measured_and_the_old_one_restored(request_, modes, tmp_path):
    store = profiled(replace(request_, power_modes=[0, 2]), tmp_path, modes=modes)
    result = summarise(store)
    assert [mode["mode"] for mode in result["modes"]] == [0, 2] and modes.history == [0, 2, 2]
    assert "power mode 0 (15W)" in "\n".join(summary_lines(result))


def test_a_mode_that_needs_a_reboot_is_left_out_with_its_reason(request_, modes, tmp_path):
    told = []
    store = profiled(replace(request_, power_modes=[1, 0]), tmp_path, told, modes=modes)
    result = summarise(store)
    assert [mode["mode"] for mode in result["modes"]] == [0]
    assert result["skipped_modes"] == [{"mode": 1, "reason": "power mode 1 (10W) needs a reboot"}]
    assert "power mode 1 is skipped: power mode 1 (10W) needs a reboot" in told
    assert result["parts"]  # they belong to the first mode that could be set


def test_an_interruption_restores_the_mode(request_, modes, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        profiled(replace(request_, power_modes=[0]), tmp_path, modes=modes)
    assert modes.mode == 2


@pytest.mark.usefixtures("report_packages", "figures_as_labels")
def test_the_pages_of_a_sweep_have_a_part_for_every_mode(request_, modes, tmp_path):
    text = page_of(profiled(replace(request_, power_modes=[0, 2, 1]), tmp_path, modes=modes))
    assert text.index("Power mode 0 (15W)") < text.index("Power mode 2 (MAXN)") < text.index("needs a reboot")


@pytest.mark.usefixtures("report_packages", "figures_as_labels")
def test_over_current_during_the_run_invalidates_it_visibly(request_, tmp_path, monkeypatch):
    counts = iter(range(5, 100))
    monkeypatch.setattr(watcher, "read_state", lambda own_pids=(): MachineState(over_current={"oc3": next(counts)}))
    store = profiled(request_, tmp_path)
    result = summarise(store)
    assert not result["modes"][0]["valid"]
    assert any(line.startswith("INVALID: ") for line in summary_lines(result))
    assert "Do not use these numbers" in page_of(store)
    assert any("A is INVALID" in line for line in differences(result, result))


def test_a_throttle_that_came_and_went_during_the_run_invalidates_it_too(request_, tmp_path, monkeypatch):
    steps = iter([0, 0, 1, *[0] * 50])
    monkeypatch.setattr(
        watcher, "read_state", lambda own_pids=(): MachineState(cooling={"cpu-throttle-alert": next(steps)})
    )
    (mode,) = summarise(profiled(request_, tmp_path))["modes"]
    assert [change["invalidates"] for change in mode["changes"]] == [True] and not mode["valid"]


def test_one_change_is_told_once_however_often_it_was_seen(request_, tmp_path, monkeypatch):
    counts = iter(range(5, 100))
    monkeypatch.setattr(watcher, "read_state", lambda own_pids=(): MachineState(over_current={"oc3": next(counts)}))
    (mode,) = summarise(profiled(request_, tmp_path))["modes"]
    assert len(mode["changes"]) == 1


def test_a_run_is_not_continued_in_another_power_mode(request_, modes, tmp_path):
    modes.mode = 0
    profiled(request_, tmp_path)
    modes.mode = 2
    with pytest.raises(UsageError, match=r"power mode: 0 \(15W\), now 2 \(MAXN\)"):
        profiled(replace(request_, thresholds=[0.3, 0.4]), tmp_path)


def test_a_run_that_was_killed_is_not_called_valid(request_, tmp_path):
    store = profiled(request_, tmp_path)
    store.lines = [line for line in store.lines if line["kind"] != "state"]
    result = summarise(store)
    assert result["modes"][0]["valid"] is None
    assert "note: The run was killed: the state of the machine at its end is not known." in summary_lines(result)


def test_engines_of_one_fixed_batch_have_no_cost_by_path(plain_bundle, tiny_checkpoint, tmp_path):
    from sacvit.export.write_bundle import export

    folder = export(tiny_checkpoint, tmp_path / "b", batch=4, plain=True).folder
    request = ProfileRequest(
        engine=(folder / "ee.onnx", folder / "sac.onnx"),
        plain=folder / "plain.onnx",
        iterations=3,
        warmup_ms=1.0,
        batch=4,
    )
    told = summarise(profiled(request, tmp_path / "out"))["modes"][0]["break_even"]
    assert told["by_threshold"] is None and "one survivor of a batch" in told["reason"]


def test_a_mode_that_worked_the_second_time_is_no_longer_called_left_out(request_, modes, tmp_path):
    store = profiled(replace(request_, power_modes=[1]), tmp_path, modes=modes)
    assert summarise(store)["skipped_modes"]
    modes.switch = lambda mode: None
    assert not summarise(profiled(replace(request_, power_modes=[1]), tmp_path, modes=modes))["skipped_modes"]


def test_only_power_modes_that_both_runs_have_are_compared(request_, modes, tmp_path):
    first = summarise(profiled(replace(request_, power_modes=[0, 2]), tmp_path / "a", modes=modes))
    second = summarise(profiled(replace(request_, power_modes=[2]), tmp_path / "b", modes=modes))
    assert [label for label, _ in compare(first, second)] == ["2 (MAXN)"]


def test_the_source_is_closed_whatever_happens(request_, tmp_path, monkeypatch):
    class Source(NoPower):
        is_closed = False

        def close(self):
            self.is_closed = True

    source = Source("none")
    monkeypatch.setattr(Session, "run", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        profiled(request_, tmp_path, source=source)
    assert source.is_closed


def test_what_was_asked_for_by_name_and_is_missing_ends_the_run(request_, tmp_path):
    def missing(wanted, on_gpu):
        raise PowerError("no INA3221")

    with pytest.raises(PowerError, match="no INA3221"):
        profile_pair(request_, tmp_path, lambda *_: None, lambda line: None, open_source=missing)


def test_on_a_cpu_the_source_is_chosen_for_a_cpu(request_, tmp_path):
    seen = []
    profile_pair(
        request_,
        tmp_path,
        lambda *_: None,
        lambda line: None,
        open_source=lambda wanted, on_gpu: seen.append((wanted, on_gpu)) or NoPower("none"),
    )
    assert seen == [("auto", False)]


def test_images_that_cannot_be_read_are_reported_before_engines_are_loaded(request_, tmp_path, monkeypatch):
    monkeypatch.setattr(Pipeline, "load", lambda *_, **__: pytest.fail("engines were loaded"))
    with pytest.raises(SacvitError, match=r"missing\.mp4"):
        profiled(replace(request_, source=str(tmp_path / "missing.mp4")), tmp_path / "out")


def test_a_backend_without_times_by_layer_is_named_before_the_first_window(request_, tmp_path, monkeypatch):
    monkeypatch.setattr(
        OnnxStage, "reports_layers", property(lambda stage: False, lambda stage, value: None), raising=False
    )
    told = []
    store = profiled(replace(request_, layers=True), tmp_path / "out", told)
    assert told[0].startswith("--layers has no effect: ONNX Runtime") and not store.of("layers")


def test_on_a_gpu_the_source_is_chosen_for_a_gpu_and_graphs_are_told(make_plans, tmp_path):
    folder = make_plans("10.16")
    seen = []
    request = ProfileRequest(
        engine=(folder / "ee.plan", folder / "sac.plan"), iterations=3, warmup_ms=1.0, batch=4, layers=True
    )
    store = profile_pair(
        request,
        tmp_path / "out",
        lambda *_: None,
        lambda line: None,
        open_source=lambda wanted, on_gpu: seen.append(on_gpu) or NoPower("none"),
    )
    result = summarise(store)
    assert seen == [True]
    assert result["parts"][0]["switches"] == {
        "CUDA graph": True, "spin wait": False, "transfers": "included", "separate profile run": True
    }  # fmt: skip
    assert any(line.startswith("H2D Latency") for line in result["parts"][0]["summary"]["EE"])
    assert set(result["layers"][0]) == {"EE", "SAC"}


def test_exported_times_decide_as_the_pipeline_with_its_tuned_temperature(plain_bundle, tmp_path):
    folder, stored = tmp_path / "build", read_goldens(plain_bundle)
    shutil.copytree(plain_bundle, folder)
    ee = folder / "ee.onnx"
    write_tuned(ee, read_record(ee), Tuned(0.5, 3.0, "a test"))
    calibrated = [result.confidence for result in Pipeline.load(ee, folder / "sac.onnx")(list(stored.images))]
    write_tuned(ee, read_record(ee), Tuned(float(np.median(calibrated)), 3.0, "a test"))
    pipeline = Pipeline.load(ee, folder / "sac.onnx")
    expected = ["exit" if result.exits_early else "full" for result in pipeline(list(stored.images))]

    request = ProfileRequest(
        engine=(ee, folder / "sac.onnx"), iterations=3, warmup_ms=1.0, export_times=tmp_path / "times.json"
    )
    profiled(request, tmp_path / "out")

    rows = [row for row in json.loads((tmp_path / "times.json").read_text()) if row["stage"] == "EE"]
    assert [row["path"] for row in rows] == [expected[row["frame"]] for row in rows]
    assert {row["path"] for row in rows} == {"exit", "full"}
    assert [row["conf"] for row in rows] == [pytest.approx(calibrated[row["frame"]], abs=1e-5) for row in rows]


def test_windows_too_short_for_the_sensor_are_told_before_the_run_with_the_length_needed(request_, tmp_path, world):
    from sacvit.profiles.timing.schedule import foreword, plan_schedule

    lines = foreword(world, plan_schedule(world, 6.0, None, 200.0, 3), 9, [])
    assert lines[1] == (
        "no energy: a pretended sensor needs windows of 10 s, these have 2 s. Give --duration-s 30 or more"
    )


def test_offline_takes_the_largest_batch_and_one_window(request_, tmp_path):
    request = replace(request_, scenario="offline", iterations=None, duration_s=0.01)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SCENARIOS, "offline", replace(SCENARIOS["offline"], images=100))
        store = profiled(request, tmp_path)
    (line,) = store.of("window")
    assert store.lines[0]["batch"] == 64 and line["passes"] == 2 and line["images"] == 128


def test_two_runs_with_one_threshold_each_are_compared_by_it_though_it_differs(request_, tmp_path):
    first = summarise(profiled(request_, tmp_path / "a"))
    second = summarise(profiled(replace(request_, thresholds=[0.4]), tmp_path / "b"))
    names = [line.name for _, lines in compare(first, second) for line in lines]
    assert "eta 0.3 | eta 0.4: throughput" in names


def test_the_plain_vit_needs_no_gate_in_its_summary(request_, plain_bundle, tmp_path):
    store = profiled(replace(request_, plain=plain_bundle / "plain.onnx"), tmp_path)
    contender = json.loads(json.dumps(summarise(store)))["modes"][0]["contenders"][PLAIN]
    assert contender["exit_rate"] is None and set(contender["paths_ms"]) == {"all"}
    assert set(contender["stages_ms"]) == {"preprocess", "EE", "post"}
