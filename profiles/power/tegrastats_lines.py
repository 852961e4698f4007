"""Lines of NVIDIA's tegrastats, of every generation from JetPack 3 to 7.2, read by token and never by position.

Absent, `off`, a placeholder `0%` and a clock without a load are different things. Words that no rule matches are kept
unchanged; so are numbers that are too long to be real. A line without its beginning starts with its list of cores and has no
`ram`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

LONGEST_LINE = 16384  # characters; real ones have 800
Number = int | float


@dataclass
class Sample:
    """One line.

    ram: None where the beginning of the line is missing. cpu: [load %, MHz] per core, "off", or None where it was not
    available. emc, gr3d, gr3d2: None where not printed. rails_mw: (name, instantaneous, average since tegrastats started[,
    maximum]) in print order; a name may occur twice. unknown: every word that no rule matched.
    """

    timestamp: str | None
    ram: dict[str, Any] | None
    swap: dict[str, int] | None = None
    iram: dict[str, int] | None = None
    cpu: list[Any] = field(default_factory=list)
    emc: dict[str, Any] | None = None
    gr3d: dict[str, Any] | None = None
    gr3d2: dict[str, Any] | None = None
    temps_c: dict[str, Number] = field(default_factory=dict)
    temps_max_c: dict[str, Number] = field(default_factory=dict)
    rails_mw: list[list[Any]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The keys that every line has, and those for what this line printed."""
        content = {name: value for name, value in vars(self).items() if name != "unknown"}
        optional = {"iram": self.iram, "gr3d2": self.gr3d2, "temps_max_c": self.temps_max_c}
        return {name: value for name, value in content.items() if name not in optional or optional[name]}


FIRST_YEAR, LAST_YEAR = 1970, 2199  # of a stamp; a board without a battery starts in 1970
END = r"(?=\s|$)"
AT = r"(?<![\w/%@])"  # where a token may begin: after a blank, or after a prefix of a wrapper or grep
CORES = r"(?:\d{1,3}%(?:@\d{1,6})?|off|na)(?:,(?:\d{1,3}%(?:@\d{1,6})?|off|na))*"
START = re.compile(AT + r"(?:(\d\d)-(\d\d)-(\d{4}) (\d\d):(\d\d):(\d\d) +)?(?=RAM \d{1,9}/\d{1,9}MB)")
CUT_START = re.compile(
    AT + rf"(?=(?:CPU|cpu) \[(?=[^\]\s]*(?:@|\]@)){CORES}\])"
)  # with a clock, which other tools do not print
TOKENS = {
    "ram": re.compile(r"RAM (\d{1,9})/(\d{1,9})MB(?: \(lfb (\d{1,9})x(\d{1,9}[kM]B)\))?" + END),
    "swap": re.compile(r"SWAP (\d{1,9})/(\d{1,9})MB(?: \(cached (\d{1,9})MB\))?" + END),
    "iram": re.compile(r"IRAM (\d{1,9})/(\d{1,9})kB ?\(lfb (\d{1,9})kB\)" + END),
    "cpu": re.compile(r"(?:CPU|cpu) \[([^\]\s]*)\](?:@(\d{1,6}))?" + END),
    "engine": re.compile(
        r"(EMC|GR3D2?)(?:_FREQ)? +(?=[\d@])(?:(\d{1,3})%)?(?:@(\d{1,6}|\[\d{1,6}(?:,\d{1,6})*\]))?" + END
    ),
    "temperature": re.compile(r"([^\s@]+)@(-?\d{1,5}(?:\.\d{1,9})?)C(?:/(-?\d{1,5}(?:\.\d{1,9})?)C)?" + END),
    # Both numbers with mW or both without: this reveals a line that was cut inside its last number.
    "rail": re.compile(
        r"(?!(?:RAM|SWAP|IRAM) )([A-Za-z][A-Za-z0-9_]*) +"
        r"(?:(-?\d{1,9})mW/(-?\d{1,9})mW(?:/(-?\d{1,9})mW)?|(-?\d{1,9})/(-?\d{1,9})(?:/(-?\d{1,9}))?)" + END
    ),
}
WORD = re.compile(r"\S+")
CORE = re.compile(r"(\d{1,3})%(?:@(\d{1,6}))?$")


def read_line(line: str) -> Sample | None:
    """The sample in a line, whatever precedes it; None for other lines."""
    line = line[:LONGEST_LINE]
    begin = START.search(line)
    cut = CUT_START.search(line) if begin is None else None
    if begin is not None:
        sample, place = Sample(timestamp=_timestamp(begin), ram=None), begin.end()
    elif cut is not None:
        sample, place = Sample(timestamp=None, ram=None), cut.end()
    else:
        return None
    while word := WORD.search(line, place):
        place = word.start()
        for kind, pattern in TOKENS.items():
            if found := pattern.match(line, place):
                _take(sample, kind, found)
                place = found.end()
                break
        else:
            sample.unknown.append(word[0])
            place = word.end()
    return sample


def read_lines(lines: Iterable[str]) -> Iterator[tuple[int, Sample]]:
    """Each sample with the number, from 1 on, of its line."""
    for number, line in enumerate(lines, start=1):
        if (sample := read_line(line)) is not None:
            yield number, sample


def _take(sample: Sample, kind: str, found: re.Match[str]) -> None:
    text = found.groups()
    if kind == "ram":
        lfb = None if text[2] is None else [int(text[2]), text[3]]
        sample.ram = {"used_mb": int(text[0]), "total_mb": int(text[1]), "lfb": lfb}
    elif kind == "swap":
        cached = None if text[2] is None else int(text[2])
        sample.swap = {"used_mb": int(text[0]), "total_mb": int(text[1]), "cached_mb": cached}  # type: ignore[dict-item]
    elif kind == "iram":
        sample.iram = {"used_kb": int(text[0]), "total_kb": int(text[1]), "lfb_kb": int(text[2])}
    elif kind == "cpu":
        sample.cpu = [_core(core, text[1]) for core in text[0].split(",")] if text[0] else []
    elif kind == "engine":
        clocks = None if text[2] is None else [int(clock) for clock in text[2].strip("[]").split(",")]
        value = {"load_pct": None if text[1] is None else int(text[1]), "freq_mhz": clocks}
        setattr(sample, text[0].lower(), value)
    elif kind == "temperature":
        sample.temps_c[text[0]] = _number(text[1])
        if text[2] is not None:
            sample.temps_max_c[text[0]] = _number(text[2])
    else:
        values = [int(value) for value in text[1:] if value is not None]
        sample.rails_mw.append([text[0], *values])


def _core(text: str, common_mhz: str | None) -> Any:
    """[load, MHz] of a core. L4T 28.1 and older print one clock for all behind the list."""
    found = CORE.match(text)
    if found is None:
        return "off" if text == "off" else None
    mhz = found[2] or common_mhz
    return [int(found[1]), None if mhz is None else int(mhz)]


def _number(text: str) -> Number:
    return float(text) if "." in text else int(text)


def _timestamp(begin: re.Match[str]) -> str | None:
    """ISO, local time, to the second; None where none was printed, or where the date is invalid."""
    if begin[1] is None:
        return None
    month, day, year, hour, minute, second = (int(part) for part in begin.groups())
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return None
    try:
        return datetime.datetime(year, month, day, hour, minute, second).isoformat()  # local time, as printed
    except ValueError:
        return None
