"""The client's side without a server; with a real one: tests/serving."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tritonclient.http")

from tritonclient.utils import InferenceServerException

from sacvit.bundle.errors import EngineError, SacvitError, UsageError
from sacvit.commands.run import main
from sacvit.serving import client as remote
from sacvit.serving.client import RemotePipeline, ServerBusyError


@pytest.mark.parametrize(
    "address",
    "x localhost:8000 grpc://localhost:8001 http:// http://a/b http://a?b http://a#b http://a:b http://a:70000 http://a:0"
    f" http://[::1 http://.:8 http://{'a' * 64}:8 http://me:secret@a".split(),
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match=r"give an address such as http://127\.0\.0\.1:8000"):
        RemotePipeline(address)


@pytest.mark.parametrize("options", [["--overlap"], ["--deadline-ms", "5"], ["--hysteresis", "1"], ["--shadow", "0.1"]])
def test_what_only_engines_here_can_do_is_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--server", "http://127.0.0.1:9", "--camera", "x", *options]) == 2
    assert f"{options[0]} needs engines here: with --server the gate is the server's" in capsys.readouterr().err


def test_a_provider_for_a_server_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--server", "http://127.0.0.1:9", "--camera", "x", "--provider", "cpu"]) == 2
    assert "--provider is for engines here" in capsys.readouterr().err


def test_engines_and_a_server_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--server", "http://127.0.0.1:9", "--engine", "a", "b", "--camera", "x"]) == 2
    assert "--engine EE SAC or --server URL" in capsys.readouterr().err


def test_a_wrong_threshold_is_told_before_the_server_is_asked() -> None:
    with pytest.raises(UsageError, match=r"the threshold must lie in \[0, 1\], found 2"):
        RemotePipeline("http://127.0.0.1:9", 2.0)


# Somebody else's server


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes], str]]:
    """A function that gives the address of a server with one answer."""
    servers = []

    def answer(status: int, body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield answer
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"\xff\xfe"])
def test_a_server_that_is_no_triton_is_told(answering: Any, body: bytes) -> None:
    with pytest.raises(EngineError, match=r"answers as no Triton does .* Is it the server's HTTP port"):
        RemotePipeline(answering(200, body))


def test_a_triton_without_the_model_is_told(answering: Any) -> None:
    body = json.dumps({"error": "Request for unknown model: 'sacvit' is not found"}).encode()
    with pytest.raises(EngineError, match=r"does not serve the model sacvit: Request for unknown .*sacvit-serve"):
        RemotePipeline(answering(404, body))


def test_a_server_s_own_error_is_told_in_a_line(answering: Any) -> None:
    with pytest.raises(SacvitError, match=r"http://127\.0\.0\.1:\d+: .*gateway") as fault:
        RemotePipeline(answering(502, b"bad\n\ngateway"))
    assert "\n" not in str(fault.value)


WHOLE = {"format": 1, "threshold": 0.5, "preprocessing": {"image_size": 8}, "labels": None, "grid": 2, "max_batch": 4}
WHOLE |= {"temperature": 1.0, "max_queue": 8, "stages": []}


@pytest.mark.parametrize(
    "about",
    [[], {"format": 2}]
    + [{key: value for key, value in WHOLE.items() if key != left_out} for left_out in WHOLE]
    + [WHOLE | wrong for wrong in ({"threshold": 5}, {"preprocessing": {"image_size": "x"}}, {"grid": None})],
)
def test_a_config_that_is_not_ours_or_damaged_is_told(answering: Any, about: Any) -> None:
    config = {"parameters": {"sacvit": {"string_value": json.dumps(about)}}}
    with pytest.raises(EngineError, match="its model sacvit was not written by this sacvit-serve"):
        RemotePipeline(answering(200, json.dumps(config).encode()))


@pytest.mark.parametrize("missing", ["tritonclient.http", "geventhttpclient"])
def test_a_client_library_that_is_missing_or_came_without_http_is_told(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("tritonclient.http", "geventhttpclient"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)  # type: ignore[arg-type]
    assert main(["--server", "http://127.0.0.1:9", "--camera", "x"]) == 1
    assert capsys.readouterr().err.endswith("which is not installed. pip install 'sacvit[client]'\n")


# A busy server


class Busy:
    """A server that refuses so many times before it answers."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    def infer(self, *_: Any, **__: Any) -> Any:
        self.refusals -= 1
        if self.refusals >= 0:
            raise InferenceServerException("busy: 64 images are waiting", status="503")
        return self

    def as_numpy(self, name: str) -> np.ndarray:
        if name in ("label", "stage"):
            return np.array([[b"EE"]], object)
        return np.zeros((1, 2, 2), np.int32) if name == "target_map" else np.zeros((1, 1), np.float32)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", taken.append)
    return taken


def asking(answering: Any, refusals: int) -> RemotePipeline:
    config = {"parameters": {"sacvit": {"string_value": json.dumps(WHOLE)}}}
    pipeline = RemotePipeline(answering(200, json.dumps(config).encode()))
    pipeline._server = Busy(refusals)
    return pipeline


def test_a_busy_server_is_asked_again_after_growing_pauses(answering: Any, pauses: list[float]) -> None:
    assert asking(answering, 2).run(1)[0].stage == "EE" and pauses == [0.1, 0.2]


def test_a_server_that_stays_busy_is_told(answering: Any, pauses: list[float]) -> None:
    with pytest.raises(
        ServerBusyError, match=r"refused: .*busy: 64 images are waiting.* More --instances or servers would help"
    ):
        asking(answering, 99).run(1)
    assert len(pauses) == 5
