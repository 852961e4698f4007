from __future__ import annotations

import json

import pytest

from sacvit.bundle.errors import UsageError
from sacvit.runtime.events.destinations.destination import DeliveryError, Limits
from sacvit.runtime.events.destinations.snapshots import Snapshots, open_snapshots


def body(number: int) -> dict[str, object]:
    return {"event": "label=nut", "id": f"{number:032x}", "time": "2026-11-26T13:46:13.250Z"}


def numbers(folder) -> list[int]:
    return sorted(int(path.name[6:14]) for path in folder.glob("event-*.json"))


def test_an_event_is_a_frame_and_its_description(tmp_path):
    Snapshots(tmp_path, 1 << 20).send(body(1), b"jpeg")
    stem = f"event-00000000-20261126T134613Z-{1:032x}"
    assert (tmp_path / f"{stem}.jpg").read_bytes() == b"jpeg"
    assert json.loads((tmp_path / f"{stem}.json").read_text()) == body(1)


def test_an_event_without_a_frame_is_its_description(tmp_path):
    Snapshots(tmp_path, 1 << 20).send(body(1), None)
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_the_oldest_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "event-00000000-holiday.jpg").write_bytes(bytes(9000))
    folder = Snapshots(tmp_path, 4000)
    for number in range(5):
        folder.send(body(number), bytes(1000))
    assert numbers(tmp_path) == [2, 3, 4]
    assert len(list(tmp_path.glob("*.jpg"))) == 4 and (tmp_path / "event-00000000-holiday.jpg").exists()


def test_a_later_run_counts_on_and_removes_what_an_earlier_one_wrote(tmp_path):
    Snapshots(tmp_path, 4000).send(body(1), bytes(3000))
    Snapshots(tmp_path, 4000).send(body(2), bytes(3000))
    assert numbers(tmp_path) == [1]


def test_an_event_that_was_written_before_is_not_written_again(tmp_path):
    Snapshots(tmp_path, 1 << 20).send(body(1), b"jpeg")
    Snapshots(tmp_path, 1 << 20).send(body(1), b"jpeg")
    assert numbers(tmp_path) == [0]


def test_a_folder_that_is_gone_is_no_delivery(tmp_path):
    folder = Snapshots(tmp_path / "events", 1 << 20)
    (tmp_path / "events").rmdir()
    (tmp_path / "events").write_text("in the way")
    with pytest.raises(DeliveryError):
        folder.send(body(1), b"jpeg")


def test_a_folder_is_needed():
    with pytest.raises(UsageError, match="needs a folder"):
        open_snapshots("snapshots:", Limits(1))
