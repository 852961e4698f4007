"""deploy/sacvit.service and deploy/sacvit.toml, checked by systemd's own tools and by the command that they start."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sacvit.bundle.errors import EXIT_INTERRUPTED
from sacvit.commands.config import parse_options
from sacvit.commands.run import build_parser, read_asked

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = (DEPLOY / "sacvit.service").read_text()
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
# Each of these takes cameras, the GPU or the network away.
FATAL = {
    *("PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock", "PrivateTmp", "PrivateUsers", "PrivateNetwork"),
    *("MemoryDenyWriteExecute", "IPAddressDeny", "ProcSubset"),
}


def settings() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", UNIT, re.M))


@needs_systemd
def test_systemd_finds_no_fault_in_the_unit(tmp_path):
    """With a program that is there in place of the installed one."""
    unit = tmp_path / "sacvit.service"
    unit.write_text(UNIT.replace("/opt/sacvit/bin/sacvit-run", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_systemd_rates_the_units_exposure_as_ok():
    """3.7 of 10 with systemd 252, which rates 4 and less as ok; a service without hardening has 9.6."""
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=40", DEPLOY / "sacvit.service"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


def test_the_hardening_leaves_cameras_gpu_and_network():
    assert not FATAL & settings().keys()


def test_a_clean_stop_counts_as_success():
    assert settings()["SuccessExitStatus"] == str(EXIT_INTERRUPTED)


def test_the_unit_starts_the_command_with_options_that_it_has():
    program, *words = shlex.split(settings()["ExecStart"])
    assert Path(program).name == "sacvit-run"
    words[words.index("--config") + 1] = str(DEPLOY / "sacvit.toml")
    assert read_asked(parse_options(build_parser(), words)).events.on


def test_what_the_service_writes_lies_in_folders_that_the_unit_makes():
    options = parse_options(build_parser(), ["--config", str(DEPLOY / "sacvit.toml")])
    assert settings()["StateDirectory"] == "sacvit" and "XDG_STATE_HOME=/var/lib " in settings()["Environment"]
    written = [options.save, *(one.partition(":")[2] for one in options.to)]
    assert all(path.startswith("/var/lib/sacvit/") for path in written)
