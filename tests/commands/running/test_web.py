"""sacvit-run --web, as a user starts it."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from sacvit.commands.run import main

pytest.importorskip("aiohttp")
pytest.importorskip("prometheus_client")


def test_the_address_is_printed_before_the_first_frame(engines, picture_folder, capsys):
    assert main(["--engine", *engines, "--camera", str(picture_folder), "--web", "0"]) == 0
    assert re.search(r"^web view: http://127\.0\.0\.1:\d+/$", capsys.readouterr().err, re.MULTILINE)


def test_a_port_in_use_is_an_error_before_engines_are_loaded(engines, picture_folder, capsys, monkeypatch):
    monkeypatch.setattr("sacvit.commands.running.parts.load_engines", lambda *_: pytest.fail("engines were loaded"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["--engine", *engines, "--camera", str(picture_folder), "--web", str(port)]) == 2
    assert f"--web 127.0.0.1:{port}: Address already in use. Give another port" in capsys.readouterr().err


def test_without_aiohttp_the_extra_is_named(engines, picture_folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    for name in [name for name in sys.modules if ".runtime.web." in name or "commands.running" in name]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["--engine", *engines, "--camera", str(picture_folder), "--web", "0"]) == 1
    assert "pip install 'sacvit[web]'" in capsys.readouterr().err


def test_a_threshold_that_is_put_reaches_the_running_chain(engines, video):
    words = ["--engine", *engines, "--camera", str(video), "--loop", "--json", "--web", "0", "--threshold", "0"]
    code = "import sys; from sacvit.commands.run import main; sys.exit(main(sys.argv[1:]))"
    running = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None and running.stderr is not None
    try:
        place = next(found[1] for line in running.stderr if (found := re.search(r"http://(\S+)/", line)))
        assert json.loads(running.stdout.readline())["stage"] == "EE"
        with closing(http.client.HTTPConnection(place, timeout=20)) as connection:
            connection.request("PUT", "/api/threshold", '{"threshold": 1}', {"Content-Type": "application/json"})
            assert connection.getresponse().status == 200
        assert any(json.loads(line)["stage"] == "SAC" for line in running.stdout)
        running.send_signal(signal.SIGTERM)
        running.stdout.read()
        assert running.wait(20) == 130
    finally:
        running.kill()
        running.communicate()
