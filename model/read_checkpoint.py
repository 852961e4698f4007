"""Untrusted checkpoint files in, a state dict with this family's names out: .pth of any torch, and .safetensors.

A file can never run code: pickles are read with `weights_only`, and values other than tensors become plain values or are
dropped.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from ..bundle.errors import CheckpointError
from ..images.foreign import printable
from .checkpoint_folders import files_of, read_config_json, require_whole
from .checkpoint_layouts import StateDict, find_weights
from .checkpoint_names import adapt
from .config import MAX_CHECKPOINT_BYTES, Weights
from .foreign_files import describe_archive, describe_foreign_file
from .pickled_values import StandIns
from .write_checkpoint import SAFETENSORS_ENTRY, content_sha256

PIECE_BYTES = 1 << 20
DOS_DIRECTORY = 0x10  # in a member's attributes
DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, OverflowError, NotImplementedError, EOFError)
COPY_AGAIN = "Copy or download the file again"


def read_state_dict(path: Path, weights: Weights | None = None) -> StateDict:
    """The tensors of a checkpoint by this family's names, in FP32, and the entries beside them. Raises CheckpointError.

    weights: which ones to take where the file has raw weights and their moving average; None takes the raw ones.
    """
    return adapt(find_weights(path, read_content(path), weights))


def read_content(path: Path) -> Any:
    """The content of a checkpoint, of one file or several, without running any code. Raises CheckpointError."""
    files = files_of(path)
    require_size(path, sum(file.stat().st_size for file in files if file.is_file()))
    content = read_file(files[0]) if len(files) == 1 else join_pieces(files[0], files[1:])
    beside = read_config_json(files[0])
    if not beside or not isinstance(content, dict):
        return content
    has_wrapper = any(isinstance(value, dict) for value in content.values())
    return beside | (content if has_wrapper else {"model": content})


def require_files(path: Path) -> None:
    """Raises CheckpointError where a file of a checkpoint is missing. Reads no weights."""
    for file in files_of(path):
        _require_file(file)


def join_pieces(index: Path, pieces: list[Path]) -> dict[str, Any]:
    """The tensors of all pieces under 'model'."""
    tensors: dict[str, Any] = {}
    for piece in pieces:
        content = read_file(piece)
        found = content.get("model", content) if isinstance(content, dict) else {}
        if both := tensors.keys() & found.keys():
            raise CheckpointError(f"{piece} and another file of {index} both hold {min(both)!r}. {COPY_AGAIN}")
        tensors |= found
    require_whole(index, set(tensors))
    return {"model": tensors}


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; expected the .pth or .safetensors file of a trained model")


def read_file(path: Path) -> Any:
    _require_file(path)
    size = path.stat().st_size
    if is_safetensors(path):
        return read_safetensors(path)
    try:
        is_zip = zipfile.is_zipfile(path)
    except DAMAGED as reason:
        raise CheckpointError(f"{path} is damaged: {reason}. {COPY_AGAIN}") from None
    if is_zip:
        require_whole_archive(path)
    else:  # a file of torch before 1.6, which has no checksums
        require_known(path)
    return read_pickle(path, size)


def require_known(path: Path) -> None:
    """Raises CheckpointError where the first bytes show another kind of file."""
    if (kind := describe_foreign_file(path)) is not None:
        raise CheckpointError(f"{path} {kind}")


def require_size(path: Path, size: int) -> None:
    if size > MAX_CHECKPOINT_BYTES:
        raise CheckpointError(f"{path} holds {size >> 20} MiB; the limit is {MAX_CHECKPOINT_BYTES >> 20} MiB")


def require_whole_archive(path: Path) -> None:
    """Raises CheckpointError where a member of the .pth does not have its checksum: torch does not compare them.

    A CRC-32 finds every single flipped bit and every burst of up to 32, in weights and pickle, so our files need no additional
    hash. Outside the members there is only the archive's directory, whose damage is noticed anyway.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if (kind := describe_archive([member.filename for member in members])) is not None:
                raise CheckpointError(f"{path} {kind}")
            require_size(path, sum(member.file_size for member in members))
            for member in members:
                name = printable(member.filename.encode("utf-8", "replace"))
                try:
                    if member.external_attr & DOS_DIRECTORY and not member.is_dir():
                        raise zipfile.BadZipFile("it is called a folder, of which torch would read nothing")
                    with archive.open(member) as file:
                        while file.read(PIECE_BYTES):
                            pass
                except (*DAMAGED, RuntimeError) as reason:  # RuntimeError: it is encrypted
                    raise CheckpointError(
                        f"{path} is damaged in its member {name}: {reason or type(reason).__name__}. {COPY_AGAIN}. If it"
                        f" was saved with torch.serialization.set_crc32_options(False), load and save it again with"
                        f" checksums"
                    ) from None
    except (*DAMAGED, OSError) as reason:
        raise CheckpointError(f"{path} is damaged: {reason}. {COPY_AGAIN}") from None


def read_pickle(path: Path, size: int) -> Any:
    stand_ins = StandIns()
    while True:
        try:
            with torch.serialization.safe_globals(stand_ins.pairs), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch on foreign pickles: our own message follows
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as reason:
            if not stand_ins.learn(str(reason)):
                raise CheckpointError(explain_refusal(path, str(reason))) from None
        except (
            Exception
        ) as reason:  # a damaged pickle makes torch raise nearly every kind, AssertionError and struct.error too
            first = (str(reason) or type(reason).__name__).splitlines()[0]
            raise CheckpointError(
                f"{path} is not a PyTorch checkpoint, or was cut short ({size} bytes; torch: {first}). {COPY_AGAIN}, or give"
                f" the .pth or .safetensors file of a trained model"
            ) from None


def explain_refusal(path: Path, reason: str) -> str:
    """Our message in place of torch's, which advises to load the file without protection."""
    if path.suffix in (".onnx", ".plan", ".engine"):
        return (
            f"{path} is an engine, which was exported already; expected the .pth or .safetensors file that it was made from."
            f" sacvit-run --engine EE SAC runs engines"
        )
    named = re.search(r"GLOBAL ([\w.]+)", reason)
    if named:
        return (
            f"{path} refused: it asks to run {named[1]} while loading, which weights never need. Nothing was run."
            f" Have its author save the state dict alone: torch.save({{'model': model.state_dict()}}, ...)"
        )
    detail = reason.partition("WeightsUnpickler error:")[2].strip().split("\n")[0]
    return (
        f"{path} refused: it is no PyTorch checkpoint, is damaged, or holds more than weights"
        f"{f' ({detail})' if detail else ''}. Nothing was run"
    )


def is_safetensors(path: Path) -> bool:
    """Whether the file begins like .safetensors, whatever its name is: the length of a JSON object, then that object."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def read_safetensors(path: Path) -> dict[str, Any]:
    """Tensors under 'model', and the entries that `save_checkpoint` stored. Raises CheckpointError."""
    from safetensors import SafetensorError, safe_open  # only with [export] or [train], and only for such a file

    try:
        with safe_open(path, "pt", device="cpu") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # it is no dict
            metadata = file.metadata() or {}
        stored = json.loads(metadata.get(SAFETENSORS_ENTRY, "{}"))
    except (SafetensorError, OSError, ValueError, RuntimeError, RecursionError) as reason:
        raise CheckpointError(f"{path} is not a .safetensors file, or is damaged: {reason}. {COPY_AGAIN}") from None
    if not isinstance(stored, dict):
        raise CheckpointError(f"{path}: the metadata {SAFETENSORS_ENTRY!r} must be an object. {COPY_AGAIN}")
    digest = stored.pop("sha256", None)
    if SAFETENSORS_ENTRY in metadata and digest != content_sha256(tensors, stored):
        raise CheckpointError(f"{path} is damaged: its SHA-256 differs from the one stored in it. {COPY_AGAIN}")
    return {"model": tensors, **stored}
