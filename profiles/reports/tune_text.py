"""The result of sacvit-tune as text for a terminal."""

from __future__ import annotations

from ..results.tune_further import Alphas, Differences, Objects
from ..results.tune_points import Point, Promise
from ..results.tune_shape import GATE, Timing, Tune
from .verdict import tune_verdict

UNTRAINED = (
    "it uses the two stages' weights and was never trained as a single-stage model, so only its time is reported."
    " To compare accuracy, train one and export it"
)


def main_point(result: Tune) -> str:
    """The operating point that is shown in full: the one that was stored, else `balanced`, else the last."""
    names = list(result["points"])
    wanted = ["" if result["chosen"] is None else result["chosen"]["point"], "balanced"]
    return next((name for name in wanted if name in names), names[-1])


def summary_lines(result: Tune) -> list[str]:
    """The verdict, operating points fitted on one split and reported on the other, both ends, and the promised losses."""
    data, main = result["data"], main_point(result)
    elsewhere = "" if data["report"] == data["fit"] else f" of {data['report']}"
    error = result["calibration_error"]
    lines = [
        f"fitted on {data['images_fit']} images of {data['fit']}, reported on {data['images_report']} others{elsewhere}",
        f"temperature {result['temperature']:g}: calibration error of EE {100 * error['before']:.2f} % before,"
        f" {100 * error['after']:.2f} % after",
        f"{'on the report split':<22}{'eta':>8}{'top-1 %':>9}{'95 %':>16}{'top-5 %':>9}{'exits %':>9}{'mean ms':>9}"
        f"{'p99 ms':>9}{'images/s':>10}{'mJ':>8}",
    ]
    rows = [(name, f"{point['eta']:g}", point["report"], _interval(point)) for name, point in result["points"].items()]
    rows += [("always EE", "", result["always"]["EE"], ""), ("always SAC", "", result["always"]["SAC"], "")]
    for name, eta, at, interval in rows:
        mj = "null" if at["mj"] is None else f"{at['mj']:.4g}"
        lines.append(
            f"{name:<22}{eta:>8}{100 * at['top1']:>9.2f}{interval:>16}{100 * at['top5']:>9.2f}{100 * at['exit_rate']:>9.1f}"
            f"{at['mean_ms']:>9.3f}{at['p99_ms']:>9.3f}{images_per_s(result, at['mean_ms']):>10.4g}{mj:>8}"
        )
    if (plain := result["plain"]) is not None:
        speed = f"{images_per_s(result, plain['mean_ms']):>10.4g}"
        top1 = "" if plain["top1"] is None else f"{100 * plain['top1']:.2f}"
        lines.append(f"{'plain ViT':<30}{top1:>9}{'':>34}{plain['mean_ms']:>9.3f}{'':>9}{speed}")
        if plain["top1"] is None:
            lines.append(f"plain ViT: {UNTRAINED}")
    for name, point in result["points"].items():
        lines.append(
            f"{name}: {100 * point['time_saved']:.1f} % of SAC-always's time saved, {100 * point['top1_lost']:+.2f} points of"
            f" top-1 lost; tuned on the report split itself it would look {100 * point['self_deception']:+.2f} points better"
        )
        if point["promise"] is not None:
            lines.append(promise_line(name, point["promise"]))
    lines.append(timing_line(result["timing"]))
    gate = result["points"][main]["report"]["gate"]
    lines.append(f"the gate at {main}: " + ", ".join(f"{name} {100 * gate[name]:.1f} %" for name in GATE))
    if "alphas" in result:
        lines += alpha_lines(result["alphas"])
    if "objects" in result:
        lines.append(object_line(result["objects"]))
    return [*lines, tune_verdict(result, main)[1]]


def alpha_lines(alphas: Alphas) -> list[str]:
    """The best alpha and eta of each rule, and whether two SACs by EE's confidence are better than one."""
    lines = []
    for name, one in alphas["points"].items():
        at, apart = one["report"], one["against_own"]
        same = "the bundle's own" if one["alpha"] == alphas["own"] else f"instead of {alphas['own']:g}"
        lines.append(
            f"{name} over alpha and eta: alpha {one['alpha']:g} ({same}) at {one['eta']:g}, {100 * at['top1']:.2f} % in"
            f" {at['mean_ms']:.3f} ms; against the own alpha at its best eta {_apart(apart)}"
        )
    for name, two in alphas["by_confidence"].items():
        if two["hard"] == two["easy"]:
            lines.append(f"{name} with two SACs by confidence: one alpha, {two['hard']:g}, is the best of both")
            continue
        verdict = "better than one alpha" if two["beats"] else "no better than one alpha beyond chance"
        lines.append(
            f"{name} with two SACs by confidence: alpha {two['hard']:g} below {two['below']:.3f}, {two['easy']:g} above, exits"
            f" at {two['eta']:g}: {verdict} ({two['one']['alpha']:g} at {two['one']['eta']:g}): {_apart(two['against_one'])}"
        )
    return lines


def _apart(apart: Differences) -> str:
    time, top1 = ([100 * value for value in apart[name]] for name in ("time", "top1"))
    return (
        f"{time[0]:+.1f} % of the time (95 %: {time[1]:+.1f} to {time[2]:+.1f}) and {top1[0]:+.2f} points of top-1"
        f" ({top1[1]:+.2f} to {top1[2]:+.2f})"
    )


def object_line(objects: Objects) -> str:
    """How much of the boxed objects the target blocks hold, and how much they could."""
    left_out = f"; {objects['out_of_view']} have no box in view" if objects["out_of_view"] else ""
    if (share := objects["share"]) is None:
        return f"objects: none is in view of the network{left_out}"
    found = share["found"]
    return (
        f"objects: {100 * found['value']:.1f} % of their area lies inside the {objects['targets']} of {objects['blocks']}"
        f" target blocks (95 %: {100 * found['low']:.1f} to {100 * found['high']:.1f}; the best choice of blocks holds"
        f" {100 * share['best']:.1f} %, a random one {100 * share['chance']:.1f} %; n = {objects['images']} images with"
        f" {objects['boxes']} boxes{left_out})"
    )


def images_per_s(result: Tune, mean_ms: float) -> float:
    """Images per second of successive passes with full batches."""
    return 1e3 * result["batch"] / mean_ms


def promise_line(name: str, promise: Promise) -> str:
    """The loss that a point promises on new images; or the reason why none can be promised, and the best possible."""
    allowed, bound = 100 * promise["allowed"], 100 * promise["at_most"]
    if promise["is_kept"]:
        return (
            f"{name}: on other images at most {bound:.2f} points of top-1 are lost (95 % sure; {allowed:g} are allowed)"
        )
    few = promise["images"] < promise["needed"]
    why = (
        f"at least {promise['needed']} are needed"
        if few
        else "some of the most confident exits are images that only SAC has right"
    )
    return (
        f"{name}: NOT PROMISED. A loss of at most {allowed:g} points cannot be promised from {promise['images']} images to"
        f" fit on: {why}. This threshold keeps to it on these images; other images may lose up to {bound:.2f} points"
        f" (95 % sure). Give more images"
    )


def timing_line(timing: Timing) -> str:
    spreads = [
        f"{stage.upper()} median {one['median_ms']:.3f} ms, p90 {one['p90_ms']:.3f}, p95 {one['p95_ms']:.3f},"
        f" p99 {one['p99_ms']:.3f} (n = {one['n']})"
        for stage, one in (("ee", timing["ee"]), ("sac", timing["sac"]))
    ]
    return f"wall time per pass: {', '.join(spreads)}; {timing['warmup_passes']} passes before them to warm up"


def _interval(point: Point) -> str:
    low, high = point["intervals"]["top1"]
    return f"{100 * low:.2f} .. {100 * high:.2f}"
