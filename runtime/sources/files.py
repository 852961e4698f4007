"""Files: pictures, folders and patterns of pictures, videos; and why one cannot be read."""

from __future__ import annotations

import glob
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from ...bundle.errors import ImageError
from .address import scheme_of
from .capture import Capture, opencv_has
from .frame import Finding, Frame, OpenOptions, Source, SourceKind
from .gstreamer.video import by_hardware
from .read_ahead import ReadAhead
from .video import VideoFile, counts_frames, stored_quarters

MJPEG_SUFFIXES = (".mjpeg", ".mjpg")
SPECIAL = (  # modes of paths that are neither files nor folders
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISSOCK, "a socket"),
)


def matches(spec: str) -> bool:
    return scheme_of(spec) in (None, "file")


def path_of(spec: str) -> Path:
    """The path that a text or a file:// URL names. In the URL alone, %20 is a space."""
    if scheme_of(spec) != "file":
        return Path(spec)
    rest = spec.split("://", 1)[1]
    return Path(unquote(rest.removeprefix("localhost") if rest.startswith("localhost/") else rest))


def files_of(spec: str) -> list[Path]:
    """The files that a source of files reads, by name; none for a camera."""
    path = path_of(spec)
    if path.is_file():
        return [path]
    names = path.iterdir() if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
    return sorted(name for name in names if name.is_file())


def open_files(spec: str, options: OpenOptions) -> Source:
    """Raises ImageError for a path that does not exist, holds no picture, or is no file."""
    from ...images.pictures import kind_at

    path = path_of(spec)
    if path.is_dir():
        return PictureFiles(pictures_of(path), options.loop)
    if not path.exists():
        found = files_of(spec)
        pictures = [name for name in found if kind_at(name) is not None and not name.name.startswith(".")]
        if found and not pictures:
            raise ImageError(f"{spec} matches {len(found)} files, but no picture")
        if not pictures:
            raise ImageError(
                f"{spec}: no such file, folder or pattern. Cameras are 0, /dev/video0, csi://0 or rtsp://...; what hinders"
                f" one: sacvit-run --check-camera {shlex.quote(spec)}"
            )
        return PictureFiles(pictures, options.loop)
    require_file(path)
    kind = kind_at(path)
    # A GIF is read as a video. So is a file of many JPEGs, which begins like a single one.
    if kind is not None and kind.name != "GIF" and path.suffix.lower() not in MJPEG_SUFFIXES:
        return PictureFiles([path], options.loop)
    quarters = stored_quarters(path)
    return VideoFile(
        str(path),
        lambda: open_video(path, is_turned_here=quarters is not None),
        options.loop,
        quarters=quarters or 0,
        counts=counts_frames(path),
    )


def require_file(path: Path) -> None:
    """Raises ImageError for devices, pipes and sockets: reading them may never end, and takes data from other programs."""
    mode = path.stat().st_mode
    for is_kind, words in SPECIAL:
        if is_kind(mode):
            raise ImageError(
                f"{path} is {words}, not a file. Give a video, a picture, a folder or a pattern of pictures"
            )


def open_video(path: Path, is_turned_here: bool) -> Capture:
    """The video, decoded by hardware where GStreamer has it, else by FFmpeg."""
    import cv2

    # OpenCV's own AVI reader prints bytes of damaged files on the terminal. FFmpeg reads the same files without output.
    backend = cv2.CAP_FFMPEG if opencv_has("FFMPEG") else cv2.CAP_ANY
    capture = cv2.VideoCapture(str(path), backend)
    if is_turned_here:
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    elif capture.get(cv2.CAP_PROP_ORIENTATION_META):  # FFmpeg turns it, GStreamer does not
        return capture
    return by_hardware(path, capture)


def pictures_of(folder: Path) -> list[Path]:
    """The pictures of a folder, by name, not of its subfolders. Raises ImageError when there is none."""
    from ...images.pictures import pictures_in

    found = pictures_in(folder)
    if not found:
        below = next((inner for inner in sorted(folder.iterdir()) if inner.is_dir() and pictures_in(inner)), None)
        more = "" if below is None else f"; those of its folders are a pattern: --camera '{folder}/*/*'"
        raise ImageError(f"{folder} holds no pictures{more}")
    return found


class PictureFiles(ReadAhead):
    """Pictures in the order given. Unreadable ones are skipped, counted and named in `faults`."""

    def __init__(self, paths: list[Path], loop: bool = False) -> None:
        super().__init__()
        self.paths, self.loop = paths, loop
        self.total = None if loop else len(paths)
        self.fps: float | None = None

    def frames(self) -> Iterator[Frame]:
        from ...images.decode import read_picture

        index = 0
        while True:
            given = 0
            for path in self.paths:
                try:
                    image = read_picture(path)
                except ImageError as fault:
                    if str(fault) not in self.faults:
                        self.faults.append(str(fault))
                    continue
                yield Frame(index, path.name, image)
                index, given = index + 1, given + 1
            if not self.loop or not given:
                return


def diagnose(spec: str, options: OpenOptions) -> Iterator[Finding]:
    """Checks what lies there, and whether it gives a frame."""
    path = path_of(spec)
    try:
        source = open_files(spec, options)
        try:
            frame = next(iter(source), None)
        finally:
            source.close()
    except ImageError as fault:
        yield str(fault), "Give a file that exists and can be decoded, or a camera: see sacvit-run --help"
        return
    if frame is None:
        yield "; ".join(source.faults) or f"{path} gives no frame", "Give a file that can be decoded"
        return
    yield f"{path} gives a frame of {frame.image.shape[1]} x {frame.image.shape[0]}", None


FILES = SourceKind("a video, a picture, a folder or a pattern of pictures, file://...", matches, open_files, diagnose)
