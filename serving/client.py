"""The chain on a Triton server, behind the names that sacvit-run knows a pipeline by. Over HTTP; see docs/serving.md."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

import numpy as np

from ..bundle.errors import DeviceError, EngineError, SacvitError, UsageError
from ..bundle.preprocess import Fit, ImageU8
from ..runtime.chain.gate import Gate
from ..runtime.chain.pipeline import Result
from .description import GATE_MODEL, OUTPUTS, About

CONNECT_S, ANSWER_S = 5.0, 60.0
PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6)  # before a busy server is asked again: one burst must not end a run


class ServerBusyError(SacvitError):
    """The server has more to do than it can: it refused, and nothing was computed."""


class RemotePipeline:
    """A server's chain. threshold: eta that goes with every request; None leaves it to the server.

    Raises UsageError for an address that is none, DeviceError where no server answers, EngineError where it does not serve
    this model.
    """

    def __init__(self, address: str, threshold: float | None = None) -> None:
        try:
            import tritonclient.http as client
        except RuntimeError as reason:  # the package without the ones that its HTTP part needs
            raise ModuleNotFoundError(str(reason), name="tritonclient.http") from None

        parts = require_address(address)
        if threshold is not None:
            Gate(threshold)
        self.address, self._client = address.rstrip("/"), client
        self._server = client.InferenceServerClient(
            parts.netloc, ssl=parts.scheme == "https", connection_timeout=CONNECT_S, network_timeout=ANSWER_S
        )
        with self._explained():
            config = self._server.get_model_config(GATE_MODEL)
        about = About.from_config(
            config, f"{self.address}: its model {GATE_MODEL} was not written by this sacvit-serve"
        )
        self._asked = threshold
        self.threshold = about.threshold if threshold is None else threshold
        self.gate = Gate(self.threshold)
        self.preprocessing, self.labels, self.grid = about.preprocessing, about.labels, about.grid
        self.max_batch = about.max_batch
        size = self.preprocessing.image_size
        self._images = np.zeros((self.max_batch, size, size, 3), np.uint8)

    def use_fit(self, fit: Fit) -> None:
        """Squares frames another way than the bundle says."""
        self.preprocessing = replace(self.preprocessing, fit=fit)

    def image_slots(self, count: int) -> ImageU8:
        """Where the images (count, S, S, 3) of the next request go."""
        if not 1 <= count <= self.max_batch:
            raise UsageError(f"this server takes 1 to {self.max_batch} images a request, found {count}")
        return self._images[:count]

    def run(self, count: int) -> list[Result]:
        """The server's answers for the images that lie in `image_slots(count)`, in order.

        A busy server is asked again a few times; then it raises ServerBusyError.
        """
        images = self.image_slots(count)
        given = self._client.InferInput("image", list(images.shape), "UINT8")
        given.set_data_from_numpy(images)
        parameters = None if self._asked is None else {"eta": self._asked}
        for pause_s in (*PAUSES_S, None):
            try:
                with self._explained():
                    answer = self._server.infer(GATE_MODEL, [given], parameters=parameters)
                    columns = {name: self._column(answer, name, count) for name in OUTPUTS}
                break
            except ServerBusyError:
                if pause_s is None:
                    raise
                time.sleep(pause_s)
        return [self._result({name: column[place] for name, column in columns.items()}) for place in range(count)]

    def close(self) -> None:
        self._server.close()

    def _column(self, answer: Any, name: str, count: int) -> Any:
        try:
            column = answer.as_numpy(name)
        except ValueError:  # fewer bytes than the shape says: an old Triton beside NumPy 2
            column = None
        if column is None or len(column) != count:
            raise EngineError(
                f"{self.address} answered without {name}: its Python may have a NumPy that its Triton does not know."
                f" Up to 24.x: pip install 'numpy<2' there"
            )
        return column

    def _result(self, one: dict[str, Any]) -> Result:
        targets = one["target_map"].reshape(-1)
        order = np.argsort(targets, kind="stable")[np.count_nonzero(targets == 0) :]
        stage: Literal["EE", "SAC"] = "EE" if one["stage"][0] == b"EE" else "SAC"
        return Result(
            index=int(one["index"][0]),
            label=one["label"][0].decode("utf-8", "replace"),
            probability=float(one["probability"][0]),
            stage=stage,
            confidence=float(one["confidence"][0]),
            target_blocks=tuple(order.tolist()),
            ee_ms=float(one["ee_ms"][0]),
            sac_ms=None if stage == "EE" else float(one["sac_ms"][0]),
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what a client library raises into a message: what the server said, or that it is gone."""
        from geventhttpclient.response import HTTPParseError
        from tritonclient.utils import InferenceServerException

        try:
            yield
        except InferenceServerException as reason:
            text = " ".join(reason.message().split())
            if reason.status() == "404":
                raise EngineError(
                    f"{self.address} does not serve the model {GATE_MODEL}: {text}. Write it: sacvit-serve"
                ) from None
            if reason.status() == "503" or "timeout expired" in text.lower():
                raise ServerBusyError(
                    f"{self.address} refused: {text.rstrip('.')}. More --instances or servers would help"
                ) from None
            raise SacvitError(f"{self.address}: {text}") from None
        except (OSError, HTTPParseError) as reason:
            raise DeviceError(
                f"{self.address} does not answer: {str(reason).rstrip('.') or type(reason).__name__}. Is the server up?"
                f" curl {self.address}/v2/health/ready"
            ) from None
        except ValueError as reason:  # from reading an answer
            raise EngineError(
                f"{self.address} answers as no Triton does ({reason}). Is it the server's HTTP port?"
            ) from None


def require_address(address: str) -> SplitResult:
    """Its parts. Raises UsageError for what is no http://host:port, which is all that the client library takes."""
    try:
        parts = urlsplit(address)
        host = (parts.hostname or "").encode("idna")
        rest = parts.username or parts.query or parts.fragment or parts.path.strip("/")
        if parts.scheme in ("http", "https") and host and parts.port != 0 and not rest:
            return parts
    except ValueError:  # a port or a name that cannot be
        pass
    raise UsageError(f"--server {address}: give an address such as http://127.0.0.1:8000")
