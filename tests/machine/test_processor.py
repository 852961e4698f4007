from __future__ import annotations

import platform

import pytest

from sacvit.machine.processor import (
    core_numbers,
    describe_machine,
    load_1min,
    physical_cores,
    processor_name,
    usable_cores,
)


def put(root, **files):
    for path, content in files.items():
        place = root / path.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)


def test_this_machine_is_described():
    machine = describe_machine()
    assert machine["processor"] and machine["cores"] >= 1 and machine["load_1min"] >= 0


def test_a_processor_without_a_name_is_described_by_its_architecture(tmp_path):
    assert describe_machine(tmp_path)["processor"] == platform.machine()


def test_a_name_behind_the_blocks_of_many_cores_is_found(tmp_path):
    put(tmp_path, proc__cpuinfo="processor\t: 0\nBogoMIPS\t: 62.50\n" * 500 + "Model\t\t: Some Board\n")
    assert processor_name(tmp_path) == "Some Board"


def test_cores_are_those_that_are_online_and_open_to_the_process(tmp_path):
    put(tmp_path, sys__devices__system__cpu__online="0-5\n", proc__self__status="Cpus_allowed_list:\t2-3,40\n")
    assert core_numbers(tmp_path) == {2, 3} and usable_cores(tmp_path) == 2


def test_without_the_process_status_all_cores_that_are_online_count(tmp_path):
    put(tmp_path, sys__devices__system__cpu__online="0-1,4\n")
    assert core_numbers(tmp_path) == {0, 1, 4}


def test_the_load_is_that_of_the_last_minute(tmp_path):
    put(tmp_path, proc__loadavg="1.25 0.30 0.21 1/512 4242\n")
    assert load_1min(tmp_path) == 1.25


SIBLINGS = {
    f"sys__devices__system__cpu__cpu{core}__topology__thread_siblings_list": f"{core % 2},{core % 2 + 2}\n"
    for core in range(4)
}


def test_hyper_threads_of_one_core_count_once(tmp_path):
    put(tmp_path, sys__devices__system__cpu__online="0-3\n", **SIBLINGS)
    assert physical_cores(tmp_path) == 2


def test_a_core_that_this_process_may_not_use_does_not_count(tmp_path):
    put(tmp_path, sys__devices__system__cpu__online="0-3\n", proc__self__status="Cpus_allowed_list:\t0,2\n", **SIBLINGS)
    assert physical_cores(tmp_path) == 1


def test_cores_without_a_topology_count_each(tmp_path):
    put(tmp_path, sys__devices__system__cpu__online="0-3\n")
    assert physical_cores(tmp_path) == 4


def test_where_no_cores_are_listed_their_number_is_unknown(tmp_path):
    assert physical_cores(tmp_path) is None


@pytest.mark.parametrize(("limit", "count"), [("250000 100000", 3), ("10000 100000", 1), ("max 100000", 4)])
def test_a_limit_on_processor_time_limits_the_cores(tmp_path, limit, count):
    put(tmp_path, sys__devices__system__cpu__online="0-3\n", proc__self__cgroup="0::/\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text(f"{limit}\n")
    assert physical_cores(tmp_path) == count


def test_a_limit_on_a_group_around_the_own_one_counts(tmp_path):
    put(tmp_path, sys__devices__system__cpu__online="0-3\n", proc__self__cgroup="0::/system.slice/sacvit.service\n")
    (tmp_path / "sys/fs/cgroup/system.slice/sacvit.service").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/system.slice/cpu.max").write_text("200000 100000\n")
    (tmp_path / "sys/fs/cgroup/system.slice/sacvit.service/cpu.max").write_text("max 100000\n")
    assert physical_cores(tmp_path) == 2
