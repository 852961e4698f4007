from __future__ import annotations

THERMAL = "sys/class/thermal"


def test_zones_without_power_have_no_temperature(look):
    expected = {"cpu-thermal": 48.25, "gpu-thermal": 47.0, "tj-thermal": 48.5}
    assert look("orin-nano").temperatures_c == expected


def test_a_zone_that_gives_an_error_has_no_temperature(look, tmp_path):
    (tmp_path / THERMAL / "thermal_zone1/temp").mkdir(parents=True)
    zones = {"thermal_zone0/type": "cpu\n", "thermal_zone0/temp": "40000\n", "thermal_zone1/type": "gpu\n"}
    state = look("empty", {f"{THERMAL}/{path}": content for path, content in zones.items()})
    assert state.temperatures_c == {"cpu": 40.0}


def test_the_constant_of_a_power_chip_is_no_temperature(look):
    assert look("xavier-nx").temperatures_c == {"CPU-therm": 36.5, "thermal-fan-est": 36.05}


def test_two_zones_of_one_name_are_both_kept(look):
    assert look("pc").temperatures_c == {"acpitz": 16.8, "acpitz (thermal_zone1)": 17.0}


def test_what_slows_clocks_down_is_told_from_fans_and_alerts(look):
    expected = {"cpu-throttle-alert": 0, "devfreq-17000000.gpu": 0, "cpufreq-cpu0": 0}
    assert look("orin-nano").cooling == expected


def test_of_cooling_devices_with_one_name_the_highest_step_counts(look):
    files = {}
    for number, step in enumerate((0, 4, 1)):
        files |= {f"{THERMAL}/cooling_device{number}/type": "cpufreq-cpu0\n"}
        files |= {f"{THERMAL}/cooling_device{number}/cur_state": f"{step}\n"}
    state = look("empty", files)
    assert state.cooling == {"cpufreq-cpu0": 4}


def test_over_current_counters_are_found_by_the_chips_name(look):
    assert look("orin-nano", {"sys/class/hwmon/hwmon1/oc4_event_cnt": "7\n"}).over_current == {
        "oc1": 0,
        "oc2": 0,
        "oc3": 179,
    }
