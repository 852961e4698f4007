"""From what a user writes after --camera to a source."""

from __future__ import annotations

import glob
from pathlib import Path

from ...bundle.errors import ImageError, UsageError
from ...images.decode import SUFFIXES
from .camera import open_camera
from .files import PictureFiles, VideoFile
from .frame import Source


def open_source(spec: str, loop: bool = False, option: str = "--camera") -> Source:
    """A camera, stream, video, picture, folder of pictures or glob.

    loop: start files over at their end. option: where the user gave it. Raises ImageError for files that are not there or
    cannot be read, DeviceError and UsageError for cameras.
    """
    if not spec.strip():
        raise UsageError(f"{option} is empty; is a variable of the shell unset?")
    camera = open_camera(spec)
    if camera is not None:
        return camera
    path = Path(spec.removeprefix("file://"))
    if path.is_dir():
        return PictureFiles(pictures_in(path), loop)
    if not path.exists():
        found = files_of(spec)
        pictures = [name for name in found if name.suffix.lower() in SUFFIXES]
        if found and not pictures:
            raise ImageError(f"{option} {spec} matches {len(found)} files, but no picture ({', '.join(SUFFIXES)})")
        if not pictures:
            raise ImageError(
                f"{option} {spec}: no such file, folder or pattern. Cameras are 0, /dev/video0, csi://0, rtsp://... or"
                f" http://..."
            )
        return PictureFiles(pictures, loop)
    if path.suffix.lower() in SUFFIXES:
        return PictureFiles([path], loop)
    return VideoFile(path, loop)


def files_of(spec: str) -> list[Path]:
    """The files that a source of files reads, by name; none for a camera."""
    path = Path(spec.removeprefix("file://"))
    if path.is_file():
        return [path]
    names = path.iterdir() if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
    return sorted(name for name in names if name.is_file())


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, by name, not of its subfolders. Raises ImageError when there is none."""
    found = [path for path in files_of(str(folder)) if path.suffix.lower() in SUFFIXES]
    if not found:
        raise ImageError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
    return found
