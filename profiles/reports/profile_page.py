"""report.html and profile.json of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...bundle.files import written_whole
from ..power.energy import TOTAL
from ..results.contender import pooled
from ..timing.contenders import PLAIN
from ..timing.store import Store
from .charts import Band, Bar, Line, Mark, Series, bars, curves, histogram, timeline
from .comparison import RESULT_NAME
from .html import cards, figure, heading, paragraph, quoted, table, verdict, write_page
from .text import COLUMNS, amount_text, break_even_text, latency_cells, mode_label, said, scenario_lines, slowest_layers

REPORT_NAME = "report.html"
MOST_LAYERS = 12
INDENT = "\u2003"  # an em space: HTML keeps it


def write_report(store: Store, result: Mapping[str, Any]) -> None:
    """Both files into the store's folder."""
    with written_whole(store.folder / RESULT_NAME) as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    write_page(store.folder / REPORT_NAME, "sacvit-profile", _parts(store, result))


def _parts(store: Store, result: Mapping[str, Any]) -> Iterator[str]:
    engines = result["engines"]
    files = ", ".join(f"{one['file']} ({one['precision']})" for one in engines.values())
    yield heading("What the chain costs", 1)
    about = f"{files} on {result['backend']}, batch {result['batch']}. Images: {result['images']}."
    yield paragraph(about, quiet=True)
    for mode in result["modes"]:
        yield from _mode(store, result, mode)
    for skipped in result["skipped_modes"]:
        yield verdict(False, f"Power mode {skipped['mode']} was left out", [skipped["reason"]])
    for layers in result["layers"]:
        yield from _layers(layers)
    for parts in result["parts"]:
        yield heading("One pass in its parts")
        switches = "; ".join(f"{name}: {said(value)}" for name, value in parts["switches"].items())
        yield paragraph(f"In trtexec's words, from passes of their own. {switches}.", quiet=True)
        for stage, summary in parts["summary"].items():
            yield heading(stage, 3)
            yield quoted("\n".join(summary))
    yield heading("To do it again")
    yield quoted("\n".join(dict.fromkeys(result["command"])))
    hashes = ", ".join(f"{name} {one['sha256'][:16]}" for name, one in engines.items())
    yield paragraph(f"SHA-256: {hashes}", quiet=True)
    yield table(("", ""), result["versions"].items(), "words")


def _mode(store: Store, result: Mapping[str, Any], mode: Mapping[str, Any]) -> Iterator[str]:
    label = mode_label(mode)
    if len(result["modes"]) > 1 or label:
        yield heading(f"Power mode {label}")
    notes = [change["text"] for change in mode["changes"]] + mode["warnings"]
    if mode["valid"]:
        yield verdict(True, "Nothing that was watched spoils these numbers.", notes)
    elif mode["valid"] is None:
        yield verdict(False, "A session was killed: nobody looked at the machine after it.", notes)
    else:
        yield verdict(False, "Not to be used: the machine changed while it was measured.", notes)
    yield cards(_figures(mode))
    yield from _latency(store, mode)
    yield from _power(store, mode)
    yield from _sweep(mode)
    yield from _break_even(mode)
    yield from _state(mode)


def _figures(mode: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    found = []
    for name, contender in mode["contenders"].items():
        if name != mode["main"]:
            continue
        rate = contender["exit_rate"]
        found.append(
            (
                f"images a second, {name}",
                f"{contender['throughput']:.4g}",
                f"{rate:.1%} exit, n = {contender['images']}",
            )
        )
        values = contender["paths_ms"]["all"]
        found.append(("latency, median", f"{values['median_ms']:.3g} ms", f"p99 {values['p99_ms']:.3g} ms"))
        energy = contender["energy"]["mj_per_image"]
        if energy is None or TOTAL not in energy:
            found.append(("energy an image", "null", "no power was measured" if energy is None else "no total"))
        else:
            found.append(("energy an image", f"{amount_text(energy[TOTAL]['gross'])} mJ", "idle power included"))
        told = ((mode["break_even"]["by_threshold"] or {}).get(name) or {}).get("latency")
        if told is not None:
            found.append(
                ("over the plain ViT", f"{told['gain']:.2f}x", f"pays off from {told['exit_rate']:.0%} exits on")
            )
    return found


def _latency(store: Store, mode: Mapping[str, Any]) -> Iterator[str]:
    yield heading("Latency")
    windows = [line for line in store.of("window") if line["mode"] == mode["mode"]]
    main = mode["main"]
    series = []
    if main is not None:
        arrays = pooled(store, [line for line in windows if line["contender"] == main])
        exits, fulls = arrays["total"][arrays["survivors"] == 0], arrays["total"][arrays["survivors"] > 0]
        series += [Series("exit path", exits)] if len(exits) else []
        series += [Series("full path", fulls)] if len(fulls) else []
    if PLAIN in mode["contenders"]:
        series.append(Series(PLAIN, pooled(store, [line for line in windows if line["contender"] == PLAIN])["total"]))
    yield figure(
        f"Passes{f' at {main}' if main else ''} by path, preprocessing to answer; lines: median, and 99th percentile dashed",
        histogram(series, "ms", "Latency by path"),
    )
    rows = []
    for name, contender in mode["contenders"].items():
        rows.append((name, *latency_cells(contender["paths_ms"]["all"]), f"{contender['throughput']:.4g}"))
        if name == main:
            rows += [
                (f"{INDENT}{path} path", *latency_cells(contender["paths_ms"][path]), "") for path in ("exit", "full")
            ]
            rows += [
                (f"{INDENT}{INDENT}{stage}", *latency_cells(values), "")
                for stage, values in contender["stages_ms"].items()
            ]
    yield table(("ms", "n", *COLUMNS, "CoV", "images/s"), rows)
    for name, contender in mode["contenders"].items():
        if contender["scenario"] is not None:
            yield paragraph(" ".join(scenario_lines(name, contender["scenario"])))


def _power(store: Store, mode: Mapping[str, Any]) -> Iterator[str]:
    yield heading("Power and energy")
    power = mode["power"]
    if power["source"] is None:
        yield paragraph(f"null: {power['reason']}")
        return
    filters = {sensor["filter_s"] for sensor in power["sensors"].values() if sensor["filter_s"] is not None}
    rise = f"; rose in {power['rise_s'][0]:.2g} s" if power["rise_s"] and power["rise_s"][0] is not None else ""
    told = f"filter {', '.join(f'{value:.3g} s' for value in sorted(filters))}" if filters else "filter not told"
    total = " + ".join(power["total_rails"]) or "none"
    yield paragraph(f"{power['source']}, {told}{rise}. Total: {total}: {power['scope']}.", quiet=True)
    for session in [line for line in store.of("session") if line["mode"] == mode["mode"]]:
        yield from _timeline(store, session["session"], power["total_rails"])
    reasons = {one["energy"]["reason"] for one in mode["contenders"].values()} - {None}
    for reason in sorted(reasons):
        yield paragraph(f"No energy: {reason}")
    gross: list[Bar] = []
    above: list[Bar] = []
    by_rail: list[Bar] = []
    for name, contender in mode["contenders"].items():
        amounts = contender["energy"]["mj_per_image"]
        if amounts is not None and TOTAL in amounts:
            gross.append(_bar(name, amounts[TOTAL]["gross"]))
            above.append(_bar(name, amounts[TOTAL]["above_idle"]))
        if amounts is not None and name == mode["main"]:
            by_rail = [
                _bar(rail, amount["gross"]) for rail, amount in amounts.items() if [rail] != power["total_rails"]
            ]
    paths = mode["paths_mj"] or {"mj": {}, "reason": None}
    by_path = [_bar(PLAIN if path == "plain" else f"{path} path", one) for path, one in paths["mj"].items()]
    drawings = [
        ("An image, idle power included", gross),
        ("An image, above idle", above),
        ("An image by rail, idle power included", by_rail if len(by_rail) > 1 else []),
        ("One image on each path above idle, by regression over all windows", by_path),
    ]
    made = [figure(caption, bars(rows, "mJ", caption)) for caption, rows in drawings if rows]
    if made:
        yield f'<div class="pair">{"".join(made)}</div>'
        yield paragraph(
            "Bars end where the sensor's steps and filter, and 95 % of what differed between windows, allow.",
            quiet=True,
        )
    if paths["reason"]:
        yield paragraph(f"Energy by path: {paths['reason']}")
    for fault in power["faults"]:
        yield paragraph(f"The power source: {fault}")


def _timeline(store: Store, session: int, total_rails: Sequence[str]) -> Iterator[str]:
    traces = [line for line in store.of("trace") if line["session"] == session]
    if not traces or not traces[0]["rails"]:
        return
    arrays = store.arrays(traces[0])
    lines = [
        Line(rail, list(arrays[f"{place}_s"]), [value / 1e3 for value in arrays[f"{place}_mw"]])
        for place, rail in enumerate(traces[0]["rails"])
        if [rail] != total_rails  # its total is the same line
    ]
    windows = [
        Band(line["begin_s"], line["begin_s"] + line["duration_s"], line["contender"])
        for line in store.of("window")
        if line["session"] == session
    ]
    idles = [
        Band(line["begin_s"], line["begin_s"] + line["power"]["duration_s"], "idle")
        for line in store.of("idle")
        if line["session"] == session
    ]
    bands = sorted([*windows, *idles], key=lambda band: band.start)
    yield figure("Power over the run; windows that count are shaded", timeline(lines, bands, "W", "Power over time"))


def _bar(name: str, amount: Mapping[str, Any] | None) -> Bar:
    if amount is None:
        return Bar(name, None, reason="not measured")
    value, width = amount["value"], amount["plus_minus"]
    return Bar(name, value) if width is None else Bar(name, value, value - width, value + width)


def _sweep(mode: Mapping[str, Any]) -> Iterator[str]:
    chains = sorted(
        (one for one in mode["contenders"].values() if one["threshold"] is not None), key=lambda one: one["threshold"]
    )
    if len(chains) < 2:
        return
    yield heading("Over the threshold")
    x = [one["threshold"] for one in chains]
    plain = mode["contenders"].get(PLAIN)
    made = [
        figure("Time an image", curves(
            [Line("chain", x, [one["ms_per_image"] for one in chains])], "threshold", "ms", "Time against threshold",
            reference=None if plain is None else Mark(plain["ms_per_image"], PLAIN),
        )),
        figure("Exits", curves(
            [Line("exit rate", x, [100 * one["exit_rate"] for one in chains])], "threshold", "%", "Exits against threshold",
        )),
    ]  # fmt: skip
    energies = [(one["energy"]["mj_per_image"] or {}).get(TOTAL) for one in chains]
    if all(energy is not None and energy["gross"] is not None for energy in energies):
        amounts = [energy["gross"] for energy in energies if energy is not None]
        values, widths = [one["value"] for one in amounts], [one["plus_minus"] or 0.0 for one in amounts]
        low = [value - width for value, width in zip(values, widths, strict=True)]
        high = [value + width for value, width in zip(values, widths, strict=True)]
        told = ((plain or {}).get("energy") or {}).get("mj_per_image") or {}
        mark = Mark(told[TOTAL]["gross"]["value"], PLAIN) if TOTAL in told else None
        drawing = curves(
            [Line("chain", x, values, low, high)], "threshold", "mJ", "Energy against threshold", reference=mark
        )
        made.append(figure("Energy an image, idle power included", drawing))
    yield f'<div class="pair">{"".join(made)}</div>'


def _break_even(mode: Mapping[str, Any]) -> Iterator[str]:
    yield heading("Does the second stage pay off?")
    if mode["break_even"]["by_threshold"] is None:
        yield paragraph(f"null: {mode['break_even']['reason']}")
        return
    rows = [
        (name, unit, break_even_text(told))
        for name, units in mode["break_even"]["by_threshold"].items()
        for unit, told in units.items()
        if told is not None
    ]
    yield table(("", "cost", "against the plain ViT"), rows, "words")
    yield paragraph("p* = (EE + SAC - plain) / SAC: the share of exits from which on the chain costs less.", quiet=True)


def _state(mode: Mapping[str, Any]) -> Iterator[str]:
    if mode["state"] is None:
        return
    yield heading("The machine")
    before, after = mode["state"]["rows_before"], dict(mode["state"]["rows_after"])
    rows = [(name, text, "" if after.get(name) == text else after.get(name, "")) for name, text in before]
    yield table(("", "before", "after, where it differs"), rows, "words")


def _layers(stages: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    if not stages:
        return
    yield heading("Time by layer")
    made = []
    for stage, rows in stages.items():
        cells = slowest_layers(rows, MOST_LAYERS)
        made.append(f"<div>{heading(stage, 3)}{table(('layer', 'median ms', 'share'), cells)}</div>")
    yield f'<div class="pair">{"".join(made)}</div>'
