from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ina_tree import ORIN_NANO, Rows, build, hwmon

from sacvit.profiles.power.ina import InaPower
from sacvit.profiles.power.source import PowerError

AGX_ORIN: Rows = (("VDD_GPU_SOC", 20000, 140), ("VDD_CPU_CV", 20000, 40), ("VIN_SYS_5V0", 5000, 660))
AGX_ORIN_41: Rows = (("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 5000, 120), ("NC", 0, 0))
THOR: Rows = (("VDD_GPU", 20000, 400), ("VDD_CPU_SOC_MSS", 20000, 500), ("VIN_SYS_5V0", 5000, 1000))
XAVIER_NX = (("VDD_IN", 5542), ("VDD_CPU_GPU_CV", 1594), ("VDD_SOC", 1234))  # label, mW


def iio(root: Path, rows: Sequence[tuple[str, int]], chip: str = "7-0040", number: int = 0) -> Path:
    """An INA3221 of JetPack 4."""
    files: dict[str, object] = {}
    for channel, (label, mw) in enumerate(rows):
        files |= {f"rail_name_{channel}": label, f"in_power{channel}_input": mw}
        files |= {f"in_voltage{channel}_input": 5000, f"in_current{channel}_input": mw // 5}
    return build(root, "ina3221x", chip, f"iio:device{number}", files)


def ina238(root: Path, chip: str = "2-0044", number: int = 3, **changes: object) -> Path:
    files = {"name": "ina238", "in0_input": 4, "in1_input": 20000, "curr1_input": 4371, "power1_input": 87426000}
    return build(root, "ina238", chip, f"hwmon/hwmon{number}", {**files, "shunt_resistor": 2000, **changes})


def agx_orin(root: Path) -> InaPower:
    hwmon(root, AGX_ORIN, "1-0040", 3)
    hwmon(root, AGX_ORIN_41, "1-0041", 4)
    return InaPower(root)


def rails_of(power: InaPower) -> dict[str, float]:
    (reading,) = power.read()
    return dict(reading.rails)


# -- boards -----------------------------------------------------------------------------------------------------------


def test_an_orin_nano_has_three_rails_and_neither_shunts_nor_their_sum(tmp_path):
    hwmon(tmp_path, ORIN_NANO)
    assert rails_of(InaPower(tmp_path)) == {"VDD_IN": 4800.0, "VDD_CPU_GPU_CV": 520.0, "VDD_SOC": 1480.0}


def test_the_total_of_an_orin_nano_is_its_input_alone(tmp_path):
    hwmon(tmp_path, ORIN_NANO)
    assert InaPower(tmp_path).total_rails == ("VDD_IN",)


@pytest.mark.parametrize("label", ["NC", "", "sum of shunt voltages", "Sum of shunt voltages"])
def test_a_channel_that_measures_no_rail_is_left_out(tmp_path, label):
    hwmon(tmp_path, ORIN_NANO, in3_label=label)
    assert list(rails_of(InaPower(tmp_path))) == ["VDD_IN", "VDD_CPU_GPU_CV"]


@pytest.mark.parametrize("label", ["VDD\x01SOC", "V" * 33, "VDD_SOC\nVDD_IN"])
def test_a_label_that_is_no_name_is_no_rail(tmp_path, label):
    hwmon(tmp_path, ORIN_NANO, in3_label=label)
    assert list(rails_of(InaPower(tmp_path))) == ["VDD_IN", "VDD_CPU_GPU_CV"]


def test_a_label_that_is_no_text_is_no_rail(tmp_path):
    (hwmon(tmp_path, ORIN_NANO) / "in3_label").write_bytes(b"VDD_\xff\xfe\n")
    assert list(rails_of(InaPower(tmp_path))) == ["VDD_IN", "VDD_CPU_GPU_CV"]


def test_a_channel_that_is_switched_off_is_left_out(tmp_path):
    hwmon(tmp_path, ORIN_NANO, in2_enable=0)
    assert list(rails_of(InaPower(tmp_path))) == ["VDD_IN", "VDD_SOC"]


def test_a_driver_that_does_not_tell_what_is_switched_on_has_all_rails(tmp_path):
    folder = hwmon(tmp_path, ORIN_NANO)
    for channel in (1, 2, 3):
        (folder / f"in{channel}_enable").unlink()
    assert len(rails_of(InaPower(tmp_path))) == 3


def test_both_chips_of_an_agx_orin_are_read(tmp_path):
    expected = {"VDD_GPU_SOC": 2800.0, "VDD_CPU_CV": 800.0, "VIN_SYS_5V0": 3300.0, "VDDQ_VDD2_1V8AO": 600.0}
    assert rails_of(agx_orin(tmp_path)) == expected


def test_the_memory_of_an_agx_orin_is_not_counted_twice(tmp_path):
    assert agx_orin(tmp_path).total_rails == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")


def test_a_xavier_nx_of_jetpack_4_gives_milliwatts_itself(tmp_path):
    iio(tmp_path, XAVIER_NX)
    assert rails_of(InaPower(tmp_path)) == {"VDD_IN": 5542.0, "VDD_CPU_GPU_CV": 1594.0, "VDD_SOC": 1234.0}


def test_the_total_of_a_xavier_nx_is_its_input_alone(tmp_path):
    iio(tmp_path, XAVIER_NX)
    assert InaPower(tmp_path).total_rails == ("VDD_IN",)


def test_a_channel_of_jetpack_4_that_is_not_connected_is_left_out(tmp_path):
    iio(tmp_path, [*XAVIER_NX[:2], ("NC", 0)])
    assert list(rails_of(InaPower(tmp_path))) == ["VDD_IN", "VDD_CPU_GPU_CV"]


def test_the_total_of_an_agx_xavier_is_the_sum_of_six(tmp_path):
    iio(tmp_path, [("GPU", 1), ("CPU", 20), ("SOC", 300)], "1-0040", 0)
    iio(tmp_path, [("CV", 4000), ("VDDRQ", 50000), ("SYS5V", 600000)], "1-0041", 1)
    power = InaPower(tmp_path)
    rails = rails_of(power)
    assert sum(rails[name] for name in power.total_rails) == 654321


def test_the_carrier_of_a_thor_gives_microwatts(tmp_path):
    hwmon(tmp_path, THOR)
    ina238(tmp_path)
    assert rails_of(InaPower(tmp_path))["VIN"] == pytest.approx(87426.0, rel=1e-12)  # a float's rounding


def test_the_total_of_a_thor_leaves_its_kits_input_out(tmp_path):
    hwmon(tmp_path, THOR)
    ina238(tmp_path)
    assert InaPower(tmp_path).total_rails == ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")


def test_a_thor_on_a_carrier_without_a_monitor_has_the_same_total(tmp_path):
    hwmon(tmp_path, THOR)
    assert InaPower(tmp_path).total_rails == ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")


def test_the_carriers_rail_has_the_name_that_the_device_tree_gives(tmp_path):
    ina238(tmp_path, label="VDD_19V")
    assert list(rails_of(InaPower(tmp_path))) == ["VDD_19V"]


@pytest.mark.parametrize("label", ["NC", "\x01"])
def test_a_carriers_channel_without_a_good_name_is_not_taken_for_its_input(tmp_path, label):
    hwmon(tmp_path, THOR)
    ina238(tmp_path, label=label)
    assert list(rails_of(InaPower(tmp_path))) == ["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"]


def test_rails_that_no_board_is_known_for_have_no_total(tmp_path):
    hwmon(tmp_path, [("VDD_FOO", 5000, 100), ("VDD_BAR", 5000, 100)])
    assert InaPower(tmp_path).total_rails == ()


def test_the_scope_of_unknown_rails_says_that_there_is_no_total(tmp_path):
    hwmon(tmp_path, [("VDD_FOO", 5000, 100)])
    assert InaPower(tmp_path).scope.startswith("no total")


def test_the_scope_of_a_known_board_says_what_lies_outside(tmp_path):
    hwmon(tmp_path, ORIN_NANO)
    assert InaPower(tmp_path).scope.endswith("carrier, fan and disk lie outside")


def test_a_total_of_which_a_rail_cannot_be_read_is_none(tmp_path):
    (hwmon(tmp_path, AGX_ORIN) / "curr2_input").unlink()
    assert InaPower(tmp_path).total_rails == ()


@pytest.mark.parametrize("number", [0, 4, 17])
def test_the_number_of_the_hwmon_folder_does_not_matter(tmp_path, number):
    hwmon(tmp_path, ORIN_NANO, number=number)
    assert rails_of(InaPower(tmp_path))["VDD_IN"] == 4800.0


@pytest.mark.parametrize("chip", ["1-0040", "7-0040", "0-0041"])
def test_the_bus_and_address_of_the_chip_do_not_matter(tmp_path, chip):
    hwmon(tmp_path, ORIN_NANO, chip)
    assert rails_of(InaPower(tmp_path))["VDD_IN"] == 4800.0


def test_two_chips_with_the_same_label_are_told_apart_by_address(tmp_path):
    hwmon(tmp_path, [("VDD_IN", 5000, 100)], "1-0040", 1)
    hwmon(tmp_path, [("VDD_IN", 5000, 200)], "1-0041", 2)
    assert rails_of(InaPower(tmp_path)) == {"VDD_IN (1-0040)": 500.0, "VDD_IN (1-0041)": 1000.0}


def test_of_two_chips_with_the_same_label_none_is_the_total(tmp_path):
    hwmon(tmp_path, [("VDD_IN", 5000, 100)], "1-0040", 1)
    hwmon(tmp_path, [("VDD_IN", 5000, 200)], "1-0041", 2)
    assert InaPower(tmp_path).total_rails == ()


def test_a_current_that_flows_back_is_a_negative_power(tmp_path):
    hwmon(tmp_path, [("VDD_IN", 5000, -8)])
    assert rails_of(InaPower(tmp_path)) == {"VDD_IN": -40.0}


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda root: hwmon(root, ORIN_NANO), "ina3221 through sysfs"),
        (lambda root: iio(root, XAVIER_NX), "ina3221x through sysfs"),
        (lambda root: (hwmon(root, THOR), ina238(root)), "ina238 and ina3221 through sysfs"),
    ],
)
def test_the_source_is_named_by_its_drivers(tmp_path, make, name):
    make(tmp_path)
    assert InaPower(tmp_path).name == name


# -- sensors ----------------------------------------------------------------------------------------------------------


def test_the_step_follows_from_the_shunt_and_the_voltage(tmp_path):
    """40 uV over 5 mOhm are 8 mA, at 5 V 40 mW."""
    hwmon(tmp_path, ORIN_NANO)
    assert InaPower(tmp_path).sensors["VDD_IN"].step_mw == 40.0


def test_an_agx_orin_has_coarse_steps(tmp_path):
    """40 uV over 2 mOhm are 20 mA, at 20 V 400 mW."""
    hwmon(tmp_path, AGX_ORIN, shunt1_resistor=2000)
    assert InaPower(tmp_path).sensors["VDD_GPU_SOC"].step_mw == 400.0


def test_the_steps_of_a_thors_carrier_are_an_ina238s(tmp_path):
    """5 uV over 2 mOhm are 2.5 mA, at 20 V 50 mW."""
    ina238(tmp_path)
    assert InaPower(tmp_path).sensors["VIN"].step_mw == 50.0


@pytest.mark.parametrize("changes", [{"shunt1_resistor": 0}, {"shunt1_resistor": "?"}, {"shunt1_resistor": -1}])
def test_without_a_shunt_no_step_is_told(tmp_path, changes):
    hwmon(tmp_path, ORIN_NANO, **changes)
    assert InaPower(tmp_path).sensors["VDD_IN"].step_mw is None


def test_a_rail_without_voltage_tells_no_step(tmp_path):
    hwmon(tmp_path, ORIN_NANO, in1_input=0)
    assert InaPower(tmp_path).sensors["VDD_IN"].step_mw is None


def test_the_filter_is_the_update_interval(tmp_path):
    hwmon(tmp_path, ORIN_NANO)
    assert InaPower(tmp_path).sensors["VDD_IN"].filter_s == 0.43


@pytest.mark.parametrize("interval", [0, -5, "", "fast"])
def test_without_a_good_update_interval_no_filter_is_told(tmp_path, interval):
    hwmon(tmp_path, ORIN_NANO, update_interval=interval)
    assert InaPower(tmp_path).sensors["VDD_IN"].filter_s is None


def test_the_settings_of_the_chip_stand_beside_the_numbers(tmp_path):
    hwmon(tmp_path, ORIN_NANO)
    expected = {"driver": "ina3221", "shunt_uohm": 5000, "samples": 512, "update_interval_ms": 430}
    assert InaPower(tmp_path).sensors["VDD_IN"].details == expected


def test_the_driver_of_jetpack_4_tells_neither_step_nor_filter(tmp_path):
    iio(tmp_path, XAVIER_NX)
    sensor = InaPower(tmp_path).sensors["VDD_IN"]
    assert (sensor.step_mw, sensor.filter_s) == (None, None)


# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_reading_stands_in_the_middle_of_its_duration(tmp_path):
    hwmon(tmp_path, ORIN_NANO)
    ticks = iter([1.0, 4.0])
    (reading,) = InaPower(tmp_path, clock=lambda: next(ticks)).read()
    assert reading.time_s == 2.5


def test_every_reading_is_read_anew(tmp_path):
    folder = hwmon(tmp_path, ORIN_NANO)
    power = InaPower(tmp_path)
    power.read()
    (folder / "curr1_input").write_text("2000\n")
    assert rails_of(power)["VDD_IN"] == 10000.0


@pytest.mark.parametrize("file", ["in2_input", "curr2_input"])
def test_a_rail_that_vanishes_is_left_out(tmp_path, file):
    folder = hwmon(tmp_path, ORIN_NANO)
    power = InaPower(tmp_path)
    (folder / file).unlink()
    assert list(rails_of(power)) == ["VDD_IN", "VDD_SOC"]


def test_a_rail_that_comes_back_is_read_again(tmp_path):
    folder = hwmon(tmp_path, ORIN_NANO)
    power = InaPower(tmp_path)
    (folder / "curr2_input").write_text("")
    power.read()
    (folder / "curr2_input").write_text("104\n")
    assert rails_of(power)["VDD_CPU_GPU_CV"] == 520.0


def test_a_chip_that_is_gone_is_an_error(tmp_path):
    hwmon(tmp_path, ORIN_NANO)
    power = InaPower(tmp_path)
    (tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040").unlink()
    with pytest.raises(PowerError, match="no channel can be read any more"):
        power.read()


def test_a_machine_without_such_a_chip_says_so(tmp_path):
    with pytest.raises(PowerError, match="no INA3221 or INA238 in /sys/bus/i2c/drivers"):
        InaPower(tmp_path)


def test_a_driver_without_a_chip_is_as_good_as_none(tmp_path):
    (tmp_path / "sys/bus/i2c/drivers/ina3221").mkdir(parents=True)
    with pytest.raises(PowerError, match="no INA3221"):
        InaPower(tmp_path)


def test_channels_that_cannot_be_read_are_counted(tmp_path):
    folder = hwmon(tmp_path, ORIN_NANO)
    for channel in (1, 2, 3):
        (folder / f"in{channel}_input").unlink()
    with pytest.raises(PowerError, match="3 INA channels, none of which can be read"):
        InaPower(tmp_path)


def test_a_folder_in_a_files_place_is_as_good_as_nothing(tmp_path):
    folder = hwmon(tmp_path, ORIN_NANO)
    (folder / "curr3_input").unlink()
    (folder / "curr3_input").mkdir()
    assert list(rails_of(InaPower(tmp_path))) == ["VDD_IN", "VDD_CPU_GPU_CV"]


# -- whatever the files hold ------------------------------------------------------------------------------------------

PIECES = (
    b"VDD_IN\n",
    b"NC\n",
    b"VIN",
    b"",
    b"0\n",
    b"-1",
    b"5000",
    b"9" * 18,
    b"9" * 40,
    b"1e5",
    b"1 2",
    b"\xffVDD",
    b"A\0B",
)
ANYTHING = st.one_of(st.sampled_from(PIECES), st.binary(max_size=40), st.text(max_size=20).map(str.encode))
LABELS = {"in1_label", "in2_label", "in3_label", "rail_name_0", "rail_name_1", "rail_name_2", "label"}


def names_in(folders: Sequence[Path]) -> set[str]:
    """Every label that is a text and says something, and the one that stands for none."""
    names = {"VIN"}
    for path in (path for folder in folders for path in folder.iterdir() if path.name in LABELS):
        try:
            names.add(path.read_bytes().decode().strip("\0\n "))
        except UnicodeDecodeError:
            continue
    return names - {"", "NC"}


@st.composite
def boards(draw: st.DrawFn) -> dict[tuple[int, str], bytes]:
    """What to write over: the number of a chip and a file of its, to bytes."""
    channels = [
        f"{name}{n}_{end}" for n in (1, 2, 3) for name, end in (("in", "label"), ("in", "input"), ("curr", "input"))
    ]
    first = [*channels, "in1_enable", "shunt1_resistor", "samples", "update_interval"]
    second = [name for n in range(3) for name in (f"rail_name_{n}", f"in_power{n}_input")]
    third = ["label", "power1_input", "shunt_resistor", "in1_input"]
    files = [(number, name) for number, names in enumerate((first, second, third)) for name in names]
    chosen = draw(st.one_of(st.just(files), st.lists(st.sampled_from(files), unique=True, max_size=12)))
    return {file: draw(ANYTHING) for file in chosen}


@given(board=boards())
def test_whatever_the_files_hold_rails_have_true_names_and_finite_numbers(board):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        chips = (hwmon(root, AGX_ORIN), iio(root, XAVIER_NX), ina238(root))
        for (number, name), content in board.items():
            (chips[number] / name).write_bytes(content)
        try:
            power = InaPower(root)
            rails = rails_of(power)
        except PowerError:
            return
        names = names_in(chips)
        assert all(name in names or name.rpartition(" (")[0] in names for name in rails)
        assert all(math.isfinite(value) for value in rails.values())
        told = [value for sensor in power.sensors.values() for value in (sensor.step_mw, sensor.filter_s)]
        assert all(value is None or (math.isfinite(value) and value >= 0) for value in told)
