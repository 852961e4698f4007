"""A cache never answers with numbers of something else, and a file in it is whole or is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sacvit.bundle.errors import SacvitError
from sacvit.bundle.records import encode_record
from sacvit.calibration.range_cache import VERSION, CacheKey, Ranges, read_ranges, write_ranges

KEY = CacheKey("a" * 64, "b" * 64, "mse", 512)
RANGES = Ranges({"blocks.0.norm1": 3.25, "patches": 0.1}, {"blocks.0.norm1": 4.0, "logits": 1e-7, "dead": 0.0}, 512)
CHANGES: list[dict[str, Any]] = [
    {"graph_sha256": "c" * 64},
    {"data_sha256": "c" * 64},
    {"method": "minmax"},
    {"count": 511},
    {"version": VERSION + 1},
]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return write_ranges(tmp_path, "EE", KEY, RANGES)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_ranges_come_back_exactly(written: Path) -> None:
    assert read_ranges(written.parent, "EE", KEY) == RANGES


def test_an_empty_folder_has_no_ranges(tmp_path: Path) -> None:
    assert read_ranges(tmp_path, "EE", KEY) is None


def test_a_folder_that_does_not_exist_has_no_ranges(tmp_path: Path) -> None:
    assert read_ranges(tmp_path / "gone", "EE", KEY) is None


def test_the_folder_is_made_where_it_is_missing(tmp_path: Path) -> None:
    write_ranges(tmp_path / "x" / "y", "SAC", KEY, RANGES)
    assert read_ranges(tmp_path / "x" / "y", "SAC", KEY) == RANGES


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_a_changed_setting_finds_nothing(written: Path, change: dict[str, Any]) -> None:
    assert read_ranges(written.parent, "EE", replace(KEY, **change)) is None


def test_the_key_s_changes_are_all_of_its_fields() -> None:
    assert [next(iter(change)) for change in CHANGES] == list(asdict(KEY))


def test_one_stage_does_not_find_the_other_s_ranges(written: Path) -> None:
    assert read_ranges(written.parent, "SAC", KEY) is None


def test_the_version_is_part_of_every_new_key() -> None:
    assert CacheKey("g", "d", "mse", 1).version == VERSION


def test_writing_again_replaces_the_file(written: Path) -> None:
    newer = msgspec.structs.replace(RANGES, images=7)
    write_ranges(written.parent, "EE", KEY, newer)
    assert read_ranges(written.parent, "EE", KEY) == newer
    assert names_in(written.parent) == [written.name]


def test_ranges_of_all_tensors_asked_for_are_found(written: Path) -> None:
    assert read_ranges(written.parent, "EE", KEY, list(RANGES.ranges)) == RANGES


def test_a_file_without_a_tensor_that_is_asked_for_is_refused_by_its_name(written: Path) -> None:
    with pytest.raises(SacvitError, match=r"no range for blocks\.7\.norm2, head.*Delete it, and it is measured again"):
        read_ranges(written.parent, "EE", KEY, ["patches", "head", "blocks.7.norm2"])


# A stale cache


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_a_file_under_another_key_s_name_is_refused_by_what_differs(written: Path, change: dict[str, Any]) -> None:
    other = replace(KEY, **change)
    written.rename(written.with_name(other.file_name("EE")))
    field = next(iter(change))
    message = (
        rf"ee-\w+\.json was measured with another {field} than its name says\. Delete it, and it is measured again"
    )
    with pytest.raises(SacvitError, match=message):
        read_ranges(written.parent, "EE", other, ["a tensor that only the other graph has"])


def test_a_value_that_was_changed_on_the_disk_is_refused(written: Path) -> None:
    written.write_text(written.read_text().replace("3.25", "3.26"))
    with pytest.raises(SacvitError, match=r"changed after it was written.*Delete it, and it is measured again"):
        read_ranges(written.parent, "EE", KEY)


def test_all_fields_that_differ_are_named(written: Path) -> None:
    other = replace(KEY, method="minmax", count=3)
    written.rename(written.with_name(other.file_name("EE")))
    with pytest.raises(SacvitError, match="another method, count than"):
        read_ranges(written.parent, "EE", other)


# Damaged files


def damaged(written: Path, **entries: Any) -> str:
    return json.dumps(json.loads(written.read_text()) | entries)


@pytest.mark.parametrize("value", [-0.5, True, "3", None])
def test_a_range_that_is_no_magnitude_is_refused(written: Path, value: Any) -> None:
    content = json.loads(written.read_text())
    content["measured"]["ranges"]["patches"] = value
    written.write_bytes(encode_record(content))
    with pytest.raises(SacvitError, match=r"at `\$\.measured\.ranges"):
        read_ranges(written.parent, "EE", KEY)


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    def interrupt(*_: object) -> None:
        raise fault

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(fault):
        write_ranges(tmp_path, "EE", KEY, RANGES)
    assert names_in(tmp_path) == []


def test_after_an_interrupted_write_the_next_run_measures_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as interrupted:
        interrupted.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_ranges(tmp_path, "EE", KEY, RANGES)
    assert read_ranges(tmp_path, "EE", KEY) is None


def test_an_interrupted_write_leaves_the_earlier_file(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("planted")))
    with pytest.raises(SacvitError, match="cannot be written: planted"):
        write_ranges(written.parent, "EE", KEY, msgspec.structs.replace(RANGES, images=1))
    assert read_ranges(written.parent, "EE", KEY) == RANGES


def test_a_folder_s_name_that_is_a_file_s_is_refused_with_the_system_s_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SacvitError, match=r"the calibration cache .*file/ee-\w+\.json cannot be written: File exists"):
        write_ranges(tmp_path / "file", "EE", KEY, RANGES)


def test_a_disk_that_fills_up_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    pytest.importorskip("resource")  # POSIX
    code = """
import resource, signal, sys
from pathlib import Path
from sacvit.calibration.range_cache import CacheKey, Ranges, write_ranges
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
many = {f"tensor.{index}": float(index) for index in range(10_000)}
write_ranges(Path(sys.argv[1]), "EE", CacheKey("a", "b", "mse", 1), Ranges(many, many, 1))
"""
    command = [sys.executable, "-B", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "SacvitError: the calibration cache" in done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert names_in(tmp_path) == []
