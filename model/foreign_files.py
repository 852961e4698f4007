"""Recognises files that are mistaken for checkpoints: what each is, and how to get the checkpoint."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ..images.foreign import HEAD_BYTES, describe_foreign, printable
from ..images.kinds import kind_of

CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".tar")
CURE = "Give a PyTorch checkpoint or a .safetensors file"
# First bytes, and what the file is.
BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"GGUF", "a GGUF file"),
)


def describe_foreign_file(path: Path) -> str | None:
    """Describes a file that cannot be a checkpoint, with the cure, as the end of a sentence that begins with its name.

    None where the file may be a checkpoint.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return "is empty. Copy or download it again"
    if (foreign := describe_foreign(head)) is not None:
        return f"is {foreign[0]}, not a checkpoint. {foreign[1]}"
    for beginning, kind in BEGINNINGS:
        if head.startswith(beginning):
            return f"is {kind}, not a checkpoint. {CURE}"
    if (picture := kind_of(head)) is not None:
        return f"is a picture ({picture.name}), not a checkpoint. {CURE}"
    if head.lstrip()[:1] in (b"{", b"[") and is_text(head):
        return "is JSON text, not a checkpoint. If it is an error message of a server, download the file again"
    return None


def describe_archive(names: list[str]) -> str | None:
    """The same for a zip file by its members' names. None where it may be a checkpoint."""
    inside = [PurePosixPath(name) for name in names]
    if any(name.name == "constants.pkl" for name in inside):
        return (
            "is a TorchScript program, which holds code. Save its weights alone:"
            " torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')"
        )
    if any(name.name == "data.pkl" for name in inside):
        return None
    packed = next((name for name in inside if name.suffix.lower() in CHECKPOINT_SUFFIXES), None)
    if packed is not None:
        return f"is a zip archive that contains {printable(str(packed).encode())}. Unpack it and give that file"
    return "is a zip archive without weights, not a PyTorch checkpoint"


def is_text(content: bytes) -> bool:
    return not any(byte < 9 for byte in content)
