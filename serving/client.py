"""The chain on a Triton server, with the methods of a local pipeline that sacvit-run uses. See docs/serving.md."""

from __future__ import annotations

import time
from dataclasses import replace

import msgspec
import numpy as np

from ..bundle.errors import EngineError, SacvitError, UsageError
from ..bundle.preprocess import Fit, ImageU8
from ..runtime.chain.gate import Gate
from ..runtime.chain.result import Result
from .answers import WANTED, answer_bytes, results_of
from .connection import Answer, Connection
from .description import GATE_MODEL, MAX_JSON_BYTES, About

PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6)  # before a busy server is asked again, so that one burst does not end a run
# Parts of messages of Triton 2.51 after which a request may be sent again. The second one concerns another client's request: if
# the last element of one is cut short, Triton fails all requests that are handed over together.
TRANSIENT = ("timeout expired", "incomplete string data")
MAX_REASON_LETTERS = 300  # of a server's own error in our message


class ServerBusyError(SacvitError):
    """The server refused because too many requests wait. It computed nothing."""


class ServerFault(msgspec.Struct):
    error: str


class RemotePipeline:
    """A server's chain. threshold: eta that goes with every request; None leaves it to the server.

    Raises UsageError for a wrong address, DeviceError where no server answers, EngineError where it does not serve this
    model.
    """

    def __init__(self, address: str, threshold: float | None = None) -> None:
        self._server = Connection(address)
        self.address = self._server.address
        if threshold is not None:
            Gate(threshold)
        try:
            self._about = self._described()
        except BaseException:
            self.close()
            raise
        self._asked = threshold
        self.gate = Gate(self._about.threshold if threshold is None else threshold)
        self.preprocessing, self.labels, self.grid = self._about.preprocessing, self._about.labels, self._about.grid
        self.max_batch = self._about.max_batch
        size = self.preprocessing.image_size
        self._images = np.zeros((self.max_batch, size, size, 3), np.uint8)

    @property
    def threshold(self) -> float:
        """Eta in [0, 1]. It may be set between two requests, and then goes with every request."""
        return self.gate.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.gate.threshold = self._asked = value

    def use_fit(self, fit: Fit) -> None:
        """Makes frames square in another way than the bundle says."""
        self.preprocessing = replace(self.preprocessing, fit=fit)

    def image_slots(self, count: int) -> ImageU8:
        """The array (count, S, S, 3) for the images of the next request."""
        if not 1 <= count <= self.max_batch:
            raise UsageError(f"this server takes 1 to {self.max_batch} images per request, found {count}")
        return self._images[:count]

    def run(self, count: int) -> list[Result]:
        """The server's answers for the images in `image_slots(count)`, in order.

        A busy server is asked again a few times; then it raises ServerBusyError.
        """
        for pause_s in PAUSES_S:
            try:
                return self._infer(count)
            except ServerBusyError:
                time.sleep(pause_s)
        return self._infer(count)

    def close(self) -> None:
        self._server.close()

    def _described(self) -> About:
        found = self._server.exchange(f"/v2/models/{GATE_MODEL}/config", MAX_JSON_BYTES)
        self._require_success(found)
        whose = f"{self.address}: its model {GATE_MODEL} was not written by this sacvit-serve"
        return About.from_config(found.content, whose)

    def _infer(self, count: int) -> list[Result]:
        images = self.image_slots(count)
        size = self.preprocessing.image_size
        start = b"P6\n%d %d\n255\n" % (size, size)  # pixels as a PPM file, after its length
        start = (len(start) + images[0].nbytes).to_bytes(4, "little") + start
        body = [part for image in images for part in (start, image.data.cast("B"))]
        given = {"name": "image", "shape": [count, 1], "datatype": "BYTES"}
        request = {
            "inputs": [given | {"parameters": {"binary_data_size": sum(map(len, body))}}],
            "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in WANTED],
            "parameters": {} if self._asked is None else {"eta": self._asked},
        }
        header = msgspec.json.encode(request)
        answer = self._server.exchange(
            f"/v2/models/{GATE_MODEL}/infer",
            answer_bytes(self._about, count),
            [header, *body],
            {"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"},
        )
        self._require_success(answer)
        header_bytes = answer.headers.get("inference-header-content-length", "")
        return results_of(answer.content, header_bytes, self._about, count, self.address)

    def _require_success(self, answer: Answer) -> None:
        """Raises our error for a server's error."""
        if answer.status == 200:
            return
        try:
            text = msgspec.json.decode(answer.content, type=ServerFault).error
        except ValueError:
            text = answer.content[: 4 * MAX_REASON_LETTERS].decode("utf-8", "replace")
        text = " ".join(text.split())[:MAX_REASON_LETTERS].rstrip(".") or f"HTTP status {answer.status}"
        if answer.status == 404:
            raise EngineError(f"{self.address} does not serve the model {GATE_MODEL}: {text}. Write it: sacvit-serve")
        if answer.status == 503 or any(words in text.lower() for words in TRANSIENT):
            raise ServerBusyError(f"{self.address} refused: {text}. More --instances or servers would help")
        raise SacvitError(f"{self.address}: {text}")
