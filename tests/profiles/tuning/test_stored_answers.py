"""Answers that are kept: the same after any interruption, refused when anything changed, read in pieces."""

from __future__ import annotations

import errno
import importlib.util
import json
import resource
import weakref
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import msgspec
import numpy as np
import pytest
from own_peak import own_peak

from sacvit.bundle.errors import EngineError, ImageError, SacvitError, UsageError
from sacvit.images.labelled import Labelled, open_labelled
from sacvit.profiles.tuning import answer_files
from sacvit.profiles.tuning import stored_answers as module
from sacvit.profiles.tuning.answer_files import FILES, KEY_NAME, SUM_BYTES, SUMS_NAME, WARMUP_NAME, Answers, Machine
from sacvit.profiles.tuning.stored_answers import (
    DECODERS,
    WARMUP_PASSES,
    collect,
)
from sacvit.profiles.tuning.tune import judge
from sacvit.runtime.chain.gate import Gate
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.chain.track import Track

BUNDLES = Path(__file__).parents[2] / "runtime" / "bundles"
COUNT = 22


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load(BUNDLES / "bundle" / "ee.onnx", BUNDLES / "bundle" / "sac.onnx")


@pytest.fixture
def folders(tmp_path):
    """22 pictures of two classes, 40 x 40: smooth fields."""
    rng = np.random.default_rng(3)
    for index in range(COUNT):
        path = tmp_path / "data" / ("ant", "bee")[index % 2] / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        field = cv2.resize(rng.uniform(0, 255, (4, 4, 3)).astype(np.float32), (40, 40))
        assert cv2.imwrite(str(path), field.astype(np.uint8))
    return tmp_path / "data"


@pytest.fixture
def data(folders, pipeline):
    return open_labelled(folders, 5, pipeline.labels)


@pytest.fixture
def sizes(monkeypatch):
    """How many images each pass of EE took, those that warm up among them."""
    taken: list[int] = []
    real = Track.start

    def start(self, count, on_device=False):
        taken.append(count)
        real(self, count, on_device)

    monkeypatch.setattr(Track, "start", start)
    return taken


@pytest.fixture
def passes(monkeypatch, sizes):
    """How many images each pass of EE took; none of them warms up."""
    monkeypatch.setattr(module, "WARMUP_PASSES", 0)
    return sizes


def replace_load(machine):
    return msgspec.structs.replace(machine, load_1min=None)


def quiet(done, total):
    pass


def logits_of(found: Answers) -> np.ndarray:
    """(2, N, C)"""
    parts = [(ee, sac) for _, ee, sac in found.logits()]
    return np.stack([np.concatenate(stage) for stage in zip(*parts, strict=True)])


def stop_after(count):
    def progress(done, total):
        if done >= count:
            raise KeyboardInterrupt

    return progress


# What is answered


def test_both_stages_answer_every_image(pipeline, data, tmp_path):
    found = logits_of(collect(pipeline, data, tmp_path / "a", 1, quiet))
    view = pipeline.preprocessing.apply(data.read(5))
    track = pipeline.track(1)
    track.images[0] = view
    track.start(1)
    track.gate(Gate(1.0))
    track.finish()
    assert np.array_equal(found[:, 5], [track.logits[0], track.sac_logits[0]])


def test_a_batch_of_4_gives_what_single_images_give(pipeline, data, tmp_path):
    # ONNX Runtime sums in another order for another size.
    one, four = (logits_of(collect(pipeline, data, tmp_path / str(size), size, quiet)) for size in (1, 4))
    np.testing.assert_allclose(four, one, atol=1e-5)


def test_every_image_of_a_pass_has_the_time_of_the_pass(pipeline, data, tmp_path):
    found = collect(pipeline, data, tmp_path, 4, quiet)
    assert all(len(set(found.ee_ms[at : at + 4])) == 1 for at in range(0, COUNT, 4)) and (found.sac_ms > 0).all()


def test_progress_ends_with_all_images(pipeline, data, tmp_path):
    told = []
    collect(pipeline, data, tmp_path, 4, lambda done, total: told.append((done, total)))
    assert told[0] == (4, COUNT) and told[-1] == (COUNT, COUNT)


# Timing


def test_each_size_of_a_pass_is_warmed_up_before_it_is_timed(pipeline, data, tmp_path, sizes):
    collect(pipeline, data, tmp_path, 4, quiet)
    assert sizes == [4] * (WARMUP_PASSES + 5) + [2] * (WARMUP_PASSES + 1)


def test_the_time_of_a_pass_is_that_of_the_last_one_not_of_its_warm_up(pipeline, data, tmp_path, monkeypatch):
    passes = []
    real = Track.finish

    def finish(self):
        real(self)
        passes.append(self.count)
        self.ee_ms = 1000.0 if len(passes) <= WARMUP_PASSES else 1.0

    monkeypatch.setattr(Track, "finish", finish)
    assert collect(pipeline, data, tmp_path, 1, quiet).ee_ms.tolist() == [1.0] * COUNT


def test_warm_up_passes_are_counted_with_their_machine(pipeline, data, tmp_path):
    found = collect(pipeline, data, tmp_path, 4, quiet).warmups
    assert [(entry.images, entry.passes) for entry in found] == [(4, WARMUP_PASSES), (2, WARMUP_PASSES)]
    assert len({replace_load(entry.machine) for entry in found}) == 1


def test_a_call_that_goes_on_warms_up_again_and_both_are_counted(pipeline, data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        collect(pipeline, data, tmp_path, 1, stop_after(12))
    assert [entry.passes for entry in collect(pipeline, data, tmp_path, 1, quiet).warmups] == [WARMUP_PASSES] * 2


def test_a_call_that_answers_nothing_does_not_warm_up(pipeline, data, tmp_path, sizes):
    collect(pipeline, data, tmp_path, 4, quiet)
    sizes.clear()
    assert len(collect(pipeline, data, tmp_path, 4, quiet).warmups) == 2 and sizes == []


def test_a_line_of_the_warm_up_that_a_kill_cut_is_dropped(pipeline, data, tmp_path):
    whole = collect(pipeline, data, tmp_path, 1, quiet).warmups
    with (tmp_path / WARMUP_NAME).open("a") as file:
        file.write('{"images": 1, "pas')
    assert collect(pipeline, data, tmp_path, 1, quiet).warmups == whole


def test_a_damaged_count_of_warm_up_passes_is_told(pipeline, data, tmp_path):
    collect(pipeline, data, tmp_path, 1, quiet)
    (tmp_path / WARMUP_NAME).write_text("nothing\n")
    with pytest.raises(
        SacvitError, match=r"warmup\.jsonl is damaged .* Remove it: only the count of warm-up passes is lost"
    ):
        collect(pipeline, data, tmp_path, 1, quiet)


def test_no_picture_is_decoded_beside_a_pass(pipeline, data, tmp_path, monkeypatch):
    """It would take the processor from the pass, and be in its time."""
    running, beside = [], []
    start, finish = Track.start, Track.finish

    def started(self, count, on_device=False):
        running.append(count)
        start(self, count, on_device)

    def finished(self):
        finish(self)
        running.clear()

    def read(index):
        beside.extend(running)
        return data.read(index)

    monkeypatch.setattr(Track, "start", started)
    monkeypatch.setattr(Track, "finish", finished)
    monkeypatch.setattr(module, "GROUP", 4)
    collect(pipeline, replace(data, read=read), tmp_path, 1, quiet)
    assert beside == []


def test_no_more_pictures_are_held_than_are_decoded_at_once(pipeline, data, tmp_path):
    """A picture of 12 megapixels has 36 MB, what the network sees of it 150 kB."""
    alive, most = weakref.WeakSet(), []

    class Picture(np.ndarray):
        """Can be hashed, by what it is and not by what it holds."""

        __hash__ = object.__hash__

        def __eq__(self, other):
            return self is other

    def read(index):
        picture = data.read(index).view(Picture)
        alive.add(picture)
        most.append(len(alive))
        return picture

    collect(pipeline, replace(data, read=read), tmp_path, 1, quiet)
    assert len(most) == COUNT and max(most) <= DECODERS


# Going on


def test_a_second_call_runs_nothing(pipeline, data, tmp_path, passes):
    first = logits_of(collect(pipeline, data, tmp_path, 4, quiet))
    passes.clear()
    again = logits_of(collect(pipeline, data, tmp_path, 4, quiet))
    assert passes == [] and np.array_equal(first, again)


def test_after_a_kill_only_the_rest_is_answered(pipeline, data, tmp_path, passes):
    with pytest.raises(KeyboardInterrupt):
        collect(pipeline, data, tmp_path, 4, stop_after(12))
    passes.clear()
    collect(pipeline, data, tmp_path, 4, quiet)
    assert passes == [4, 4, 2]


def test_after_a_kill_the_answers_are_those_of_one_run(pipeline, data, tmp_path):
    whole = logits_of(collect(pipeline, data, tmp_path / "whole", 4, quiet))
    with pytest.raises(KeyboardInterrupt):
        collect(pipeline, data, tmp_path / "cut", 4, stop_after(12))
    assert np.array_equal(logits_of(collect(pipeline, data, tmp_path / "cut", 4, quiet)), whole)


@pytest.mark.parametrize("name", FILES)
def test_a_row_that_a_kill_cut_is_answered_again(name, pipeline, data, tmp_path):
    whole = logits_of(collect(pipeline, data, tmp_path, 4, quiet))
    path = tmp_path / name
    with path.open("ab") as file:
        file.truncate(path.stat().st_size // 2 + 3)
    assert np.array_equal(logits_of(collect(pipeline, data, tmp_path, 4, quiet)), whole)


def test_after_a_cut_passes_hold_the_images_that_they_held_before(pipeline, data, tmp_path, passes):
    collect(pipeline, data, tmp_path, 4, quiet)
    with (tmp_path / "ee.f32").open("ab") as file:
        file.truncate(11 * 4 * 5)  # 11 images; two whole passes
    passes.clear()
    collect(pipeline, data, tmp_path, 4, quiet)
    assert passes == [4, 4, 4, 2]


def test_a_file_that_is_gone_is_written_again(pipeline, data, tmp_path):
    whole = logits_of(collect(pipeline, data, tmp_path, 4, quiet))
    (tmp_path / "sac.f32").unlink()
    assert np.array_equal(logits_of(collect(pipeline, data, tmp_path, 4, quiet)), whole)


def test_answers_without_their_key_are_not_trusted(pipeline, data, tmp_path, passes):
    collect(pipeline, data, tmp_path, 4, quiet)
    (tmp_path / KEY_NAME).unlink()
    passes.clear()
    collect(pipeline, data, tmp_path, 4, quiet)
    assert sum(passes) == COUNT


# What changed


def changed(fault) -> str:
    return str(fault.value).partition("something else: ")[2].partition(" changed since")[0]


def test_a_picture_that_changed_is_told(pipeline, data, folders, tmp_path):
    collect(pipeline, data, tmp_path / "a", 1, quiet)
    path = folders / "ant" / "00.png"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UsageError) as fault:
        collect(pipeline, open_labelled(folders, 5, pipeline.labels), tmp_path / "a", 1, quiet)
    assert changed(fault) == "data" and "Give another --out" in str(fault.value)


def test_a_picture_that_came_is_told(pipeline, data, folders, tmp_path):
    collect(pipeline, data, tmp_path / "a", 1, quiet)
    (folders / "ant" / "new.png").write_bytes((folders / "ant" / "00.png").read_bytes())
    with pytest.raises(UsageError) as fault:
        collect(pipeline, open_labelled(folders, 5, pipeline.labels), tmp_path / "a", 1, quiet)
    assert changed(fault) == "data, images"


def test_other_engines_are_told(pipeline, data, tmp_path):
    collect(pipeline, data, tmp_path / "a", 1, quiet)
    other = Pipeline.load(BUNDLES / "typed" / "ee.int8.onnx", BUNDLES / "typed" / "sac.int8.onnx")
    with pytest.raises(UsageError) as fault:
        collect(other, data, tmp_path / "a", 1, quiet)
    assert changed(fault) == "ee, sac"


def test_another_batch_is_told(pipeline, data, tmp_path):
    collect(pipeline, data, tmp_path / "a", 1, quiet)
    with pytest.raises(UsageError) as fault:
        collect(pipeline, data, tmp_path / "a", 4, quiet)
    assert changed(fault) == "batch"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": 1}'])
def test_a_damaged_key_is_no_reason_to_overwrite(content, pipeline, data, tmp_path):
    collect(pipeline, data, tmp_path / "a", 1, quiet)
    (tmp_path / "a" / KEY_NAME).write_text(content)
    with pytest.raises(SacvitError, match=r"answers\.json is damaged: .*Remove .*answered again"):
        collect(pipeline, data, tmp_path / "a", 1, quiet)
    assert (tmp_path / "a" / "ee.f32").stat().st_size == 4 * 5 * COUNT


# Damage


@pytest.mark.parametrize("name", [*FILES, SUMS_NAME])
def test_a_flipped_bit_in_a_stored_answer_is_refused(name, pipeline, data, tmp_path):
    collect(pipeline, data, tmp_path, 4, quiet)
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SacvitError, match=r"is damaged: the stored answer of image 11 .*Remove"):
        collect(pipeline, data, tmp_path, 4, quiet)


def test_answers_of_two_images_that_changed_places_are_refused(pipeline, data, tmp_path):
    collect(pipeline, data, tmp_path, 4, quiet)
    for name in (*FILES, SUMS_NAME):
        content = (tmp_path / name).read_bytes()
        width = len(content) // COUNT
        (tmp_path / name).write_bytes(content[width : 2 * width] + content[:width] + content[2 * width :])
    with pytest.raises(SacvitError, match=r"the stored answer of image 0 "):
        collect(pipeline, data, tmp_path, 4, quiet)


def test_a_flipped_bit_in_the_key_is_refused(pipeline, data, tmp_path):
    collect(pipeline, data, tmp_path, 4, quiet)
    path = tmp_path / KEY_NAME
    path.write_text(path.read_text().replace('"batch": 4', '"batch": 5'))
    with pytest.raises(SacvitError, match=r"answers\.json is damaged: its checksum does not fit"):
        collect(pipeline, data, tmp_path, 5, quiet)


def test_a_count_of_warm_up_passes_that_was_changed_is_refused(pipeline, data, tmp_path):
    collect(pipeline, data, tmp_path, 4, quiet)
    path = tmp_path / WARMUP_NAME
    path.write_text(path.read_text().replace('"passes":3', '"passes":7'))
    with pytest.raises(SacvitError, match=r"warmup\.jsonl is damaged \(its checksum does not fit"):
        collect(pipeline, data, tmp_path, 4, quiet)


# Faults


def spoil(folders, count):
    for path in sorted(folders.rglob("*.png"))[:count]:
        path.write_bytes(b"no picture")


@pytest.mark.parametrize("batch", [1, 4])
def test_a_corrupt_picture_is_left_out_and_the_others_are_answered(batch, pipeline, data, folders, tmp_path):
    whole = logits_of(collect(pipeline, data, tmp_path / "whole", batch, quiet))
    (folders / "bee" / "05.png").write_bytes(b"no picture")
    spoilt = open_labelled(folders, 5, pipeline.labels)
    found = collect(pipeline, spoilt, tmp_path / "spoilt", batch, quiet)
    (place,) = np.flatnonzero(~found.readable)
    assert spoilt.names[place] == "bee/05.png" and np.isnan(logits_of(found)[:, place]).all()
    # A batch of three sums in another order than one of four.
    np.testing.assert_allclose(logits_of(found)[:, found.readable], whole[:, found.readable], atol=1e-5)


def test_a_pass_without_a_single_picture_is_skipped(pipeline, data, folders, tmp_path, passes):
    spoil(folders, 4)
    found = collect(pipeline, open_labelled(folders, 5, pipeline.labels), tmp_path / "a", 4, quiet)
    assert int((~found.readable).sum()) == 4 and sum(passes) == COUNT - 4


def test_mostly_corrupt_pictures_are_a_fault(pipeline, data, folders, tmp_path):
    spoil(folders, 12)
    with pytest.raises(ImageError, match="12 of 22 images cannot be read"):
        collect(pipeline, open_labelled(folders, 5, pipeline.labels), tmp_path / "a", 4, quiet)


class FullDisk:
    """Opens files for appending that take `room` bytes in all, and then none."""

    def __init__(self, monkeypatch, room):
        self.room, real = room, Path.open
        disk = self

        def open_path(path, mode="r", *arguments, **named):
            file = real(path, mode, *arguments, **named)
            if "a" not in mode or path.name not in FILES:
                return file
            write = file.write

            class Watched:
                def __enter__(self):
                    return self

                def __exit__(self, *_):
                    file.close()

                def write(self, content):
                    write(content[: disk.room])
                    disk.room -= len(content)
                    if disk.room < 0:
                        disk.room = 0
                        raise OSError(errno.ENOSPC, "No space left on device")

                def truncate(self, size):
                    return file.truncate(size)

            return Watched()

        monkeypatch.setattr(Path, "open", open_path)


def test_a_full_disk_is_told_and_what_was_answered_stays(pipeline, data, tmp_path, passes):
    whole = logits_of(collect(pipeline, data, tmp_path / "whole", 4, quiet))
    with pytest.MonkeyPatch.context() as patch:
        FullDisk(patch, 2 * 4 * (20 + 20 + 8) + 30)  # two passes, and a part of a row
        with pytest.raises(SacvitError, match=r"cannot be written: No space left on device\. What was answered stays"):
            collect(pipeline, data, tmp_path / "full", 4, quiet)
    passes.clear()
    assert np.array_equal(logits_of(collect(pipeline, data, tmp_path / "full", 4, quiet)), whole)
    assert sum(passes) == COUNT - 8


def test_a_disk_that_is_full_from_the_start_is_told(pipeline, data, tmp_path, monkeypatch):
    def full(path, *arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SacvitError, match="cannot be written: No space left on device"):
        collect(pipeline, data, tmp_path / "a", 4, quiet)


@contextmanager
def small_files(largest):
    """Files of this process may not grow beyond `largest` bytes: the kernel refuses, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_answers_that_the_kernel_refuses_to_write_are_told_and_the_next_call_goes_on(
    pipeline, data, tmp_path, passes, monkeypatch
):
    # The machine's own line would be longer than the logits.
    monkeypatch.setattr(module, "describe_machine", lambda: Machine("x", 1, 0.0, None))
    whole = logits_of(collect(pipeline, data, tmp_path / "whole", 4, quiet))
    collect(pipeline, data, tmp_path / "full", 4, quiet)
    for name in (*FILES, SUMS_NAME, WARMUP_NAME):
        (tmp_path / "full" / name).unlink()
    with (
        small_files(10 * SUM_BYTES),
        pytest.raises(SacvitError, match=r"full cannot be written: File too large\. What was answered"),
    ):
        collect(pipeline, data, tmp_path / "full", 4, quiet)
    passes.clear()
    assert np.array_equal(logits_of(collect(pipeline, data, tmp_path / "full", 4, quiet)), whole)
    assert sum(passes) == COUNT - 8


def test_a_disk_without_room_for_all_answers_is_told_before_the_first_pass(
    pipeline, data, tmp_path, monkeypatch, passes
):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=COUNT * (8 * 5 + 8) - 1))
    with pytest.raises(SacvitError, match=r"take 0 MB, the disk has 0 MB left\. Make room, or give another --out"):
        collect(pipeline, data, tmp_path, 4, quiet)
    assert passes == []


def test_answers_that_are_there_need_no_room(pipeline, data, tmp_path, monkeypatch):
    collect(pipeline, data, tmp_path, 4, quiet)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    assert collect(pipeline, data, tmp_path, 4, quiet).count == COUNT


def test_engines_that_compute_nan_are_told_and_nothing_of_it_is_kept(pipeline, data, tmp_path, monkeypatch):
    real = Track.finish

    def finish(self):
        real(self)
        self.sac_logits[0, 0] = np.nan

    monkeypatch.setattr(Track, "finish", finish)
    with pytest.raises(EngineError, match="the engines compute NaN"):
        collect(pipeline, data, tmp_path, 4, quiet)
    assert not (tmp_path / "ee.f32").exists() or (tmp_path / "ee.f32").stat().st_size == 0


def test_the_key_names_what_answers_depend_on(pipeline, data, tmp_path):
    collect(pipeline, data, tmp_path, 4, quiet)
    assert set(json.loads((tmp_path / KEY_NAME).read_text())) == {
        "format", "ee", "sac", "backend", "preprocessing", "data", "images", "batch", "warmup", "checksum",
    }  # fmt: skip


def test_the_benchmark_s_random_answers_are_taken_for_those_of_a_killed_run(pipeline, tmp_path, passes):
    """benchmarks/tune_memory.py writes them, so as not to run DeiT-S 50 000 times."""
    path = BUNDLES.parents[2] / "benchmarks" / "tune_memory.py"
    spec = importlib.util.spec_from_file_location("tune_memory", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.ORDINARY, benchmark.LARGE = (30, 40), (60, 80)
    listed = benchmark.write_pictures(tmp_path / "pictures", 20, 5, large_every=10_000)
    benchmark.write_answers(BUNDLES / "bundle", listed, tmp_path / "answers", 5, 4, 16)
    collect(pipeline, open_labelled(listed, 5, pipeline.labels), tmp_path / "answers", 4, quiet)
    assert passes == [4]


# Memory

MANY, CLASSES = 3000, 1000


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Answers of 3 000 images and 1 000 classes, 24 MB, as `collect` leaves them."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for name in ("ee.f32", "sac.f32"):
        rng.standard_normal((MANY, CLASSES), np.float32).tofile(folder / name)
    ms = np.ones(MANY, np.float32)
    labels = rng.integers(0, CLASSES, MANY)
    data = Labelled("many", Path(), [str(index) for index in range(MANY)], labels, "", lambda index: None)
    return Answers(folder, MANY, CLASSES, ms, ms, np.ones(MANY, bool)), data


@pytest.mark.parametrize("limit", [1 << 20, 8000 * 7, 1])
def test_pieces_are_no_larger_than_the_limit_or_one_image(limit, many, monkeypatch):
    monkeypatch.setattr(answer_files, "CHUNK_BYTES", limit)
    sizes = [ee.nbytes + sac.nbytes for _, ee, sac in many[0].logits()]
    assert max(sizes) <= max(limit, 8 * CLASSES) and sum(sizes) == 8 * CLASSES * MANY


def test_pieces_are_the_whole_in_order(many, monkeypatch):
    whole = logits_of(many[0])
    monkeypatch.setattr(answer_files, "CHUNK_BYTES", 1 << 20)
    rows = np.concatenate([np.arange(MANY)[rows] for rows, _, _ in many[0].logits()])
    assert np.array_equal(logits_of(many[0]), whole) and np.array_equal(rows, np.arange(MANY))


def test_judging_in_small_pieces_gives_the_same(many, monkeypatch):
    whole = judge(*many, 1.3)
    monkeypatch.setattr(answer_files, "CHUNK_BYTES", 100_000)
    small = judge(*many, 1.3)
    assert all(np.array_equal(getattr(whole, name), getattr(small, name)) for name in whole.__dataclass_fields__)


def test_judging_never_holds_all_logits(many, monkeypatch):
    monkeypatch.setattr(answer_files, "CHUNK_BYTES", 1 << 20)
    peak = own_peak(lambda: judge(*many, 1.3))
    assert peak < 6 << 20  # a piece of 1 MiB, EE's half of it in float64 some times over, and the one before; not 24 MB
