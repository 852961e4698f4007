"""Starting and stopping a Triton here: what is told when it does not start, and what is left behind."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import pytest

from sacvit.bundle.errors import DeviceError, SacvitError
from sacvit.serving import local
from sacvit.serving.local import LocalServer

pytestmark = pytest.mark.programs


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_an_environment_without_triton_is_told_and_nothing_is_left(home: Path) -> None:
    with pytest.raises(DeviceError, match=r"holds no Triton for python3.*pip install nvidia-pytriton"):
        LocalServer(home / "models", home / "environment")
    assert not list(home.iterdir())


def test_a_server_that_never_gets_ready_is_ended_and_its_log_told(
    triton: Path, python_repository: Path, home: Path
) -> None:
    """Triton waits without end for a model whose model.py is missing."""
    shutil.copytree(python_repository, home / "models")
    (home / "models" / "sacvit" / "1" / "model.py").unlink()
    with pytest.raises(SacvitError, match=r"(?s)Triton is not ready after 1\.5 s:\n.*Python model file not found"):
        LocalServer(home / "models", triton, start_s=1.5)
    assert [path.name for path in home.iterdir()] == ["models"]


def test_a_repository_may_have_moved_to_where_a_shell_would_need_quotes(
    triton: Path, python_repository: Path, home: Path
) -> None:
    moved = home / "my $(models)' 2"
    shutil.copytree(python_repository, moved)
    with LocalServer(moved, triton, start_s=20) as server:
        assert server.get(server.ports.http, "/v2/models/sacvit/ready")[0] == 200
    assert list(home.iterdir()) == [moved] and (moved / "sacvit" / "config.pbtxt").is_file()


def test_the_server_runs_the_callers_own_sacvit(triton: Path, python_repository: Path, home: Path) -> None:
    """Not the one that its environment holds, which may be older: the backend ignores PYTHONPATH."""
    shutil.copytree(python_repository, home / "models")
    model = home / "models" / "sacvit" / "1" / "model.py"
    model.write_text("import sacvit, os.path\nraise RuntimeError(f'from {os.path.realpath(sacvit.__file__)}.')\n")
    with pytest.raises(SacvitError, match=f"from {re.escape(str(Path(local.__file__).resolve().parents[1]))}/__init__"):
        LocalServer(home / "models", triton)
