"""An MJPEG camera on loopback that can stall, die and come back."""

from __future__ import annotations

import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import cv2
import numpy as np

FRAME_S = 0.02


class MjpegServer:
    """Serves grey frames, each one shade brighter. `port` stays the same over `die` and `start`."""

    def __init__(self) -> None:
        self.flowing = threading.Event()
        self.flowing.set()
        self.served = 0
        self.port = 0
        self._stop = threading.Event()
        self._server: socketserver.ThreadingTCPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream.mjpg"

    def start(self) -> None:
        camera = self
        self._stop = stop = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                while not stop.wait(FRAME_S):
                    if not camera.flowing.is_set():
                        continue
                    picture = np.full((48, 64, 3), camera.served % 256, np.uint8)
                    content = cv2.imencode(".jpg", picture)[1].tobytes()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
                    try:
                        self.wfile.write(head.encode() + content + b"\r\n")
                    except OSError:
                        return  # the client left
                    camera.served += 1

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def die(self) -> None:
        """Every connection ends and new ones are refused."""
        assert self._server is not None
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
