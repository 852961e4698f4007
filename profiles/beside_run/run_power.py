"""Power beside a run of sacvit-run: a sink that joins the answers with the readings of a sampler."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ...runtime.chain.pipeline import Pipeline
from ...runtime.chain.track import places_for
from ...runtime.loop import Chain
from ...runtime.moments import unix_time_of, utc_text
from ...runtime.options import LoopOptions
from ...runtime.sinks.sink import Answer
from ..conditions.state import read_state
from ..conditions.state_text import state_rows
from ..conditions.validity import describe_changes
from ..power.open import AUTO, Place, open_power
from ..power.sampler import Sampler
from ..power.source import PowerSource, describe
from .about import about_run
from .heat import HeatWatch
from .log import MOST_WAITING, PowerLog
from .options import PowerOptions
from .summary import machine_lines, power_lines, summarise_power
from .windows import Windows

logger = logging.getLogger(__name__)
PLACE = Place(clock=time.monotonic)  # the clock of the frames
SECOND_S, HEAT_S = 1.0, 5.0
KEPT_READINGS = 36_000  # an hour without a frame


class RunPower:
    """See `Sink`. Opens a source that is named, and the log; `begin` chooses a source for `auto` and starts the sampler.

    Raises PowerError for a named source that does not answer.
    """

    def __init__(self, options: PowerOptions, loop: LoopOptions = LoopOptions(), cameras: int = 1) -> None:  # noqa: B008
        self._place, self._wanted = PLACE, options.power
        per_pass = max(loop.batch, cameras)
        self._most_cut = per_pass - 1 + per_pass * loop.overlap  # frames of one pass may lie on both sides of an end
        self._log = None if options.power_log is None else PowerLog(options.power_log)
        self._source: PowerSource | None = None
        self._sampler: Sampler | None = None
        self._windows: Windows | None = None
        self._heat = HeatWatch(self._place.root)
        self._answers: deque[tuple[float, float, float, float, float | None, int]] = deque(maxlen=MOST_WAITING)
        self._told = 0  # faults of the sampler that were reported
        self._looked_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="power-log", daemon=True)
        if self._wanted != AUTO:
            try:
                self._source = open_power(self._wanted, on_gpu=True, at=self._place)
            except BaseException:
                self._close_log()
                raise

    def begin(self, chain: Chain, server: str | None = None) -> None:
        """Begins to read, for this chain. server: its URL, where another process runs the engines."""
        if isinstance(chain, Pipeline):
            engines = {"EE": chain.ee.path.name, "SAC": chain.sac.path.name}
            on_gpu, about = chain.ee.on_gpu, about_run(engines, chain.ee.backend, chain.threshold)
            survivors_share = places_for(1, chain.sac.batches) > 1
        else:
            logger.warning("--power reads the sensors of this machine, whichever machine the server runs on")
            on_gpu, about = True, about_run({}, f"server {server}", chain.threshold)
            survivors_share = False  # the server does not say
        if self._source is None:
            self._source = open_power(self._wanted, on_gpu=on_gpu, at=self._place)
        source = self._source
        if not source.measures:
            logger.warning("power is not measured: %s", source.reason)
        self._before = read_state(self._place.root, own_pids=source.pids)
        if self._log is not None:
            header = {"source": describe(source), "most_cut": self._most_cut, "survivors_share": survivors_share}
            self._log.write_header({**header, "machine": state_rows(self._before), **about}, list(source.sensors))
        self._began_s = self._place.clock()
        on_reading = ignore if self._log is None else self._log.add_reading
        self._sampler = Sampler(source, self._place.clock, most=KEPT_READINGS, on_reading=on_reading)
        self._windows = Windows(self._sampler, self._most_cut)
        self._windows.survivors_share = survivors_share
        self._sampler.__enter__()
        self._thread.start()

    def write(self, answer: Answer) -> None:
        """Only keeps what is needed: between two passes every line of Python costs tens of microseconds."""
        result = answer.result
        self._answers.append(
            (answer.frame.taken_s, answer.age_ms, answer.prepare_ms, result.ee_ms, result.sac_ms, answer.frame.stream)
        )

    def _take_answers(self) -> None:
        assert self._windows is not None
        for _ in range(len(self._answers)):
            taken_s, age_ms, prepare_ms, ee_ms, sac_ms, camera = self._answers.popleft()
            path = "exit" if sac_ms is None else "full"  # a shadow of an exit costs SAC too
            self._windows.add(taken_s + age_ms / 1e3, path)
            if self._log is not None:
                self._log.add_frame(taken_s, age_ms, prepare_ms + ee_ms + (sac_ms or 0.0), path, camera)

    def line(self) -> dict[str, Any] | None:
        """The entry `power` of a line of --json: the last window that has ended."""
        return None if self._windows is None else self._windows.latest

    def _watch(self) -> None:
        while not self._stop.wait(SECOND_S):
            self._look()

    def _look(self) -> None:
        """Joins the answers of this second, reports faults of the source and throttling, and writes the log."""
        assert self._sampler is not None
        self._take_answers()
        now_s = self._place.clock()
        for fault in self._sampler.faults[self._told :]:
            logger.error("power source %s, after %s. The run goes on", self._sampler.source.name, fault)
            self._write("fault", now_s, {"text": fault})
            self._told += 1
        if now_s - self._looked_s >= HEAT_S:
            self._looked_s = now_s
            seen, new = self._heat.look(now_s)
            for name in new:
                logger.warning("the machine throttles because of heat: %s", name)
            self._write("heat", now_s, seen)
        if self._log is not None:
            self._log.write_second(round(now_s, 4), utc_text(unix_time_of(now_s, monotonic_s=self._place.clock)))

    def _write(self, kind: str, now_s: float, content: Mapping[str, Any]) -> None:
        if self._log is not None:
            self._log.write(kind, {"monotonic_s": round(now_s, 4), **content})

    def close(self) -> None:
        """Ends the sampler, the source and the log; `summary` is complete then."""
        if self._sampler is not None and self._windows is not None and not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            self._sampler.__exit__(None, None, None)
            if self._sampler.source.measures:
                self._sampler.take()  # a reading behind the last answer
            self._take_answers()
            self._windows.close()
            self._looked_s = 0.0
            self._look()
            after = read_state(self._place.root, own_pids=self._sampler.source.pids)
            self._changes = [asdict(one) for one in describe_changes(self._before, after)]
            self._write("end", self._place.clock(), {"changes": self._changes, "summary": self.summary()})
        if self._source is not None:
            self._source.close()
        self._close_log()

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()

    def summary(self) -> dict[str, Any]:
        """Power and energy over the run, temperatures and throttling; for `power` in the summary of a run."""
        assert self._windows is not None
        return {
            **summarise_power(self._windows),
            "temperatures_c": self._heat.zones,
            "throttled_s": {name: round(at - self._began_s, 1) for name, at in self._heat.throttled.items()},
            "changes": self._changes,
            "log": None if self._log is None else {"file": str(self._log.path), "lost_lines": self._log.lost_s},
        }

    def lines(self) -> list[str]:
        summary = self.summary()
        return power_lines(summary) + machine_lines(summary)


def ignore(reading: object) -> None:
    """For a run without a log."""
