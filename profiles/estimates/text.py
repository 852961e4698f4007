"""The text of an estimate: the bounds, what they mean for two stages, and all assumptions."""

from __future__ import annotations

from ...bundle.precision import row_of
from .roofline import BATCHES, Estimate, exit_rate_lines, gains, peak_tops

SPEED = {
    "fp32": "Every multiply-add runs on the CUDA cores: our plans are built with TF32 off.",
    "fp16": "Every multiply-add runs in FP16 on the tensor cores, the head's too, which are really FP32.",
    "bf16": "Every multiply-add runs in BF16 on the tensor cores, the head's too, which are really FP32.",
    "fp8": "Every multiply-add runs in FP8. Really only the linear layers do; attention is FP16, with FP16 weights.",
    "int8": "Every multiply-add runs in INT8. Really only the linear layers do; the rest is FP32 and many times slower.",
    "int8fp16": "Every multiply-add runs in INT8. Really only the MLPs do; attention is FP16, with FP16 weights.",
}


def camera_lines(found: Estimate) -> list[str]:
    """The number of cameras from which two stages pay, with one image of each per pass."""
    by_batch = gains(found)
    if not by_batch:
        return []
    paying = [batch for batch, gain in by_batch.items() if gain > 1]
    if not paying:
        verdict = f"By these bounds two stages do not pay with up to {BATCHES[-1]} cameras."
    elif paying[0] == BATCHES[0]:
        verdict = "By these bounds two stages pay with one camera already."
    else:
        verdict = f"By these bounds two stages pay from {paying[0]} cameras on."
    return [
        f"{'Cameras, one image of each per pass':<36}" + "".join(f"{batch:>8}" for batch in by_batch),
        f"{'times as fast as the plain ViT':<36}" + "".join(f"{gain:>8.2f}" for gain in by_batch.values()),
        verdict,
    ]


def pay_off_line(found: Estimate) -> str:
    """What the bounds mean for the two stages against the plain ViT."""
    if found.pay_off is None:
        return "There is no break-even: a stage costs nothing."
    needed, gain = found.pay_off.exit_rate, found.pay_off.gain
    if needed > 1:
        return "By these bounds the chain is slower than the plain ViT at every exit rate."
    if needed <= 0:
        return f"By these bounds the chain is faster than the plain ViT at every exit rate; here {gain:.2f} times."
    return (
        f"By these bounds the chain pays off above an exit rate of {needed:.1%}; at {found.exit_rate:.1%} it is"
        f" {gain:.2f} times as fast."
    )


def assumption_lines(found: Estimate) -> list[str]:
    """All assumptions; most of them favour the board."""
    lines = [
        SPEED[found.precision],
        f"Weights have {8 * row_of(found.precision).weight_bytes} bits each and cross the memory bus once per pass;"
        " image, hand-off and answers",
        "  once an image, the last two in FP32 whatever the precision. Nothing else touches the memory.",
        "The GPU works at its dense peak, without DLA and sparsity; nothing else uses the memory.",
        *_launch_lines(found),
        *exit_rate_lines(found),
        "The chain is EE + (1 - exit rate) x SAC; at batches above 1, SAC's passes are as full as EE's.",
        "Break-even and speed-up compare two bounds: a hint, and no bound.",
    ]
    if any(stage is not None and stage.fits_l2 for _, stage in found.rows.values()):
        lines += [
            f"Weights fit the GPU's {found.board.l2_mib:g} MiB cache: passes one after another may beat the memory side;",
            "  then only compute and launches are bounds.",
        ]
    if found.mode.budget_w is None:
        lines.append("No energy: no source states the nominal power of this mode.")
    else:
        lines += [
            f"Energy is the time above x the mode's nominal {found.mode.budget_w:g} W, and no bound: modes cap clocks, not"
            " watts.",
            "  Modules often draw less (an Orin NX in 25W drew 17 W), and the real time is longer.",
        ]
    return lines


def _launch_lines(found: Estimate) -> list[str]:
    if not found.kernels:
        return [
            "Launches take no time: this bundle's kernels were not counted. At one image per pass they may be most of it:",
            "  sacvit-export --plain --compile sm86,sm89,sm120",
        ]
    counted = ", ".join(f"{stage} {count}" for stage, count in found.kernels.items())
    return [
        f"Kernels per pass, counted by TensorRT for RTX: {counted}. Each takes {found.board.gpu.launch_us:g} us at least, what",
        "  an empty one takes in a CUDA graph on a laptop's RTX 5070 Ti; real ones take more, on a Jetson above all.",
    ]


def estimate_lines(found: Estimate) -> list[str]:
    """The text for a terminal, at most 110 columns."""
    mode, unit = found.mode, "TOPS" if row_of(found.precision).units == "int8" else "TFLOPS"
    others = [other.name for other in found.board.modes if other is not mode]
    peak = peak_tops(found.board, mode, found.precision)
    watts = "" if mode.budget_w is None else f", nominally {mode.budget_w:g} W"
    lines = [
        f"ESTIMATE, nothing was measured: {found.board.name} in mode {mode.name}, {found.precision}, batch {found.batch}",
        f"{found.board.module}: {mode.sms} SMs at {mode.gpu_mhz:g} MHz = {peak:.1f} {unit},"
        f" memory {mode.memory_gb_s:.1f} GB/s{watts}",
        *([f"Other modes: {', '.join(others)}"] if others else []),
        "",
        "No run can take less time than this; real ones take more.",
        f"{'':<22}{'ms/image >=':>12}{'compute':>11}{'memory':>10}{'launches':>10}  {'limit':<9}{'mJ/image':>9}",
    ]
    names = {"EE": "EE", "SAC": "SAC", "chain": f"chain, {found.exit_rate:.1%} exit", "plain": "plain ViT"}
    for name, (latency_ms, stage) in found.rows.items():
        energy_mj = found.energy_mj(latency_ms)
        energy = f"{'-' if energy_mj is None else f'{energy_mj:.2f}':>9}"
        sides = " " * 31 + f"  {'':<9}"
        if stage is not None:
            compute_ms, memory_ms = stage.compute_ms / found.batch, stage.memory_ms / found.batch
            launches = f"{stage.launch_ms / found.batch:>10.3f}" if found.kernels else f"{'-':>10}"
            sides = f"{compute_ms:>11.3f}{memory_ms:>10.3f}{launches}  {stage.bound_by:<9}"
        lines.append(f"{names[name]:<22}{latency_ms:>12.3f}{sides}{energy}")
    return [
        *lines,
        "",
        pay_off_line(found),
        "",
        *camera_lines(found),
        "",
        "Assumed:",
        *(line if line.startswith("  ") else f"- {line}" for line in assumption_lines(found)),
        "",
        f"To measure instead, run on the board, in mode {mode.name}:",
        "  sacvit-profile --engine ee.plan sac.plan",
    ]
