"""What sacvit-tune found: a table, a page, a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...bundle.files import written_whole
from ..reports.charts import Bar, Line, Mark, bars, curves
from ..reports.html import cards, figure, heading, paragraph, table, verdict, write_page

SHOWN_IMAGES = 40
GATE = ("exited right", "exited wrong", "rescued", "sent on in vain", "broken by SAC")


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """Operating points fitted on one split and reported on the other, what both ends give, and how honest that is."""
    data = result["data"]
    elsewhere = "" if data["report"] == data["fit"] else f" of {data['report']}"
    lines = [
        f"fitted on {data['images_fit']} images of {data['fit']}, reported on {data['images_report']} others{elsewhere}",
        f"temperature {result['temperature']:g}: calibration error of EE {100 * result['calibration_error']['before']:.2f} %"
        f" before, {100 * result['calibration_error']['after']:.2f} % after",
        f"{'on the report':<22}{'eta':>8}{'top-1 %':>9}{'95 %':>16}{'top-5 %':>9}{'exits %':>9}{'mean ms':>9}"
        f"{'p99 ms':>9}{'mJ':>8}",
    ]
    for name, point in result["points"].items():
        ends = point["intervals"]["top1"]
        span = f"{100 * ends[0]:.2f} .. {100 * ends[1]:.2f}"
        lines.append(_row(name, f"{point['eta']:g}", point["report"], span))
    lines += [_row(f"always {stage}", "", at, "") for stage, at in result["always"].items()]
    if result["plain"] is not None:
        plain = result["plain"]
        lines.append(
            f"{'plain ViT':<22}{'':>8}{100 * plain['top1']:>9.2f}{'':>16}{'':>9}{'':>9}{plain['mean_ms']:>9.3f}"
        )
    for name, point in result["points"].items():
        lines.append(
            f"{name}: {100 * point['time_saved']:.1f} % of SAC-always's time saved, {100 * point['top1_lost']:+.2f} points of"
            f" top-1 lost; tuned on the report itself it would have looked {100 * point['self_deception']:+.2f} points better"
        )
        if point["promise"] is not None:
            lines.append(promise_line(name, point["promise"]))
    timing = result["timing"]
    lines.append(
        f"wall time of a pass: EE {_spread(timing['ee'])}, SAC {_spread(timing['sac'])};"
        f" {timing['warmup_passes']} passes before them to warm up"
    )
    if result["chosen"] is not None:
        gate = result["points"][result["chosen"]["point"]]["report"]["gate"]
        lines.append("the gate: " + ", ".join(f"{name} {100 * gate[name]:.1f} %" for name in GATE))
    return lines


def promise_line(name: str, promise: Mapping[str, Any]) -> str:
    """What a point may lose on images that were not fitted on, or why nothing can be promised, and the best that can be had."""
    allowed, bound = 100 * promise["allowed"], 100 * promise["at_most"]
    if promise["is_kept"]:
        return (
            f"{name}: on other images at most {bound:.2f} points of top-1 are lost (95 % sure; {allowed:g} are allowed)"
        )
    few = promise["images"] < promise["needed"]
    why = (
        f"{promise['needed']} are the fewest"
        if few
        else "among the surest exits are some that SAC would have had right"
    )
    return (
        f"{name}: NOT PROMISED. A loss of at most {allowed:g} points cannot be promised from {promise['images']} images to"
        f" fit on: {why}. The best that can be had keeps to it on these images; others may lose up to {bound:.2f} points"
        f" (95 % sure). Give more images"
    )


def _spread(times: Mapping[str, Any]) -> str:
    return (
        f"median {times['median_ms']:.3f} ms, p90 {times['p90_ms']:.3f}, p95 {times['p95_ms']:.3f}, p99 {times['p99_ms']:.3f}"
        f" (n = {times['n']})"
    )


def _row(name: str, eta: str, at: Mapping[str, Any], span: str) -> str:
    mj = "null" if at["mj"] is None else f"{at['mj']:.4g}"
    return (
        f"{name:<22}{eta:>8}{100 * at['top1']:>9.2f}{span:>16}{100 * at['top5']:>9.2f}{100 * at['exit_rate']:>9.1f}"
        f"{at['mean_ms']:>9.3f}{at['p99_ms']:>9.3f}{mj:>8}"
    )


def write_report(result: Mapping[str, Any], path: Path) -> None:
    # A file's name may hold bytes that are no text.
    write_page(path, "sacvit-tune", (part.encode("utf-8", "backslashreplace").decode() for part in _parts(result)))


def _parts(result: Mapping[str, Any]) -> Iterator[str]:
    data, points = result["data"], result["points"]
    main = (result["chosen"] or {}).get("point") or ("balanced" if "balanced" in points else "accurate")
    files = ", ".join(f"{one['file']} ({one['precision']})" for one in result["engines"].values())
    yield heading("Choosing eta", 1)
    yield paragraph(
        f"{files} on {result['backend']}, batch {result['batch']}. Fitted on {data['images_fit']} images of {data['fit']},"
        f" reported on {data['images_report']} others{'' if data['report'] == data['fit'] else ' of ' + data['report']}.",
        quiet=True,
    )
    point = points[main]
    notes = [f"{result['unreadable']} images could not be read"] if result["unreadable"] else []
    promise = point["promise"]
    notes += [promise_line(main, promise)] if promise is not None else []
    is_good = result["chosen"] is not None and (promise is None or promise["is_kept"])
    stored = (
        f"Stored: {main}, eta {point['eta']:g}"
        if result["chosen"]
        else f"Nothing was stored. Shown: {main}, eta {point['eta']:g}"
    )
    yield verdict(is_good, stored, notes)
    ends = point["intervals"]["top1"]
    yield cards(
        [
            ("top-1", f"{100 * point['report']['top1']:.2f} %", f"95 %: {100 * ends[0]:.2f} to {100 * ends[1]:.2f}"),
            ("exits", f"{100 * point['report']['exit_rate']:.1f} %", f"mean {point['report']['mean_ms']:.3g} ms"),
            (
                "time saved",
                f"{100 * point['time_saved']:.1f} %",
                f"{100 * point['top1_lost']:+.2f} points lost to SAC-always",
            ),
            (
                "self-deception",
                f"{100 * point['self_deception']:+.2f} points",
                "what tuning on the report would have added",
            ),
        ]
    )
    yield heading("Accuracy over time")
    lines = [
        Line(name, [one["mean_ms"] for one in drawn], [100 * one["top1"] for one in drawn])
        for name, drawn in (("report", result["curves"]["report"]), ("fit", result["curves"]["fit"]))
    ]
    lines += [
        Line(name, [one["report"]["mean_ms"]], [100 * one["report"]["top1"]],
             [100 * one["intervals"]["top1"][0]], [100 * one["intervals"]["top1"][1]])
        for name, one in points.items()
    ]  # fmt: skip
    if result["plain"] is not None:
        lines.append(Line("plain ViT", [result["plain"]["mean_ms"]], [100 * result["plain"]["top1"]]))
    yield figure(
        "Every eta, from all exits to none", curves(lines, "mean ms an image", "top-1 %", "Accuracy over time")
    )
    rows = [_cells(name, f"{one['eta']:g}", one["report"]) for name, one in points.items()]
    rows += [_cells(f"always {stage}", "", at) for stage, at in result["always"].items()]
    yield table(("", "eta", "top-1 %", "top-5 %", "exits %", "mean ms", "p99 ms", "mJ"), rows)
    yield heading("The gate")
    report = result["curves"]["report"]
    rates = Line("exits", [one["eta"] for one in report], [100 * one["exit_rate"] for one in report])
    tops = Line("top-1", [one["eta"] for one in report], [100 * one["top1"] for one in report])
    shares = point["report"]["gate"]
    drawings = [
        figure(
            "Over eta",
            curves([rates, tops], "eta", "%", "Exits and accuracy over eta", marker=Mark(point["eta"], main)),
        ),
        figure(
            f"At eta {point['eta']:g}, of all images",
            bars([Bar(name, 100 * shares[name]) for name in GATE], "%", "The gate"),
        ),
    ]
    yield f'<div class="pair">{"".join(drawings)}</div>'
    timing = result["timing"]
    machines = "; ".join(", ".join(f"{key} {value}" for key, value in one.items()) for one in timing["machines"])
    yield paragraph(
        f"Wall time of a pass: EE {_spread(timing['ee'])}, SAC {_spread(timing['sac'])}; {timing['warmup_passes']} passes"
        f" before them to warm up. {machines}",
        quiet=True,
    )
    error = result["calibration_error"]
    yield paragraph(
        f"Temperature {result['temperature']:g}: EE's expected calibration error on the report goes from"
        f" {100 * error['before']:.2f} % to {100 * error['after']:.2f} %."
    )
    for title, key in (("Exited wrong", "exited_wrong"), ("Right at EE, broken by SAC", "broken_by_sac")):
        listed = result[key]
        yield heading(f"{title}: {listed['count']} images", 3)
        shown = [(one["image"], f"{one['confidence']:.4f}") for one in listed["images"][:SHOWN_IMAGES]]
        if shown:
            yield table(("image", "confidence"), shown)
        if listed["count"] > SHOWN_IMAGES:
            yield paragraph("More in tune.json.", quiet=True)


def _cells(name: str, eta: str, at: Mapping[str, Any]) -> tuple[str, ...]:
    mj = "null" if at["mj"] is None else f"{at['mj']:.4g}"
    shares = (f"{100 * at[key]:.2f}" for key in ("top1", "top5", "exit_rate"))
    return (name, eta, *shares, f"{at['mean_ms']:.3f}", f"{at['p99_ms']:.3f}", mj)


def write_picture(result: Mapping[str, Any], path: Path) -> bool:
    """The curve as a PNG; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    picture = Figure(figsize=(7, 4.5), layout="constrained")
    axes = picture.add_subplot()
    for name, style in (("report", "-"), ("fit", ":")):
        drawn = result["curves"][name]
        axes.plot(
            [one["mean_ms"] for one in drawn], [100 * one["top1"] for one in drawn], style, color="#1a5fcb", label=name
        )
    for name, one in result["points"].items():
        at, ends = one["report"], one["intervals"]["top1"]
        error = [[100 * (at["top1"] - ends[0])], [100 * (ends[1] - at["top1"])]]
        axes.errorbar(
            [at["mean_ms"]], [100 * at["top1"]], yerr=error, fmt="o", capsize=3, label=f"{name}: eta {one['eta']:g}"
        )
    if result["plain"] is not None:
        axes.plot(
            [result["plain"]["mean_ms"]], [100 * result["plain"]["top1"]], "s", color="#1b1f24", label="plain ViT"
        )
    axes.set_xlabel("mean ms an image")
    axes.set_ylabel("top-1 %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with written_whole(path) as partial:
        picture.savefig(str(partial), format="png")
    return True
