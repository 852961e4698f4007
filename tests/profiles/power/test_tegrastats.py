from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import pytest
from tegrastats_program import Tegrastats

from sacvit.profiles.power import tegrastats as tegrastats_power
from sacvit.profiles.power.source import PowerError
from sacvit.profiles.power.tegrastats import TegrastatsPower

LOGS = Path(__file__).parent.parent / "tegrastats"
PATIENCE_S = 20.0  # for what a loaded machine does late; nothing waits for so long that goes well
BRIEF_S = 0.05  # for what never comes


def log(name: str) -> list[str]:
    """Lines that a board printed."""
    return (LOGS / f"{name}.txt").read_text().splitlines()


ORIN = log("agx-orin-jp6-root")  # 18 lines
ORIN_RAILS = (
    {"VDD_GPU_SOC": 2798.0, "VDD_CPU_CV": 799.0, "VIN_SYS_5V0": 3315.0},
    {"VDD_GPU_SOC": 2797.0, "VDD_CPU_CV": 799.0, "VIN_SYS_5V0": 3215.0},
)
WITHOUT_RAILS = log("orin-nano-jp6-user")[0].partition(" VDD_IN")[0]  # as JetPack 5 prints it to users


class Clock:
    """Gives these times in turn, and the last of them from then on; a line that arrives asks once."""

    def __init__(self, times_s: Iterable[float]) -> None:
        self._times_s, self._last_s = iter(times_s), 0.0
        self.asked, self._asked = 0, threading.Semaphore(0)

    def __call__(self) -> float:
        self._last_s = next(self._times_s, self._last_s)
        self.asked += 1
        self._asked.release()
        return self._last_s

    def wait_for(self, count: int) -> None:
        """Returns when it has been asked so often; all lines but the last are there to be read."""
        for _ in range(count):
            assert self._asked.acquire(timeout=PATIENCE_S)


def takers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tegrastats"]


def wait_for_end() -> None:
    """Returns when every tegrastats has ended and all that it printed has arrived."""
    for thread in takers():
        thread.join(PATIENCE_S)


@pytest.fixture(autouse=True)
def started(monkeypatch):
    """Every process that a source has started; none outlives its test."""
    processes = []

    class Recorded(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            processes.append(self)

    monkeypatch.setattr(tegrastats_power.subprocess, "Popen", Recorded)
    yield processes
    for process in processes:
        process.kill()
        process.wait()
    wait_for_end()


def is_there(pid: int) -> bool:
    """Whether a process runs, or has ended and nobody has taken note."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# -- starting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rails"),
    [
        ("orin-nano-jp6-user", ("VDD_IN",)),
        ("agx-orin-jp7.2-root", ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")),
        ("agx-thor-jp7.1-root", ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")),
        ("agx-xavier-jp4", ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V")),
        ("nano-jp4-root", ("POM_5V_IN",)),
        ("xavier-nx-jp5-container-noemc", ("VDD_IN",)),
    ],
)
def test_a_boards_lines_give_its_total(tmp_path, name, rails):
    power = TegrastatsPower(str(Tegrastats(tmp_path, log(name)).path))
    assert power.total_rails == rails


def test_all_rails_have_a_sensor_and_those_not_connected_have_none(tmp_path):
    """As an AGX Orin with JetPack 5 prints them."""
    line = f"{ORIN[0]} NC 0mW/0mW VDDQ_VDD2_1V8AO 500mW/500mW NC 0mW/0mW"
    power = TegrastatsPower(str(Tegrastats(tmp_path, [line]).path))
    assert list(power.sensors) == [*ORIN_RAILS[0], "VDDQ_VDD2_1V8AO"]


def test_the_memory_of_an_agx_orin_is_not_counted_twice(tmp_path):
    power = TegrastatsPower(str(Tegrastats(tmp_path, [f"{ORIN[0]} VDDQ_VDD2_1V8AO 500mW/500mW"]).path))
    assert power.total_rails == tuple(ORIN_RAILS[0])


def test_its_process_is_known(tmp_path):
    program = Tegrastats(tmp_path, ORIN)
    assert TegrastatsPower(str(program.path)).pids == (program.calls[0][0],)


def test_it_is_asked_for_a_line_every_100_ms(tmp_path):
    program = Tegrastats(tmp_path, ORIN)
    TegrastatsPower(str(program.path))
    assert program.calls[0][1] == ["--interval", "100"]


def test_it_is_called_once_and_never_to_stop_all(tmp_path):
    program = Tegrastats(tmp_path, ORIN, end=0)
    power = TegrastatsPower(str(program.path))
    power.read()
    power.close()
    assert [arguments for _, arguments in program.calls] == [["--interval", "100"]]


def test_warnings_on_stderr_do_not_matter(tmp_path):
    warn = "sys.stderr.write('WARNING: not invoking as root\\n' * 10000); sys.stderr.flush()"  # more than a pipe holds
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN, prelude=warn).path))
    assert set(power.sensors) == set(ORIN_RAILS[0])


def test_warnings_on_stderr_are_not_ours_to_print(tmp_path, capfd):
    warn = "sys.stderr.write('WARNING: not invoking as root\\n'); sys.stderr.flush()"
    TegrastatsPower(str(Tegrastats(tmp_path, ORIN, prelude=warn).path))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("noise", ["", "WARNING: not invoking as root", "RAM", "\ufffd\0", "x" * 100_000])
def test_noise_before_the_first_line_is_passed_over(tmp_path, noise):
    power = TegrastatsPower(str(Tegrastats(tmp_path, [noise, ORIN[0]]).path))
    assert set(power.sensors) == set(ORIN_RAILS[0])


def test_bytes_that_are_no_text_are_passed_over(tmp_path):
    garble = "sys.stdout.buffer.write(b'\\xff\\xfe RAM\\x80\\n'); sys.stdout.buffer.flush()"
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN, prelude=garble).path))
    assert set(power.sensors) == set(ORIN_RAILS[0])


# -- not starting -----------------------------------------------------------------------------------------------------


def test_a_machine_without_tegrastats_says_so(tmp_path):
    with pytest.raises(PowerError, match=r"^tegrastats does not start: No such file or directory$"):
        TegrastatsPower(str(tmp_path / "tegrastats"))


def test_a_file_that_is_not_executable_is_named(tmp_path):
    program = Tegrastats(tmp_path, ORIN)
    program.path.chmod(0o644)
    with pytest.raises(PowerError, match=r"^tegrastats does not start: Permission denied$"):
        TegrastatsPower(str(program.path))


def test_a_file_that_is_no_program_is_named(tmp_path):
    (tmp_path / "tegrastats").write_bytes(b"\x7fELF and no more")
    (tmp_path / "tegrastats").chmod(0o755)
    with pytest.raises(PowerError, match=r"^tegrastats does not start: Exec format error$"):
        TegrastatsPower(str(tmp_path / "tegrastats"))


def test_an_end_before_the_first_line_is_told_with_its_code(tmp_path):
    with pytest.raises(PowerError, match="tegrastats ended by itself with exit code 3"):
        TegrastatsPower(str(Tegrastats(tmp_path, [], end=3).path))


def test_lines_without_rails_are_told_with_their_cure(tmp_path):
    with pytest.raises(PowerError, match=r"prints no rails \(JetPack 5 shows none to users: run as root\)"):
        TegrastatsPower(str(Tegrastats(tmp_path, [WITHOUT_RAILS] * 3).path))


def test_a_program_without_a_word_is_not_waited_for(tmp_path):
    with pytest.raises(PowerError, match=r"printed 0 lines in 0\.05 s"):
        TegrastatsPower(str(Tegrastats(tmp_path, []).path), start_s=BRIEF_S)


def test_a_program_that_prints_something_else_is_told(tmp_path):
    with pytest.raises(PowerError, match="none of which is a line of tegrastats"):
        TegrastatsPower(str(Tegrastats(tmp_path, ["hello"] * 10_000, pace_s=0.0).path), start_s=0.2)


@pytest.mark.parametrize("lines", [[], ["hello"], [WITHOUT_RAILS]])
def test_a_source_that_does_not_open_leaves_no_process(tmp_path, started, lines):
    with pytest.raises(PowerError):
        TegrastatsPower(str(Tegrastats(tmp_path, lines).path), start_s=0.2)
    assert not is_there(started[0].pid)


# -- reading ----------------------------------------------------------------------------------------------------------


def test_lines_come_in_order_with_the_times_of_their_arrival(tmp_path):
    """The first has been taken at the start."""
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN[:5], end=0).path), clock=Clock(count(1.0)))
    wait_for_end()
    assert [reading.time_s for reading in power.read()] == [2.0, 3.0, 4.0, 5.0]


def test_a_line_gives_the_power_of_each_rail(tmp_path):
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN[:2], end=0).path))
    wait_for_end()
    assert [reading.rails for reading in power.read()] == [ORIN_RAILS[1]]


def test_power_is_that_of_the_instant_not_the_average_beside_it(tmp_path):
    line = "RAM 1/2MB (lfb 1x4MB) CPU [1%@2] VDD_IN 5000mW/4000mW/9000mW"
    power = TegrastatsPower(str(Tegrastats(tmp_path, [line] * 2, end=0).path))
    wait_for_end()
    assert [reading.rails for reading in power.read()] == [{"VDD_IN": 5000.0}]


def test_lines_that_are_no_samples_are_no_readings(tmp_path):
    lines = [ORIN[0], "hello", WITHOUT_RAILS, ORIN[1]]
    power = TegrastatsPower(str(Tegrastats(tmp_path, lines, end=0).path), clock=Clock(count(1.0)))
    wait_for_end()
    assert [reading.time_s for reading in power.read()] == [4.0]


def test_a_line_that_is_cut_short_keeps_the_rails_before_the_cut(tmp_path):
    power = TegrastatsPower(str(Tegrastats(tmp_path, [ORIN[0], ORIN[1].removesuffix("mW")], end=0).path))
    wait_for_end()
    assert [list(reading.rails) for reading in power.read()] == [["VDD_GPU_SOC", "VDD_CPU_CV"]]


def test_without_a_new_line_there_is_no_reading(tmp_path):
    assert TegrastatsPower(str(Tegrastats(tmp_path, ORIN[:1]).path), clock=Clock([0.0])).read() == []


def test_lines_before_an_end_are_still_read(tmp_path):
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN[:4], end=7).path))
    wait_for_end()
    assert len(power.read()) == 3


def test_an_end_in_the_middle_is_told_with_its_code_at_every_call(tmp_path):
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN[:4], end=7).path))
    wait_for_end()
    power.read()
    for _ in range(2):
        with pytest.raises(PowerError, match="tegrastats ended by itself with exit code 7"):
            power.read()


def test_a_program_that_closes_its_output_and_stays_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tegrastats_power, "END_S", BRIEF_S)
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN[:1], coda="os.close(1)").path))
    wait_for_end()
    with pytest.raises(PowerError, match="tegrastats closed its output"):
        power.read()


def test_a_source_that_went_silent_is_an_error(tmp_path):
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN[:1]).path), clock=Clock([0.0, 5.1]))
    with pytest.raises(PowerError, match="tegrastats has printed no rails for 5 s"):
        power.read()


def test_a_pause_of_five_seconds_is_no_silence(tmp_path):
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN[:1]).path), clock=Clock([0.0, 5.0]))
    assert power.read() == []


def test_silence_counts_from_the_last_line(tmp_path):
    clock = Clock([0.0, 4.0, 4.5, 9.0])
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN[:3]).path), clock=clock)
    clock.wait_for(3)
    power.read()  # the second, and the third if it is there
    assert len(power.read()) <= 1


def test_lines_without_rails_do_not_break_the_silence(tmp_path):
    clock = Clock([0.0, 3.0, 5.1])
    power = TegrastatsPower(str(Tegrastats(tmp_path, [ORIN[0], WITHOUT_RAILS]).path), clock=clock)
    clock.wait_for(2)
    with pytest.raises(PowerError, match="tegrastats has printed no rails for 5 s"):
        power.read()


def test_what_nobody_reads_is_not_kept_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(tegrastats_power, "KEPT_LINES", 3)
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN * 5, end=0, pace_s=0.0).path))
    wait_for_end()
    assert len(power.read()) <= 3  # less than that if the first was taken after all had come


# -- ending -----------------------------------------------------------------------------------------------------------


def test_close_ends_our_process_and_takes_note_of_its_end(tmp_path):
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN).path))
    power.close()
    assert not is_there(power.pids[0])


def test_close_lets_it_end_by_the_usual_signal(tmp_path, started):
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN).path))
    power.close()
    assert started[0].returncode == -15


def test_a_process_that_does_not_heed_the_signal_is_killed(tmp_path, monkeypatch, started):
    monkeypatch.setattr(tegrastats_power, "END_S", BRIEF_S)
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN, prelude=deaf).path))
    power.close()
    assert started[0].returncode == -9


def test_close_may_be_called_twice(tmp_path):
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN).path))
    power.close()
    power.close()


def test_close_after_its_own_end_is_quiet(tmp_path):
    power = TegrastatsPower(str(Tegrastats(tmp_path, ORIN[:1], end=7).path))
    wait_for_end()
    power.close()
    assert not is_there(power.pids[0])


def test_after_close_no_thread_reads_on(tmp_path):
    TegrastatsPower(str(Tegrastats(tmp_path, ORIN).path)).close()
    wait_for_end()
    assert not takers()


def test_the_end_of_one_source_is_not_the_end_of_another(tmp_path):
    one, two = (Tegrastats(tmp_path / name, ORIN * 200) for name in ("one", "two"))
    clock = Clock(count(1.0))
    first, second = TegrastatsPower(str(one.path)), TegrastatsPower(str(two.path), clock=clock)
    first.close()
    second.read()
    clock.wait_for(clock.asked + 3)  # three that come after that
    assert second.read()
