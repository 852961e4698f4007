"""tune.html of sacvit-tune: accuracy against speed, the gate's decisions, and the images on which they are wrong."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..results.result_files import read_thumbnails, read_tune
from ..results.tune_points import Point as OperatingPoint
from ..results.tune_shape import GATE, Mistake, Tune
from .about import about_engines, about_model, day_of
from .drawable import Line
from .figures import Bar, bars, lines
from .page import write_page
from .parts.alphas import alpha_part
from .parts.objects import object_part
from .parts.trade_off import draw_trade_off
from .svg import PHONE
from .tune_text import UNTRAINED, images_per_s, main_point, promise_line, timing_line
from .verdict import tune_verdict

PAGE_NAME = "tune.html"
JPEG_QUALITY = 85
HEAD = ("", "threshold", "top-1 %", "top-5 %", "exits %", "mean ms", "p99 ms", "images/s")
MACHINE = {"processor": "{}", "cores": "{} cores", "load_1min": "load {}", "governor": "governor {}"}
Pictures = Mapping[str, npt.NDArray[Any]]


def write_tune_page(path: Path, out: Path) -> None:
    """Writes the page of a folder of sacvit-tune, or of its tune.json alone. Raises SacvitError."""
    result, thumbnails = read_tune(path), read_thumbnails(path)
    name = main_point(result)
    point, plain = result["points"][name], result["plain"]
    earns, verdict = tune_verdict(result, name)
    error, promise = result["calibration_error"], point["promise"]
    content = {
        "title": "Accuracy against speed",
        "about": about_tune(result),
        "verdict": verdict,
        "earns": earns,
        "cards_shown": _cards(result, point),
        "is_good": result["chosen"] is not None and (promise is None or promise["is_kept"]),
        "stored": f"Nothing was stored. Shown: {name}, threshold {point['eta']:g}"
        if result["chosen"] is None
        else f"Stored: {name}, threshold {result['chosen']['threshold']:g}{_stored_alpha(result, name)}",
        "notes": _notes(result, name),
        "trade_off": draw_trade_off([("", result)]),
        "points": point_table(result),
        "plain": None
        if plain is None
        else f"The plain ViT takes {plain['mean_ms']:.3f} ms: {UNTRAINED}."
        if plain["top1"] is None
        else f"The plain ViT is right on {100 * plain['top1']:.2f} % in {plain['mean_ms']:.3f} ms.",
        "alphas": alpha_part(result.get("alphas"), result["batch"]),
        "objects": object_part(result.get("objects")),
        "gate": _gate(result, name),
        "timing": _timing(result),
        "temperature": f"Temperature {result['temperature']:.3g}: EE's expected calibration error on the report split goes from"
        f" {100 * error['before']:.2f} % to {100 * error['after']:.2f} %.",
        "mistakes": [
            {
                "title": title,
                "count": listed["count"],
                "images": _images(listed["images"], kind, thumbnails),
            }
            for kind, title, listed in (
                ("exited_wrong", "Exited wrong", result["exited_wrong"]),
                ("broken_by_sac", "Right after EE, broken by SAC", result["broken_by_sac"]),
            )
        ],
    }
    write_page(out, "tune", content)


def _stored_alpha(result: Tune, name: str) -> str:
    """With --alpha, the gate that is stored is the best over alpha, and the rest of the page shows the bundle's own."""
    if "alphas" not in result or name not in result["alphas"]["points"]:
        return ""
    two = result["alphas"]["by_confidence"].get(name)
    if two is not None and two["beats"]:
        return f", alpha {two['hard']:g} below a confidence of {two['below']:.3g} and {two['easy']:g} above"
    return f", alpha {result['alphas']['points'][name]['alpha']:g}: the best over alpha and threshold, below"


def about_tune(result: Tune) -> list[tuple[str, str]]:
    data, machines = result["data"], result["timing"]["machines"]
    hardware = ", ".join(f"{one.get('processor')}, {one.get('cores')} cores" for one in machines[:1])
    at = result["points"][main_point(result)]["report"]
    elsewhere = "" if data["report"] == data["fit"] else f" of {data['report']}"
    return [
        ("Date", day_of(result["date"])),
        ("Host", f"{result['host']} ({hardware})" if hardware else result["host"]),
        *about_model(result["model"], at["exit_rate"]),
        ("Top-1", f"{100 * at['top1']:.2f} %"),
        about_engines(result),
        (
            "Data",
            f"fitted on {data['images_fit']} images of {data['fit']}, reported on {data['images_report']} others{elsewhere}",
        ),
    ]


def _cards(result: Tune, point: OperatingPoint) -> list[tuple[str, str, str]]:
    at, (low, high) = point["report"], point["intervals"]["top1"]
    return [
        ("top-1", f"{100 * at['top1']:.2f} %", f"95 %: {100 * low:.2f} to {100 * high:.2f}"),
        (
            "images per second",
            f"{images_per_s(result, at['mean_ms']):.4g}",
            f"mean {at['mean_ms']:.3g} ms, p99 {at['p99_ms']:.3g} ms",
        ),
        ("exits", f"{100 * at['exit_rate']:.1f} %", f"of {result['data']['images_report']} images"),
        (
            "time saved",
            f"{100 * point['time_saved']:.1f} %",
            f"{100 * point['top1_lost']:+.2f} points of top-1 lost to SAC on every image",
        ),
    ]


def _notes(result: Tune, name: str) -> list[str]:
    point, notes = result["points"][name], []
    if result["unreadable"]:
        notes.append(f"{result['unreadable']} images could not be read; tune.json names them")
    if point["promise"] is not None:
        notes.append(promise_line(name, point["promise"]))
    notes.append(
        f"tuned on the report split itself, top-1 would look {100 * point['self_deception']:+.2f} points better"
    )
    return notes


def point_table(result: Tune) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The head and the rows of the operating points and both ends; without a column of energy where none was measured."""
    rows = [(name, f"{one['eta']:g}", one["report"]) for name, one in result["points"].items()]
    rows += [("always EE", "", result["always"]["EE"]), ("always SAC", "", result["always"]["SAC"])]
    has_energy = any(at["mj"] is not None for _, _, at in rows)
    return (*HEAD, "mJ") if has_energy else HEAD, [
        (
            name,
            eta,
            *(f"{100 * share:.2f}" for share in (at["top1"], at["top5"], at["exit_rate"])),
            f"{at['mean_ms']:.3f}",
            f"{at['p99_ms']:.3f}",
            f"{images_per_s(result, at['mean_ms']):.4g}",
            *([_energy(at["mj"])] if has_energy else []),
        )
        for name, eta, at in rows
    ]


def _energy(mj: float | None) -> str:
    return "null" if mj is None else f"{mj:.4g}"


def _gate(result: Tune, name: str) -> list[tuple[str, str]]:
    point, drawn = result["points"][name], result["curves"]["report"]
    etas, gate = [one["eta"] for one in drawn], point["report"]["gate"]

    def over(caption: str, unit: str, shares: Sequence[float]) -> tuple[str, str]:
        line = Line("", etas, [100 * share for share in shares])
        return caption, lines(caption, [line], "threshold", unit, marker=(point["eta"], name), sizes=PHONE)

    rows = [Bar(kind, 100 * gate[kind], None, f"{100 * gate[kind]:.2f} %") for kind in GATE]
    caption = f"What the gate does at threshold {point['eta']:g}, of all images"
    return [
        over("Exits over the threshold", "% of images", [one["exit_rate"] for one in drawn]),
        over("Top-1 over the threshold", "top-1 %", [one["top1"] for one in drawn]),
        (caption, bars(caption, rows, "% of images", sizes=PHONE)),
    ]


def _timing(result: Tune) -> str:
    machines = "; ".join(
        ", ".join(words.format(one[key]) for key, words in MACHINE.items() if one.get(key) is not None)
        for one in result["timing"]["machines"]
    )
    line = timing_line(result["timing"])
    return f"{line[0].upper()}{line[1:]}. {machines}"


def _images(listed: Sequence[Mistake], kind: str, thumbnails: Pictures) -> list[dict[str, Any]]:
    """The images that have a picture, or the first ones without."""
    count = len(thumbnails[kind]) if kind in thumbnails else 24
    return [
        {**one, "picture": _data_uri(thumbnails, kind, place) if kind in thumbnails else None}
        for place, one in enumerate(listed[:count])
    ]


def _data_uri(thumbnails: Pictures, kind: str, place: int) -> str:
    """A picture with its target blocks outlined and the others darkened, as a JPEG inside the page."""
    import cv2

    from ...runtime.sinks.overlay import draw_targets

    picture = np.ascontiguousarray(thumbnails[kind][place][..., ::-1])
    targets = tuple(int(block) for block in thumbnails[f"{kind}_targets"][place])
    draw_targets(picture, (0, 0, *picture.shape[:2]), int(thumbnails["grid"]), targets)
    ok, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert ok
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}"
