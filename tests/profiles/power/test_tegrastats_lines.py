from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.profiles.power.tegrastats_lines import read_line, read_lines

LOGS = Path(__file__).parent.parent / "tegrastats"
EXPECTED = [json.loads(line) for line in (LOGS / "expected.jsonl").read_text().splitlines()]
REAL = [line for path in sorted(LOGS.glob("*.txt")) for line in path.read_text().splitlines()]
ORIN = REAL[0]
NUMBERS = re.compile(r"-?\d+(/-?\d+){1,2}")


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda entry: f"{entry['file']}:{entry['line']}")
def test_a_real_line_reads_as_expected(expected):
    samples = dict(read_lines((LOGS / expected["file"]).read_text().splitlines()))
    found = {"file": expected["file"], "line": expected["line"], **samples[expected["line"]].to_json()}
    assert found == expected and list(found) == list(expected)


def test_every_real_line_but_noise_is_a_sample():
    assert sum(read_line(line) is not None for line in REAL) == sum("RAM " in line for line in REAL) == 76


@pytest.mark.parametrize(
    "noise", ["", "nvidia@linux:~$ sudo tegrastats", "[sudo] password for nvidia: ", "RAM", "GRAM 1/2MB"]
)
def test_noise_is_no_sample(noise):
    assert read_line(noise) is None


@pytest.mark.parametrize("name", ["agx-orin-jp6-root.txt", "nano-jp4-root.txt", "tx2-jp4-root.txt"])
def test_a_line_whose_head_was_cut_off_begins_with_its_cores(name):
    """As the first line of a rotated log, or of one that was copied off a terminal."""
    whole = (LOGS / name).read_text().splitlines()[0]
    expected, sample = read_line(whole), read_line(whole[whole.index("CPU [") :])
    assert sample is not None and sample.ram is None and sample.to_json()["ram"] is None
    assert (sample.cpu, sample.rails_mw, sample.temps_c) == (expected.cpu, expected.rails_mw, expected.temps_c)


@pytest.mark.parametrize("noise", ["CPU [12%]", "CPU [fast@2]", "CPU []", "CPU [1%@2"])
def test_a_list_that_is_not_of_cores_is_no_sample(noise):
    assert read_line(noise) is None


@pytest.mark.parametrize(
    "text",
    [
        f"VDD_IN {'9' * 5000}mW/5mW",
        f"VDD_IN 5/{'9' * 5000}",
        f"tj@{'9' * 5000}C",
        f"GR3D_FREQ {'9' * 5000}%@2",
        f"GR3D_FREQ 1%@[{'9' * 5000}]",
        f"SWAP {'9' * 5000}/1MB (cached 0MB)",
    ],
)
def test_a_number_that_no_board_prints_is_an_unknown_word(text):
    """Python refuses to convert more than 4300 digits, and arithmetic fails far below."""
    sample = of(text)
    assert sample.unknown and not sample.rails_mw and not sample.temps_c and not sample.gr3d and not sample.swap


def test_cores_with_numbers_that_no_board_prints_are_not_available():
    sample = read_line(f"RAM 1/2MB (lfb 3x4MB) CPU [{'9' * 5000}%@1,1%@{'9' * 5000},1%@2]")
    assert sample is not None and sample.cpu == [None, None, [1, 2]]


def test_a_year_that_no_clock_shows_is_no_timestamp():
    sample = read_line("01-01-0001 00:00:00 RAM 1/2MB (lfb 3x4MB)")
    assert sample is not None and sample.timestamp is None


def of(text: str) -> Any:
    sample = read_line(f"RAM 1/2MB (lfb 3x4MB) CPU [1%@2] {text}")
    assert sample is not None
    return sample


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("GR3D_FREQ 39%@[305,0]", {"load_pct": 39, "freq_mhz": [305, 0]}),
        ("GR3D_FREQ 0%", {"load_pct": 0, "freq_mhz": None}),  # a load without a clock, or a placeholder
        ("GR3D_FREQ @0", {"load_pct": None, "freq_mhz": [0]}),
        ("GR3D_FREQ @[314,314,314]", {"load_pct": None, "freq_mhz": [314, 314, 314]}),
        ("GR3D 3%@76", {"load_pct": 3, "freq_mhz": [76]}),  # L4T 28.1
        ("", None),
    ],
)
def test_load_and_clock_of_the_gpu_are_told_apart(text, engine):
    assert of(text).gr3d == engine


def test_the_second_gpu_of_jetpack_5_is_its_own():
    sample = of("GR3D_FREQ 1%@114 GR3D2_FREQ 2%@115")
    assert (sample.gr3d["load_pct"], sample.gr3d2["load_pct"]) == (1, 2)
    assert sample.to_json()["gr3d2"] == {"load_pct": 2, "freq_mhz": [115]}


def test_rails_that_are_called_like_zones_are_rails():
    sample = of("GPU@32C CPU@33.5C GPU 5/6 CPU 216/217 SOC 864/864")
    assert sample.rails_mw == [["GPU", 5, 6], ["CPU", 216, 217], ["SOC", 864, 864]]
    assert sample.temps_c == {"GPU": 32, "CPU": 33.5}


def test_a_rail_that_occurs_twice_stands_twice():
    assert of("NC 0mW/0mW NC 0mW/0mW").rails_mw == [["NC", 0, 0], ["NC", 0, 0]]


def test_an_unpowered_sensor_is_kept_as_it_is_printed():
    assert of("CV0@-256C").temps_c == {"CV0": -256}


def test_the_maximum_of_jetpack_7_2_is_no_temperature_of_now():
    sample = of("cpu@45.375C/46C VDD_GPU 1mW/2mW/3mW")
    assert sample.temps_c == {"cpu": 45.375} and sample.temps_max_c == {"cpu": 46}
    assert sample.rails_mw == [["VDD_GPU", 1, 2, 3]]


def test_one_clock_for_all_cores_is_every_cores_clock():
    sample = read_line("RAM 1/2MB (lfb 3x4MB) cpu [17%,off,na,5%]@408")
    assert sample is not None and sample.cpu == [[17, 408], "off", None, [5, 408]]


def test_unknown_words_are_kept_and_what_follows_is_read():
    sample = of("NVXYZ 12%@[3] some=thing VDD_IN 7mW/8mW")
    assert sample.unknown == ["NVXYZ", "12%@[3]", "some=thing"] and sample.rails_mw == [["VDD_IN", 7, 8]]


@pytest.mark.parametrize(
    ("prefix", "timestamp"),
    [
        ("", "2025-07-21T16:33:42"),
        ("[logger] 2021-01-01 12:00:00 INFO ", "2025-07-21T16:33:42"),
        ("log.txt:17:", "2025-07-21T16:33:42"),
    ],
)
def test_a_wrappers_prefix_is_no_timestamp(prefix, timestamp):
    sample = read_line(prefix + ORIN)
    assert sample is not None and sample.timestamp == timestamp


@pytest.mark.parametrize(
    "prefix", ["2021-01-01 12:00:00 ", "12:00:00 ", "13-45-2025 16:33:42 ", "Tue Jan 26 18:22:31 "]
)
def test_what_only_looks_like_a_timestamp_is_none(prefix):
    sample = read_line(prefix + "RAM 1/2MB (lfb 3x4MB)")
    assert sample is not None and sample.timestamp is None


@given(st.integers(0, len(ORIN)))
def test_a_cut_line_gives_what_stood_before_the_cut(length):
    whole, cut = read_line(ORIN), read_line(ORIN[:length])
    assert whole is not None
    if cut is not None:
        assert cut.rails_mw == whole.rails_mw[: len(cut.rails_mw)]
        assert set(cut.temps_c) <= set(whole.temps_c)


@given(st.text())
def test_any_text_is_a_sample_or_none(text):
    read_line(text)
    read_line("RAM 1/2MB " + text)


def test_five_thousand_mutated_lines_raise_nothing_and_invent_no_rail():
    """A rail's name is a word of the line, and its numbers are the word behind it."""
    rng = random.Random(0)
    signs = "0123456789%@[]/,.-mWCMBkxRAOFf \t\xb5\0"
    for _ in range(5_000):
        line = list(rng.choice(REAL))
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(line) + 1)
            kind = rng.random()
            if kind < 0.4 and line:
                line[place % len(line)] = rng.choice(signs)
            elif kind < 0.6:
                line.insert(place, rng.choice(signs))
            elif kind < 0.8:
                del line[place : place + rng.randint(1, 5)]
            elif kind < 0.9:
                line = line[:place]
            else:
                line[place:place] = list(rng.choice(REAL)[: rng.randint(1, 80)])
        text = "".join(line)
        sample = read_line(text)
        if sample is None:
            continue
        words = text.split()
        followers = set(itertools.pairwise(words))
        for name, *values in sample.rails_mw:
            behind = [word.replace("mW", "") for key, word in followers if key == name]
            assert values in [[int(part) for part in word.split("/")] for word in behind if NUMBERS.fullmatch(word)]
