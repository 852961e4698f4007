from __future__ import annotations

import socketserver
import threading

import pytest
from mjpeg_server import MjpegServer
from rtsp_server import RtspServer

from sacvit.runtime.sources import probe
from sacvit.runtime.sources.address import parse_address
from sacvit.runtime.sources.probe import ask, authorization


def test_a_digest_is_rfc_2617_s_own_example(monkeypatch):
    monkeypatch.setattr(probe.secrets, "token_hex", lambda count: "0a4f113b")
    challenge = 'Digest realm="testrealm@host.com", qop="auth", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5c"'
    answer = authorization(parse_address("http://Mufasa:Circle Of Life@host/dir/index.html"), challenge)
    assert 'response="6629fae49393a05397450978507c4ef1"' in answer and 'opaque="5c"' in answer


def test_an_rtsp_digest_without_qop_is_what_a_gstreamer_server_takes():
    challenge = 'Digest realm="GStreamer RTSP Server", nonce="3feaf6fcdcfc5ba1"'
    answer = authorization(parse_address("rtsp://user:p@ss#1@127.0.0.1:8603/x"), challenge)
    assert 'uri="rtsp://127.0.0.1:8603/x"' in answer and "qop" not in answer


def test_user_and_password_are_sent_when_they_are_asked_for():
    camera = MjpegServer(credentials="Basic dTpwQHNzIzE=")  # u:p@ss#1
    statuses = [ask(parse_address(f"http://{user}{camera.place}/")).status for user in ("u:p@ss#1@", "u:wrong@", "")]
    camera.die()
    assert statuses == [200, 401, 401]


def test_an_rtsp_server_s_description_is_the_body():
    camera = RtspServer(1.0)
    reply = ask(parse_address(camera.url))
    camera.die()
    assert reply.status == 200 and "m=video" in reply.body
    assert camera.requests[0].startswith("DESCRIBE ")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200])
def test_what_is_no_http_is_a_value_error(answer):
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(ValueError):
            ask(parse_address(f"http://127.0.0.1:{server.server_address[1]}/"))
