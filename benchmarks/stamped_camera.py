"""A camera on this machine whose pictures hold the time at which they were drawn: MJPEG over HTTP, MJPEG and H.264 over RTSP.

Started by source_faults.py with the system's Python, which has GStreamer's RTSP server (on Debian: python3-gi
gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly):

    python3 stamped_camera.py KIND FRAMES_PER_SECOND FIRST_S PORT

It prints "up" when it serves. FIRST_S: seconds that a connection waits for its first picture.
"""

from __future__ import annotations

import socketserver
import sys
import threading
import time
from fractions import Fraction

import cv2
import numpy as np

WIDTH, HEIGHT = 640, 360
BITS, CELL = 44, 16  # milliseconds since 1970 as black and white squares: 44 bits, 40 per row
PER_ROW = WIDTH // CELL


def draw(now_s: float) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8: noise that an encoder has to work on, and the time."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    place = int(now_s * 100) % (WIDTH - 80)
    image[150:230, place : place + 80] = (200, 160, 30)
    for bit in range(BITS):
        row, column = divmod(bit, PER_ROW)
        value = 255 * (int(now_s * 1e3) >> bit & 1)
        image[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = value
    return image


def read_stamp(image: np.ndarray) -> float:
    """When a picture was drawn, in seconds since 1970."""
    centres = [divmod(bit, PER_ROW) for bit in range(BITS)]
    return sum(int(image[r * CELL + 8, c * CELL + 8].mean() > 127) << bit for bit, (r, c) in enumerate(centres)) / 1e3


def serve_http(rate: float, first_s: float, port: int) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
            time.sleep(first_s)
            due = time.monotonic()
            try:
                while True:
                    content = cv2.imencode(".jpg", draw(time.time()))[1].tobytes()
                    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(content)
                    self.wfile.write(head + content + b"\r\n")
                    due = max(due + 1 / rate, time.monotonic())
                    time.sleep(max(0.0, due - time.monotonic()))
            except OSError:
                pass  # the client left

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    server = Server(("127.0.0.1", port), Handler)
    print("up", flush=True)
    server.serve_forever()


ENCODERS = {
    "rtsp-mjpeg": "jpegenc ! rtpjpegpay name=pay0 pt=26",
    "rtsp-h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! rtph264pay name=pay0 pt=96"
    " config-interval=1",
}


def serve_rtsp(kind: str, rate: float, first_s: float, port: int) -> None:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    fraction = Fraction(rate).limit_denominator(100)

    def feed(source: object) -> None:
        time.sleep(first_s)
        due = time.monotonic()
        while source.emit("push-buffer", Gst.Buffer.new_wrapped(draw(time.time()).tobytes())) == Gst.FlowReturn.OK:  # type: ignore[attr-defined]
            due = max(due + 1 / rate, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))

    def configure(factory: object, media: object) -> None:
        source = media.get_element().get_by_name_recurse_up("source")  # type: ignore[attr-defined]
        threading.Thread(target=feed, args=(source,), daemon=True).start()

    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( appsrc name=source is-live=true format=time do-timestamp=true caps=video/x-raw,format=BGR,width={WIDTH},"
        f"height={HEIGHT},framerate={fraction.numerator}/{fraction.denominator} ! videoconvert ! video/x-raw,format=I420 !"
        f" {ENCODERS[kind]} )"
    )
    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory("/stream", factory)
    server.attach(None)
    print("up", flush=True)
    GLib.MainLoop().run()


def main() -> None:
    kind, rate, first_s, port = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    if kind == "http-mjpeg":
        serve_http(rate, first_s, port)
    else:
        serve_rtsp(kind, rate, first_s, port)


if __name__ == "__main__":
    main()
