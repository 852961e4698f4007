"""Videos: every frame, from a file or from a network stream that has an end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...bundle.errors import ImageError
from .capture import Capture, announced_frames, codec_of, is_cut_short
from .frame import Frame
from .read_ahead import ReadAhead

FPS = 5  # cv2.CAP_PROP_FPS


class VideoFile(ReadAhead):
    """Every frame of a video. One that ends before its own count says so in `faults`; one without a frame raises ImageError.

    name: what messages call it. open_capture: opens it, from its beginning.
    """

    def __init__(self, name: str, open_capture: Callable[[], Capture], loop: bool = False) -> None:
        super().__init__()
        self.name, self._open_capture, self.loop = name, open_capture, loop
        capture = self._open()
        rate = capture.get(FPS)
        self.announced, self.codec = announced_frames(capture), codec_of(capture)
        capture.release()
        self.total = None if loop else self.announced
        self.fps: float | None = rate if 0 < rate < 1000 else None

    def _open(self) -> Capture:
        try:
            capture = self._open_capture()
        except OSError as reason:  # of a network stream
            raise ImageError(f"{self.name} does not answer: {reason.strerror or reason}") from None
        if not capture.isOpened():
            capture.release()
            raise ImageError(f"{self.name} is no video that this OpenCV can decode, or was cut short before its index")
        return capture

    def frames(self) -> Iterator[Frame]:
        index = 0
        short_name = self.name.rsplit("/", 1)[-1]
        while True:
            capture = self._open()
            given = 0
            try:
                while True:
                    ok, image = capture.read()
                    if not ok:
                        break
                    yield Frame(index, f"{short_name}#{given}", image)
                    index, given = index + 1, given + 1
            finally:
                capture.release()
            if not given:
                raise ImageError(
                    f"{self.name}: this OpenCV decodes no frame of it. Its codec is {self.codec}; if OpenCV lacks that"
                    f" one, convert the video: ffmpeg -i IN -c:v libx264 OUT.mp4. Otherwise the video is empty or damaged"
                )
            if is_cut_short(given, self.announced):
                fault = f"{self.name} was cut short: {given} of {self.announced} frames could be decoded"
                if fault not in self.faults:
                    self.faults.append(fault)
            if not self.loop:
                return
