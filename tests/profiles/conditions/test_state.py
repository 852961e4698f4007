from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sacvit.machine.jetson import PowerMode
from sacvit.profiles.conditions.state import MachineState
from sacvit.profiles.conditions.state_text import state_rows
from sacvit.profiles.conditions.validity import describe_changes


def test_a_board_tells_its_name_and_system(look):
    state = look("orin-nano")
    assert (state.board, state.l4t, state.jetpack, state.kernel) == (
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "36.4.3", "JetPack 6", "5.15.148-tegra",
    )  # fmt: skip


@pytest.mark.parametrize(("machine", "jetpack"), [("xavier-nx", "JetPack 5"), ("thor", "JetPack 7"), ("pc", None)])
def test_the_jetpack_follows_from_jetson_linux(look, machine, jetpack):
    assert look(machine).jetpack == jetpack


def test_a_jetson_linux_that_nobody_knows_has_no_jetpack(look):
    state = look("empty", {"etc/nv_tegra_release": "# R77 (release), REVISION: 1.0\n"})
    assert (state.l4t, state.jetpack) == ("77.1.0", None)


@pytest.mark.parametrize(
    ("machine", "is_jetson"), [("orin-nano", True), ("agx-orin", True), ("thor", True), ("pc", False), ("empty", False)]
)
def test_a_jetson_is_told_from_a_pc(look, machine, is_jetson):
    assert look(machine).is_jetson is is_jetson


def test_a_container_without_the_release_file_is_still_a_jetson():
    assert MachineState(board="NVIDIA Jetson AGX Orin Developer Kit").is_jetson


def test_the_power_mode_has_id_name_and_where_it_was_read(look):
    state = look("orin-nano")
    assert (state.power_mode, state.power_mode_source) == (PowerMode(2, "MAXN_SUPER"), "/var/lib/nvpmodel/status")


def test_without_a_note_the_tool_is_asked_for_the_power_mode(look, tmp_path):
    tool = tmp_path / "nvpmodel"
    tool.write_text("#!/bin/sh\nprintf 'NV Fan Mode:quiet\\nNV Power Mode: MODE_15W\\n2\\n'\n")
    tool.chmod(0o755)
    state = look("xavier-nx", nvpmodel=tool)
    assert (state.power_mode, state.power_mode_source) == (PowerMode(2, "MODE_15W"), "nvpmodel -q")


def test_the_power_table_is_known_by_its_hash(look, tmp_path):
    state = look("orin-nano")
    table = (tmp_path / "etc/nvpmodel.conf").read_bytes()
    assert state.nvpmodel_table == hashlib.sha256(table).hexdigest()[:12]


def test_cores_are_those_that_are_online_and_open_to_the_process(look):
    assert look("orin-nano").cores == 6


def test_memory_is_in_mib(look):
    lines = "MemAvailable: 5242880 kB\nSwapTotal: 3145728 kB\nSwapFree: 2097152 kB\n"
    state = look("empty", {"proc/meminfo": lines})
    assert (state.available_memory_mib, state.used_swap_mib) == (5120, 1024)


def test_the_load_is_that_of_the_last_minute(look):
    assert look("orin-nano").load_1min == 0.12


def test_other_programs_that_measure_are_named_with_their_process(look):
    assert look("orin-nano").measuring == ("jtop (process 812)", "tegrastats (process 900)")


def test_our_own_tegrastats_is_not_another_program(look):
    assert look("orin-nano", own_pids=[900]).measuring == ("jtop (process 812)",)


def test_an_empty_machine_tells_nothing(look):
    assert look("empty") == MachineState()


def test_a_state_is_the_same_after_json(look):
    state = look("orin-nano").to_dict()
    lists = json.loads(json.dumps(state, allow_nan=False))
    assert lists == {key: list(value) if isinstance(value, tuple) else value for key, value in state.items()}


ANYTHING = st.one_of(
    st.binary(max_size=60),
    st.from_regex(r"-?[0-9]{1,30}\n?", fullmatch=True).map(str.encode),
    st.from_regex(r"[0-9]{1,12}[-.,:][0-9]{1,400}[ \n]?", fullmatch=True).map(str.encode),
    st.sampled_from([b"pmode:" + b"9" * 5000, b"MemAvailable: x kB", b"SwapTotal:", b"# R36 (release), REVISION: 4.3"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_files_hold_a_look_ends_in_json_and_text(look, tmp_path, data):
    whole = look("orin-nano")
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    for path in data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=12, unique=True)):
        path.write_bytes(data.draw(ANYTHING))
    state = look("empty")
    json.dumps(state.to_dict(), allow_nan=False)
    state_rows(state)
    describe_changes(MachineState(), state)
    describe_changes(state, whole)


@pytest.mark.parametrize("kind", ["folder", "broken link"])
def test_a_folder_or_a_broken_link_in_a_files_place_is_as_good_as_nothing(look, tmp_path, kind):
    look("orin-nano")
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.unlink()
        path.mkdir() if kind == "folder" else path.symlink_to("nowhere")
    assert replace(look("empty"), cpu_clocks=(), gpu_clocks=()) == MachineState()  # their folders are there


def test_a_folder_that_vanishes_while_it_is_read_is_as_good_as_nothing(look, monkeypatch):
    look("agx-orin")

    def vanish(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "glob", vanish)
    assert look("empty").cpu_clocks == ()
