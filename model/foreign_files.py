"""Files that are taken for checkpoints and are something else: what each is, and how to get the checkpoint."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

HEAD_BYTES = 512
MAX_TITLE = 60
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".tar")
WEB_PAGE = re.compile(rb"\s*(<!doctype html|<html|<head|<\?xml)", re.IGNORECASE)
# First bytes, what the file is, what to do.
BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer, which stands in the repository in place of the file",
        "Fetch the file: git lfs install && git lfs pull",
    ),
    (b"\x1f\x8b", "compressed with gzip", "Unpack it: gzip -d, or tar xzf if it is an archive"),
    (b"BZh", "compressed with bzip2", "Unpack it with bzip2 -d"),
    (b"\xfd7zXZ\x00", "compressed with xz", "Unpack it with xz -d"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", "Unpack it with zstd -d"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive", "Unpack it"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it", "Give a PyTorch checkpoint or a .safetensors file"),
    (b"\x93NUMPY", "a NumPy array", "Give a PyTorch checkpoint or a .safetensors file"),
    (b"GGUF", "a GGUF file", "Give a PyTorch checkpoint or a .safetensors file"),
    (b"%PDF-", "a PDF document", "Give a PyTorch checkpoint or a .safetensors file"),
    (b"\x89PNG", "a picture", "Give a PyTorch checkpoint or a .safetensors file"),
)


def describe_foreign_file(path: Path) -> str | None:
    """What a file is that cannot be a checkpoint, and the cure, as the end of a sentence that begins with its name.

    None where the file may be a checkpoint.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return "is empty. Copy or download it again"
    if WEB_PAGE.match(head.removeprefix(b"\xef\xbb\xbf")):
        title = re.search(rb"<title>([^<]{1,200})", head, re.IGNORECASE)
        named = f" ({printable(title[1])})" if title else ""
        return (
            f"is a web page{named}, not a checkpoint. The download was redirected, for example to a login or to Google"
            f" Drive's virus warning. Download the file itself and compare its size with the one on the page"
        )
    for beginning, kind, cure in BEGINNINGS:
        if head.startswith(beginning):
            return f"is {kind}, not a checkpoint. {cure}"
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


def printable(text: bytes) -> str:
    """A few words of an untrusted file that are safe on a terminal."""
    words = " ".join(text.decode("utf-8", "replace").split())[:MAX_TITLE]
    return "".join(letter if letter.isprintable() else "?" for letter in words)
