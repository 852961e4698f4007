from __future__ import annotations

import logging
import threading

import cv2
import numpy as np
import pytest

from sacvit.runtime.events.courier import Courier
from sacvit.runtime.events.destinations.destination import DeliveryError
from sacvit.runtime.events.dispatcher import WAITING, WAITING_FRAMES, Dispatcher, key_of
from sacvit.runtime.events.store import EventStore, New

MIB = 1 << 20


class Place:
    """A destination that fails as often as a test says."""

    shown, wants_picture = "place", True

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.bodies, self.pictures = failures, [], []
        self.has_some, self.was_tried, self.is_closed = threading.Event(), threading.Event(), False

    def send(self, body, picture) -> None:
        self.was_tried.set()
        if self.failures:
            self.failures -= 1
            raise DeliveryError("not now")
        self.bodies.append(body)
        self.pictures.append(picture)
        self.has_some.set()

    def close(self) -> None:
        self.is_closed = True


def dispatcher(folder, place: Place, live: bool = True) -> Dispatcher:
    return Dispatcher(EventStore(folder, MIB), {"place:secret": place}, live=live)


def test_an_event_reaches_every_destination_and_leaves_the_queue(tmp_path):
    places = Place(), Place()
    store = EventStore(tmp_path, MIB)
    sent = Dispatcher(store, dict(zip("ab", places, strict=True)), live=True)
    sent.put({"id": "x"}, np.zeros((8, 8, 3), np.uint8))
    for place in places:
        assert place.has_some.wait(10)
    sent.close()
    for place in places:
        assert [body["id"] for body in place.bodies] == ["x"] and place.is_closed
        assert cv2.imdecode(np.frombuffer(place.pictures[0], np.uint8), 1).shape == (8, 8, 3)
    assert EventStore(tmp_path, MIB).waiting() == {}


def test_what_is_not_delivered_at_the_end_is_sent_by_the_next_run(tmp_path, caplog):
    first = dispatcher(tmp_path, Place(failures=10**9))
    first.put({"id": "x"})
    first.close()
    assert f"events that wait in {tmp_path}: 1" in caplog.text
    place = Place()
    second = dispatcher(tmp_path, place)
    assert place.has_some.wait(10)
    second.close()
    assert place.bodies[0]["id"] == "x" and place.bodies[0]["redelivered"]


def test_the_queue_does_not_hold_the_text_of_a_destination(tmp_path):
    first = dispatcher(tmp_path, Place(failures=10**9))
    first.put({"id": "x"})
    first.close()
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_failure_is_reported_when_it_begins_and_when_it_ends(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    store, place, pauses = EventStore(tmp_path, MIB), Place(failures=4), []
    store.add([New("key", {"id": "x"})])
    courier = Courier(store, "key", place, pauses.append)
    assert place.has_some.wait(10)
    courier.end()
    courier.thread.join()
    assert pauses == [1.0, 2.0, 4.0, 8.0]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert place.bodies[0]["attempt"] == 5


def test_new_events_do_not_shorten_the_pause_after_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr("sacvit.runtime.events.courier.FIRST_PAUSE_S", 60.0)
    sent = dispatcher(tmp_path, Place(failures=10**9))
    courier = sent.couriers[0]
    sent.put({"id": "x"})
    for _ in range(2):  # it pauses, and does so again after it was woken
        while not (courier.attempts and courier._changed._waiters):
            pass
        courier.wake()
    assert courier.attempts == 1
    sent.close()


def test_a_disk_that_is_too_slow_holds_up_no_camera(tmp_path, caplog):
    store, place = EventStore(tmp_path, MIB), Place()
    blocked, going = threading.Event(), threading.Event()
    add = store.add

    def wait(events):
        blocked.set()
        going.wait()
        add(events)

    store.add = wait
    sent = Dispatcher(store, {"a": place}, live=True)
    frame = np.zeros((8, 8, 3), np.uint8)
    sent.put({"id": -1})
    blocked.wait()
    for number in range(WAITING + 2):
        sent.put({"id": number}, frame)
    going.set()
    sent.close()
    assert "events that were lost before they reached the disk: 2" in caplog.text
    assert f"events without their frame, since the disk was too slow: {WAITING + 2 - WAITING_FRAMES}" in caplog.text
    assert len(place.bodies) == WAITING + 1 and len([one for one in place.pictures if one]) == WAITING_FRAMES


def test_events_for_a_destination_that_is_not_named_stay(tmp_path, caplog):
    store = EventStore(tmp_path, MIB)
    store.add([New(key_of("elsewhere"), {"id": "x"})])
    sent = Dispatcher(store, {"a": Place()}, live=True)
    sent.close()
    assert "destinations that --to does not name: 1" in caplog.text
    assert EventStore(tmp_path, MIB).waiting() == {key_of("elsewhere"): 1}


def test_a_defect_ends_the_run(tmp_path):
    sent = dispatcher(tmp_path, Place())
    sent.put({"id": object()})
    with pytest.raises(TypeError, match="not JSON serializable"):
        sent.close()


def test_a_destination_that_hangs_does_not_hold_up_the_end(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("sacvit.runtime.events.dispatcher.CLOSE_S", 0.2)
    place, going = Place(), threading.Event()
    send = place.send

    def hang(body, picture):
        place.was_tried.set()
        going.wait()
        send(body, picture)

    place.send = hang
    sent = dispatcher(tmp_path, place)
    sent.put({"id": "x"})
    assert place.was_tried.wait(10)
    sent.close()
    assert f"events that wait in {tmp_path}: 1" in caplog.text
    going.set()
    sent.couriers[0].thread.join()


def test_events_keep_the_destinations_of_the_time_when_they_were_made(tmp_path):
    before, after, is_busy, disk = Place(), Place(), threading.Event(), threading.Event()
    store = EventStore(tmp_path, MIB)
    add = store.add

    def add_slowly(events):  # later events wait in memory
        is_busy.set()
        assert disk.wait(10)
        add(events)

    store.add = add_slowly
    sent = Dispatcher(store, {"place:secret": before}, live=True)
    sent.put({"id": "0"})
    assert is_busy.wait(10)
    sent.put({"id": "1"})
    sent.use({"other": after})
    sent.put({"id": "2"})
    disk.set()
    sent.close()
    assert [body["id"] for body in before.bodies] == ["0", "1"] and [body["id"] for body in after.bodies] == ["2"]
    assert before.is_closed and after.is_closed


def test_a_destination_that_is_left_out_still_gets_what_was_queued_for_it(tmp_path):
    place = Place(failures=1)
    store = EventStore(tmp_path, MIB)
    store.add([New(key_of("place:secret"), {"id": "x"})])
    sent = Dispatcher(store, {"place:secret": place}, live=True)
    assert place.was_tried.wait(10)
    sent.use({"other": Place()})
    sent.close()
    assert [body["id"] for body in place.bodies] == ["x"]


def test_a_destination_that_comes_back_is_the_one_that_is_open(tmp_path):
    place = Place()
    sent = dispatcher(tmp_path, place)
    sent.use({"other": Place()})
    sent.use({"place:secret": Place()})
    assert len(sent.couriers) == 2
    sent.put({"id": "x"})
    sent.close()
    assert [body["id"] for body in place.bodies] == ["x"]
