"""Options of a run besides its engines and its sources. No heavy imports: --help reads this."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..bundle.errors import UsageError
from .bounds import Bounded


@dataclass(frozen=True)
class ThresholdOption(Bounded):
    """The gate's threshold."""

    threshold: float | None = field(
        default=None,
        metadata={"help": "Use this eta in [0, 1] instead of the stored one.", "metavar": "ETA", "least": 0, "most": 1},
    )


@dataclass(frozen=True)
class LoopOptions(Bounded):
    """How many frames are taken, how many per pass, and whether two passes overlap."""

    batch: int = field(default=1, metadata={"help": "Number of frames per pass.", "least": 1})
    overlap: bool = field(
        default=False,
        metadata={
            "help": "TensorRT plans: run EE of the next batch during SAC of this one. More frames per second, later answers."
        },
    )
    num_frames: int | None = field(default=None, metadata={"help": "Stop after this many frames.", "least": 1})


@dataclass(frozen=True)
class VideoOptions(Bounded):
    """Options of a gate for video; see `LiveGate`."""

    deadline_ms: float | None = field(
        default=None,
        metadata={
            "help": "Answer with EE's result where SAC's would come later than MS after the frame was taken.",
            "metavar": "MS",
            "group": "video",
            "above": 0,
        },
    )
    hysteresis: float = field(
        default=0.0,
        metadata={
            "help": "Reduce flicker: switch path only when 1 - confidence crosses 1 - threshold by the factor 1 + H, as 0.5.",
            "metavar": "H",
            "group": "video",
            "least": 0,
            "most": 10,
        },
    )
    shadow: float = field(
        default=0.0,
        metadata={
            "help": "Run SAC on this share of the exits too, and warn when the two no longer agree as before.",
            "metavar": "SHARE",
            "group": "video",
            "least": 0,
            "most": 1,
        },
    )

    def __bool__(self) -> bool:
        return self != VideoOptions()


SEGMENT_S = 60.0
MOST_CLIP_S = 300.0  # before, and after, an event


def parse_clip(text: str) -> tuple[float, float]:
    """The seconds of --clip-s. Raises UsageError."""
    try:
        before_s, after_s = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--clip-s: give the seconds before and after an event, as 5,10; found {text}") from None
    if not (0 <= before_s <= MOST_CLIP_S and 0 <= after_s <= MOST_CLIP_S):
        raise UsageError(f"--clip-s: each number lies between 0 and {MOST_CLIP_S:g}, found {text}")
    return before_s, after_s


@dataclass(frozen=True)
class SinkOptions(Bounded):
    """Where the answers go; see sinks/opening.py."""

    json: bool = field(default=False, metadata={"help": "Print one JSON object per frame instead of the table."})
    save: str | None = field(
        default=None,
        metadata={
            "help": "Write the frames with their overlay: into a video, or as segments into a folder, if the name ends in /.",
            "metavar": "OUT.mp4|DIR/",
        },
    )
    segment_s: float | None = field(
        default=None,
        metadata={
            "help": f"Begin a new segment in the folder of --save after S seconds (default: {SEGMENT_S:g}). 0: only clips.",
            "metavar": "S",
            "group": "recording",
            "least": 0,
            "most": 86400,
        },
    )
    keep_gib: float | None = field(
        default=None,
        metadata={
            "help": "Remove the oldest recordings in the folder of --save when they exceed N GiB (default: remove none).",
            "metavar": "N",
            "group": "recording",
            "above": 0,
        },
    )
    clip_s: tuple[float, float] | None = field(
        default=None,
        metadata={
            "help": "Write a clip around each event of --on into the folder of --save: seconds before and after, as 5,10.",
            "metavar": "BEFORE,AFTER",
            "group": "recording",
            "parse": parse_clip,
        },
    )
    sheet: Path | None = field(
        default=None, metadata={"help": "Write a contact sheet of exits and SAC frames.", "metavar": "SHEET.png"}
    )
    show: bool = field(default=False, metadata={"help": "Show the frames in a window; q quits."})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("segment_s", "keep_gib", "clip_s"):
            if getattr(self, name) is not None and self.folder is None:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} is for recordings in a folder: --save DIR/")
        if self.segment_s == 0 and self.clip_s is None:
            raise UsageError("--segment-s 0 writes only clips around events: give --clip-s too, as --clip-s 5,10")

    @property
    def folder(self) -> Path | None:
        """The folder that --save names: it ends in / or exists."""
        if self.save is None:
            return None
        return Path(self.save) if self.save.endswith("/") or Path(self.save).is_dir() else None

    @property
    def clip(self) -> Path | None:
        """The file that --save names."""
        return None if self.save is None or self.folder is not None else Path(self.save)

    @property
    def files(self) -> dict[str, Path]:
        """The files that are written, by option."""
        return {name: path for name, path in (("--save", self.clip), ("--sheet", self.sheet)) if path is not None}


@dataclass(frozen=True)
class WebOptions(Bounded):
    """The page for a browser; see web/opening.py."""

    web: str | None = field(
        default=None,
        metadata={
            "help": "Serve a page with pictures, charts and the threshold, and /metrics."
            " Without HOST only this machine can open it.",
            "metavar": "[HOST:]PORT",
        },
    )


@dataclass(frozen=True)
class EventOptions(Bounded):
    """What counts as an event, and where events go; see events/opening.py."""

    on: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    event_queue: Path | None = field(
        default=None,
        metadata={
            "help": "Keep events that are not delivered yet in DIR (default: ~/.local/state/sacvit/events).",
            "metavar": "DIR",
            "group": "events",
        },
    )
    event_queue_mib: float = field(
        default=64.0,
        metadata={
            "help": "Drop the oldest of them when they exceed N MiB.",
            "metavar": "N",
            "group": "events",
            "above": 0,
            "most": 1 << 20,
        },
    )
    snapshots_mib: float = field(
        default=500.0,
        metadata={
            "help": "Remove the oldest files of --to snapshots:DIR when they exceed N MiB.",
            "metavar": "N",
            "group": "events",
            "above": 0,
            "most": 1 << 20,
        },
    )
