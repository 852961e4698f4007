from __future__ import annotations

from sacvit.profiles.results.disturbances import disturbed_windows, rounds_apart, wrong_order

CALM = {"others": 0.01, "stolen": 0.0}


def line(contender, number, ms, images=1000, **more):
    told = {"contender": contender, "round": number, "images": images, "duration_s": ms * images / 1e3}
    return told | {"disturbances": [], "attempts": 1, "load": CALM} | more


def rounds(contender, *ms, images=1000):
    return [line(contender, number, value, images) for number, value in enumerate(ms)]


def chain(threshold, exit_rate, ms):
    return {"threshold": threshold, "exit_rate": exit_rate, "ms_per_image": ms}


def test_calm_windows_are_not_told():
    assert disturbed_windows({"a": rounds("a", 1.0, 1.0)}, [{"when": "before", "disturbances": []}]) == []


def test_the_worst_disturbed_window_is_named():
    windows = {
        "a": [line("a", 0, 1.0, disturbances=["little"], load={"others": 0.2, "stolen": 0.0}, attempts=3)],
        "b": [line("b", 1, 1.0, disturbances=["much"], load={"others": 0.7, "stolen": 0.0}), line("b", 2, 1.0)],
    }
    (text,) = disturbed_windows(windows, [])
    assert text.startswith("2 of 3 windows were disturbed, although they were measured again 2 times.")
    assert "The worst is b, round 2: much." in text


def test_rounds_that_lie_apart_are_told_with_their_costs():
    (text,) = rounds_apart({"a": rounds("a", 1.0, 1.3), "b": rounds("b", 1.0, 1.2)})
    assert "a (1 to 1.3 ms per image)" in text and "b (" not in text
    assert "No other program was seen to cause it" in text


def test_rounds_that_lie_apart_because_of_other_programs_say_so():
    windows = {"a": [line("a", 0, 1.0), line("a", 1, 2.0, disturbances=["much"], load={"others": 0.7, "stolen": 0.0})]}
    assert "End other programs" in rounds_apart(windows)[0]


def test_windows_of_milliseconds_are_not_held_to_it():
    assert rounds_apart({"a": rounds("a", 1.0, 3.0, images=10)}) == []


def test_a_threshold_that_exits_more_and_costs_more_in_every_round_is_in_the_wrong_order():
    windows = {"eta 0.5": rounds("eta 0.5", 3.0, 3.01, 2.99), "eta 0.7": rounds("eta 0.7", 2.0, 2.01, 1.99)}
    beyond, within = wrong_order(windows, {"eta 0.7": chain(0.7, 0.6, 2.0), "eta 0.5": chain(0.5, 0.8, 3.0)})
    assert "eta 0.5 takes 1.50 times as long as eta 0.7, though 20.0 points more exit" in beyond[0] and not within


def test_a_wrong_order_within_the_spread_is_told_and_contradicts_nothing():
    windows = {"eta 0.5": rounds("eta 0.5", 3.0, 2.0, 2.5), "eta 0.7": rounds("eta 0.7", 2.0, 2.9, 2.4)}
    beyond, within = wrong_order(windows, {"eta 0.5": chain(0.5, 0.8, 2.5), "eta 0.7": chain(0.7, 0.6, 2.4)})
    assert not beyond and "cannot be told apart by time" in within[0]


def test_thresholds_in_order_and_those_of_one_exit_rate_are_not_told():
    windows = {name: rounds(name, 2.0, 2.0, 2.0) for name in ("eta 0.5", "eta 0.6", "eta 0.7")}
    contenders = {"eta 0.5": chain(0.5, 0.8, 2.0), "eta 0.6": chain(0.6, 0.8, 1.9), "eta 0.7": chain(0.7, 0.6, 2.5)}
    assert wrong_order(windows, {**contenders, "always exit": chain(None, 1.0, 1.0)}) == ([], [])
