from __future__ import annotations

from sacvit.profiles.beside_run.heat import HeatWatch


def write(root, **files):
    for name, (kind, value) in files.items():
        folder = root / "sys/class/thermal" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "type").write_text(kind)
        (folder / ("temp" if name.startswith("thermal") else "cur_state")).write_text(str(value))


def test_each_zone_has_its_first_highest_and_last_temperature(tmp_path):
    watch = HeatWatch(tmp_path)
    for now_s, value in enumerate((45000, 61000, 52000)):
        write(tmp_path, thermal_zone0=("tj-thermal", value))
        watch.look(float(now_s))
    assert watch.zones == {"tj-thermal": {"first": 45.0, "max": 61.0, "last": 52.0}}


def test_a_device_that_throttled_for_a_while_is_kept_with_its_first_time(tmp_path):
    watch = HeatWatch(tmp_path)
    new = []
    for now_s, step in enumerate((0, 1, 1, 0)):
        write(tmp_path, cooling_device0=("gpu-throttle-alert", step), cooling_device1=("pwm-fan", 3))
        new.append(watch.look(float(now_s))[1])
    assert watch.throttled == {"gpu-throttle-alert": 1.0}
    assert new == [[], ["gpu-throttle-alert"], [], []]
