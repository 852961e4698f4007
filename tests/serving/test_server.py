"""A real tritonserver with our repository: what comes back, over HTTP and gRPC, and what bad requests do to others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import DeviceError, SacvitError
from sacvit.commands.run import main as run_main
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.chain.result import Result
from sacvit.serving.client import RemotePipeline
from sacvit.serving.description import OUTPUTS, STAGE_NUMBERS
from sacvit.serving.local import LocalServer
from sacvit.serving.options import ServeOptions
from sacvit.serving.repository import write_repository

http = pytest.importorskip("tritonclient.http")
grpc = pytest.importorskip("tritonclient.grpc")
from tritonclient.utils import InferenceServerException  # noqa: E402

pytestmark = pytest.mark.programs

BACKENDS = Path(__file__).parent / "backends"
FIXED = Path(__file__).parents[1] / "runtime" / "bundles" / "fixed"


def ask(module: Any, client: Any, files: Sequence[bytes], **parameters: Any) -> dict[str, np.ndarray]:
    """The answer to one request."""
    given = module.InferInput("image", [len(files), 1], "BYTES")
    given.set_data_from_numpy(np.array([[file] for file in files], object))
    answer = client.infer("sacvit", [given], parameters=parameters or None)
    return {name: answer.as_numpy(name) for name in OUTPUTS}


def require_same(answer: dict[str, np.ndarray], results: list[Result]) -> None:
    """To 1e-5: another number of threads adds up in another order."""
    assert answer["index"][:, 0].tolist() == [result.index for result in results]
    assert [bytes(row).rstrip(b"\0").decode() for row in answer["label"]] == [result.label for result in results]
    assert answer["stage"][:, 0].tolist() == [STAGE_NUMBERS[result.stage] for result in results]
    np.testing.assert_allclose(answer["probability"][:, 0], [result.probability for result in results], atol=1e-5)
    np.testing.assert_allclose(answer["confidence"][:, 0], [result.confidence for result in results], atol=1e-5)
    for ranks, result in zip(answer["target_map"].reshape(len(results), -1), results, strict=True):
        order = sorted(np.flatnonzero(ranks).tolist(), key=lambda block: int(ranks[block]))
        assert tuple(order) == result.target_blocks


def ppm(*pictures: np.ndarray) -> list[bytes]:
    """Pixels (H, W, 3) RGB as a request takes them."""
    return [b"P6\n%d %d\n255\n" % (picture.shape[1], picture.shape[0]) + picture.tobytes() for picture in pictures]


def file_of(picture: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, picture[:, :, ::-1])[1].tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def bomb() -> bytes:
    """A PNG of a few bytes that claims 100 000 x 100 000 pixels."""
    header = (100_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def truncated_jpeg() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    file = file_of(noise, ".jpg")
    return file[: len(file) // 2]


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest, server: LocalServer) -> Iterator[Callable[..., dict[str, np.ndarray]]]:
    """Asks a server over one of its protocols."""
    module = http if request.param == "http" else grpc
    port = server.ports.http if request.param == "http" else server.ports.grpc
    with module.InferenceServerClient(f"127.0.0.1:{port}") as made:
        yield lambda files, **parameters: ask(module, made, files, **parameters)


def test_single_answers_are_the_pipeline_s(client: Any, pipeline: Pipeline, pictures: np.ndarray) -> None:
    for picture in pictures:
        require_same(client(ppm(picture)), [pipeline(picture)])


def test_a_batch_s_answers_are_the_pipeline_s_in_order(client: Any, pipeline: Pipeline, pictures: np.ndarray) -> None:
    for count in (16, 5):
        require_same(client(ppm(*pictures[:count])), pipeline(pictures[:count]))


def test_requests_that_are_batched_together_keep_their_own_answers(
    server: LocalServer, pipeline: Pipeline, pictures: np.ndarray
) -> None:
    results = pipeline(pictures)

    def several(worker: int) -> None:
        with http.InferenceServerClient(server.url) as made:
            for place in range(worker, 24, 8):
                require_same(ask(http, made, ppm(pictures[place])), [results[place]])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(several, range(8)))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_encoded_pictures_are_decoded_as_sacvit_run_does(client: Any, pipeline: Pipeline, suffix: str) -> None:
    picture = np.random.default_rng(3).integers(0, 256, (50, 70, 3), np.uint8)
    file = file_of(cv2.GaussianBlur(picture, (0, 0), 3), suffix)
    shown = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    expected = pipeline(pipeline.preprocessing.apply(shown))
    require_same(client([file, file]), [expected, expected])


def test_images_of_another_size_go_through_the_preprocessing_rule(client: Any, pipeline: Pipeline) -> None:
    image = cv2.GaussianBlur(np.random.default_rng(4).integers(0, 256, (90, 60, 3), np.uint8), (0, 0), 4)
    require_same(client(ppm(image)), [pipeline(image)])


@pytest.mark.parametrize(("eta", "stage"), [(0.0, 1), (1.0, 2), (0, 1)])
def test_eta_is_the_request_s_own(client: Any, pictures: np.ndarray, eta: float, stage: int) -> None:
    assert set(client(ppm(*pictures[:8]), eta=eta)["stage"][:, 0]) == {stage}


SMALL = np.zeros((8, 8, 3), np.uint8)
BAD: dict[str, tuple[list[bytes], dict[str, Any], str]] = {
    "no pixels": ([b"P6 8 0 255\n"], {}, "picture 0 is a PPM file of 8 x 0 pixels with 0 bytes"),
    "a pixel too few": ([ppm(SMALL)[0][:-3]], {}, "picture 0 is a PPM file of 8 x 8 pixels with 189 bytes"),
    "too many": (ppm(SMALL) * 17, {}, "send 1 to 16 images per request, found 17"),
    "too large": ([b"P6 50001 1000 255\n"], {}, "picture 0 has 50001 x 1000 pixels; the limit is 50 million"),
    "no picture": ([b"mine"], {}, "picture 0 is no picture"),
    "second": ([file_of(SMALL), b""], {}, "picture 1 is empty"),
    "truncated": ([truncated_jpeg()], {}, "picture 0 is a JPEG that was cut short: it has no end marker"),
    "bomb": ([bomb()], {}, "picture 0 has 100000 x 100000 pixels; the limit is 50 million"),
    "eta": (ppm(SMALL), {"eta": 1.5}, "eta must be a number in [0, 1], found 1.5"),
    "eta type": (ppm(SMALL), {"eta": "0.5"}, "eta must be a number in [0, 1], found '0.5'"),
    "eta bool": (ppm(SMALL), {"eta": True}, "eta must be a number in [0, 1], found True"),
    "unknown": (ppm(SMALL), {"threshold": 0.5}, "unknown parameter 'threshold': the only parameter is eta"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_told_what_is_wrong(
    python_server: LocalServer, pictures: np.ndarray, name: str, pipeline: Pipeline
) -> None:
    files, parameters, message = BAD[name]
    with http.InferenceServerClient(python_server.url) as made:
        with pytest.raises(InferenceServerException) as fault:
            ask(http, made, files, **parameters)
        assert message in fault.value.message()
        require_same(ask(http, made, ppm(pictures[0])), [pipeline(pictures[0])])


def post(server: LocalServer, header: bytes, content: bytes) -> tuple[int, str]:
    """What a client may send that uses no library."""
    with closing(HTTPConnection(server.url, timeout=60)) as connection:
        length = {"Inference-Header-Content-Length": str(len(header))}
        connection.request("POST", "/v2/models/sacvit/infer", header + content, length)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_a_parameter_that_is_not_utf_8_is_the_clients_fault(python_server: LocalServer) -> None:
    given = {"name": "image", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": 4}}
    header = json.dumps({"inputs": [given], "parameters": {"X": 1}}).encode().replace(b"X", b"\x88")
    status, answer = post(python_server, header, bytes(4))
    assert status == 400 and "the parameters are no JSON in UTF-8" in answer


@pytest.mark.parametrize(
    ("kind", "shape", "content", "message"),
    [
        ("BYTES", [0, 1], b"\3\0\0\0abc", "image must be BYTES of"),  # claims no image and carries one
        ("BYTES", [4, 1 << 62], b"", "unexpected shape"),  # 2^64 elements: 0, to who counts in 64 bits
        ("BYTES", [1, 1], b"\xff\xff\xff\xffabc", "incomplete string data"),
        ("UINT8", [1 << 30, 33, 1 << 31, 0], b"", "image"),
        ("UINT8", [4, 1 << 62, 1, 1], b"", "image"),
    ],
)
def test_a_shape_that_no_memory_holds_ends_nobody(
    python_server: LocalServer, pictures: np.ndarray, kind: str, shape: list[int], content: bytes, message: str
) -> None:
    """Of an input of numbers, Triton 2.51 makes an array of such a shape outside of our code, and its stub is gone."""
    given = {"name": "image", "shape": shape, "datatype": kind, "parameters": {"binary_data_size": len(content)}}
    status, answer = post(python_server, json.dumps({"inputs": [given]}).encode(), content)
    assert status == 400 and message in answer
    with http.InferenceServerClient(python_server.url) as made:
        ask(http, made, ppm(pictures[0]))


@pytest.mark.parametrize("name", ["label", "index"])  # one of text, one of numbers
@pytest.mark.parametrize("protocol", [http, grpc])
def test_a_client_that_asks_for_the_classes_of_an_output_does_not_end_the_server(
    server: LocalServer, pictures: np.ndarray, protocol: Any, name: str
) -> None:
    """Triton 2.51 divides by the size of an element, which for BYTES is 0."""
    port = server.ports.http if protocol is http else server.ports.grpc
    with protocol.InferenceServerClient(f"127.0.0.1:{port}") as made:
        given = protocol.InferInput("image", [2, 1], "BYTES")
        given.set_data_from_numpy(np.array([[file] for file in ppm(*pictures[:2])], object))
        answer = made.infer("sacvit", [given], outputs=[protocol.InferRequestedOutput(name, class_count=2)])
        assert len(answer.as_numpy(name)) == 2 and made.is_server_live()


def test_a_damaged_animation_does_not_end_the_process_that_decodes_it(
    python_server: LocalServer, pipeline: Pipeline, pictures: np.ndarray
) -> None:
    """OpenCV 4.11 crashes on frames that are larger than the picture: a segmentation fault for 200 bytes."""
    still = file_of(pictures[0])  # of an encoder that writes one IDAT
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 0, 7000, 64, 1, 1, 1, 0, 0))
    rows = still[33:-12]
    animated = still[:33] + frame + chunk(b"acTL", struct.pack(">II", 3, 0)) + rows + frame
    animated += chunk(b"fdAT", bytes(4) + rows[8:-4]) + still[-12:]
    with http.InferenceServerClient(python_server.url) as made:
        require_same(ask(http, made, [animated]), [pipeline(pictures[0])])


def test_a_damaged_picture_writes_nothing_into_the_server_s_log(python_server: LocalServer) -> None:
    file = file_of(np.zeros((90, 90, 3), np.uint8))
    no_picture = pytest.raises(InferenceServerException, match="picture 0 is a PNG that was cut short")
    with http.InferenceServerClient(python_server.url) as made, no_picture:
        ask(http, made, [file[: len(file) // 2]])
    assert "PNG" not in python_server.log.read_text()


def test_bad_requests_among_others_change_no_other_s_answer(
    server: LocalServer, pipeline: Pipeline, pictures: np.ndarray
) -> None:
    """Eight clients at once; every fourth request is a bad one."""
    results, bad = pipeline(pictures), list(BAD.values())

    def several(worker: int) -> int:
        refused = 0
        with http.InferenceServerClient(server.url) as made:
            for place in range(worker, 24 * 4, 8):
                if place // 8 % 4 == 0:
                    files, parameters, message = bad[place % len(bad)]
                    with pytest.raises(InferenceServerException) as fault:
                        ask(http, made, files, **parameters)
                    assert message in fault.value.message()
                    refused += 1
                number = place % 24
                require_same(ask(http, made, ppm(pictures[number])), [results[number]])
        return refused

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(several, range(8))) == 24


def metric(server: LocalServer, line: str) -> float:
    text = server.get(server.ports.metrics, "/metrics")[1]
    return float(next(row for row in text.splitlines() if row.startswith(line)).rsplit(" ", 1)[1])


def test_metrics_count_exits_survivors_and_refusals(
    server: LocalServer, pictures: np.ndarray, pipeline: Pipeline
) -> None:
    lines = [
        'sacvit_images_total{model="sacvit",stage="EE",version="1"}',
        'sacvit_images_total{model="sacvit",stage="SAC",version="1"}',
        'sacvit_requests_total{model="sacvit",outcome="answered",version="1"}',
        'sacvit_requests_total{model="sacvit",outcome="refused",version="1"}',
        'sacvit_stage_ms_count{model="sacvit",stage="SAC",version="1"}',
        'sacvit_path_ms_count{model="sacvit",path="exit",version="1"}',
        'sacvit_batch_images_sum{model="sacvit",version="1"}',
        'sacvit_batch_survivors_sum{model="sacvit",version="1"}',
    ]
    before = [metric(server, line) for line in lines]
    with http.InferenceServerClient(server.url) as made:
        ask(http, made, ppm(*pictures[:10]))
        with pytest.raises(InferenceServerException):
            ask(http, made, ppm(*pictures[:10]), eta=2.0)
    exits = sum(result.exits_early for result in pipeline(pictures[:10]))
    grown = [metric(server, line) - value for line, value in zip(lines, before, strict=True)]
    assert grown == [exits, 10 - exits, 1, 1, 1, exits, 10, 10 - exits] and 0 < exits < 10


def test_the_python_of_the_docs_runs(server: LocalServer, tmp_path: Path, pictures: np.ndarray) -> None:
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    assert cv2.imwrite(str(tmp_path / "picture.jpg"), pictures[0])
    code = code.replace("127.0.0.1:8000", server.url)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip().endswith(("[1]", "[2]")), done.stderr


# sacvit-run --server


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    timed = ("prepare_ms", "ee_ms", "sac_ms", "age_ms", "dropped", "monotonic_s", "time")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for row in rows:
        row["probability"], row["confidence"] = round(row["probability"], 4), round(row["confidence"], 4)
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


@pytest.fixture
def folder(tmp_path: Path, pictures: np.ndarray) -> Path:
    for index, picture in enumerate(pictures[:10]):
        assert cv2.imwrite(str(tmp_path / f"{index}.png"), cv2.resize(picture, (80, 60)))
    return tmp_path


@pytest.mark.parametrize("options", [[], ["--threshold", "0.9"], ["--batch", "4"]])
def test_sacvit_run_says_with_a_server_what_it_says_with_engines(
    server: LocalServer, engines: Any, folder: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    common = ["--camera", str(folder), "--json", *options]
    assert run_main(["--engine", *engines, *common]) == 0
    here = lines_of(capsys)
    assert run_main(["--server", f"http://{server.url}", *common]) == 0
    assert lines_of(capsys) == here and len(here) == 10


def test_more_images_than_the_server_takes_are_refused(
    python_server: LocalServer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(["--server", f"http://{python_server.url}", "--camera", str(folder), "--batch", "17"]) == 2
    assert "--batch 17: this server takes at most 16 images per pass" in capsys.readouterr().err


def test_a_server_that_goes_away_in_mid_stream_is_told_and_what_came_stays(
    triton: Path,
    python_repository: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, calls = RemotePipeline.run, []
    with LocalServer(python_repository, triton) as server:

        def run(self: RemotePipeline, count: int) -> list[Result]:
            calls.append(count)
            if len(calls) == 4:
                os.killpg(server.process.pid, signal.SIGKILL)
                server.process.wait()
            return whole(self, count)

        monkeypatch.setattr(RemotePipeline, "run", run)
        code = run_main(["--server", f"http://{server.url}", "--camera", str(folder), "--json"])
    captured = capsys.readouterr()
    assert code == 5 and len(captured.out.splitlines()) == 3
    assert f"http://{server.url} does not answer" in captured.err and "Traceback" not in captured.err
    assert ".." not in captured.err


def test_engines_of_a_fixed_batch_are_served_as_stages(triton: Path, pictures: np.ndarray, tmp_path: Path) -> None:
    """SAC gets the whole batch and the survivors' row there, as a plan does."""
    pair = Pipeline.load(FIXED / "ee.onnx", FIXED / "sac.onnx", provider="cpu")
    write_repository(pair, tmp_path / "models", ServeOptions(max_batch=4))
    server = LocalServer(tmp_path / "models", triton, backends=BACKENDS)
    with server, http.InferenceServerClient(server.url) as made:
        for first, last in ((0, 4), (4, 5), (5, 8), (8, 10)):
            require_same(ask(http, made, ppm(*pictures[first:last])), pair(pictures[first:last]))


# Repositories that do not work


def test_a_defect_of_ours_is_logged_with_its_place_and_told_to_no_client(
    triton: Path, python_repository: Path, tmp_path: Path
) -> None:
    shutil.copytree(python_repository, tmp_path / "models")
    model = tmp_path / "models" / "sacvit" / "1" / "model.py"
    planted = """
import sacvit.serving.model as served
served.fills_of = lambda *given: {}['a secret']
"""
    model.write_text(model.read_text() + planted)
    with LocalServer(tmp_path / "models", triton) as server, http.InferenceServerClient(server.url) as made:
        with pytest.raises(InferenceServerException, match="The reason is in the server's log") as fault:
            ask(http, made, ppm(np.ones((32, 32, 3), np.uint8)))
        assert "secret" not in str(fault.value)
        latest = time.monotonic() + 30
        while "KeyError: 'a secret'" not in (log := server.log.read_text()):  # written after the client has its answer
            assert time.monotonic() < latest, log
            time.sleep(0.02)
        assert "model.py" in log


def test_a_repository_without_an_engine_is_refused_by_name(
    triton: Path, python_repository: Path, tmp_path: Path
) -> None:
    shutil.copytree(python_repository, tmp_path / "models")
    (tmp_path / "models" / "sacvit" / "1" / "sac.onnx").unlink()
    with pytest.raises(SacvitError, match=r"models/sacvit/1 is a folder without engines"):
        LocalServer(tmp_path / "models", triton)


def test_a_server_without_the_backend_says_so_to_the_client(triton: Path, stages_repository: Path) -> None:
    with LocalServer(stages_repository, triton, strict=False) as server:
        assert "unable to find backend library for backend 'onnxruntime'" in server.tail()
        told = r"the model sacvit_ee did not answer: .*[^.]\. Where .*: sacvit-serve --python-only"
        with closing(RemotePipeline(f"http://{server.url}")) as remote, pytest.raises(SacvitError, match=told):
            remote.run(1)


def test_nobody_at_the_address_is_told() -> None:
    with pytest.raises(DeviceError, match=r"http://127\.0\.0\.1:9 does not answer: .* Is the server up"):
        RemotePipeline("http://127.0.0.1:9")


def test_another_model_by_that_name_is_told(triton: Path, python_repository: Path, tmp_path: Path) -> None:
    shutil.copytree(python_repository, tmp_path / "models")
    config = tmp_path / "models" / "sacvit" / "config.pbtxt"
    config.write_text(config.read_text().replace('\\"format\\":2', '\\"format\\":9'))
    with pytest.raises(SacvitError, match=r"Invalid enum value 9 - at `\$\.format`"):
        LocalServer(tmp_path / "models", triton)
