"""The machine's state over a session: before, after each window and at its end, and what changed in between."""

from __future__ import annotations

import re
from typing import Any

from ...bundle.errors import UsageError
from ..power.source import PowerSource
from ..timing.store import Store
from .state import MachineState, read_state
from .state_text import state_rows
from .validity import Change, describe_changes

NUMBERS = re.compile(r"[\d.]+")  # numbers differ between two reports of the same change


class Watcher:
    """Reads the machine's state when it is created and on each call.

    A temporary change counts too: it invalidates the windows in which it occurred.
    """

    def __init__(self, source: PowerSource) -> None:
        self._source = source
        self.before = self._after = read_state(own_pids=source.pids)
        self._bad: dict[str, Change] = {}

    def look(self) -> None:
        self._after = read_state(own_pids=self._source.pids)
        changes = describe_changes(self.before, self._after)
        self._bad.update({NUMBERS.sub("", one.text): one for one in changes if one.invalidates})

    def first(self) -> dict[str, Any]:
        """The state before, for the store."""
        return {"before": self.before.to_dict(), "rows_before": state_rows(self.before)}

    def last(self) -> dict[str, Any]:
        """The state now and every change, for the store; changes that invalidate come first."""
        self.look()
        told = [one for one in describe_changes(self.before, self._after) if not one.invalidates]
        changes = [{"text": one.text, "invalidates": one.invalidates} for one in (*self._bad.values(), *told)]
        return {"after": self._after.to_dict(), "rows_after": state_rows(self._after), "changes": changes}


def conditions_of(state: MachineState, source: PowerSource) -> dict[str, Any]:
    """The conditions that all windows of one power mode must share, as read back from JSON."""
    clocks = [[clock.name, clock.min_mhz, clock.max_mhz] for clock in state.clocks]
    return {
        "power mode": None if state.power_mode is None else str(state.power_mode),
        "power table": state.nvpmodel_table,
        "cores": state.cores,
        "clock limits": clocks,
        "power source": source.name,
        "rails": sorted(source.sensors),
    }


def require_same(store: Store, mode: int | None, conditions: dict[str, Any]) -> None:
    """Raises UsageError when this mode's earlier windows were measured under other conditions: they would be averaged
    together."""
    for line in store.of("session"):
        before = line["conditions"] if line["mode"] == mode else None
        different = [name for name, value in conditions.items() if before is not None and before.get(name) != value]
        if before is not None and different:
            told = "; ".join(f"{name}: {before.get(name)}, now {conditions[name]}" for name in different)
            raise UsageError(
                f"--out {store.folder}: the machine has changed since the run began ({told})."
                f" Restore it, or give another folder"
            )
