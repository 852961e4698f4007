"""What SIGHUP changes while a run goes on; the file is stood for by a dictionary, the events are real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacvit.bundle.errors import UsageError
from sacvit.machine.service_manager import HangUp
from sacvit.runtime.chain.gate import Gate
from sacvit.runtime.chain.result import Result
from sacvit.runtime.events.live_events import LiveEvents
from sacvit.runtime.options import EventOptions
from sacvit.runtime.reload import Reload
from sacvit.runtime.sinks.overlay import Running
from sacvit.runtime.sinks.sink import Answer
from sacvit.runtime.sources.frame import Frame

PIXELS = np.zeros((4, 4, 3), np.uint8)
LABELS = ["nut", "bolt"]
ANSWER = Answer(
    Frame(0, "f", PIXELS), Result(0, "nut", 0.9, "EE", 0.9, (), 1.0, None), PIXELS, (0, 0, 4, 4), 1, 0.5, 0, 0,
    Running(0.75, 1.0, 0),
)  # fmt: skip


class NoCamera:
    live = False

    def report_losses(self, report) -> None:
        self.lose = report


class Run:
    """A run with options, a gate and events."""

    def __init__(self, folder: Path, monkeypatch, **options: Any) -> None:
        self.folder = folder
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
        own = EventOptions()
        queue = {name: getattr(own, name) for name in ("event_queue", "event_queue_mib", "snapshots_mib")}
        self.options = {"config": "c.toml", "threshold": None, "on": None, "to": None, "batch": 1, **queue} | options
        monkeypatch.setattr("signal.signal", lambda number, handler: None)
        self.gate, self.source, self.sinks = Gate(self.options["threshold"] or 0.5), NoCamera(), []
        self.events = LiveEvents(self.asked(), self.source, lambda rules: None)
        self.events.require_labels(LABELS)
        self.events.join(self.sinks, None)
        self.reload = Reload(HangUp(), self.options, lambda: (self.options, self.asked()), self.gate, self.events)

    def asked(self) -> EventOptions:
        on, to = (tuple(self.options[name] or ()) for name in ("on", "to"))
        return EventOptions(on, to, event_queue=self.options["event_queue"])

    def change(self, **options: Any) -> None:
        self.options = self.options | options
        self.reload.apply()

    def snapshots(self, *names: str) -> list[str]:
        return [f"snapshots:{self.folder / name}" for name in names]

    def close(self) -> None:
        for sink in self.sinks:
            sink.close()

    def written(self, name: str) -> int:
        return len(list((self.folder / name).glob("*.json")))


@pytest.fixture
def begin(tmp_path, monkeypatch):
    return lambda **options: Run(tmp_path, monkeypatch, **options)


def test_a_threshold_is_applied(begin, caplog):
    run = begin()
    run.change(threshold=0.25)
    assert run.gate.threshold == 0.25 and not caplog.records
    run.close()


def test_a_threshold_that_is_taken_out_is_the_stored_one_again(begin):
    run = begin()
    run.change(threshold=0.25)
    run.change(threshold=None)
    assert run.gate.threshold == 0.5


def test_a_threshold_that_was_changed_elsewhere_stays_while_the_file_does_not_change_it(begin):
    run = begin(threshold=0.75)
    run.gate.threshold = 0.3
    run.change()
    assert run.gate.threshold == 0.3


def test_the_stored_threshold_of_a_run_that_began_with_another_needs_a_restart(begin, caplog):
    run = begin(threshold=0.75)
    run.change(threshold=None)
    assert run.gate.threshold == 0.75 and "needs a restart to change: threshold" in caplog.text


def test_what_cannot_change_is_named_and_the_rest_is_applied(begin, caplog):
    run = begin()
    run.change(threshold=0.25, batch=4)
    assert run.gate.threshold == 0.25 and "needs a restart to change: batch" in caplog.text


@pytest.mark.parametrize(
    "wrong", [{"on": ["lable=nut"]}, {"on": ["label=screw"]}, {"to": ["webhok:x"]}, {"on": ["drift"]}, {"on": None}]
)
def test_a_mistake_changes_nothing(begin, caplog, wrong):
    run = begin(on=["label=nut"], to=["stdout"])
    rules = run.events.watcher.rules
    run.change(**{"threshold": 0.25, **wrong})
    assert run.gate.threshold == 0.5 and run.events.watcher.rules is rules
    assert "nothing is changed, the run goes on as before: --" in caplog.text
    run.close()


def test_a_file_that_cannot_be_read_changes_nothing(begin, caplog):
    run = begin()

    def refuse():
        raise UsageError("--config c.toml is no TOML")

    run.reload = Reload(HangUp(), run.options, refuse, run.gate, run.events)
    run.change(threshold=0.25)
    assert run.gate.threshold == 0.5 and "is no TOML" in caplog.text


def test_other_events_go_to_other_destinations_and_none_is_lost(begin, tmp_path):
    run = begin(on=["label=nut"])
    run.options = run.options | {"to": run.snapshots("a")}
    run.reload.apply()
    run.sinks[0].write(ANSWER)
    run.change(on=["stage=EE"], to=run.snapshots("a", "b"))
    run.sinks[0].write(ANSWER)
    run.close()
    assert (run.written("a"), run.written("b")) == (2, 1)


def test_the_first_events_begin_while_the_run_goes_on(begin, tmp_path, caplog):
    run = begin()
    assert run.sinks == []
    run.change(on=["label=nut", "camera-lost"], to=run.snapshots("a"), event_queue=tmp_path / "queue")
    assert (tmp_path / "queue").is_dir() and "needs a restart" not in caplog.text
    run.sinks[0].write(ANSWER)
    run.source.lose(0, "no frame")
    run.close()
    assert run.written("a") == 2


def test_events_can_end(begin, tmp_path):
    run = begin(on=["label=nut"], to=[f"snapshots:{tmp_path / 'a'}"])
    run.change(on=None, to=None)
    run.sinks[0].write(ANSWER)
    run.close()
    assert run.written("a") == 0
