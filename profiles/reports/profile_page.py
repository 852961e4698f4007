"""report.html of sacvit-profile: time and energy of a run, and the machine's state.

More than 250 lines: one page; each function makes one of its parts, in their order on the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..power.energy import TOTAL
from ..results.profile_shape import Contender, Mode, Profile
from ..results.result_files import passes_of, read_profile, read_samples
from ..timing.contenders import PLAIN
from ..timing.store import Store
from .about import About, about_engines, about_model, day_of
from .amounts import NOT_MEASURABLE, amount_text, is_measurable
from .drawable import Line
from .figures import Bar, bars, histogram, lines
from .page import write_page
from .parts.power import Figure, gross_energy, power_part
from .svg import PHONE
from .text import (
    COLUMNS,
    KILLED,
    latency_cells,
    load_lines,
    main_contender,
    mode_label,
    said,
    scenario_lines,
    slowest_layers,
    spread_text,
)
from .verdict import profile_verdict

REPORT_NAME = "report.html"
MOST_LAYERS = 12
INDENT = "\u2003"  # an em space: HTML keeps it


def write_profile_page(path: Path, out: Path) -> None:
    """Writes the page of a folder of sacvit-profile, or of its profile.json alone. Raises SacvitError."""
    result, samples = read_profile(path), read_samples(path)
    shown = main_contender(result["modes"][0])
    content = {
        "title": "What the chain costs",
        "about": _about(result, None if shown is None else shown["exit_rate"]),
        "has_samples": samples is not None,
        "modes": [_mode(samples, mode, len(result["modes"])) for mode in result["modes"]],
        "skipped": result["skipped_modes"],
        "layers": [
            [(stage, slowest_layers(rows, MOST_LAYERS)) for stage, rows in stages.items()]
            for stages in result["layers"]
        ],
        "parts": [
            {"switches": [(name, said(value)) for name, value in one["switches"].items()], "summary": one["summary"]}
            for one in result["parts"]
        ],
        "commands": list(dict.fromkeys(result["command"])),
        "hashes": [(name, one["sha256"]) for name, one in result["engines"].items()],
        "versions": list(result["versions"].items()),
    }
    write_page(out, "profile", content)


def _about(result: Profile, exit_rate: float | None) -> About:
    machine, dates = result["machine"], [date for mode in result["modes"] for date in mode["dates"]]
    hardware = machine.get("board") or f"{machine.get('processor')}, {machine.get('cores')} cores"
    host = result.get("host")
    return [
        ("Date", day_of(dates[-1]) if dates else "not known"),
        ("Host", f"{host} ({hardware})" if host else str(hardware)),
        *about_model(result["model"], exit_rate),
        ("Top-1", _top1(result)),
        about_engines(result),
        ("Images", result["images"]),
    ]


def _top1(result: Profile) -> str:
    known = result.get("top1")
    if known is None:
        return "not known; sacvit-tune measures it"
    return f"{100 * known['value']:.2f} % at threshold {known['threshold']:g} (sacvit-tune, {known['data']})"


def _mode(samples: Store | None, mode: Mode, modes: int) -> dict[str, Any]:
    """The template's variables for one power mode."""
    label, main = mode_label(mode), mode["main"]
    earns, verdict = profile_verdict(mode)
    return {
        "label": label if label or modes == 1 else "not known",
        "verdict": verdict,
        "valid": mode["valid"],
        "validity": _validity(mode["valid"]),
        "notes": [change["text"] for change in mode["changes"]] + mode["warnings"] + load_lines(mode),
        "cards": _cards(mode),
        "speed": _speed(mode),
        "latency": _latency(samples, mode),
        "main": main,
        "latency_rows": _latency_rows(mode),
        "latency_head": ["ms per pass", "n", *COLUMNS, "CoV", "images/s", "rounds"],
        "scenarios": [
            " ".join(scenario_lines(name, one["scenario"]))
            for name, one in mode["contenders"].items()
            if one["scenario"] is not None
        ],
        "power": power_part(samples, mode),
        "sweep": _sweep(mode),
        "break_even": _break_even(mode),
        "state": _state(mode),
        "earns": earns,
    }


def _validity(valid: bool | None) -> str:
    return {
        True: "No disturbance was detected during the measurement.",
        None: KILLED,
        False: "Invalid: the measurement was disturbed. Do not use these numbers.",
    }[valid]


def _cards(mode: Mode) -> list[tuple[str, str, str]]:
    """The numbers at the top: (quantity, value, condition)."""
    name, contender = mode["main"], main_contender(mode)
    if name is None or contender is None:
        return []
    latency, energy = contender["paths_ms"]["all"], contender["energy"]["mj_per_image"]
    found = [
        (
            f"images per second, {name}",
            f"{contender['throughput']:.4g}",
            f"{contender['exit_rate']:.1%} exit, n = {contender['images']}",
        )
    ]
    if latency["n"]:
        found.append(("latency, median", f"{latency['median_ms']:.3g} ms", f"p99 {latency['p99_ms']:.3g} ms"))
    if energy is None or TOTAL not in energy:
        found.append(("energy per image", "not measured", "no power sensor was read" if energy is None else "no total"))
    else:
        gross = energy[TOTAL]["gross"]
        how = "idle power included" if is_measurable(gross) else amount_text(gross, "mJ").partition("(")[2].strip(")")
        found.append(("energy per image", amount_text(gross, "mJ").partition(" (")[0], how))
    told = (mode["break_even"]["by_threshold"] or {}).get(name, {}).get("latency")
    if told is not None:
        found.append(
            (
                "speed against the plain ViT",
                f"{told['gain']:.2f}x",
                f"{told['verdict']}; break-even at {told['exit_rate']:.0%} exits",
            )
        )
    return found


def _speed(mode: Mode) -> Figure:
    rows = [
        Bar(
            name,
            one["throughput"],
            _relative(one) * one["throughput"],
            f"{one['throughput']:.4g}" + ("" if one["threshold"] is None else f", {one['exit_rate']:.1%} exit"),
        )
        for name, one in mode["contenders"].items()
    ]
    return "Images per second", bars("Images per second", rows, "images per second")


def _relative(contender: Contender) -> float:
    """The half-width of the mean time by the rounds, as a share of it; 0 for a single round."""
    return (contender["ms_per_image_plus_minus"] or 0.0) / contender["ms_per_image"]


def _latency(samples: Store | None, mode: Mode) -> Figure:
    main, series = mode["main"], []
    if samples is None:
        return "", ""
    if main is not None:
        total, went_on = passes_of(samples, mode["mode"], main)
        series = [("exit path", total[~went_on]), ("full path", total[went_on])]
    if PLAIN in mode["contenders"]:
        series.append((PLAIN, passes_of(samples, mode["mode"], PLAIN)[0]))
    caption = (
        f"Time of a pass{f' at {main}' if main else ''} by path, from preprocessing to the answer. Solid lines: median;"
    )
    caption += " dashed lines: 99th percentile. The slowest 0.5 % lie beyond the right edge"
    return caption, histogram("Latency by path", series, "ms")


def _latency_rows(mode: Mode) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, contender in mode["contenders"].items():
        cells = latency_cells(contender["paths_ms"]["all"])
        rows.append((name, *cells, f"{contender['throughput']:.4g}", spread_text(contender)))
        if name == mode["main"]:
            inner = [(f"{INDENT}{path} path", contender["paths_ms"][path]) for path in ("exit", "full")]
            inner += [(f"{INDENT}{INDENT}{stage}", values) for stage, values in contender["stages_ms"].items()]
            rows += [(label, *latency_cells(values), "", "") for label, values in inner]
    return rows


def _sweep(mode: Mode) -> list[Figure]:
    found = [(one["threshold"], one) for one in mode["contenders"].values() if one["threshold"] is not None]
    if len(found) < 2:
        return []
    x, chains = zip(*sorted(found, key=lambda entry: entry[0]), strict=True)
    plain = mode["contenders"].get(PLAIN)

    def swept(
        caption: str, unit: str, values: Sequence[float], other: float | None = None, errors: Sequence[float] = ()
    ) -> Figure:
        mark, line = None if other is None else (other, PLAIN), Line("chain", x, values, "o-", plus_minus=errors)
        return caption, lines(caption, [line], "threshold", unit, reference=mark, sizes=PHONE)

    times, spreads = [one["ms_per_image"] for one in chains], [one["ms_per_image_plus_minus"] or 0.0 for one in chains]
    figures = [
        swept("Time per image over the threshold", "ms", times, plain and plain["ms_per_image"], spreads),
        swept("Exits over the threshold", "%", [100 * (one["exit_rate"] or 0.0) for one in chains]),
    ]
    amounts = [amount for one in chains if is_measurable(amount := gross_energy(one))]
    if len(amounts) == len(chains):
        other = None if plain is None else gross_energy(plain)
        mark = other["value"] if is_measurable(other) else None
        caption = "Energy per image over the threshold, idle power included"
        errors = [one["plus_minus"] or 0.0 for one in amounts]
        figures.append(swept(caption, "mJ", [one["value"] for one in amounts], mark, errors))
    return figures


def _break_even(mode: Mode) -> list[tuple[str, ...]]:
    """The break-evens of every threshold and cost; unknown ones are left out, and the verdict gives the reason."""
    rows: list[tuple[str, ...]] = []
    for name, units in (mode["break_even"]["by_threshold"] or {}).items():
        contender = mode["contenders"].get(name)
        for unit, told in units.items():
            if told is None:
                continue
            if unit == "energy" and (contender is None or not is_measurable(gross_energy(contender))):
                rows.append((name, unit, NOT_MEASURABLE, "", "", ""))
                continue
            needed, low, high = told["exit_rate"], told["gain_low"], told["gain_high"]
            limit = "never" if needed > 1 else "always" if needed <= 0 else f"{100 * needed:.1f} %"
            gain = f"{told['gain']:.2f}x" + ("" if low is None or high is None else f" ({low:.2f} to {high:.2f})")
            rows.append((name, unit, limit, f"{100 * told['measured_exit_rate']:.1f} %", gain, told["verdict"]))
    return rows


def _state(mode: Mode) -> list[tuple[str, str, str]]:
    if mode["state"] is None:
        return []
    after = dict(mode["state"]["rows_after"])
    return [
        (name, told, "" if after.get(name) == told else after.get(name, ""))
        for name, told in mode["state"]["rows_before"]
    ]
