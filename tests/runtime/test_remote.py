"""The client's side without a server; with a real one: tests/serving."""

from __future__ import annotations

import pytest

pytest.importorskip("tritonclient.http")

from sacvit.bundle.errors import UsageError
from sacvit.runtime.cli import main
from sacvit.runtime.remote import RemotePipeline


@pytest.mark.parametrize("address", ["localhost:8000", "grpc://localhost:8001", "http://", "http://a/b", "x"])
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
