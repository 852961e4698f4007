"""A result as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from ..power.energy import TOTAL
from ..results.profile_shape import Contender, Layer, Mode, Profile, Scenario, Times
from .amounts import amount_text
from .verdict import profile_verdict

COLUMNS = ("median", "mean", "p90", "p95", "p99", "min", "max")
SHOWN_LAYERS = 8
KILLED = "The run was killed: the state of the machine at its end is not known."


def summary_lines(result: Profile) -> list[str]:
    """The engines, trtexec's summary of each, and for every power mode latency, energy, break-even and reasons against them."""
    engines = result["engines"]
    names = ", ".join(f"{stage} {one['file']} ({one['precision']})" for stage, one in engines.items())
    lines = [f"{names}, {result['backend']}, batch {result['batch']}; {result['images']}"]
    for parts in result["parts"]:
        switches = "; ".join(f"{name}: {said(value)}" for name, value in parts["switches"].items())
        lines += ["one pass in its parts, measured in separate passes", f"  {switches}"]
        for stage, summary in parts["summary"].items():
            lines += ["", f"=== Performance summary === {stage}", *summary]
    for mode in result["modes"]:
        lines += ["", *_mode_lines(mode)]
    for stages in result["layers"]:
        for stage, rows in stages.items():
            lines += ["", f"slowest layers of {stage}", *layer_lines(rows)]
    lines += [f"power mode {one['mode']} was skipped: {one['reason']}" for one in result["skipped_modes"]]
    return lines


def _mode_lines(mode: Mode) -> list[str]:
    contenders = mode["contenders"]
    label, main = mode_label(mode), mode["main"]
    lines = [f"=== sacvit{f', power mode {label}' if label else ''} ==="]
    lines.append(
        f"{'ms per pass':<16}{'n':>8}"
        + "".join(f"{name:>9}" for name in COLUMNS)
        + f"{'CoV':>8}{'images/s':>10}{'rounds':>9}"
    )
    for name, contender in contenders.items():
        rate = "" if contender["threshold"] is None else f"  {contender['exit_rate']:.1%} exit"
        row = latency_row(name, contender["paths_ms"]["all"]) + f"{contender['throughput']:>10.5g}"
        lines.append(f"{row}{spread_text(contender):>9}{rate}")
        if name == main:
            paths = [(f"{path} path", contender["paths_ms"][path]) for path in ("exit", "full")]
            lines += [latency_row(f"  {path}", values) for path, values in paths if values["n"]]
            stages = contender["stages_ms"].items()
            lines += [latency_row(f"    {stage}", values) for stage, values in stages if values["n"]]
    for name, contender in contenders.items():
        if contender["scenario"] is not None:
            lines += scenario_lines(name, contender["scenario"])
    lines += [*load_lines(mode), "", *_energy_lines(mode), "", *_break_even_lines(mode), profile_verdict(mode)[1]]
    if mode["valid"] is None:
        lines.append(f"note: {KILLED}")
    lines += [f"note: {text}" for text in mode["warnings"]]
    return lines + [f"{'INVALID' if one['invalidates'] else 'note'}: {one['text']}" for one in mode["changes"]]


def main_contender(mode: Mode) -> Contender | None:
    """The chain that is shown in full."""
    return None if mode["main"] is None else mode["contenders"][mode["main"]]


def spread_text(contender: Contender) -> str:
    """The half-width of the mean by the rounds."""
    half = contender["ms_per_image_plus_minus"]
    return "± ?" if half is None else f"± {half / contender['ms_per_image']:.1%}"


def load_lines(mode: Mode) -> list[str]:
    """The worst load during the windows; nothing on a system without counters."""
    loads = [one["load"] for one in mode["contenders"].values() if one["load"] is not None]
    if not loads:
        return []
    named = (
        ("other programs took {:.1%}", [one["others"] for one in loads]),
        ("steal took {:.1%}", [one["stolen"] for one in loads]),
        ("the engines waited for a core {:.1%} of the time", [one["waited"] for one in loads]),
    )
    shares = [(said, [value for value in values if value is not None]) for said, values in named]
    told = [said.format(max(values)) for said, values in shares if values]
    queue = max(one["running_mean"] for one in loads)
    repeated = sum(one["repeated_windows"] for one in loads)
    again = f"; {repeated} window{'s' * (repeated != 1)} measured again" if repeated else ""
    return [f"worst window: {', '.join([*told, f'run queue {queue:.1f}'])}{again}"]


def mode_label(mode: Mode) -> str | None:
    """As in "2 (MAXN_SUPER)"; None on a machine without power modes."""
    used = None if mode["state"] is None else mode["state"]["before"].get("power_mode")
    if used is None:
        return None if mode["mode"] is None else str(mode["mode"])
    return f"{used['id']} ({used['name']})" if used["name"] else str(used["id"])


def latency_row(name: str, values: Times) -> str:
    count, *cells, cov = latency_cells(values)
    return f"{name:<16}{count:>8}{''.join(f'{cell:>9}' for cell in cells)}{cov:>8}"


def latency_cells(values: Times) -> list[str]:
    """n, the columns in ms, the coefficient of variation; no numbers where there were no passes."""
    if not values["n"]:
        return ["0"] + [""] * (len(COLUMNS) + 1)
    shown = (
        *(values["median_ms"], values["mean_ms"], values["p90_ms"], values["p95_ms"], values["p99_ms"]),
        *(values["min_ms"], values["max_ms"]),
    )
    return [str(values["n"]), *map(_short, shown), f"{values['cov']:.1%}"]


def slowest_layers(rows: Sequence[Layer], count: int) -> list[tuple[str, str, str]]:
    """Name, median ms and share of the slowest."""
    slowest = sorted((row for row in rows if "name" in row), key=lambda row: -row["percentage"])[:count]
    return [(row["name"][:64], f"{row['medianMs']:.4g}", f"{row['percentage']:.1f} %") for row in slowest]


def layer_lines(rows: Sequence[Layer]) -> list[str]:
    return [f"  {name:<64}{ms:>10} ms{share:>9}" for name, ms, share in slowest_layers(rows, SHOWN_LAYERS)]


def scenario_lines(name: str, told: Scenario) -> list[str]:
    value = "null" if told["value"] is None else f"{told['value']:.5g}"
    lines = [f"{name}, {told['scenario']}: {told['metric']} {value} ({told['note']})"]
    return lines + [f"  MLPerf rule not met: {text}" for text in told["not_kept"]]


def _energy_lines(mode: Mode) -> list[str]:
    power, main = mode["power"], mode["main"]
    if power["source"] is None:
        return [f"power: not measured: {power['reason']}"]
    lines = [f"power: {power['source']}; total: {power['scope']}"]
    lines += [f"energy: not measured: {reason}" for reason in energy_reasons(mode)]
    rows = []
    for name, contender in mode["contenders"].items():
        table = contender["energy"]["mj_per_image"] or {}
        for rail, amounts in sorted(table.items(), key=lambda entry: entry[0] != TOTAL):  # the total, then its rails
            if rail == TOTAL or TOTAL not in table or (name == main and [rail] != power["total_rails"]):
                gross, above = amount_text(amounts["gross"]), amount_text(amounts["above_idle"])
                label = name if rail == TOTAL else f"  {rail}"
                rows.append(f"{label:<20}{gross:>18}{above:>18}{amounts['mean_mw'] / 1e3:>12.3g}")
    if rows:
        lines += [f"{'mJ per image':<20}{'with idle power':>18}{'above idle':>18}{'mean W':>12}", *rows]
    paths = mode["paths_mj"]
    if paths is not None and paths["reason"] is not None:
        lines.append(f"energy by path: not measured: {paths['reason']}")
    elif paths is not None:
        told = ", ".join(f"{path} {amount_text(amount, 'mJ')}" for path, amount in paths["mj"].items())
        lines.append(f"energy of one image above idle, by regression over {paths['windows']} windows: {told}")
        lines.append(f"  idle {amount_text(paths['idle_mw'], 'mW')}, residual {paths['residual_mw']:.3g} mW")
    return lines + [f"power source: {fault}" for fault in power["faults"]]


def energy_reasons(mode: Mode) -> list[str]:
    """The reasons why variants have no energy, each one once."""
    return sorted({reason for one in mode["contenders"].values() if (reason := one["energy"]["reason"]) is not None})


def _break_even_lines(mode: Mode) -> list[str]:
    """The break-evens of every threshold and cost; unknown ones are left out, and the verdict gives the reason."""
    return [
        f"{name}, {unit}: {told['text']}"
        for name, units in (mode["break_even"]["by_threshold"] or {}).items()
        for unit, told in units.items()
        if told is not None
    ]


def _short(value: float) -> str:
    return f"{value:.3f}" if value < 100 else f"{value:.1f}"


def said(value: object) -> str:
    """A switch as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not on this backend" if value is None else str(value)
