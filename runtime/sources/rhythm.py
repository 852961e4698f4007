"""How long a camera may be silent before it counts as lost, learnt from the gaps between its frames."""

from __future__ import annotations

SHORTEST_S = 1.0  # a stream never counts as lost earlier
GAPS = 3.0  # a silence may last so many times the longest recent gap
KNOWN_GAPS = 3  # fewer would let a burst at the start pass for the rate
FADING = 0.999  # per frame: what one hiccup of 30 frames per second adds is gone after a minute; HLS comes in bursts


class Rhythm:
    """The longest recent gap between two frames, and the silence that follows from it.

    first_s: the silence that may follow the first frames. fixed_s: the user's own limit, instead of all that.
    """

    def __init__(self, first_s: float, fixed_s: float | None = None) -> None:
        self._first_s, self._fixed_s = first_s, fixed_s
        self._longest_s, self._gaps = 0.0, 0
        self._last_s: float | None = None
        self.is_new = True  # no frame yet

    def observe(self, now_s: float) -> None:
        """Notes that a frame has come."""
        if self._last_s is not None:
            self._longest_s = max(now_s - self._last_s, FADING * self._longest_s)
            self._gaps += 1
        self._last_s, self.is_new = now_s, False

    def pause(self) -> None:
        """Notes that the camera is lost: the time until its next frame does not count as a gap."""
        self._last_s = None

    @property
    def limit_s(self) -> float:
        """Seconds without a frame after which the camera counts as lost."""
        if self._fixed_s is not None:
            return self._fixed_s
        if self._gaps < KNOWN_GAPS:
            return max(SHORTEST_S, self._first_s)
        return max(SHORTEST_S, GAPS * self._longest_s)

    @property
    def limit_source(self) -> str:
        """Where the limit comes from, for a message."""
        if self._fixed_s is not None:
            return "--stall-timeout-s"
        if self._gaps < KNOWN_GAPS:
            return "--open-timeout-s, as its rate is not known yet"
        return f"{GAPS:g} times its longest gap, at least {SHORTEST_S:g} s; see --stall-timeout-s"
