"""docs/field.md: every command runs unless it is marked, and the numbers are those that were measured."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from sacvit.runtime.events.grammar import NAMES, WORDS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "field.md").read_text()
CAMERAS = (ROOT / "docs" / "cameras.md").read_text()
NOT_RUN = "# not run: "


def commands() -> list[str]:
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.S)).replace("\\\n", " ").splitlines()
    return [line for line in lines if line and NOT_RUN not in line]


@pytest.mark.programs
def test_every_command_of_the_page_runs(tmp_path, bundles, video, warm_bin):
    (tmp_path / "build").symlink_to(bundles / "bundle")
    for name in ("clip.mp4", "other.mp4"):
        (tmp_path / name).symlink_to(video)
    [options] = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    (tmp_path / "sacvit.toml").write_text(options)
    assert commands()
    for command in commands():
        program, *words = shlex.split(command)
        done = subprocess.run(
            [warm_bin / program, *words],
            cwd=tmp_path,
            env=os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_the_page_has_the_numbers_of_the_kills():
    found = json.loads((ROOT / "docs" / "measured" / "recording_kills.json").read_text())["summary"]
    assert f"| kills | {found['kills']} |" in CAMERAS
    assert (
        f"| closed segments that play | {found['closed_segments_that_play']} of {found['closed_segments']} |" in CAMERAS
    )
    lost_ms = [round(1e3 * found[name]) for name in ("seconds_lost_median", "seconds_lost_max")]
    assert f"{lost_ms[0]} ms, {lost_ms[1]} ms" in CAMERAS


def test_the_page_has_the_numbers_of_the_events():
    found = json.loads((ROOT / "docs" / "measured" / "events_broker.json").read_text())["summary"]
    assert found["came_twice_without_saying_so"] == 0
    for sentence in (
        f"sends {found['events']} events",
        f"`kill -9` {found['kills']} times",
        f"{found['lost']} were lost, {found['came_twice']} came twice, {found['marked_redelivered']} were marked",
        f"waited {found['longest_put_ms']} ms at most",
    ):
        assert sentence in PAGE


def test_the_page_has_what_power_costs():
    found = json.loads((ROOT / "docs" / "measured" / "run_power.json").read_text())
    cost = {
        name: [100 * found[name][source]["cost"] for source in ("ina", "tegrastats")] for name in ("digits", "deit-s")
    }
    assert max(map(max, cost.values())) <= 1.0
    (ina, tegrastats), (ina_224, tegrastats_224) = cost["digits"], cost["deit-s"]
    page = PAGE.replace("\n", " ")
    assert f"{ina:.2f} % of a core with `ina` and {tegrastats:.2f} % with `tegrastats` on the digits model" in page
    assert f"and {ina_224:.2f} % and {tegrastats_224:.2f} % on DeiT-S" in page
    noise = [100 * found[name][source]["slower_plus_minus"] for name in found for source in ("ina", "tegrastats")]
    assert f"{min(noise):.0f} to {max(noise):.0f} %" in page


def test_the_grammar_of_the_page_names_every_word():
    assert set(re.findall(r"^name *= (.*)$", PAGE, re.M)[0].split(" | ")) == set(NAMES)
    conditions = re.findall(r"^condition *= (.*)$", PAGE, re.M)[0]
    assert {re.match("[a-z]+", one)[0] for one in re.findall(r"(?:^|  )([a-z]+[!=<>])", conditions)} == set(WORDS)
