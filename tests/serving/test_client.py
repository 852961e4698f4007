"""The client's side without a server; with a real one: tests/serving."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sacvit.bundle.errors import EngineError, SacvitError, UsageError
from sacvit.commands.run import main
from sacvit.serving import client as remote
from sacvit.serving.client import RemotePipeline, ServerBusyError
from sacvit.serving.description import About


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


# A server that may be anybody's


class Scripted:
    """A server with an answer for GET, and answers for POST in turn; the last one is repeated."""

    def __init__(self, config: tuple[int, bytes], *answers: tuple[int, bytes, str]) -> None:
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.reply(*config, "")

            def do_POST(self) -> None:
                header = self.rfile.read(int(self.headers["Inference-Header-Content-Length"]))
                pixels = int(self.headers["Content-Length"]) - len(header)
                script.requests.append((json.loads(header), self.rfile.read(pixels)))
                self.reply(*answers[min(len(script.requests), len(answers)) - 1])

            def reply(self, status: int, content: bytes, header_bytes: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Inference-Header-Content-Length", header_bytes)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None: ...

        self.requests: list[tuple[Any, bytes]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def start(*answers: Any) -> Scripted:
        made.append(Scripted(*answers))
        return made[-1]

    yield start
    for one in made:
        one.server.shutdown()
        one.server.server_close()


def config_of(about: Any) -> tuple[int, bytes]:
    text = about if isinstance(about, str) else json.dumps(about)
    return 200, json.dumps({"parameters": {"sacvit": {"string_value": text}}}).encode()


@pytest.mark.parametrize(
    ("status", "content", "kind", "message"),
    [
        (200, b"<html>welcome</html>", EngineError, "was not written by this sacvit-serve"),
        (200, b"\xff\xfe", EngineError, "was not written by this sacvit-serve"),
        (
            404,
            b'{"error":"unknown model"}',
            EngineError,
            r"does not serve the model sacvit: unknown model\. .*sacvit-serve",
        ),
        (502, b"bad\n\ngateway", SacvitError, r"http://127\.0\.0\.1:\d+: bad gateway$"),
        (302, b"", SacvitError, "HTTP status 302"),
        (500, b'{"error":' + b"[" * 10_000, SacvitError, r"\[\["),
        (500, b'{"error":"' + b"x" * 10_000 + b'"}', SacvitError, "xxx"),
    ],
)
def test_a_server_without_our_model_is_reported_in_a_line(
    scripted: Any, status: int, content: bytes, kind: type[SacvitError], message: str
) -> None:
    with pytest.raises(kind, match=message) as fault:
        RemotePipeline(scripted((status, content)).url)
    assert "\n" not in str(fault.value) and len(str(fault.value)) < 500


WHOLE = {"format": 2, "threshold": 0.5, "preprocessing": {"image_size": 8}, "labels": None, "grid": 2, "max_batch": 4}
WHOLE |= {"temperature": 1.0, "max_queue": 8, "stages": [], "classes": 3}


@pytest.mark.parametrize(
    "about",
    [[], {"format": 1}, "[" * 100_000, json.dumps(WHOLE).replace("8}", '8, "crop_ratio": NaN}')]
    + [{key: value for key, value in WHOLE.items() if key != left_out} for left_out in WHOLE if left_out != "format"]
    + [
        WHOLE | wrong
        for wrong in (
            {"threshold": 5},
            {"temperature": 0},
            {"preprocessing": {"image_size": "x"}},
            {"preprocessing": {"image_size": 30_000}},
            {"grid": None},
            {"grid": 9},
            {"max_batch": 0},
            {"max_batch": 10**9},
            {"classes": -1},
            {"labels": ["a"]},
            {"labels": ["a", "b", 3]},
            {"labels": ["a", "b", "\ud800"]},
            {"labels": ["a", "b", "c" * 1001]},
            {"stages": [{}]},
            {"more": 1},
        )
    ],
)
def test_a_config_that_is_not_ours_or_damaged_is_refused(scripted: Any, about: Any) -> None:
    with pytest.raises(EngineError, match="its model sacvit was not written by this sacvit-serve") as fault:
        RemotePipeline(scripted(config_of(about)).url)
    assert len(str(fault.value)) < 500


@pytest.fixture
def good(columns: Any, answer_of: Any) -> tuple[int, bytes, str]:
    return 200, *answer_of(columns)


BUSY = 503, b'{"error":"busy: 64 images are waiting"}', ""


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(remote, "time", SimpleNamespace(sleep=taken.append))
    return taken


@pytest.mark.parametrize(("threshold", "parameters"), [(None, {}), (0.25, {"eta": 0.25})])
def test_the_request_holds_the_images_and_the_threshold_that_was_given(
    scripted: Any, about: About, good: Any, threshold: float | None, parameters: Any
) -> None:
    server = scripted(config_of(about.to_json()), good)
    with closing(RemotePipeline(server.url, threshold)) as pipeline:
        pipeline.image_slots(2)[:] = np.arange(2 * 8 * 8 * 3).reshape(2, 8, 8, 3) % 251
        results = pipeline.run(2)
        assert [result.label for result in results] == ["bee", "cat"]
        assert pipeline.threshold == (0.5 if threshold is None else threshold)
    header, pixels = server.requests[0]
    assert header["parameters"] == parameters and header["inputs"][0]["shape"] == [2, 1]
    start = (203).to_bytes(4, "little") + b"P6\n8 8\n255\n"
    assert pixels == b"".join(start + bytes(index % 251 for index in range(at, at + 192)) for at in (0, 192))


def test_a_threshold_that_is_set_later_goes_with_the_next_request(scripted: Any, about: About, good: Any) -> None:
    server = scripted(config_of(about.to_json()), good)
    with closing(RemotePipeline(server.url)) as pipeline:
        pipeline.threshold = 0.75
        pipeline.run(2)
        assert pipeline.gate.threshold == pipeline.threshold == 0.75
    assert server.requests[0][0]["parameters"] == {"eta": 0.75}


def test_an_answer_that_cannot_be_is_refused(scripted: Any, about: About, columns: Any, answer_of: Any) -> None:
    columns["index"][0] = 1_000_000_000
    server = scripted(config_of(about.to_json()), (200, *answer_of(columns)))
    with closing(RemotePipeline(server.url)) as pipeline, pytest.raises(EngineError, match="index is 1000000000"):
        pipeline.run(2)


def test_an_answer_that_is_too_long_is_refused(scripted: Any, about: About) -> None:
    server = scripted(config_of(about.to_json()), (200, bytes(100_000), "100000"))
    with closing(RemotePipeline(server.url)) as pipeline, pytest.raises(EngineError, match="more than the"):
        pipeline.run(2)


def test_a_busy_server_is_asked_again_after_growing_pauses(
    scripted: Any, about: About, good: Any, pauses: list[float]
) -> None:
    with closing(RemotePipeline(scripted(config_of(about.to_json()), BUSY, BUSY, good).url)) as pipeline:
        assert pipeline.run(2)[0].stage == "EE" and pauses == [0.1, 0.2]


def test_a_request_that_failed_with_another_clients_one_is_sent_again(
    scripted: Any, about: About, good: Any, pauses: list[float]
) -> None:
    other = 400, b'{"error":"incomplete string data for inference input \'image\'"}', ""
    with closing(RemotePipeline(scripted(config_of(about.to_json()), other, good).url)) as pipeline:
        assert len(pipeline.run(2)) == 2


def test_a_server_that_stays_busy_is_reported(scripted: Any, about: About, pauses: list[float]) -> None:
    server = scripted(config_of(about.to_json()), BUSY)
    with (
        closing(RemotePipeline(server.url)) as pipeline,
        pytest.raises(ServerBusyError, match=r"refused: busy: 64 images are waiting\. More --instances"),
    ):
        pipeline.run(2)
    assert len(pauses) == 5
