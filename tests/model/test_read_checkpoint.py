"""Checkpoint files are untrusted: what is whole loads, what is damaged, foreign or malicious is refused by its name."""

from __future__ import annotations

import argparse
import enum
import functools
import io
import json
import pickle
import random
import struct
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from sacvit.bundle.errors import CheckpointError, SacvitError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.model import checkpoint_names, read_checkpoint
from sacvit.model.checkpoint import load_checkpoint
from sacvit.model.pickled_values import MOST_CLASSES
from sacvit.model.write_checkpoint import save_checkpoint

Content = dict[str, Any]


def whole_file(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_the_old_file_format_of_torch_loads(content: Content, tmp_path: Path, same_weights: Any) -> None:
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert same_weights(load_checkpoint(tmp_path / "a.pth").model, content["model"])


def test_safetensors_of_another_program_load(content: Content, tmp_path: Path, same_weights: Any) -> None:
    from safetensors.torch import save_file

    save_file(content["model"], tmp_path / "model.safetensors", {"format": "pt"})
    assert same_weights(load_checkpoint(tmp_path / "model.safetensors", heads=2).model, content["model"])


def test_safetensors_in_bfloat16_load_as_fp32(content: Content, tmp_path: Path, same_weights: Any) -> None:
    from safetensors.torch import save_file

    halves = {key: value.bfloat16() for key, value in content["model"].items()}
    save_file(halves, tmp_path / "weights.bin")
    loaded = load_checkpoint(tmp_path / "weights.bin", heads=2)
    assert same_weights(loaded.model, {key: value.float() for key, value in halves.items()})


# Objects of other packages beside weights


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A package that exists while a file is written; `forget` it before the file is read."""
    module = types.ModuleType("somebody")
    monkeypatch.setitem(sys.modules, "somebody", module)
    return module


def make_class(package: types.ModuleType, name: str, *parents: type) -> type:
    made = type(
        name, parents, {"__module__": "somebody", "__setstate__": lambda self, state: pytest.fail("it was run")}
    )
    setattr(package, name, made)
    return made


def test_objects_of_another_package_do_not_hinder(
    content: Content, write: Any, package: types.ModuleType, monkeypatch: pytest.MonkeyPatch, same_weights: Any
) -> None:
    kinds = {"Meter": object, "Config": dict, "History": list, "Phase": enum.Enum}
    classes = {name: make_class(package, name, parent) for name, parent in kinds.items() if name != "Phase"}
    meter, config, history = (made() for made in classes.values())
    meter.average = 1.5
    config["lr"] = {"max": 1}
    config.name = "x"
    history.extend([1, config])
    package.Phase = enum.Enum("Phase", "TRAIN", module="somebody")  # type: ignore[attr-defined]
    content |= {"args": {"meter": meter, "config": config, "history": history, "phase": package.Phase.TRAIN}}
    content["norm"] = functools.partial(torch.nn.LayerNorm, eps=1e-6)
    path = write(content)
    monkeypatch.delitem(sys.modules, "somebody")
    assert same_weights(load_checkpoint(path).model, content["model"])


def test_a_whole_pickled_network_gives_its_weights_and_runs_none_of_its_code(
    content: Content,
    write: Any,
    new_model: Any,
    package: types.ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    same_weights: Any,
) -> None:
    model = new_model()
    model.register_buffer("passing", torch.ones(2), persistent=False)
    model.__class__ = make_class(package, "Net", type(model))
    path = write({"model": model, "config": content["config"], "epoch": 3})
    monkeypatch.delitem(sys.modules, "somebody")
    assert same_weights(load_checkpoint(path).model, content["model"])


def test_an_object_without_weights_is_named(
    write: Any, package: types.ModuleType, monkeypatch: pytest.MonkeyPatch, refusal: Any
) -> None:
    path = write(make_class(package, "Net")())
    monkeypatch.delitem(sys.modules, "somebody")
    assert "somebody.Net" in refusal(path)


@pytest.mark.parametrize("name", [b"subprocess\nPopen", b"builtins\neval", b"torch.hub\nload"])
def test_functions_of_python_and_torch_are_refused_by_name(
    content: Content, tmp_path: Path, refusal: Any, name: bytes
) -> None:
    content["args"] = argparse.Namespace(a=1)
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(whole.replace(b"argparse\nNamespace", name))
    assert name.decode().removeprefix("builtins\n").replace("\n", ".") in refusal(tmp_path / "a.pth")


def test_a_file_of_endless_classes_is_given_up(
    content: Content, write: Any, package: types.ModuleType, refusal: Any
) -> None:
    content["args"] = [make_class(package, f"C{number}")() for number in range(MOST_CLASSES + 2)]
    assert "somebody.C" in refusal(write(content))


# Files that are no checkpoints


def test_a_missing_file_is_refused_with_what_is_wanted(tmp_path: Path, refusal: Any) -> None:
    message = refusal(tmp_path / "gone.pth")
    assert "gone.pth does not exist" in message and ".pth or .safetensors" in message


def test_a_folder_is_refused(tmp_path: Path, refusal: Any) -> None:
    assert f"{tmp_path} is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("share", [0.0001, 0.3, 0.99999])
def test_a_file_that_was_cut_short_is_refused_with_a_cure(
    content: Content, tmp_path: Path, refusal: Any, share: float, is_zip: bool
) -> None:
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    whole = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(whole[: int(share * len(whole))])
    message = refusal(tmp_path / "a.pth")
    assert "a.pth" in message and "Copy or download" in message


FOREIGN = {
    "text": b"these are no weights\n" * 9,
    "random": random.Random(0).randbytes(3000),
    "zip": b"PK\x05\x06" + bytes(18),
    "empty": b"",
    "short": b"\x07\0\0\0\0\0\0\0{",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_refused_and_never_with_the_advice_to_load_it_unsafely(
    tmp_path: Path, refusal: Any, name: str
) -> None:
    (tmp_path / "a.pth").write_bytes(FOREIGN[name])
    message = refusal(tmp_path / "a.pth")
    assert "a.pth" in message and "weights_only" not in message


def test_a_web_page_is_called_one(tmp_path: Path, refusal: Any) -> None:
    (tmp_path / "a.pth").write_text("<!DOCTYPE html><html><title>Virus scan warning</title></html>")
    assert "a.pth is a web page (Virus scan warning)" in refusal(tmp_path / "a.pth")


# Sizes


def limit(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for module in (read_checkpoint, checkpoint_names):
        monkeypatch.setattr(module, "MAX_CHECKPOINT_BYTES", size)


def test_a_file_above_the_size_limit_is_refused(
    content: Content, write: Any, refusal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    content["optimizer"] = torch.zeros(1 << 19)
    limit(monkeypatch, 1 << 20)
    assert "model.pth holds 2 MiB; the limit is 1 MiB" in refusal(write(content))


def test_a_file_of_the_size_limit_loads(
    content: Content, write: Any, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(content)
    limit(monkeypatch, path.stat().st_size)
    assert load_checkpoint(path).config == config


def test_an_archive_that_announces_giant_entries_is_refused_before_it_is_unpacked(
    content: Content, tmp_path: Path, refusal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bytearray(whole_file(content))
    at, announced = whole.find(b"PK\x01\x02"), 0
    while at >= 0:
        whole[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFF0)  # the uncompressed size
        at, announced = whole.find(b"PK\x01\x02", at + 1), announced + 1
    (tmp_path / "a.pth").write_bytes(whole)
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("it was loaded"))
    assert f"holds {announced * 0xFFFFFFF0 >> 20} MiB; the limit is 4096 MiB" in refusal(tmp_path / "a.pth")


def test_a_compressed_bomb_is_refused_by_its_announced_size(
    tmp_path: Path, refusal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(3 << 20))
    assert (tmp_path / "a.pth").stat().st_size < 1 << 20
    limit(monkeypatch, 1 << 20)
    assert "holds 3 MiB; the limit is 1 MiB" in refusal(tmp_path / "a.pth")


# Damage


def test_a_flipped_bit_of_a_weight_is_refused_by_the_member_it_is_in(
    content: Content, tmp_path: Path, refusal: Any
) -> None:
    whole = bytearray(whole_file(content))
    weight = content["model"]["blocks.1.mlp.fc1.weight"].numpy().tobytes()
    whole[whole.find(weight) + 100] ^= 0x40
    (tmp_path / "a.pth").write_bytes(whole)
    message = refusal(tmp_path / "a.pth")
    assert "a.pth is damaged in its member archive/data/" in message and "Copy or download" in message


def test_a_weight_that_one_bit_calls_a_folder_is_refused(content: Content, tmp_path: Path, refusal: Any) -> None:
    """No checksum covers the archive's directory, and torch reads nothing of a folder: the weight would be noise."""
    whole = bytearray(whole_file(content))
    entry = whole.rfind(b"PK\x01\x02", 0, whole.rfind(b"/data/5PK"))
    whole[entry + 38] ^= 0x10  # of the external attributes
    (tmp_path / "a.pth").write_bytes(whole)
    assert "is damaged in its member archive/data/5: it is called a folder" in refusal(tmp_path / "a.pth")


def test_no_flipped_bit_changes_a_weight(content: Content, tmp_path: Path, same_weights: Any) -> None:
    whole, chance, path = whole_file(content), random.Random(2), tmp_path / "a.pth"
    wrong = []
    for _ in range(150):
        changed = bytearray(whole)
        place = chance.choice([chance.randrange(len(whole)), chance.randrange(len(whole) - 3000, len(whole))])
        changed[place] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            loaded = load_checkpoint(path)
        except SacvitError:
            continue
        if not same_weights(loaded.model, content["model"]):
            wrong.append(place)
    assert wrong == []


@pytest.mark.parametrize("part", ["weights", "entries"])
def test_a_flipped_bit_of_our_safetensors_is_refused(tmp_path: Path, new_model: Any, refusal: Any, part: str) -> None:
    model, path = new_model(), tmp_path / "a.safetensors"
    save_checkpoint(path, model, Preprocessing(32), labels=["cat", "dog", "owl"])
    whole = bytearray(path.read_bytes())
    sought = b"owl" if part == "entries" else model.head.weight.detach().numpy().tobytes()
    whole[whole.find(sought) + 1] ^= 1
    path.write_bytes(whole)
    assert "a.safetensors is damaged" in refusal(path)


def test_safetensors_whose_metadata_is_no_object_are_refused(content: Content, tmp_path: Path, refusal: Any) -> None:
    from safetensors.torch import save_file

    for stored in ("[1]", "{", json.dumps("x"), "[" * 100_000):
        save_file(content["model"], tmp_path / "a.safetensors", {"sacvit": stored})
        assert "a.safetensors" in refusal(tmp_path / "a.safetensors")


@pytest.mark.filterwarnings("ignore")  # torch's, on what a changed byte made of the pickle
def test_no_changed_byte_causes_another_error_than_ours(content: Content, tmp_path: Path) -> None:
    path, chance, faults = tmp_path / "a.pth", random.Random(1), []
    for is_zip in (True, False):
        torch.save(content, path, _use_new_zipfile_serialization=is_zip)
        whole = path.read_bytes()
        for _ in range(80):
            changed = bytearray(whole)
            for _ in range(chance.choice([1, 4])):
                changed[chance.choice([chance.randrange(2000), chance.randrange(len(whole))])] = chance.randrange(256)
            path.write_bytes(changed)
            try:
                load_checkpoint(path)
            except SacvitError:
                continue
            except Exception as fault:
                faults.append(repr(fault))
    assert faults == []


@pytest.mark.parametrize(("offset", "value"), [(6, b"\xff"), (8, b"\x01"), (10, b"\x63\x00")])
def test_an_archive_that_cannot_be_read_is_refused(
    content: Content, tmp_path: Path, refusal: Any, offset: int, value: bytes
) -> None:
    """An unknown version, an encrypted member, an unknown compression."""
    whole = bytearray(whole_file(content))
    at = whole.find(b"PK\x01\x02") + offset
    whole[at : at + len(value)] = value
    (tmp_path / "a.pth").write_bytes(whole)
    assert "a.pth" in refusal(tmp_path / "a.pth")


def test_an_archive_of_several_disks_is_refused(content: Content, tmp_path: Path, refusal: Any) -> None:
    whole = bytearray(whole_file(content))
    locator = whole.find(b"PK\x06\x07")
    assert locator > 0
    whole[locator + 16] = 9  # the number of disks
    (tmp_path / "a.pth").write_bytes(whole)
    assert "a.pth" in refusal(tmp_path / "a.pth")


# Malice


class CreatesFile:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def malicious_files(content: Content, victim: Path) -> dict[str, bytes]:
    old_format = io.BytesIO()
    torch.save(content | {"x": CreatesFile(victim)}, old_format, _use_new_zipfile_serialization=False)
    return {
        "beside the weights": whole_file(content | {"x": CreatesFile(victim)}),
        "among the weights": whole_file(content["model"] | {"x": CreatesFile(victim)}),
        "in the old format": old_format.getvalue(),
        "as a bare pickle": pickle.dumps(CreatesFile(victim), protocol=2),
    }


PLACES = ("beside the weights", "among the weights", "in the old format", "as a bare pickle")


@pytest.mark.parametrize("place", PLACES)
def test_a_malicious_checkpoint_runs_nothing(content: Content, tmp_path: Path, refusal: Any, place: str) -> None:
    (tmp_path / "a.pth").write_bytes(malicious_files(content, tmp_path / "victim")[place])
    refusal(tmp_path / "a.pth")
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("place", PLACES[:3])
def test_a_malicious_checkpoint_is_refused_by_the_name_of_its_callable(
    content: Content, tmp_path: Path, refusal: Any, place: str
) -> None:
    (tmp_path / "a.pth").write_bytes(malicious_files(content, tmp_path / "victim")[place])
    message = refusal(tmp_path / "a.pth")
    assert "open while loading" in message and "Nothing was run" in message


def test_the_malicious_pickle_would_work_without_the_guard(content: Content, tmp_path: Path) -> None:
    whole = malicious_files(content, tmp_path / "victim")["beside the weights"]
    torch.load(io.BytesIO(whole), weights_only=False)["x"].close()
    assert (tmp_path / "victim").exists()


def test_what_one_file_may_hold_is_not_allowed_to_others(content: Content, write: Any) -> None:
    """The stand-ins are known to torch for the time of one read."""
    before = set(torch.serialization.get_safe_globals())  # torch makes its list of a set: the order may change
    load_checkpoint(write(content))
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_refusal_is_ours(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"model": 1}, protocol=4))
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        load_checkpoint(tmp_path / "a.pth")
