"""Results read back: what is damaged, too large or of another format is refused with its file, its place and the cure."""

from __future__ import annotations

import json
import re
import zipfile

import numpy as np
import pytest

from sacvit.bundle.errors import SacvitError
from sacvit.profiles.results import result_files
from sacvit.profiles.results.result_files import (
    kind_of,
    passes_of,
    read_profile,
    read_samples,
    read_thumbnails,
    read_tune,
    traces_of,
)


def changed(folder, name, change):
    """The result in a folder with `change` applied to its content."""
    content = json.loads((folder / name).read_text())
    del content["checksum"]  # a test changes it by hand
    change(content)
    (folder / name).write_text(json.dumps(content))
    return folder


def test_a_folder_is_known_by_the_result_in_it(powered, tuned, tmp_path):
    (tmp_path / "log.txt").write_text("RAM 1/2MB")
    found = [
        kind_of(path) for path in (powered, tuned, tuned / "tune.json", powered / "profile.json", tmp_path / "log.txt")
    ]
    assert found == ["profile", "tune", "tune", "profile", "log"]


def test_a_folder_without_a_result_says_what_writes_one(tmp_path):
    with pytest.raises(SacvitError, match=r"neither profile\.json nor tune\.json.*sacvit-profile --out"):
        kind_of(tmp_path)


def test_a_folder_with_both_results_asks_for_the_file(powered):
    (powered / "tune.json").write_text("{}")
    with pytest.raises(SacvitError, match="Give the file that is meant"):
        kind_of(powered)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no json", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1]", r"is not a profile\.json: it has no format"),
        ('{"format": 2}', "has format 2, this sacvit reads 1"),
        ('{"format": 1, "modes": 5}', r"is damaged: Expected `array`, got `int` - at `\$\.modes`"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_with_the_cure(content, words, tmp_path):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(SacvitError, match=rf"x\.json {words}.*sacvit-profile --engine"):
        read_profile(tmp_path / "x.json")


def test_a_flipped_digit_is_refused(powered, tuned):
    for folder, name, read in ((powered, "profile.json", read_profile), (tuned, "tune.json", read_tune)):
        text = (folder / name).read_text()
        place = next(match.start() for match in re.finditer(r"[1-7]", text) if match.start() > len(text) // 2)
        (folder / name).write_text(text[:place] + "8" + text[place + 1 :])
        with pytest.raises(SacvitError, match=rf"{name} (was changed after|is damaged)"):
            read(folder)


def test_a_result_without_a_checksum_is_read_with_a_warning(powered, caplog):
    assert read_profile(changed(powered, "profile.json", lambda content: None))
    assert "profile.json has no checksum" in caplog.text


def test_a_file_that_is_missing_or_too_large_is_refused(tmp_path, monkeypatch):
    with pytest.raises(SacvitError, match=r"profile\.json cannot be read: No such file"):
        read_profile(tmp_path / "profile.json")
    monkeypatch.setattr(result_files, "MAX_BYTES", 10)
    (tmp_path / "profile.json").write_text("{" + " " * 20)
    with pytest.raises(SacvitError, match="has 21 bytes; the limit is 10"):
        read_profile(tmp_path)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda mode: mode.pop("power"), r"missing required field `power` - at `\$\.modes\[0\]`"),
        (lambda mode: mode.update(main="eta 9"), "'eta 9' is missing"),
        (lambda mode: mode.update(main="plain ViT"), "'exit' is missing"),
        (
            lambda mode: mode["contenders"]["eta 0.5"].update(throughput=0),
            "Expected `float` > 0",
        ),
        (lambda mode: mode["contenders"]["eta 0.5"].update(exit_rate=None), "expected an exit rate beside a threshold"),
        (lambda mode: mode["contenders"]["eta 0.5"].update(exit_rate=1.5), r"Expected `float` <= 1\.0"),
        (lambda mode: mode["contenders"]["eta 0.5"]["paths_ms"]["all"].pop("p99_ms"), "'p99_ms' is missing"),
        (lambda mode: mode["power"].pop("scope"), "'scope' is missing"),
        (
            lambda mode: mode["contenders"].update(dict.fromkeys(map(str, range(300)), mode["contenders"]["eta 0.5"])),
            "of length <= 250",
        ),
    ],
)
def test_a_damaged_profile_is_refused_with_the_place(change, place, powered):
    changed(powered, "profile.json", lambda content: change(content["modes"][0]))
    with pytest.raises(SacvitError, match=rf"profile\.json is damaged: .*{place}"):
        read_profile(powered)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda content: content.update(points={}), r"of length >= 1 - at `\$\.points`"),
        (
            lambda content: content["always"]["EE"].update(top1=2),
            r"Expected `float` <= 1\.0 - at `\$\.always\.EE\.top1`",
        ),
        (lambda content: content["always"]["EE"]["gate"].pop("rescued"), "'rescued' is missing"),
        (
            lambda content: content["curves"]["report"][0].update(mean_ms=0),
            r"Expected `float` > 0.* - at `\$\.curves\.report\[0\]\.mean_ms`",
        ),
        (lambda content: content["exited_wrong"]["images"][0].pop("label"), "missing required field `label`"),
    ],
)
def test_a_damaged_tune_result_is_refused_with_the_place(change, place, tuned):
    changed(tuned, "tune.json", change)
    with pytest.raises(SacvitError, match=rf"tune\.json is damaged: .*{place}.*sacvit-tune --engine"):
        read_tune(tuned)


# Samples


def test_samples_are_the_passes_and_the_power_of_the_run(powered):
    samples = read_samples(powered)
    total, went_on = passes_of(samples, None, "eta 0.5")
    assert len(total) == read_profile(powered)["modes"][0]["contenders"]["eta 0.5"]["images"] and 0 < went_on.mean() < 1
    rails = {rail: power_mw.max() for rail, _, power_mw in traces_of(samples, 0)}
    assert rails == pytest.approx({"A": 750.0, "B": 2250.0, "total": 3000.0})


def test_a_profile_without_its_samples_has_none(powered, tmp_path):
    (powered / "profile.json").rename(tmp_path / "profile.json")
    assert read_samples(tmp_path / "profile.json") is None


def test_a_last_line_that_a_kill_cut_is_passed_over_and_left_as_it_is(powered):
    before = len(read_samples(powered).lines)
    with (powered / "run.jsonl").open("a") as file:
        file.write('{"kind": "wind')
    content = (powered / "run.jsonl").read_bytes()
    assert len(read_samples(powered).lines) == before and (powered / "run.jsonl").read_bytes() == content


@pytest.mark.parametrize("line", ["no json", '{"kind": 5}', '{"kind": "window", "session": 0}'])
def test_a_damaged_line_is_refused_by_its_number(line, powered):
    (powered / "run.jsonl").write_text(f"{line}\n")
    with pytest.raises(SacvitError, match=r"run\.jsonl, line 1 is damaged: "):
        read_samples(powered)


def test_samples_that_would_fill_the_memory_are_refused_however_small_their_file_is(powered, monkeypatch):
    assert result_files.MAX_SAMPLES_BYTES <= 512 << 20
    monkeypatch.setattr(result_files, "MAX_SAMPLES_BYTES", 32 << 20)  # 512 MiB take seconds to write
    samples = read_samples(powered)
    path = powered / samples.of("window")[0]["file"]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("total.npy", "w") as file:
        for _ in range(33):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 16
    with pytest.raises(SacvitError, match="the limit is"):
        passes_of(samples, None, samples.of("window")[0]["contender"])


@pytest.mark.parametrize(
    "arrays",
    [
        {"total": np.ones(3)},
        {"total": np.ones(3), "survivors": np.ones(2)},
        {"total": np.array(["a"]), "survivors": np.ones(1)},
    ],
)
def test_samples_of_another_kind_are_refused_by_their_file(arrays, powered):
    samples = read_samples(powered)
    line = samples.of("window")[0]
    np.savez(powered / line["file"], **arrays)
    with pytest.raises(SacvitError, match=line["file"]):
        passes_of(samples, None, line["contender"])


# Thumbnails


def test_a_run_without_thumbnails_has_none(tuned):
    (tuned / "thumbnails.npz").unlink()
    assert read_thumbnails(tuned) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"exited_wrong": np.zeros((1, 4, 4, 3), np.float32), "exited_wrong_targets": np.zeros((1, 2), np.int32)},
        {"exited_wrong": np.zeros((2, 4, 4, 3), np.uint8), "exited_wrong_targets": np.zeros((1, 2), np.int32)},
        {"exited_wrong": np.zeros((1, 0, 4, 3), np.uint8), "exited_wrong_targets": np.zeros((1, 2), np.int32)},
        {"grid": np.array(10**6)},
        {"grid": np.array(["x"])},
        {"exited_wrong": np.array([{}], dtype=object)},
    ],
)
def test_thumbnails_that_are_none_are_refused(change, tuned):
    with np.load(tuned / "thumbnails.npz") as content:
        arrays = {name: content[name] for name in content.files}
    np.savez(tuned / "thumbnails.npz", **arrays | change)
    with pytest.raises(SacvitError, match=r"thumbnails\.npz is damaged: .*Remove it"):
        read_thumbnails(tuned)


def test_a_thumbnails_file_that_is_no_archive_is_refused(tuned):
    (tuned / "thumbnails.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(SacvitError, match="is damaged"):
        read_thumbnails(tuned)
