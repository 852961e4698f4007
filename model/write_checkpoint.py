"""Writes checkpoints whole or not at all, as .pth or .safetensors by the name's suffix."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..bundle.errors import SacvitError
from ..bundle.files import written_whole
from ..bundle.preprocess import Preprocessing
from .network import VisionTransformer

SAFETENSORS_SUFFIX = ".safetensors"
SAFETENSORS_ENTRY = "sacvit"  # the key in the metadata, which holds texts: the entries and their hash as JSON


def save_checkpoint(path: Path, model: VisionTransformer, preprocessing: Preprocessing, **entries: Any) -> None:
    """Writes weights, config and preprocessing so that `load_checkpoint` reads them back; whole or not at all."""
    entries = {"config": model.config.to_dict(), "preprocessing": preprocessing.to_dict(), **entries}
    if path.suffix.lower() == SAFETENSORS_SUFFIX:
        write_safetensors(path, model.state_dict(), entries)
    else:
        write_pth(path, {"model": model.state_dict(), **entries})


def write_pth(path: Path, content: dict[str, Any]) -> None:
    """Writes a .pth whole or not at all: on a full disk the file before stays. Raises SacvitError with the reason."""
    buffer = io.BytesIO()  # torch would hide the reason of a failed write
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer())


def write_safetensors(path: Path, tensors: dict[str, Tensor], entries: dict[str, Any]) -> None:
    """The same as .safetensors, which has no checksums of its own: a hash of all that sacvit reads is stored."""
    from safetensors.torch import save  # only with [export] or [train]

    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    stored = json.dumps(entries | {"sha256": content_sha256(tensors, json.loads(json.dumps(entries)))})
    write_bytes(path, memoryview(save(tensors, {SAFETENSORS_ENTRY: stored, "format": "pt"})))


def content_sha256(tensors: dict[str, Tensor], entries: dict[str, Any]) -> str:
    """SHA-256 of the names, types, shapes and bytes of tensors, and of the entries beside them."""
    digest = hashlib.sha256(json.dumps(entries, sort_keys=True).encode())
    for key in sorted(tensors):
        digest.update(f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}".encode())
        digest.update(tensors[key].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_bytes(path: Path, content: memoryview) -> None:
    try:
        with written_whole(path) as partial:
            partial.write_bytes(content)
    except OSError as reason:
        kept = "; the file before is kept" if path.exists() else ""
        raise SacvitError(f"{path} cannot be written: {reason.strerror or reason}{kept}") from None
