"""sacvit-tune: a synthetic pair whose eta and temperature are known, and the command as a user calls it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import resource
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import GuardError, ImageError, UsageError
from sacvit.bundle.gating import confidence_of
from sacvit.commands.tune import main
from sacvit.images.labelled import Labelled, open_labelled
from sacvit.profiles.reports.tune_text import summary_lines
from sacvit.profiles.results.result_files import write_result
from sacvit.profiles.tuning import resampling as honesty
from sacvit.profiles.tuning import tune as module
from sacvit.profiles.tuning.answer_files import Answers, Machine, WarmUp
from sacvit.profiles.tuning.request import TuneRequest
from sacvit.profiles.tuning.rules import rule_of
from sacvit.profiles.tuning.split import fit_half
from sacvit.profiles.tuning.tune import judge, tune
from sacvit.runtime.chain.pipeline import Pipeline

pytestmark = pytest.mark.usefixtures("pages_where_asked")

BUNDLES = Path(__file__).parents[2] / "runtime" / "bundles"
NAMES = ["ant", "bee", "cat", "dog", "emu"]
EE_MS, SAC_MS = 1.0, 3.0


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """How many there are is test_honesty.py's."""
    monkeypatch.setattr(honesty, "RESAMPLES", 20)
    monkeypatch.setattr(honesty, "SPLITS", 5)


# A synthetic pair


def request_of(**options):
    return TuneRequest(engine=(Path("ee.onnx"), Path("sac.onnx")), data=Path("made up"), **options)


class Synthetic:
    """Logits in the place of engines: `tune` finds what these arrays hold."""

    def __init__(self, folder, monkeypatch, ee, sac, labels):
        count, classes = ee.shape
        ee.astype(np.float32).tofile(folder / "ee.f32")
        sac.astype(np.float32).tofile(folder / "sac.f32")
        self.ee, self.folder = ee.astype(np.float32), folder
        ms = np.full(count, EE_MS, np.float32), np.full(count, SAC_MS, np.float32)
        self.answers = Answers(folder, count, classes, *ms, np.ones(count, bool))
        self.data = Labelled(
            "made up", folder, [f"{index}.png" for index in range(count)], labels, "", lambda index: None
        )
        self.fitted = fit_half(self.data)
        monkeypatch.setattr(module, "open_labelled", lambda *_: self.data)
        monkeypatch.setattr(module, "collect", lambda *_: self.answers)

    def tune(self, **options):
        def stage(name):
            record = SimpleNamespace(stage=name, precision="fp32")
            logits = {"logits": SimpleNamespace(shape=(self.answers.classes,))}
            return SimpleNamespace(outputs=logits, record=record, path=Path(name), backend="none")

        pipeline = SimpleNamespace(ee=stage("EE"), sac=stage("SAC"), labels=None)
        return tune(pipeline, request_of(**options), self.folder)


@pytest.fixture
def stepped(tmp_path, monkeypatch):
    """EE is right where its first logit is 2 or more, and wrong below; SAC is always right. 600 images.

    Whatever the temperature, the surest are those with the highest first logit: the right eta parts them at 2.
    """
    rng = np.random.default_rng(0)
    margin = rng.uniform(0.5, 4, 600)
    ee = np.zeros((600, 5))
    ee[:, 1] = margin
    labels = np.where(margin >= 2, 1, 3)
    return Synthetic(tmp_path, monkeypatch, ee, np.eye(5)[labels] * 5, labels), margin


def test_the_most_accurate_eta_parts_right_from_wrong_on_the_split_that_it_was_fitted_on(stepped):
    made, margin = stepped
    found = made.tune(point="accurate").chosen
    exits = confidence_of(made.ee, found.temperature) >= np.float32(found.threshold)
    assert np.array_equal(exits[made.fitted], margin[made.fitted] >= 2)


def test_fit_is_told_of_one_half_and_report_of_the_other(stepped):
    made, margin = stepped
    found = made.tune(point="accurate")
    point, other = found.result["points"]["accurate"], ~made.fitted
    exits = confidence_of(made.ee, found.chosen.temperature) >= np.float32(found.chosen.threshold)
    right = np.where(exits, margin >= 2, True)
    assert point["fit"]["top1"] == 1.0
    assert point["report"]["top1"] == pytest.approx(right[other].mean(), abs=1e-6)  # six digits are stored
    assert point["report"]["exit_rate"] == pytest.approx(exits[other].mean(), abs=1e-6)
    assert [found.result["data"][key] for key in ("images_fit", "images_report")] == [made.fitted.sum(), other.sum()]


def test_times_follow_from_the_exits(stepped):
    point = stepped[0].tune().result["points"]["balanced"]
    expected = EE_MS + SAC_MS * (1 - point["report"]["exit_rate"])
    assert point["report"]["mean_ms"] == pytest.approx(expected, abs=1e-5)  # six digits of the rate, times 3
    assert point["time_saved"] == pytest.approx(1 - expected / (EE_MS + SAC_MS), abs=1e-5)


def test_what_exited_wrong_is_listed_by_name_surest_first(stepped):
    made, margin = stepped
    found = made.tune(exit_rate=1.0)
    wrong = np.flatnonzero((margin < 2) & ~made.fitted)
    expected = [f"{index}.png" for index in wrong[np.argsort(-margin[wrong])]]
    listed = found.result["exited_wrong"]
    assert listed["count"] == len(wrong) and [one["image"] for one in listed["images"]] == expected


def test_what_sac_breaks_is_listed(tmp_path, monkeypatch):
    labels = np.ones(100, int)
    ee = np.eye(3)[np.where(np.arange(100) < 60, 1, 2)] * np.linspace(1, 2, 100)[:, None]
    sac = np.eye(3)[np.where(np.arange(100) < 10, 2, 1)] * 5
    made = Synthetic(tmp_path, monkeypatch, ee, sac, labels)
    found = made.tune(exit_rate=0.0).result["broken_by_sac"]
    assert {one["image"] for one in found["images"]} == {
        f"{index}.png" for index in range(10) if not made.fitted[index]
    }


def test_no_rule_chooses_nothing(stepped):
    found = stepped[0].tune()
    assert found.chosen is None and found.result["chosen"] is None


def test_a_rule_that_no_eta_keeps_tells_the_best_that_can_be_had(stepped):
    made, _ = stepped
    with pytest.raises(
        GuardError, match=r"no threshold gives a mean of 0.5 ms .* Best reachable: top-1 100.00 % at eta"
    ):
        made.tune(max_ms=0.5)


def test_a_known_temperature_is_found_within_5_percent_and_calibrates(tmp_path, monkeypatch):
    """4 000 images a half: the estimate scatters by 1.7 %; 5 % is three times that."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (8000, 10))
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    labels = (rng.random((8000, 1)) > shares.cumsum(-1)).sum(-1).clip(0, 9)
    result = Synthetic(tmp_path, monkeypatch, logits * 2.5, logits, labels).tune().result
    assert result["temperature"] == pytest.approx(2.5, rel=0.05)
    assert result["calibration_error"]["before"] > 0.15 and result["calibration_error"]["after"] < 0.04


def test_mistakes_of_which_ee_is_certain_leave_points_without_an_eta(tmp_path, monkeypatch):
    """FP32 rounds a confidence to 1 and equality exits: no eta sends these on, and so nothing comes near SAC's top-1."""
    labels = np.tile([0, 1], 50)
    ee = np.eye(2)[1 - labels] * 1e6
    found = Synthetic(tmp_path, monkeypatch, ee, np.eye(2)[labels], labels).tune().result
    assert list(found["points"]) == ["accurate"] and found["exited_wrong"]["eta"] == found["points"]["accurate"]["eta"]


def test_a_curve_goes_from_no_exits_to_all(stepped):
    drawn = stepped[0].tune().result["curves"]["report"]
    assert (drawn[0]["exit_rate"], drawn[-1]["exit_rate"]) == (0.0, 1.0) and len(drawn) == 200


def test_both_ends_are_told(stepped):
    made, margin = stepped
    ends = made.tune().result["always"]
    assert ends["SAC"]["top1"] == 1.0 and ends["SAC"]["mean_ms"] == EE_MS + SAC_MS
    assert ends["EE"]["top1"] == pytest.approx((margin >= 2)[~made.fitted].mean(), abs=1e-6)


def test_a_row_that_cannot_be_read_is_right_nowhere(tmp_path, monkeypatch):
    """Not by accident either: the largest of five NaN is the first, and a label may be 0."""
    rows = np.full((4, 5), np.nan)
    made = Synthetic(tmp_path, monkeypatch, rows, rows, np.zeros(4, int))
    found = judge(made.answers, made.data, 1.0)
    assert not any(getattr(found, name).any() for name in ("ee_right", "sac_right", "ee_top5", "sac_top5"))


def test_top5_counts_the_five_largest(tmp_path, monkeypatch):
    logits = np.tile(np.arange(8.0), (8, 1))
    made = Synthetic(tmp_path, monkeypatch, logits, logits, np.arange(8))
    found = judge(made.answers, made.data, 1.0)
    assert found.ee_top5.tolist() == [False] * 3 + [True] * 5 and found.ee_right.tolist() == [False] * 7 + [True]


# Rules by option


@pytest.mark.parametrize(
    "given",
    [{"min_top1": 101}, {"min_top1": float("nan")}, {"max_ms": 0}, {"max_ms": float("inf")}, {"exit_rate": 2}],
)
def test_rules_that_cannot_be_meant_are_refused_by_their_option(given):
    with pytest.raises(UsageError, match=f"--{next(iter(given)).replace('_', '-')} must be "):
        request_of(**given)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"point": "fast"}, "fast"),
        ({"min_top1": 75}, "top-1 of 75 %"),
        ({"max_ms": 2.5}, "mean of 2.5 ms"),
        ({"exit_rate": 0.4}, "exit rate of 0.4"),
    ],
)
def test_rules_have_names_for_people(given, name):
    assert rule_of(request_of(**given))[0] == name


def test_percent_are_shares_for_the_curve(stepped):
    made, _ = stepped
    found = made.tune(min_top1=90).result["points"]["top-1 of 90 %"]["fit"]
    assert 0.9 <= found["top1"] < 0.91


# The command


def view(seed) -> np.ndarray:
    """(32, 32, 3) uint8 BGR: a smooth field."""
    field = np.random.default_rng(seed).uniform(0, 255, (5, 5, 3)).astype(np.float32)
    return np.clip(cv2.resize(field, (32, 32)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """60 pictures in folders of what SAC takes them for, but each tenth in another: SAC-always has 90 %."""
    from sacvit.runtime.chain.gate import Gate

    pipeline = Pipeline.load(BUNDLES / "typed" / "ee.onnx", BUNDLES / "typed" / "sac.onnx")
    folder = tmp_path_factory.mktemp("photos")
    pipeline.gate = Gate(1.0)
    for index in range(60):
        image = view(index)
        answer = pipeline(pipeline.preprocessing.apply(image)).index
        name = NAMES[(answer + (index % 10 == 0)) % 5]
        (folder / name).mkdir(exist_ok=True)
        assert cv2.imwrite(str(folder / name / f"{index:02}.png"), image)
    return folder


@pytest.fixture
def bundle(tmp_path):
    return shutil.copytree(BUNDLES / "typed", tmp_path / "bundle")


@pytest.fixture
def command(bundle, photos, tmp_path):
    """The arguments of a call that writes into tmp_path/out."""
    engines = ["--engine", str(bundle / "ee.onnx"), str(bundle / "sac.onnx")]
    return [*engines, "--data", str(photos), "--out", str(tmp_path / "out"), "--provider", "cpu"]


def manifest_of(bundle):
    return json.loads((bundle / "sacvit.json").read_text())


def fails(arguments, code, *words, capsys):
    assert main([str(argument) for argument in arguments]) == code
    message = capsys.readouterr().err
    for word in words:
        assert word in message


@pytest.fixture
def no_work(monkeypatch):
    """Fails the test when a picture is answered."""

    def answered(*_):
        pytest.fail("a picture was answered before the fault was told")

    monkeypatch.setattr(module, "collect", answered)


@pytest.mark.parametrize(
    ("option", "code", "message"),
    [
        ("--data", 1, "--data missing does not exist"),
        ("--report-data", 1, "--report-data missing does not exist"),
        ("--labels", 2, "--labels missing is not readable"),
        ("--plain", 4, "missing does not exist. Make it: sacvit-export"),
        ("--profile", 1, "missing"),
    ],
)
def test_a_missing_path_is_reported_before_engines_are_loaded(option, code, message, command, monkeypatch, capsys):
    monkeypatch.setattr(Pipeline, "load", None)
    fails([*command, option, "missing"], code, message, capsys=capsys)


def test_a_manifest_that_cannot_be_written_is_reported_before_the_work(command, bundle, no_work, monkeypatch, capsys):
    def full(dir):  # noqa: A002  # of tempfile
        if dir == bundle:
            raise OSError(30, "Read-only file system")
        return contextlib.nullcontext()

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    fails([*command, "--point", "fast"], 1, f"{bundle} cannot be written: Read-only file system", capsys=capsys)


def test_the_table_has_every_point_and_both_ends(command, capsys):
    assert main(command) == 0
    out = capsys.readouterr().out
    for name in ("fast", "balanced", "accurate", "always EE", "always SAC"):
        assert re.search(rf"^{name} .*\d\.\d{{3}}", out, re.MULTILINE)
    assert "tuned on the report split itself it would look" in out and "temperature" in out


def test_without_a_rule_nothing_is_stored(command, bundle, capsys):
    before = (bundle / "sacvit.json").read_bytes()
    assert main(command) == 0
    assert (bundle / "sacvit.json").read_bytes() == before and "nothing was stored" in capsys.readouterr().err


def test_json_is_the_result_and_nothing_else_on_stdout(command, tmp_path, capsys):
    assert main([*command, "--json"]) == 0
    stored = json.loads((tmp_path / "out" / "tune.json").read_text())
    assert json.loads(capsys.readouterr().out) == {name: value for name, value in stored.items() if name != "checksum"}


@pytest.mark.usefixtures("report_packages")
def test_result_thumbnails_and_page_are_written(page, command, tmp_path, capsys):
    assert main([*command, "--min-top1", "50"]) == 0
    assert {"tune.json", "thumbnails.npz", "tune.html"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert "top-1 of 50 %" in (tmp_path / "out" / "tune.html").read_text()


def test_a_machine_without_the_packages_of_the_page_prints_the_command_for_it(
    page, command, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(command) == 0
    assert f"sacvit-report {tmp_path / 'out'}" in capsys.readouterr().err
    assert (tmp_path / "out" / "tune.json").is_file() and not (tmp_path / "out" / "tune.html").exists()


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (["--point", "fast"], "fast"),
        (["--point", "balanced"], "balanced"),
        (["--point", "accurate"], "accurate"),
        (["--min-top1", "50"], "top-1 of 50 %"),
        (["--max-ms", "1000"], "mean of 1000 ms"),
        (["--exit-rate", "0.5"], "exit rate of 0.5"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_rule_s_gate_is_stored_and_loaded(rule, name, command, bundle, tmp_path):
    assert main([*command, *rule]) == 0
    result = json.loads((tmp_path / "out" / "tune.json").read_text())
    (stored,) = manifest_of(bundle)["tuned"].items()
    chain = Pipeline.load(bundle / "ee.onnx", bundle / "sac.onnx")
    assert stored[0] == "fp32" and stored[1]["point"] == name
    assert chain.threshold == stored[1]["threshold"] == result["points"][name]["eta"]
    assert chain.gate.temperature == stored[1]["temperature"] == result["temperature"]


def test_a_variant_s_gate_is_stored_beside_fp32_s(command, bundle, tmp_path):
    assert main([*command, "--point", "fast"]) == 0
    before = manifest_of(bundle)["tuned"]["fp32"]
    int8 = ["--engine", str(bundle / "ee.int8.onnx"), str(bundle / "sac.int8.onnx"), *command[3:5]]
    assert main([*int8, "--out", str(tmp_path / "int8"), "--exit-rate", "0.3"]) == 0
    tuned = manifest_of(bundle)["tuned"]
    assert set(tuned) == {"fp32", "int8"} and tuned["fp32"] == before


def test_sacvit_run_uses_what_was_stored(command, bundle, photos, capsys):
    from sacvit.commands.run import main as run

    assert main([*command, "--exit-rate", "0.5"]) == 0
    stored = manifest_of(bundle)["tuned"]["fp32"]
    capsys.readouterr()
    assert run([*command[:3], "--camera", str(photos / "ant"), "--json"]) == 0
    told = capsys.readouterr()
    answers = [json.loads(line) for line in told.out.splitlines()]
    assert (
        f"threshold {stored['threshold']:g} (tuned: exit rate of 0.5; temperature {stored['temperature']:g})"
        in told.err
    )
    sides = [(answer["stage"] == "EE") == (answer["confidence"] >= stored["threshold"]) for answer in answers]
    assert answers and all(sides)


def test_a_second_call_with_another_rule_answers_nothing_again(command, monkeypatch):
    from sacvit.runtime.chain.track import Track

    assert main([*command, "--point", "fast"]) == 0
    monkeypatch.setattr(Track, "start", lambda *_: pytest.fail("an image was answered again"))
    assert main([*command, "--point", "accurate"]) == 0


def test_an_unreachable_top1_ends_with_3_and_stores_nothing(command, bundle, capsys):
    before = (bundle / "sacvit.json").read_bytes()
    fails(
        [*command, "--min-top1", "100"],
        3,
        "no threshold gives a top-1 of 100 %",
        "Best reachable",
        "The stored answers are kept: run the command without a rule",
        capsys=capsys,
    )
    assert (bundle / "sacvit.json").read_bytes() == before


@pytest.mark.usefixtures("report_packages")
def test_what_others_named_cannot_become_markup_or_steer_the_terminal(page, bundle, photos, tmp_path, capsys):
    evil = tmp_path / "<b>\x1b[31m"
    shutil.copytree(photos, evil)
    command = ["--engine", str(bundle / "ee.onnx"), str(bundle / "sac.onnx"), "--data", str(evil)]
    spoilt = next(evil.rglob("*.png"))
    spoilt.write_bytes(b"")
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert "1 images cannot be read and are left out, " + spoilt.relative_to(evil).as_posix() in told.err
    assert "\x1b" not in told.out and "\x1b" not in told.err
    assert "<b>\x1b" not in (tmp_path / "out" / "tune.html").read_text()


@pytest.mark.usefixtures("report_packages")
def test_names_that_are_no_text_are_shown(page, command, photos, tmp_path):
    data = shutil.copytree(photos, tmp_path / "data")
    for path in sorted(data.rglob("*.png")):
        path.rename(os.fsdecode(os.fsencode(str(path.parent)) + b"/\xff" + path.name.encode()))
    assert main([*command, "--data", str(data), "--exit-rate", "1"]) == 0
    assert "\\udcff" in (tmp_path / "out" / "tune.html").read_text()


def test_a_list_of_paths_and_another_set_to_report_on(command, photos, tmp_path, capsys):
    data = shutil.copytree(photos, tmp_path / "data")
    paths = sorted(path.relative_to(data) for path in data.rglob("*.png"))
    for name, chosen in (("fit.csv", paths[:35]), ("report.csv", paths[35:])):
        (data / name).write_text("path,label\n" + "".join(f"{path},{path.parent}\n" for path in chosen))
    command = [*command, "--data", str(data / "fit.csv"), "--report-data", str(data / "report.csv"), "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)["data"]
    assert (told["images_fit"], told["images_report"]) == (35, 25) and told["report"].endswith("report.csv")


def test_ctrl_c_ends_with_130_and_the_next_call_goes_on(command, monkeypatch, capsys):
    from sacvit.runtime.chain.track import Track

    real, taken = Track.start, []

    def start(self, count, on_device=False):
        taken.append(count)
        if len(taken) == 30:
            raise KeyboardInterrupt
        real(self, count, on_device)

    monkeypatch.setattr(Track, "start", start)
    monkeypatch.setattr("sacvit.profiles.tuning.stored_answers.WARMUP_PASSES", 0)
    fails(command, 130, "interrupted", capsys=capsys)
    assert main(command) == 0 and len(taken) == 30 + 31


def test_answers_in_batches_are_a_run_of_their_own(command, capsys):
    assert main([*command, "--batch", "4"]) == 0
    fails(command, 2, "batch changed since they were written. Give another --out", capsys=capsys)


# Energy, the plain ViT


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    from sacvit.commands.profile import main as profile

    folder = tmp_path_factory.mktemp("profile")
    engines = ["--engine", str(BUNDLES / "typed" / "ee.onnx"), str(BUNDLES / "typed" / "sac.onnx")]
    assert profile([*engines, "--power", "none", "--iterations", "3", "--warmup-ms", "1", "--out", str(folder)]) == 0
    return folder


def test_a_profile_without_energy_is_refused_before_any_work(command, profiled, no_work, capsys):
    fails([*command, "--profile", profiled], 1, "holds no energy of an image by path", capsys=capsys)


def test_a_profile_that_is_none_is_told(command, tmp_path, no_work, capsys):
    fails([*command, "--profile", tmp_path / "nowhere"], 1, "cannot be read", capsys=capsys)


def test_a_profile_of_other_engines_is_refused_before_any_work(command, profiled, tmp_path, no_work, capsys):
    profile = json.loads((profiled / "profile.json").read_text())
    profile["engines"]["SAC"]["sha256"] = "0" * 64
    write_result(profile, tmp_path / "profile.json")
    words = "is of other engines: its SAC is sac.onnx (fp32)"
    fails([*command, "--profile", tmp_path / "profile.json"], 4, words, capsys=capsys)


def test_energy_follows_from_the_exits(command, profiled, tmp_path, capsys):
    profile = json.loads((profiled / "profile.json").read_text())
    for name, mj in (("always exit", 2.0), ("never exit", 10.0)):
        rails = {"total": {"gross": {"value": mj, "plus_minus": 0.1}, "above_idle": None, "mean_mw": 5.0}}
        profile["modes"][-1]["contenders"][name]["energy"] = {"mj_per_image": rails, "reason": None}
    write_result(profile, tmp_path / "profile.json")
    assert main([*command, "--profile", str(tmp_path / "profile.json"), "--json"]) == 0
    point = json.loads(capsys.readouterr().out)["points"]["balanced"]["report"]
    assert point["mj"] == pytest.approx(10 - 8 * point["exit_rate"], abs=1e-5)  # six digits are stored


@pytest.fixture
def plain_command(plain_bundle, tmp_path, images):
    """sacvit-tune on the images, without its --plain."""
    for index, image in enumerate(images):
        (tmp_path / "data" / str(index % 7)).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "data" / str(index % 7) / f"{index}.png"), image)
    engines = [str(plain_bundle / "ee.onnx"), str(plain_bundle / "sac.onnx")]
    return ["--engine", *engines, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]


@pytest.mark.usefixtures("report_packages")
def test_a_plain_vit_with_borrowed_weights_has_a_time_and_no_accuracy(
    drawn_page, plain_command, plain_bundle, tmp_path, capsys
):
    assert main([*plain_command, "--plain", str(plain_bundle / "plain.onnx")]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("plain ViT  ")]
    plain = json.loads((tmp_path / "out" / "tune.json").read_text())["plain"]
    page = (tmp_path / "out" / "tune.html").read_text()
    assert plain["top1"] is None and plain["mean_ms"] > 0
    assert len(row.split()) == 4  # its name, mean ms and images/s
    assert "never trained as a single-stage model" in page and "plain ViT is right" not in page
    assert not re.search(r"plain ViT: [0-9.]+ %", page)  # the point in the figure


def test_a_plain_vit_that_was_trained_as_one_is_a_point(drawn_page, plain_command, tiny_checkpoint, tmp_path, capsys):
    from sacvit.export.write_plain import export_plain, plain_of
    from sacvit.model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(tiny_checkpoint)
    export_plain(plain_of(checkpoint), checkpoint.preprocessing, tmp_path / "trained.onnx")
    assert main([*plain_command, "--plain", str(tmp_path / "trained.onnx"), "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)["plain"]
    text = (tmp_path / "out" / "tune.html").read_text()
    assert 0 <= plain["top1"] <= 1 and plain["mean_ms"] > 0 and re.search(r"plain ViT: [0-9.]+ %", text)


def test_the_plain_vit_runs_on_the_provider_that_was_named(command, plain_bundle, monkeypatch, capsys):
    def load(path, batch, provider):
        raise UsageError(f"{path.name} on {provider}")

    monkeypatch.setattr(module, "Plain", load)
    fails([*command, "--plain", plain_bundle / "plain.onnx"], 2, "plain.onnx on cpu", capsys=capsys)


def test_a_plain_vit_that_is_none_is_told_before_any_work(command, bundle, no_work, capsys):
    fails([*command, "--plain", bundle / "ee.onnx"], 4, "is the EE stage; --plain wants a plain ViT", capsys=capsys)


def test_a_plain_vit_of_other_classes_is_told_before_any_work(command, plain_bundle, no_work, capsys):
    words = "plain.onnx has 7 classes, the pair has 5"
    fails([*command, "--plain", plain_bundle / "plain.onnx"], 4, words, capsys=capsys)


# What is promised


@pytest.mark.usefixtures("report_packages")
def test_a_point_from_too_few_images_is_stored_and_said_to_be_no_promise(page, command, bundle, tmp_path, capsys):
    assert main([*command, "--point", "balanced"]) == 0
    told, stored = capsys.readouterr(), manifest_of(bundle)["tuned"]["fp32"]["promise"]
    words = "balanced: NOT PROMISED. A loss of at most 0.5 points cannot be promised from"
    assert words in told.err and words in told.out and words in (tmp_path / "out" / "tune.html").read_text()
    assert not stored["is_kept"] and stored["needed"] == 539 > stored["images"]


def test_a_point_from_enough_images_is_told_with_what_others_may_lose(stepped):
    result = stepped[0].tune(point="fast").result
    promise, fit = result["points"]["fast"]["promise"], result["points"]["fast"]["fit"]
    lost = 1 - fit["top1"]  # SAC is always right
    assert promise["is_kept"] and lost < promise["at_most"] <= 0.02
    assert "fast: on other images at most" in "\n".join(summary_lines(result))


def test_rules_that_allow_no_loss_promise_none(stepped):
    assert stepped[0].tune().result["points"]["accurate"]["promise"] is None


# Times


def test_times_are_told_with_their_warm_up_and_machine(command, tmp_path, capsys):
    assert main(command) == 0
    timing = json.loads((tmp_path / "out" / "tune.json").read_text())["timing"]
    assert (timing["warmup_passes"], timing["ee"]["n"], timing["sac"]["n"]) == (3, 60, 60)
    assert len(timing["machines"]) == 1 and "(n = 60); 3 passes before them to warm up" in capsys.readouterr().out


def test_a_machine_is_told_once_at_its_highest_load(stepped):
    made, _ = stepped
    one = {"processor": "A", "cores": 2, "load_1min": 0.5, "governor": None}
    machines = [one, one | {"load_1min": 3.0}, one | {"cores": 4}, one | {"load_1min": 1.0}]
    made.answers = replace(made.answers, warmups=[WarmUp(1, 3, Machine(**found)) for found in machines])
    timing = made.tune().result["timing"]
    assert [(found["cores"], found["load_1min"]) for found in timing["machines"]] == [(2, 3.0), (4, 0.5)]
    assert timing["warmup_passes"] == 12


# A full disk


@pytest.fixture(scope="module")
def tuned_once(photos, tmp_path_factory):
    """A folder with a bundle that has been tuned, `bundle`, and what was written, `out`."""
    home = tmp_path_factory.mktemp("tuned")
    shutil.copytree(BUNDLES / "typed", home / "bundle")
    engines = ["--engine", str(home / "bundle" / "ee.onnx"), str(home / "bundle" / "sac.onnx")]
    assert main([*engines, "--data", str(photos), "--out", str(home / "out"), "--exit-rate", "0.2"]) == 0
    return home


@pytest.fixture
def again(tuned_once, photos, tmp_path):
    """The arguments of a second call with another rule, on a copy of it in tmp_path."""
    home = shutil.copytree(tuned_once, tmp_path / "home")
    engines = ["--engine", str(home / "bundle" / "ee.onnx"), str(home / "bundle" / "sac.onnx")]
    return [*engines, "--data", str(photos), "--out", str(home / "out"), "--exit-rate", "0.9"]


@pytest.mark.usefixtures("report_packages")
@pytest.mark.parametrize("name", ["out/tune.json", "out/thumbnails.npz", "out/tune.html", "bundle/sacvit.json"])
def test_a_file_that_does_not_fit_on_the_disk_is_told_and_the_one_before_it_stays(page, name, again, tmp_path, capsys):
    path = tmp_path / "home" / name
    before, real = path.read_bytes(), os.replace

    def replace_file(source, target):
        if Path(target) == path:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace_file)
        words = f"{path} cannot be written: No space left on device. What stood there before still does"
        fails(again, 1, words, "make room, and call it again", capsys=capsys)
    assert path.read_bytes() == before and not list(path.parent.glob(".*"))


def test_a_report_that_the_kernel_refuses_to_write_is_told_and_the_next_call_answers_nothing_again(
    again, tmp_path, monkeypatch, capsys
):
    path = tmp_path / "home" / "out" / "tune.json"
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        fails(
            again, 1, "tune.json cannot be written: File too large. What stood there before still does", capsys=capsys
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    answered = "sacvit.profiles.tuning.stored_answers._answer"
    monkeypatch.setattr(answered, lambda *_: pytest.fail("an image was answered again"))
    assert main(again) == 0 and path.read_bytes() != before


# Bad input


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--max-ms", "0"], 2, "--max-ms must be above 0"),
        (["--exit-rate", "2"], 2, "--exit-rate must be at least 0 and at most 1, found 2"),
        (["--min-top1", "-1"], 2, "--min-top1 must be at least 0 and at most 100, found -1"),
        (["--batch", "0"], 2, "--batch must be at least 1, found 0"),
        (["--batch", "65"], 2, "--batch 65: these engines take 1 to 64"),
        (["--data", "nowhere"], 1, "--data nowhere does not exist"),
        (["--labels", "nowhere.txt"], 2, "--labels nowhere.txt is not readable"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be_are_told_before_any_work(options, code, words, command, no_work, capsys):
    fails([*command, *options], code, words, capsys=capsys)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"ant\nbee\n", "names.txt has 2 names, the model has 5 classes"),
        (b"a\nb\nc\nd\ne\n", "labels are no class of the model: 'ant'"),
    ],
)
def test_labels_that_do_not_fit_are_told_before_any_work(content, words, command, tmp_path, no_work, capsys):
    (tmp_path / "names.txt").write_bytes(content)
    assert main([*command, "--labels", str(tmp_path / "names.txt")]) in (1, 2)
    assert words in capsys.readouterr().err


def test_given_labels_go_before_the_engine_s(command, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("emu\ndog\ncat\nbee\nant\n")
    assert main([*command, "--json"]) == 0
    own = json.loads(capsys.readouterr().out)["always"]["SAC"]["top1"]
    options = ["--labels", str(tmp_path / "names.txt"), "--out", str(tmp_path / "other"), "--json"]
    assert main([*command, *options]) == 0
    assert own > 0.7 > json.loads(capsys.readouterr().out)["always"]["SAC"]["top1"]


def test_an_out_that_is_a_file_is_told(command, tmp_path, no_work, capsys):
    (tmp_path / "f").write_text("")
    fails([*command, "--out", tmp_path / "f"], 2, "is a file; give a folder", capsys=capsys)


def test_engines_without_a_manifest_are_refused_before_any_work_when_a_gate_is_to_be_stored(
    command, bundle, no_work, capsys
):
    (bundle / "sacvit.json").unlink()
    fails([*command, "--point", "fast"], 2, "sacvit.json is missing: the gate is stored there", capsys=capsys)


def test_a_manifest_of_another_export_is_refused_before_any_work(command, bundle, no_work, capsys):
    shutil.copy(BUNDLES / "stranger" / "sacvit.json", bundle / "sacvit.json")
    fails([*command, "--point", "fast"], 4, "is not the file that sacvit.json beside it describes", capsys=capsys)


def test_engines_without_a_manifest_can_be_looked_at(command, bundle):
    (bundle / "sacvit.json").unlink()
    assert main(command) == 0


def test_a_changed_picture_is_told(command, photos, tmp_path, capsys):
    data = shutil.copytree(photos, tmp_path / "data")
    assert main([*command, "--data", str(data)]) == 0
    os.utime(next(data.rglob("*.png")), ns=(1, 1))
    fails([*command, "--data", data], 2, "data changed since they were written", capsys=capsys)


def test_a_half_without_images_is_told_before_any_work(command, photos, tmp_path, no_work, capsys):
    paths = sorted(path.relative_to(photos) for path in photos.rglob("*.png"))
    fitted = fit_half(open_labelled(photos, 5, NAMES))
    data = shutil.copytree(photos, tmp_path / "data")
    chosen = [path for path, is_fitted in zip(paths, fitted, strict=True) if is_fitted]
    (data / "fit.csv").write_text("".join(f"{path},{path.parent}\n" for path in chosen))
    fails([*command, "--data", data / "fit.csv"], 2, "falls into the split that is reported on", capsys=capsys)


def test_one_image_is_told_before_any_work(command, photos, tmp_path, no_work, capsys):
    shutil.copytree(photos / "ant", tmp_path / "data" / "ant")
    (tmp_path / "data" / "one.csv").write_text(f"ant/{next((photos / 'ant').iterdir()).name},ant\n")
    fails([*command, "--data", tmp_path / "data" / "one.csv"], 1, "holds 1 images", capsys=capsys)


def test_a_class_that_a_half_lacks_is_told_before_the_first_pass(command, photos, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(photos, tmp_path / "data")
    shutil.rmtree(data / "dog")

    before = []

    def answered(*_):
        before.append(capsys.readouterr().err)
        raise UsageError("enough")

    monkeypatch.setattr(module, "collect", answered)
    assert main([*command, "--data", str(data)]) == 2
    assert before[0].count("of 1 of the model's 5 classes: dog. Nothing is known") == 2


def test_images_that_would_be_fitted_and_reported_on_are_told_before_any_work(command, photos, no_work, capsys):
    fails([*command, "--report-data", photos], 2, "60 of its images are in --data too", capsys=capsys)


@pytest.mark.parametrize(("is_fitted", "half"), [(True, "fitted on"), (False, "reported on")])
def test_a_half_of_which_nothing_can_be_read_is_told(is_fitted, half, stepped):
    made, _ = stepped
    made.answers.readable[made.fitted == is_fitted] = False
    with pytest.raises(ImageError, match=f"of the images that are {half} not one can be read"):
        made.tune()


def test_corrupt_pictures_are_counted_named_and_left_out_with_the_first_one_s_reason(command, photos, tmp_path, capsys):
    data = shutil.copytree(photos, tmp_path / "data")
    spoilt = sorted(path for path in data.rglob("*.png"))[::20]
    for path in spoilt:
        path.write_bytes(b"")
    assert main([*command, "--data", str(data)]) == 0
    told, result = capsys.readouterr().err, json.loads((tmp_path / "out" / "tune.json").read_text())
    names = [path.relative_to(data).as_posix() for path in spoilt]
    assert f"3 images cannot be read and are left out, {names[0]} first: {spoilt[0]} is empty" in told
    assert result["unreadable_images"] == names and result["unreadable"] == 3
    assert sum(result["data"][key] for key in ("images_fit", "images_report")) == 57


def test_half_of_sixty_is_never_judged_by_what_it_was_fitted_on(photos):
    data = open_labelled(photos, 5, NAMES)
    assert 0 < fit_half(data).sum() < data.count
