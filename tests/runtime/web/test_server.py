"""Requests of scripts, of Prometheus, and of people who should not be here."""

from __future__ import annotations

import json
import shutil
import socket
import threading

import pytest
from answers import make_answer

from sacvit.bundle.stored_gate import read_tuned
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.web import connections, server
from sacvit.runtime.web.threshold import LiveThreshold

TOKEN = "correct-horse-battery"
WAIT_S = 20.0


def test_the_state_says_what_runs_and_what_was_answered(serve):
    served = serve()
    served.view.write(make_answer(label="hex <nut>"))
    status, text, headers = served.ask("/api/state")
    state = json.loads(text)
    assert status == 200 and headers["content-type"].startswith("application/json")
    assert state["about"]["engine"] == "an engine" and state["frames"] == 1
    assert state["cameras"][0]["last"]["label"] == "hex <nut>"


def test_health_is_503_once_a_camera_gives_no_frames(serve):
    served = serve("front", "rear")
    assert served.ask("/healthz")[0] == 200
    served.view.counters.clock = lambda: served.view.counters.cameras[1].since_s + 11.0
    served.view.counters.cameras[0].since_s += 5.0
    status, text, _ = served.ask("/healthz")
    assert status == 503
    assert [one["is_stalled"] for one in json.loads(text)["cameras"]] == [False, True]


def test_a_threshold_that_is_put_holds_for_the_next_pass(serve):
    served = serve()
    status, text, _ = served.ask("/api/threshold", "PUT", {"threshold": 0.75})
    assert status == 200 and json.loads(text)["threshold"] == 0.75 and served.chain.threshold == 0.75


@pytest.mark.parametrize(
    "body",
    [
        {"threshold": 1.5},
        {"threshold": "0.5"},
        {"threshold": 0.5, "more": 1},
        {},
        [],
        b"{",
        b"\xff",
        b'{"threshold": NaN}',
    ],
)
def test_a_body_that_is_none_changes_nothing(serve, body):
    served = serve()
    status, text, _ = served.ask("/api/threshold", "PUT", body)
    assert status == 400 and json.loads(text)["error"] and served.chain.threshold == 0.5


def test_a_body_of_another_type_is_refused(serve):
    """A page of another origin can send text/plain without being asked; JSON it cannot."""
    served = serve()
    assert served.ask("/api/threshold", "PUT", {"threshold": 0.1}, {"Content-Type": "text/plain"})[0] == 415
    assert served.chain.threshold == 0.5


def test_a_body_that_is_too_long_is_refused(serve):
    assert serve().ask("/api/threshold", "PUT", b" " * (server.BODY_BYTES + 1))[0] == 413


def test_a_threshold_is_stored_only_on_request(serve, engines, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(engines[0].rpartition("/")[0], bundle)
    pipeline = Pipeline.load(bundle / "ee.onnx", bundle / "sac.onnx")
    served = serve(threshold=LiveThreshold(pipeline, pipeline.ee.path, pipeline.ee.record))
    served.ask("/api/threshold", "PUT", {"threshold": 0.7})
    assert read_tuned(pipeline.ee.path, pipeline.ee.record) is None
    status, text, _ = served.ask("/api/threshold", "PUT", {"threshold": 0.7, "save": True})
    assert status == 200 and {"name": "stored", "threshold": 0.7} in json.loads(text)["marks"]
    assert Pipeline.load(bundle / "ee.onnx", bundle / "sac.onnx").threshold == 0.7


def test_a_threshold_that_cannot_be_stored_is_set_all_the_same(serve):
    served = serve()
    status, text, _ = served.ask("/api/threshold", "PUT", {"threshold": 0.7, "save": True})
    assert status == 409 and "not stored" in json.loads(text)["error"] and served.chain.threshold == 0.7


@pytest.mark.parametrize(
    "path", ["/../server.py", "/%2e%2e/server.py", "/page/../../server.py", "//etc/passwd", "/style.css/..", "/no"]
)
def test_only_what_is_in_the_table_is_served(serve, path):
    status, text, _ = serve().ask(path)
    assert status in (400, 404) and "import" not in text


def test_every_answer_forbids_foreign_scripts(serve):
    served = serve()
    for path in ("/", "/view.js", "/metrics", "/no"):
        headers = served.ask(path)[2]
        assert (
            "default-src 'none'" in headers["content-security-policy"]
            and headers["x-content-type-options"] == "nosniff"
        )
        assert headers["server"] == "sacvit"


@pytest.mark.parametrize("name", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "[::1", ""])
def test_without_a_token_the_host_must_be_this_machine(serve, name):
    assert serve().ask("/api/state", headers={"Host": name})[0] in (400, 403)


@pytest.mark.parametrize("path", ["/ws", "/api/threshold"])
def test_a_page_of_another_origin_may_not_ask(serve, path):
    assert serve().ask(path, headers={"Origin": "http://evil.example"})[0] == 403


@pytest.mark.parametrize(
    "path", ["/metrics", "/healthz", "/api/state", "/api/threshold", "/ws", "/view.js", "/uplot.js"]
)
@pytest.mark.parametrize(
    "given", [{}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": TOKEN}, {"Cookie": "sacvit-1=a"}]
)
def test_with_a_token_nothing_is_answered_without_it(serve, path, given):
    assert serve(token=TOKEN).ask(path, headers=given)[0] == 401


def test_a_script_brings_the_token_in_a_header(serve):
    assert serve(token=TOKEN).ask("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})[0] == 200


def test_a_browser_gets_a_cookie_for_the_token_and_a_clean_address(serve):
    served = serve(token=TOKEN)
    status, _, headers = served.ask(f"/?token={TOKEN}")
    cookie = headers["set-cookie"]
    assert status == 303 and headers["location"] == "/"
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert served.ask("/api/state", headers={"Cookie": cookie.partition(";")[0]})[0] == 200


@pytest.mark.parametrize("path", ["/", "/?token=wrong"])
def test_a_browser_without_the_token_is_asked_for_it(serve, path):
    status, text, _ = serve(token=TOKEN).ask(path)
    assert status == 401 and 'name="token"' in text and TOKEN not in text


def is_ended(connection: socket.socket) -> bool:
    """Whether the server has ended the connection; waits for it."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def connect(served) -> socket.socket:
    host, port = served.place.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=WAIT_S)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: loc",
        b"PUT /api/threshold HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    ],
)
def test_a_client_that_is_slow_is_disconnected(serve, monkeypatch, sent):
    monkeypatch.setattr(connections, "REQUEST_S", 0.2)
    monkeypatch.setattr(server, "BODY_S", 5.0)
    with connect(serve()) as slow:
        slow.sendall(sent)
        assert is_ended(slow)


def test_connections_beyond_the_limit_are_dropped_and_the_others_stay(serve, monkeypatch):
    monkeypatch.setattr(connections, "MOST", 2)
    served = serve()
    with connect(served) as first, connect(served), connect(served) as third:
        assert is_ended(third)
        first.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert first.recv(12) == b"HTTP/1.1 200"


def test_the_end_of_the_run_ends_the_server(serve):
    served = serve()
    served.view.close()
    with pytest.raises(OSError):
        served.ask("/")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("web-")]


def test_sensors_that_fail_are_reported_once_and_the_page_goes_on(serve, caplog):
    served = serve()

    def fail():
        raise OSError(5, "Input/output error")

    served.view.sensors._read = fail
    served.view.sensors.update()
    served.view.sensors.update()
    assert caplog.text.count("cannot be read") <= 1
    assert served.ask("/api/state")[0] == 200
