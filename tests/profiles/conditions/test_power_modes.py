from __future__ import annotations

import json
import os
import select
import sys
import time
from pathlib import Path

import pytest

from sacvit.bundle.errors import DeviceError, UsageError
from sacvit.machine.jetson import PowerMode
from sacvit.profiles.conditions import power_modes as module
from sacvit.profiles.conditions.power_modes import PowerModes, read_power_mode, run_limited

TABLE = """
# < POWER_MODEL ID=9 NAME=AN_EXAMPLE >
< PARAM TYPE=FILE NAME=CPU_ONLINE >
< POWER_MODEL ID=0 NAME=15W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER>
< POWER_MODEL ID=1 NAME=25W >
< PM_CONFIG DEFAULT=1 >
"""
# What each of them does with `-m`; `status` is the note, `mode` the number asked for, `calls` how often -m came so far.
WORKS = "status.write_text(f'pmode:{mode:04} fmode:quiet')"
ASKS_FOR_A_REBOOT = """
print('NVPM WARN: Reboot required for changing to this power mode:', mode)
print('NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:')
answer = sys.stdin.readline()
print('NVPM ERROR: bad input!' if not answer else 'NVPM WARN: rebooting')
print('NVPM ERROR: optMask is 1, no request for power mode')
"""
REFUSES_WITHOUT_ROOT = """
print('NVPM ERROR: Error opening /sys/devices/system/cpu/cpu1/online: 13', file=sys.stderr)
print('NVPM ERROR: failed to set power mode!', file=sys.stderr)
sys.exit(255)
"""
FAILS_HALFWAY = "print('NVPM ERROR: Error writing 128 to /sys/devices/platform/gpu.0/tpc_pg_mask: 16'); sys.exit(255)"
COMPLAINS_AND_NOTES = f"{WORKS}; print('NVPM ERROR: failed to write PARAM EMC: ARG MAX_FREQ')"
HANGS = "print('waiting', flush=True); signal.pause()"
PRINTS_GARBAGE = "sys.stdout.buffer.write(bytes(range(256)) * 1000)"
DOES_NOTHING = "pass"
WORKS_ONCE = f"\nif calls == 1: {WORKS}\nelse: print('NVPM ERROR: no more'); sys.exit(1)"
HANGS_ONCE = f"\nif calls == 1: signal.pause()\n{WORKS}"


@pytest.fixture
def root(tmp_path) -> Path:
    """A machine in mode 0 of three."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nvpmodel.conf").write_text(TABLE)
    (tmp_path / "var/lib/nvpmodel").mkdir(parents=True)
    (tmp_path / "var/lib/nvpmodel/status").write_text("pmode:0000 fmode:quiet")
    return tmp_path


def write_tool(root: Path, on_switch: str = DOES_NOTHING, on_query: str = DOES_NOTHING) -> str:
    """An nvpmodel that does what a test wants, and notes its arguments in `calls`."""
    path = root / "nvpmodel"
    path.write_text(f"""#!{sys.executable} -IS
import json, pathlib, signal, sys
folder = pathlib.Path({str(root)!r})
status = folder / "var/lib/nvpmodel/status"
with (folder / "calls").open("a") as file:
    file.write(json.dumps([*sys.argv[1:], sys.stdin.read() if "-q" in sys.argv else ""]) + "\\n")
calls = sum("-m" in json.loads(line) for line in (folder / "calls").read_text().splitlines())
if sys.argv[1] == "-q":
    exec({on_query!r})
else:
    mode = int(sys.argv[2])
    exec({on_switch!r})
""")
    path.chmod(0o755)
    return str(path)


def calls(root: Path) -> list[list[str]]:
    path = root / "calls"
    return [json.loads(line)[:-1] for line in path.read_text().splitlines()] if path.exists() else []


def modes(root: Path, on_switch: str, limit_s: float = 20.0) -> PowerModes:
    return PowerModes(write_tool(root, on_switch), root, limit_s)


def test_the_modes_of_the_table_come_by_id_without_its_comments(root):
    assert PowerModes(root=root).known() == [PowerMode(0, "15W"), PowerMode(1, "25W"), PowerMode(2, "MAXN_SUPER")]


def test_the_mode_in_use_has_id_and_name(root):
    assert PowerModes(root=root).current() == PowerMode(0, "15W")


def test_a_machine_without_modes_says_that_it_has_none(tmp_path):
    with pytest.raises(DeviceError, match="reports no power mode"):
        PowerModes(str(tmp_path / "nvpmodel"), tmp_path).current()


def test_the_mode_is_the_new_one_after_a_switch(root):
    machine = modes(root, WORKS)
    machine.switch(2)
    assert machine.current() == PowerMode(2, "MAXN_SUPER")


def test_a_switch_is_one_call_with_the_id(root):
    modes(root, WORKS).switch(2)
    assert calls(root) == [["-m", "2"]]


def test_the_mode_in_use_is_not_set_again_for_that_would_undo_jetson_clocks(root):
    modes(root, WORKS).switch(0)
    assert calls(root) == []


def test_an_unknown_id_is_refused_with_the_known_ones_before_the_tool_is_called(root):
    with pytest.raises(UsageError, match=r"no mode 7; it has 0 \(15W\), 1 \(25W\), 2 \(MAXN_SUPER\)"):
        modes(root, WORKS).switch(7)
    assert calls(root) == []


def test_without_a_table_any_id_is_left_to_the_tool(root):
    (root / "etc/nvpmodel.conf").unlink()
    machine = modes(root, WORKS)
    machine.switch(7)
    assert machine.current() == PowerMode(7, None)


@pytest.mark.parametrize(
    ("on_switch", "reason"),
    [
        (ASKS_FOR_A_REBOOT, r"power mode 2 \(MAXN_SUPER\) needs a reboot"),
        (REFUSES_WITHOUT_ROOT, "needs root"),
        ("print('Please run as root'); sys.exit(1)", "needs root"),
        ("print('try again with sudo'); sys.exit(1)", "needs root"),
        (FAILS_HALFWAY, "ended with 255"),
        (COMPLAINS_AND_NOTES, "was not set: .* ended with 0"),
        (PRINTS_GARBAGE, "gives no reason"),
        (DOES_NOTHING, "gives no reason"),
    ],
)
def test_a_switch_that_did_not_happen_is_told_with_its_reason(root, on_switch, reason):
    with pytest.raises(DeviceError, match=reason):
        modes(root, on_switch).switch(2)


def test_a_reboot_asked_for_by_a_tool_that_notes_the_new_mode_already_is_still_refused(root):
    with pytest.raises(DeviceError, match="needs a reboot"):
        modes(root, f"{WORKS}; print('NVPM WARN: Reboot required for changing to this power mode')").switch(2)


def test_the_question_about_a_reboot_gets_no_answer(root):
    with pytest.raises(DeviceError, match="bad input!"):
        modes(root, ASKS_FOR_A_REBOOT).switch(2)


def test_the_tools_own_words_stand_in_the_message(root):
    with pytest.raises(DeviceError, match=r"it said: .*Error opening .*online: 13 / NVPM ERROR: failed to set"):
        modes(root, REFUSES_WITHOUT_ROOT).switch(2)


def test_the_mode_that_is_still_in_use_stands_in_the_message(root):
    with pytest.raises(DeviceError, match=r"In use: 0 \(15W\)"):
        modes(root, REFUSES_WITHOUT_ROOT).switch(2)


def test_a_message_stays_short_and_printable_however_much_the_tool_prints(root):
    with pytest.raises(DeviceError) as caught:
        modes(root, PRINTS_GARBAGE).switch(2)
    assert len(str(caught.value)) < 600 and str(caught.value).isprintable()


def test_a_tool_that_hangs_is_killed_at_its_limit(root):
    with pytest.raises(DeviceError, match=r"did not end within 0\.5 s and was killed"):
        modes(root, HANGS, limit_s=0.5).switch(2)


def test_a_tool_that_is_not_there_is_named(root):
    with pytest.raises(DeviceError, match=r"nowhere/nvpmodel does not start"):
        PowerModes("/nowhere/nvpmodel", root).switch(2)


@pytest.mark.parametrize("exception", [None, ValueError, KeyboardInterrupt])
def test_the_old_mode_is_back_at_the_end(root, exception):
    machine = modes(root, WORKS)
    try:
        with machine.restored():
            machine.switch(1)
            machine.switch(2)
            if exception:
                raise exception
    except (ValueError, KeyboardInterrupt):
        pass
    assert machine.current() == PowerMode(0, "15W")


def test_the_exception_under_way_goes_on_after_the_mode_was_put_back(root):
    machine = modes(root, WORKS)
    with pytest.raises(KeyboardInterrupt), machine.restored():
        machine.switch(1)
        raise KeyboardInterrupt


def test_nothing_is_called_when_the_mode_is_the_old_one_at_the_end(root):
    machine = modes(root, WORKS)
    with machine.restored():
        pass
    assert calls(root) == []


def test_a_mode_that_cannot_be_put_back_is_an_error_with_the_command_to_do_it(root):
    machine = modes(root, WORKS_ONCE)
    with (
        pytest.raises(DeviceError, match=r"NOT restored to 0 \(15W\): .*no more.*sudo \S*nvpmodel -m 0"),
        machine.restored(),
    ):
        machine.switch(1)


def test_a_mode_that_cannot_be_put_back_is_logged_beside_another_exception(root, caplog):
    machine = modes(root, WORKS_ONCE)
    with pytest.raises(KeyboardInterrupt), machine.restored():
        machine.switch(1)
        raise KeyboardInterrupt
    assert "the power mode was NOT restored to 0 (15W)" in caplog.text


def test_a_second_ctrl_c_while_the_mode_is_put_back_is_logged_too(root, caplog, monkeypatch):
    machine = modes(root, WORKS)
    with pytest.raises(ValueError, match="the first"), machine.restored():
        machine.switch(1)
        monkeypatch.setattr(module, "run_limited", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        raise ValueError("the first")
    assert ": interrupted" in caplog.text


@pytest.mark.parametrize("on_switch", [HANGS_ONCE, f"\nif calls == 1: {FAILS_HALFWAY}\n{WORKS}"])
def test_a_switch_that_broke_off_is_undone_although_the_note_is_the_old_one(root, on_switch):
    machine = modes(root, on_switch, limit_s=2.0 if on_switch is HANGS_ONCE else 20.0)
    with pytest.raises(DeviceError), machine.restored():
        machine.switch(2)
    assert calls(root) == [["-m", "2"], ["-m", "0"]]


def test_a_tool_that_did_not_start_leaves_nothing_to_put_back(root, caplog):
    machine = PowerModes("/nowhere/nvpmodel", root)
    with pytest.raises(DeviceError), machine.restored():
        machine.switch(2)
    assert caplog.text == ""


@pytest.mark.parametrize("on_switch", [ASKS_FOR_A_REBOOT, REFUSES_WITHOUT_ROOT])
def test_a_switch_that_was_refused_before_it_began_leaves_the_clocks_alone(root, on_switch):
    machine = modes(root, on_switch)
    with pytest.raises(DeviceError), machine.restored():
        machine.switch(2)
    assert calls(root) == [["-m", "2"]]


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("NV Fan Mode:quiet\nNV Power Mode: MODE_15W\n2\n", PowerMode(2, "MODE_15W")),
        ("NV Power Mode:25W\n1\n", PowerMode(1, "25W")),
        ("NVPM VERB: Current mode: NV Power Mode: MODE_15W_6CORE\n2\n", PowerMode(2, "MODE_15W_6CORE")),
        ("NV Power Mode: MODE_15W\n7\nNVPM ERROR: Error opening /sys/kernel/x: 13\n", PowerMode(7, "MODE_15W")),
        ("2\nNV Power Mode: 25W\n1\n", PowerMode(1, "25W")),
        ("NV Power Mode: 25W\n", PowerMode(1, "25W")),
        ("NV Power Mode: UNHEARD_OF\n", None),
        ("2\n", None),
        ("", None),
    ],
)
def test_what_the_tool_says_of_the_mode_is_read_where_there_is_no_note(root, printed, expected):
    (root / "var/lib/nvpmodel/status").unlink()
    command = write_tool(root, on_query=f"print({printed!r}, end=''); sys.exit(255)")
    assert read_power_mode(root, command, 20.0) == (expected, expected and "nvpmodel -q")


def test_the_note_is_preferred_to_the_tool(root):
    command = write_tool(root, on_query="print('NV Power Mode: 25W\\n1')")
    assert read_power_mode(root, command, 20.0) == (PowerMode(0, "15W"), "/var/lib/nvpmodel/status")


def test_a_tool_that_hangs_over_the_question_tells_no_mode(root):
    (root / "var/lib/nvpmodel/status").unlink()
    assert read_power_mode(root, write_tool(root, on_query=f"print('NV Power Mode: 25W\\n1'); {HANGS}"), 0.5) == (
        None,
        None,
    )


def test_a_tool_does_not_get_our_input():
    """Where a person's `yes` would reboot the machine."""
    read_end, write_end = os.pipe()
    os.write(write_end, b"yes\n")
    ours = os.dup(0)
    os.dup2(read_end, 0)
    try:
        code, output = run_limited([sys.executable, "-IS", "-c", "print(input())"], 20.0)
    finally:
        os.dup2(ours, 0)
        for descriptor in (ours, read_end, write_end):
            os.close(descriptor)
    assert code == 1 and "EOFError" in output


def test_a_tools_output_is_kept_up_to_its_limit():
    code, output = run_limited([sys.executable, "-IS", "-c", "print('x' * 10_000_000)"], 20.0)
    assert (code, len(output)) == (0, module.MAX_OUTPUT_BYTES)


def test_a_child_that_keeps_the_pipe_does_not_keep_us(tmp_path):
    """As a service that a tool starts does. The child waits at a named pipe, which the test opens to end it."""
    os.mkfifo(tmp_path / "gate")
    code = f"import os\nif os.fork() == 0: open({str(tmp_path / 'gate')!r}).close(); os._exit(0)\nprint('done')"
    began = time.monotonic()
    assert run_limited([sys.executable, "-IS", "-c", code], 20.0) == (0, "done\n")
    assert time.monotonic() - began < 10  # half the limit, at which it would end anyway
    (tmp_path / "gate").open("w").close()


def test_a_killed_tools_children_are_killed_with_it():
    code = "import os, signal\nchild = os.fork()\nif child: print(child, flush=True)\nsignal.pause()"
    _, output = run_limited([sys.executable, "-IS", "-c", code], 1.0)
    try:
        child = os.pidfd_open(int(output))
    except ProcessLookupError:
        return  # it is gone already
    waiting = select.poll()
    waiting.register(child, select.POLLIN)
    ended = waiting.poll(20_000)  # a signal takes effect when the child is next scheduled
    os.close(child)
    assert ended


def test_a_ctrl_c_at_the_terminal_does_not_reach_the_tool():
    """It has a session of its own: a switch is not cut in two by the terminal."""
    code, output = run_limited([sys.executable, "-IS", "-c", "import os; print(os.getsid(0) == os.getpid())"], 20.0)
    assert (code, output) == (0, "True\n")


def test_an_interrupted_call_leaves_no_process(monkeypatch):
    killed = []
    original = os.killpg
    monkeypatch.setattr(os, "killpg", lambda *arguments: killed.append(arguments) or original(*arguments))
    monkeypatch.setattr(module.selectors.DefaultSelector, "select", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run_limited([sys.executable, "-IS", "-c", f"import signal; {HANGS}"], 20.0)
    assert len(killed) == 1 and not Path(f"/proc/{killed[0][0]}").exists()
