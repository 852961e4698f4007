from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacvit.profiles.power.rapl import RaplPower
from sacvit.profiles.power.source import PowerError

RANGE_UJ = 262143328850
ZONES = "sys/class/powercap"
LAPTOP = {  # folder: name
    "intel-rapl:0": "package-0",
    "intel-rapl:0:0": "core",
    "intel-rapl:0:1": "uncore",
    "intel-rapl:0:2": "dram",
    "intel-rapl:1": "psys",
}
SERVER = {
    "intel-rapl:0": "package-0",
    "intel-rapl:0:0": "dram",
    "intel-rapl:1": "package-1",
    "intel-rapl:1:0": "dram",
}


def build(root: Path, zones: dict[str, str], energy_uj: int = 1_000_000) -> Path:
    """Zones as powercap shows them, beside the folders of its control types. Returns the folder that holds them."""
    home = root / ZONES
    for folder in ("intel-rapl", "intel-rapl-mmio", *zones):
        (home / folder).mkdir(parents=True, exist_ok=True)
        (home / folder / "enabled").write_text("1\n")
    for folder, name in zones.items():
        (home / folder / "name").write_text(f"{name}\n")
        (home / folder / "energy_uj").write_text(f"{energy_uj}\n")
        (home / folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    return home


def count(home: Path, folder: str, energy_uj: int) -> None:
    (home / folder / "energy_uj").write_text(f"{energy_uj}\n")


def hide(home: Path, folder: str) -> None:
    """As a user sees it who may not read: an error. Root would read a file of any mode, and no folder."""
    (home / folder / "energy_uj").unlink()
    (home / folder / "energy_uj").mkdir()


def rails_of(power: RaplPower) -> dict[str, float]:
    (reading,) = power.read()
    return dict(reading.rails)


def test_every_zone_is_a_rail(tmp_path):
    build(tmp_path, LAPTOP)
    assert set(rails_of(RaplPower(tmp_path))) == {"package-0", "core 0", "uncore 0", "dram 0", "psys"}


def test_the_total_is_packages_and_memory_without_what_they_hold_and_what_holds_them(tmp_path):
    build(tmp_path, LAPTOP)
    assert RaplPower(tmp_path).total_rails == ("package-0", "dram 0")


def test_the_total_of_two_packages_has_both_with_their_memory(tmp_path):
    build(tmp_path, SERVER)
    assert set(RaplPower(tmp_path).total_rails) == {"package-0", "dram 0", "package-1", "dram 1"}


def test_dies_of_a_package_are_counted_each(tmp_path):
    build(tmp_path, {"intel-rapl:0": "package-0-die-0", "intel-rapl:1": "package-0-die-1"})
    assert RaplPower(tmp_path).total_rails == ("package-0-die-0", "package-0-die-1")


def test_an_amd_processor_has_a_package_and_its_cores(tmp_path):
    build(tmp_path, {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core"})
    assert RaplPower(tmp_path).total_rails == ("package-0",)


def test_the_second_way_to_the_same_package_is_not_counted(tmp_path):
    zones = {"intel-rapl:0": "package-0", "intel-rapl-mmio:0": "package-0", "intel-rapl-mmio:0:0": "dram"}
    home = build(tmp_path, zones, energy_uj=0)
    power = RaplPower(tmp_path)
    for folder in ("intel-rapl-mmio:0", "intel-rapl-mmio:0:0"):
        count(home, folder, 7_000_000)
    assert rails_of(power) == {"package-0": 0.0}


def test_energy_counts_from_the_opening_in_millijoules(tmp_path):
    home = build(tmp_path, LAPTOP, energy_uj=5_000_000_000)
    power = RaplPower(tmp_path)
    count(home, "intel-rapl:0", 5_000_002_500)
    assert rails_of(power)["package-0"] == 2.5


def test_energy_adds_up_over_readings(tmp_path):
    home = build(tmp_path, LAPTOP, energy_uj=0)
    power = RaplPower(tmp_path)
    for energy_uj in (1000, 3000, 6000):
        count(home, "intel-rapl:0", energy_uj)
        last = rails_of(power)["package-0"]
    assert last == 6.0


def test_a_counter_that_starts_over_goes_on(tmp_path):
    home = build(tmp_path, LAPTOP, energy_uj=RANGE_UJ - 1000)
    power = RaplPower(tmp_path)
    count(home, "intel-rapl:0", 500)
    assert rails_of(power)["package-0"] == 1.5


def test_a_counter_may_start_over_more_than_once(tmp_path):
    home = build(tmp_path, LAPTOP, energy_uj=0)
    power = RaplPower(tmp_path)
    for energy_uj in (RANGE_UJ - 1000, 0, RANGE_UJ - 1000, 1000):
        count(home, "intel-rapl:0", energy_uj)
        last = rails_of(power)["package-0"]
    assert last == (2 * RANGE_UJ + 1000) / 1e3


def test_a_reading_stands_in_the_middle_of_its_duration(tmp_path):
    build(tmp_path, LAPTOP)
    ticks = iter([1.0, 4.0])
    (reading,) = RaplPower(tmp_path, clock=lambda: next(ticks)).read()
    assert reading.time_s == 2.5


def test_rapl_counts_energy(tmp_path):
    build(tmp_path, LAPTOP)
    assert RaplPower(tmp_path).kind == "energy"


def test_where_a_counter_starts_over_stands_beside_the_numbers(tmp_path):
    build(tmp_path, LAPTOP)
    assert RaplPower(tmp_path).sensors["package-0"].details == {"range_uj": RANGE_UJ}


def test_zones_that_only_root_may_read_are_told_with_their_cure(tmp_path):
    home = build(tmp_path, LAPTOP)
    for folder in LAPTOP:
        hide(home, folder)
    cure = r"5 RAPL zones, none readable: .* sudo chmod a\+r /sys/class/powercap/intel-rapl:\*/energy_uj"
    with pytest.raises(PowerError, match=cure):
        RaplPower(tmp_path)


def test_counters_that_are_not_there_are_told_with_the_same_cure(tmp_path):
    home = build(tmp_path, LAPTOP)
    for folder in LAPTOP:
        (home / folder / "energy_uj").unlink()
    with pytest.raises(PowerError, match="sudo chmod"):
        RaplPower(tmp_path)


def test_a_part_of_the_packages_is_not_given_for_all_of_them(tmp_path):
    hide(build(tmp_path, SERVER), "intel-rapl:1")
    assert RaplPower(tmp_path).total_rails == ()


def test_a_total_that_lacks_a_package_says_which_and_the_cure(tmp_path):
    hide(build(tmp_path, SERVER), "intel-rapl:1")
    assert RaplPower(tmp_path).scope.startswith("no total: package-1 cannot be read. sudo chmod a+r")


def test_a_zone_outside_the_total_may_be_hidden(tmp_path):
    hide(build(tmp_path, LAPTOP), "intel-rapl:0:0")
    assert RaplPower(tmp_path).total_rails == ("package-0", "dram 0")


@pytest.mark.parametrize("span", ["0", "-5", "", "many"])
def test_a_counter_that_does_not_tell_its_range_is_no_rail(tmp_path, span):
    home = build(tmp_path, LAPTOP)
    (home / "intel-rapl:0:0" / "max_energy_range_uj").write_text(span)
    assert "core 0" not in rails_of(RaplPower(tmp_path))


def test_a_machine_without_rapl_says_so(tmp_path):
    with pytest.raises(PowerError, match="no intel-rapl zone in /sys/class/powercap"):
        RaplPower(tmp_path)


def test_a_control_type_without_zones_is_as_good_as_none(tmp_path):
    build(tmp_path, {})
    with pytest.raises(PowerError, match="no intel-rapl zone"):
        RaplPower(tmp_path)


def test_a_zone_that_vanishes_is_left_out(tmp_path):
    home = build(tmp_path, LAPTOP)
    power = RaplPower(tmp_path)
    hide(home, "intel-rapl:0:2")
    assert set(rails_of(power)) == {"package-0", "core 0", "uncore 0", "psys"}


def test_a_zone_that_comes_back_has_lost_nothing(tmp_path):
    home = build(tmp_path, LAPTOP, energy_uj=0)
    power = RaplPower(tmp_path)
    (home / "intel-rapl:0" / "energy_uj").unlink()
    power.read()
    count(home, "intel-rapl:0", 9000)
    assert rails_of(power)["package-0"] == 9.0


def test_zones_that_all_vanish_are_an_error(tmp_path):
    home = build(tmp_path, LAPTOP)
    power = RaplPower(tmp_path)
    for folder in LAPTOP:
        hide(home, folder)
    with pytest.raises(PowerError, match="no zone can be read any more"):
        power.read()


ANYTHING = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"package-1\n", b"dram", b"", b"0", b"-1", b"9" * 18, b"9" * 40, b"1e5"])
)


@given(data=st.data())
@settings(max_examples=40)
def test_whatever_the_files_hold_there_is_a_reading_or_the_reason(data):
    with tempfile.TemporaryDirectory() as folder:
        home = build(Path(folder), SERVER)
        files = [path for name in SERVER for path in sorted((home / name).iterdir())]
        for path in data.draw(st.lists(st.sampled_from(files), unique=True)):
            path.write_bytes(data.draw(ANYTHING))
        try:
            power = RaplPower(Path(folder))
        except PowerError:
            return
        assert set(rails_of(power)) == set(power.sensors) and set(power.total_rails) <= set(power.sensors)
