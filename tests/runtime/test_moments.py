from __future__ import annotations

from sacvit.runtime.moments import unix_time_of, utc_text


def test_a_moment_has_the_date_of_the_clock_as_it_is_set_now():
    """Five seconds ago, before and after the system's clock was put forward by an hour."""
    assert unix_time_of(95.0, lambda: 1000.0, lambda: 100.0) == 995.0
    assert unix_time_of(95.0, lambda: 4600.0, lambda: 100.0) == 4595.0


def test_a_time_is_in_utc_to_the_millisecond():
    assert utc_text(1795703325.7024) == "2026-11-26T14:28:45.702Z"
