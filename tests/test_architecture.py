"""The layout of design.md, section 4: packages, who imports whom, and what runs without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOT_PACKAGES = {"tests", "docs", "examples", "benchmarks", "demo", "build", "dist", "runs", "data"}
MAY_IMPORT = {
    "bundle": set(),
    "model": {"bundle"},
    "training": {"bundle", "model"},
    "calibration": {"bundle"},
    "export": {"bundle", "model", "calibration", "runtime"},
    "runtime": {"bundle"},
    "profiles": {"bundle", "calibration", "model", "runtime"},
    "serving": {"bundle", "runtime"},
}


def package_folders() -> list[Path]:
    found = [path.parent for path in ROOT.glob("*/**/__init__.py")]
    return [
        folder
        for folder in found
        if folder.relative_to(ROOT).parts[0] not in NOT_PACKAGES
        and not folder.relative_to(ROOT).parts[0].startswith(".")
    ]


def test_packages_are_the_folders():
    named = {".".join(("sacvit", *folder.relative_to(ROOT).parts)) for folder in package_folders()}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == named | {"sacvit"}


def test_the_type_checker_reads_every_package():
    assert set(PROJECT["tool"]["mypy"]["files"]) == {"__init__.py", *MAY_IMPORT}
    assert PROJECT["tool"]["pyright"]["include"] == PROJECT["tool"]["mypy"]["files"]


def test_every_folder_has_its_place_in_the_order():
    assert {folder.relative_to(ROOT).parts[0] for folder in package_folders()} == set(MAY_IMPORT)


def imported_packages(path: Path) -> set[str]:
    """The packages of ours that a file imports; an absolute import of sacvit counts as 'sacvit'."""
    here = path.relative_to(ROOT).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = (*here[: len(here) - node.level + 1], *(node.module or "").split("."))
            found.add(base[0])
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found |= {"sacvit" for name in names if name.split(".")[0] == "sacvit"}
    return found


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_a_package_imports_only_what_stands_below_it(package):
    for path in (ROOT / package).rglob("*.py"):
        assert imported_packages(path) <= MAY_IMPORT[package] | {package}, path


BLOCKED = ("torch", "onnx", "onnxscript", "onnx_graphsurgeon", "sklearn", "skimage", "matplotlib")


def test_the_devices_side_imports_without_torch():
    modules = [
        ".".join(("sacvit", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for package in ("bundle", "runtime", "profiles")
        for path in (ROOT / package).rglob("*.py")
    ]
    modules += [
        f"sacvit.export.{name}" for name in ("build", "build_cli", "ladder", "plan", "progress", "verify", "worker")
    ]
    inside_triton = {"metrics", "model", "stages"}  # they import what only its stub offers
    modules += [
        f"sacvit.serving.{path.stem}" for path in (ROOT / "serving").glob("*.py") if path.stem not in inside_triton
    ]
    blocked = f"import sys\nfor name in {BLOCKED}: sys.modules[name] = None\n"
    code = blocked + "".join(f"import {module}\n" for module in modules) + "from sacvit import Pipeline, Gate, Result\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("before", ["", "import sacvit.export.graphs; ", "from sacvit.export.export import export; "])
def test_export_is_a_function_whatever_was_imported_before(before):
    code = f"{before}from sacvit import export\ntry: export('missing.pth')\nexcept Exception as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("missing.pth does not exist"), done.stderr


def test_importing_sacvit_loads_nothing_heavy():
    code = "import sys, sacvit; sys.exit(bool({'torch', 'cv2', 'numpy', 'onnxruntime'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_can_be_had():
    import sacvit

    for name in sacvit.__all__:
        assert callable(getattr(sacvit, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sacvit.nothing


@pytest.mark.parametrize(
    "command",
    ["sacvit-build", "sacvit-export", "sacvit-profile", "sacvit-run", "sacvit-serve", "sacvit-train", "sacvit-tune"],
)
def test_help_imports_nothing_heavy(command):
    """What keeps --help under 300 ms; the time itself depends on the machine."""
    module, _, function = PROJECT["project"]["scripts"][command].partition(":")
    block = "import sys\nfor name in ('torch', 'numpy', 'cv2', 'onnx', 'onnxruntime'): sys.modules[name] = None\n"
    code = f"{block}from {module} import {function}\n{function}(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"usage: {command}" in done.stdout, done.stderr


def test_no_wheel_displaces_the_systems_opencv_on_a_jetson():
    opencv = [line for line in PROJECT["project"]["dependencies"] if line.startswith("opencv")]
    assert opencv and all("platform_machine != 'aarch64'" in line for line in opencv)


def test_forbidden_packages_are_nowhere():
    text = (ROOT / "pyproject.toml").read_text() + (ROOT / "constraints.txt").read_text()
    lines = [line for line in text.splitlines() if not line.strip().startswith("#")]
    for name in ("jetson_stats", "jetson-stats", "ultralytics", "torchvision", "timm"):
        assert not any(name in line for line in lines)


def test_no_dumping_ground_has_a_name():
    names = {path.stem for folder in package_folders() for path in folder.iterdir()}
    assert not names & {"utils", "helpers", "common", "misc"}
