from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from sacvit.bundle.errors import SacvitError
from sacvit.runtime.events.store import FILE, EventStore, New

MIB = 1 << 20


def test_events_come_oldest_first_and_go_when_they_are_acknowledged(tmp_path):
    store = EventStore(tmp_path, MIB)
    for name in "ab":
        store.add([New("there", {"id": name})])
    first = store.begin_attempt("there")
    store.end(first.number)
    assert first.body == {"id": "a", "attempt": 1, "redelivered": False, "dropped": 0}
    assert store.begin_attempt("there").body["id"] == "b"
    assert store.waiting() == {"there": 1}


def test_each_destination_has_its_own(tmp_path):
    store = EventStore(tmp_path, MIB)
    store.add([New("here", {"id": "a"}, b"picture")])
    assert store.begin_attempt("there") is None
    assert store.begin_attempt("here").picture == b"picture"


def test_a_second_attempt_says_so(tmp_path):
    store = EventStore(tmp_path, MIB)
    store.add([New("there", {"id": "a"})])
    store.begin_attempt("there")
    again = store.begin_attempt("there").body
    assert (again["attempt"], again["redelivered"]) == (2, True)


def test_what_an_earlier_run_left_is_redelivered_and_what_is_new_is_not(tmp_path):
    store = EventStore(tmp_path, MIB)
    store.add([New("there", {"id": "a"})])
    store.close()
    store = EventStore(tmp_path, MIB)
    store.add([New("there", {"id": "b"})])
    old = store.begin_attempt("there")
    store.end(old.number)
    new = store.begin_attempt("there")
    assert (old.body["attempt"], old.body["redelivered"]) == (1, True)
    assert (new.body["id"], new.body["redelivered"]) == ("b", False)


def test_a_kill_loses_neither_an_event_nor_that_it_was_tried(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from sacvit.runtime.events.store import EventStore, New\n"
        "store = EventStore(Path(sys.argv[1]), 1 << 20); store.add([New('there', {'id': 'a'}), New('there', {'id': 'b'})])\n"
        "store.begin_attempt('there'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    store = EventStore(tmp_path, MIB)
    first = store.begin_attempt("there")
    assert (first.body["id"], first.body["attempt"], first.body["redelivered"]) == ("a", 2, True)
    store.end(first.number)
    assert store.begin_attempt("there").body["id"] == "b"


def test_the_oldest_are_dropped_and_counted_when_there_is_no_room(tmp_path):
    store = EventStore(tmp_path, 1000)
    for number in range(5):
        store.add([New("there", {"id": number}, bytes(300))])
    kept = store.begin_attempt("there").body
    assert (kept["id"], kept["dropped"], store.dropped["there"]) == (2, 2, 2)


def test_the_file_shrinks_with_its_content(tmp_path):
    store = EventStore(tmp_path, MIB)
    store.add([New("there", {"id": "a"}, bytes(500_000))])
    store.end(store.begin_attempt("there").number)
    store.close()
    assert (tmp_path / FILE).stat().st_size < 100_000


def test_a_damaged_file_is_named_with_what_to_do(tmp_path):
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(SacvitError, match=r"events.sqlite3: .* move it away"):
        EventStore(tmp_path, MIB)
