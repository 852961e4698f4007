"""Triton on this machine from the wheel nvidia-pytriton: the real server with its Python backend, for trials and tests.

    python3 -m venv .venv-triton
    .venv-triton/bin/pip install nvidia-pytriton==0.7.0 'opencv-python<4.12' '.[cpu]'

Production uses NVIDIA's container; this needs neither a container nor a GPU. It has its own environment, because the wheel's
Python backend is built against NumPy 1: with NumPy 2 it answers with tensors without data.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType

from ..bundle.errors import DeviceError, SacvitError
from ..machine.jetson import process_memory_mib

START_S = 120.0  # the server itself would wait forever for a model that hangs
HTTP_THREADS = 32  # each open connection takes one
POLL_S = 0.1
HARMLESS = "CudaDriverHelper has not been initialized"  # of an error that is logged at every start without a GPU
LOG_LINES = 15  # of the server's log in a message


@dataclass(frozen=True)
class Ports:
    """Ports of the server's three services on the loopback address."""

    http: int
    grpc: int
    metrics: int


class LocalServer:
    """Serves a model repository with this sacvit until it is closed.

    environment: the virtual environment with the wheel and what sacvit[cpu] needs.
    backends: a folder with more backends, one folder each. strict: a model that does not load ends the server.
    Raises DeviceError where the wheel is missing, SacvitError with the log's errors when the models do not load.
    """

    def __init__(
        self,
        repository: Path,
        environment: Path,
        *,
        backends: Path | None = None,
        strict: bool = True,
        start_s: float = START_S,
    ) -> None:
        site = site_of(environment)
        self._folder = Path(tempfile.mkdtemp(prefix="sacvit-triton-"))
        self.ports = Ports(*free_ports(3))
        self.url = f"127.0.0.1:{self.ports.http}"
        self.log = self._folder / "log"
        self._shared = f"sacvit{os.getpid()}_{self.ports.http}"  # of its regions in /dev/shm
        lay_out(site, self._folder / "backends", backends)
        # Under a name without spaces: the backend passes the path to a shell without quotes, and a space would hang the server.
        (self._folder / "models").symlink_to(repository.resolve())
        # The stub ignores PYTHONPATH and looks in the current folder first: server and caller run the same sacvit.
        (self._folder / "sacvit").symlink_to(Path(__file__).resolve().parents[1])
        libraries = [site / "nvidia_pytriton.libs", Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")]
        variables = {
            **os.environ,
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
            "PATH": os.pathsep.join(
                [str(environment.absolute() / "bin"), os.environ.get("PATH", "")]
            ),  # picks the stub's Python
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(  # noqa: S603
                self._command(site, strict),
                env=variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self._folder,
            )
        try:
            self._wait_until_ready(start_s)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, reason: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kills the server with its stubs, and removes what they leave in shared memory.

        Triton keeps no state. A normal stop would take it five seconds.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for left in Path("/dev/shm").glob(f"{self._shared}*"):  # noqa: S108  # where POSIX shared memory lies
            left.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def get(self, port: int, path: str) -> tuple[int, str]:
        """Status and text of a GET, as for /metrics."""
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def memory_mib(self) -> tuple[int, int]:
        """Resident memory of the server and its stubs, now and at its peak; shared memory counts in each of them."""
        now = most = 0.0
        for folder in Path("/proc").iterdir():
            try:
                is_ours = folder.name.isdigit() and os.getpgid(int(folder.name)) == self.process.pid
            except OSError:
                continue  # a process that ended meanwhile
            if is_ours and (found := process_memory_mib(int(folder.name))) is not None:
                now, most = now + found[0], most + found[1]
        return int(now), int(most)

    def _command(self, site: Path, strict: bool) -> list[str]:
        options: dict[str, object] = {
            "model-repository": self._folder / "models",
            "backend-directory": self._folder / "backends",
            "http-port": self.ports.http,
            "http-thread-count": HTTP_THREADS,
            "grpc-port": self.ports.grpc,
            "metrics-port": self.ports.metrics,
            "allow-gpu-metrics": "false",
            "exit-on-error": str(strict).lower(),
            "strict-readiness": str(strict).lower(),
            "disable-auto-complete-config": None,  # completing them would start a second stub per model
        }
        for service in ("http", "grpc", "metrics"):
            options[f"{service}-address"] = "127.0.0.1"
        command = [str(site / "pytriton" / "tritonserver" / "bin" / "tritonserver")]
        for name, value in options.items():
            command += [f"--{name}"] if value is None else [f"--{name}", str(value)]
        return [*command, "--backend-config", f"python,shm-region-prefix-name={self._shared}"]

    def _wait_until_ready(self, start_s: float) -> None:
        end = time.monotonic() + start_s
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise SacvitError(f"Triton ended with {self.process.returncode}:\n{self.tail()}")
            try:
                if self.get(self.ports.http, "/v2/health/ready")[0] == 200:
                    return
            except (OSError, HTTPException):
                pass  # not listening yet: it opens its port when the models are there
            time.sleep(POLL_S)
        raise SacvitError(f"Triton is not ready after {start_s:g} s:\n{self.tail()}")

    def tail(self) -> str:
        """The last lines on errors in the server's log; without any, its last lines."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        errors = [line for line in lines if line.startswith(("E", "error:")) and HARMLESS not in line]
        return "\n".join((errors or lines)[-LOG_LINES:])


def free_ports(count: int) -> list[int]:
    """Ports that are free now. The server itself does not take port 0."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def site_of(environment: Path) -> Path:
    """The folder of the environment's packages. Raises DeviceError where Triton is not among them."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = environment.absolute() / "lib" / version / "site-packages"
    if not (site / "pytriton" / "tritonserver").is_dir():
        raise DeviceError(
            f"{environment} holds no Triton for {version}: {environment}/bin/pip install nvidia-pytriton==0.7.0"
            f" 'opencv-python<4.12' '.[cpu]'"
        )
    return site


def lay_out(site: Path, folder: Path, more: Path | None) -> None:
    """Copies the Python backend, this Python's stub beside it, where the backend looks for it, and the backends in `more`.

    Links do not work: Triton refuses a backend whose library lies outside its folder.
    """
    server = site / "pytriton" / "tritonserver"
    shutil.copytree(server / "backends" / "python", folder / "python")
    stub = f"python_backend_stubs/{sys.version_info.major}.{sys.version_info.minor}/triton_python_backend_stub"
    shutil.copy(server / stub, folder / "python")
    if more is not None:
        shutil.copytree(more, folder, dirs_exist_ok=True)
