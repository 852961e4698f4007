"""The typed variants of an FP32 pair: made, compared with it, and gated by a threshold of their own."""

from __future__ import annotations

import gc

from ...bundle.errors import GuardError
from ...bundle.precision import PRECISIONS, Body, Limits, Precision, row_of
from ...calibration.decisions import Comparison, compare
from ...calibration.guards import Guard, judge
from ...calibration.onnx_session import Pair, Session
from ...calibration.stored_weights import store_quantized
from ...calibration.threshold import lowest_for_top1, match_exit_rate
from ...images.calibration_set import ImageSet
from ..checks.goldens import sample_images
from ..checks.lint import require_clean
from .cascade import Cascade, progress
from .image_sets import SYNTHETIC, describe_images
from .leave_out import complain, measure_both, measure_stage
from .options import STAGES, Graphs, Models, Report, Stage, Variant, Variants
from .request import PrecisionOptions
from .retype import Retyping, retype
from .rounding import rounded_as_typed


def make_variants(
    graphs: Graphs,
    images: ImageSet,
    evaluation: ImageSet,
    threshold: float,
    options: PrecisionOptions,
    report: Report,
) -> Variants:
    """Every variant of an FP32 pair that the options ask for, measured on `images` and judged on `evaluation`.

    Raises GuardError when one does not decide as FP32 does.
    """
    return _Maker(Cascade(graphs, images, threshold, options, report), evaluation).make()


class _Maker:
    """The steps of `make_variants`, which share the calibrated pair and the evaluation images."""

    def __init__(self, cascade: Cascade, evaluation: ImageSet) -> None:
        self.cascade, self.evaluation = cascade, evaluation
        self.options, self.report, self.threshold = cascade.options, cascade.report, cascade.threshold

    def make(self) -> Variants:
        options = self.options
        rows = [row for row in reversed(PRECISIONS) if options.wants(row.family)]
        quantised = [row.name for row in rows if row.quantizer]
        self.cascade.calibrate_ee()
        if quantised and options.auto:
            self._settle("EE")
        handing = self.cascade.quantised("EE", quantised[0] if quantised else "fp32")
        self.cascade.calibrate_sac(handing)
        self.cascade.reference.sac = Session(self.cascade.fp32["SAC"])
        if quantised and options.auto:
            self._settle("SAC")
        pairs: dict[Precision, Models] = {}
        retypings: dict[Precision, dict[Stage, Retyping]] = {}
        if quantised:
            for stage in STAGES:
                if dead := self.cascade.dead(stage):
                    self.report(f"warning: {stage} keeps {', '.join(dead)} unquantised: their input is always 0")
        for row in rows:
            pairs[row.name] = {stage: self.cascade.quantised(stage, row.name) for stage in STAGES}
            if row.body != "fp32":
                pairs[row.name], retypings[row.name] = self._retyped(pairs[row.name], row.body)
            if row.quantizer and not options.qdq_weights:
                pairs[row.name] = {stage: store_quantized(model) for stage, model in pairs[row.name].items()}
        gc.collect()  # graphsurgeon's graphs are circular: 0.2 GB for DeiT-S
        for precision, models in pairs.items():
            for stage, model in models.items():
                require_clean(f"{stage.lower()}.{precision}.onnx", model, precision)
        runnable = {name: self._runnable(name, models) for name, models in pairs.items()}
        comparisons = self._compare(self.cascade.reference, runnable, self.evaluation)
        fits = self._fit(runnable, comparisons)
        made = [
            self._judged(precision, models, comparisons[precision], fits[precision], retypings.get(precision, {}))
            for precision, models in pairs.items()
        ]
        breached = [variant for variant in made if not all(guard.holds for guard in variant.guards)]
        effects = (
            measure_both(self.cascade, breached[0] if breached else made[0]) if breached or options.sensitivity else []
        )
        if breached:
            raise GuardError(complain(breached, effects, options.auto, self.evaluation.are_strangers))
        return Variants(
            made,
            {
                **describe_images(self.cascade.images),
                "method": options.calib_method if quantised else None,
                **self.cascade.sac_images,
            },
            describe_images(self.evaluation),
            sample_images(self.evaluation, comparisons[made[0].precision].confidence, self.threshold),
        )

    def _retyped(self, source: Models, body: Body) -> tuple[Models, dict[Stage, Retyping]]:
        done = {
            stage: retype(model, self.cascade.ranges[stage].largest, self.options.fp16_limit, body=body)
            for stage, model in source.items()
        }
        return {stage: model for stage, (model, _) in done.items()}, {stage: what for stage, (_, what) in done.items()}

    def _runnable(self, precision: Precision, models: Models) -> Pair:
        """The pair as its device computes it: ONNX Runtime alone would compute it in FP32, or not at all (rounding.py)."""
        if row_of(precision).body != "fp32":
            models = {stage: rounded_as_typed(model) for stage, model in models.items()}
        return Pair(models["EE"], models.get("SAC"))

    def _compare(self, reference: Pair, pairs: dict[Precision, Pair], images: ImageSet) -> dict[Precision, Comparison]:
        with progress(images.count, "comparing with FP32") as bar:
            return compare(reference, pairs, images, bar.update)

    def _judged(
        self,
        precision: Precision,
        models: Models,
        comparison: Comparison,
        fit: tuple[float, str],
        retypings: dict[Stage, Retyping],
    ) -> Variant:
        eta, source = fit
        guards = self._judge(precision, comparison, eta)
        self.report(f"{precision}: threshold {eta:g} (FP32: {self.threshold:g}, {source})")
        for guard in guards:
            self.report(f"  {guard}")
        for stage, done in retypings.items():
            if done.subnormal_weights or done.overflowing_weights:
                self.report(
                    f"  {stage}: of {done.weights} FP16 weights {done.subnormal_weights} are below FP16's normal range,"
                    f" {done.overflowing_weights} beyond it"
                )
            for name, size in done.kept.items():
                self.report(
                    f"  {stage}: {name} stays in FP32: it reaches {size:.0f}, the limit is {self.options.fp16_limit:g}"
                )
        left = (
            {stage: names for stage, names in self.cascade.left.items() if names} if row_of(precision).quantizer else {}
        )
        limits = self._limits(precision)
        return Variant(precision, models["EE"], models["SAC"], eta, source, guards, left, retypings, limits)

    def _fit(
        self, pairs: dict[Precision, Pair], judged: dict[Precision, Comparison], to_top1: bool = True
    ) -> dict[Precision, tuple[float, str]]:
        """Each variant's threshold and how it was found: on the calibration images, so that --eval's judge it unseen."""
        if self.options.min_top1 is not None and to_top1:
            if self.cascade.images.labels is None or self.evaluation is self.cascade.images:
                self.report("the threshold is fitted to the labels of the images that judge it: expect a little less")
            else:
                judged = self._compare(self.cascade.reference, pairs, self.cascade.images)
            return {precision: (self._fit_top1(precision, found), "top1") for precision, found in judged.items()}
        images = self.cascade.images
        if self.options.match == "none" or images.source == SYNTHETIC or images.are_strangers:
            return dict.fromkeys(pairs, (self.threshold, "unchanged"))
        if self.evaluation is not self.cascade.images:
            judged = self._compare(Pair(self.cascade.fp32["EE"]), pairs, self.cascade.images)
        return {
            precision: (match_exit_rate(found.confidence, self.threshold, found.variant_confidence), "exit-rate")
            for precision, found in judged.items()
        }

    def _fit_top1(self, precision: Precision, comparison: Comparison) -> float:
        """The smallest eta that reaches --min-top1, or FP32's accuracy at its own eta."""
        goal = comparison.accuracy(self.threshold, variant=False)
        if self.options.min_top1 is not None and self.options.min_top1 != "fp32":
            goal = self.options.min_top1 / 100
        eta = lowest_for_top1(comparison, goal)
        if eta is None:
            best = max(comparison.accuracy(step / 100, variant=True) for step in range(101))
            raise GuardError(
                f"{precision} reaches at most {100 * best:.2f} % top-1 at any threshold, --min-top1 asks for"
                f" {100 * goal:.2f} %; nothing was written. Try --auto, more calibration images, or a lower goal"
            )
        return eta

    def _judge(self, precision: Precision, comparison: Comparison, eta: float) -> list[Guard]:
        gate = None
        if self.options.min_top1 is not None:
            gate = match_exit_rate(comparison.confidence, self.threshold, comparison.variant_confidence)
        return judge(comparison, self.threshold, eta, self._limits(precision), gate)

    def _limits(self, precision: Precision) -> Limits:
        limits = row_of(precision).limits
        limits = (limits.on_strangers() if self.evaluation.are_strangers else limits).but(**self.options.limits)
        if self.options.min_top1 not in (None, "fp32"):  # the user's accuracy replaces FP32's
            return limits.but(top1_drop=100.0)
        return limits

    def _settle(self, stage: Stage) -> None:
        """Leaves the worst layers of a stage unquantised: as few as its guards need, by doubling and then halving."""
        failed = self._failing(stage, [])
        if not failed:
            return
        names = ", ".join(dict.fromkeys(guard.name for guard in failed))
        kind = next(row.family for row in reversed(PRECISIONS) if row.quantizer and self.options.wants(row.family))
        self.report(f"--auto: {stage} in {kind.upper()} fails on {names}; looking for the layers to leave out")
        ranked = [effect.layer for effect in measure_stage(self.cascade, stage, kind)]
        low, high = 0, 1
        while high < len(ranked) and self._failing(stage, ranked[:high]):
            low, high = high, min(2 * high, len(ranked))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._failing(stage, ranked[:middle]) else (low, middle)
        self.cascade.left[stage] = ranked[:high]
        self.report(f"--auto: {stage} leaves {high} of {len(ranked)} layers unquantised: {', '.join(ranked[:high])}")

    def _failing(self, stage: Stage, left: list[str]) -> list[Guard]:
        """The guards of a stage that fail while these of its layers are not quantised."""
        self.cascade.left[stage] = left
        stages = STAGES if self.cascade.reference.sac is not None else STAGES[:1]
        pairs: dict[Precision, Pair] = {}
        for row in PRECISIONS:
            if row.quantizer and self.options.wants(row.family):
                models = {name: self.cascade.quantised(name, row.name) for name in stages}
                if row.body != "fp32":
                    models = self._retyped(models, row.body)[0]
                pairs[row.name] = self._runnable(row.name, models)
        failing = []
        comparisons = compare(self.cascade.reference, pairs, self.evaluation)
        # Without SAC, no threshold can be fitted to the chain's accuracy yet.
        try:
            fits = self._fit(pairs, comparisons, to_top1=stage == "SAC")
        except GuardError:
            return [Guard("top-1 at the best threshold", "chain", 0, 1, True, "--min-top1")]
        for precision, comparison in comparisons.items():
            guards = self._judge(precision, comparison, fits[precision][0])
            failing += [guard for guard in guards if not guard.holds and (guard.stage == "EE") == (stage == "EE")]
        return failing
