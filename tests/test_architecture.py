"""The layout of design.md, section 4: packages, who imports whom, and what runs without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOT_PACKAGES = {"tests", "docs", "examples", "benchmarks", "demo", "build", "dist", "runs", "data"}
# Each name may import only from the names before it, at its own level: design.md, section 4.
ORDER = {
    (): (
        *("bundle", "machine", "images", "model", "calibration", "runtime"),
        *("export", "profiles", "training", "serving", "commands"),
    ),
    ("runtime",): (
        "bounds",
        "moments",
        "options",
        "percentiles",
        "engines",
        "chain",
        "sources",
        "sinks",
        "events",
        "totals",
        "web",
        "watch",
        "loop",
        "reload",
    ),
    ("export",): (
        "plans",
        "choice",
        "graphs",
        "checks",
        "precision",
        "pair_graphs",
        "further_sacs",
        "stamp",
        "write_plain",
        "bundle_files",
        "write_bundle",
        "by_name",
    ),
    ("profiles",): (
        "power",
        "request",
        "timing",
        "conditions",
        "results",
        "estimates",
        "reports",
        "beside_run",
        "tuning",
        "profile",
    ),
}
MOST_MODULES = 14  # in a folder: what a reader takes in at a glance


def package_folders() -> list[Path]:
    found = [path.parent for path in ROOT.glob("*/**/__init__.py")]
    return [
        folder
        for folder in found
        if folder.relative_to(ROOT).parts[0] not in NOT_PACKAGES
        and not folder.relative_to(ROOT).parts[0].startswith(".")
    ]


def test_a_long_file_says_why_it_is_not_split():
    long = [path for path in modules().values() if len(path.read_text().splitlines()) > 250]
    silent = [
        path for path in long if "More than 250 lines: " not in (ast.get_docstring(ast.parse(path.read_text())) or "")
    ]
    assert not silent


def test_packages_are_the_folders():
    named = {".".join(("sacvit", *folder.relative_to(ROOT).parts)) for folder in package_folders()}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == named | {"sacvit"}


def test_every_table_beside_the_code_is_packaged():
    tables = {str(path.relative_to(ROOT)) for folder in package_folders() for path in folder.glob("*.json")}
    assert tables and tables <= set(PROJECT["tool"]["setuptools"]["package-data"]["sacvit"])


def test_the_type_checker_reads_every_package():
    assert set(PROJECT["tool"]["mypy"]["files"]) == {"__init__.py", *ORDER[()]}
    assert PROJECT["tool"]["pyright"]["include"] == PROJECT["tool"]["mypy"]["files"]


Module = tuple[str, ...]


@cache
def modules() -> dict[Module, Path]:
    """Every module of the package by its parts: ("runtime", "loop"); a package by its folder."""
    found = {}
    for folder in package_folders():
        for path in folder.glob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[parts[:-1] if parts[-1] == "__init__" else parts] = path
    return found


@cache
def imports() -> dict[Module, set[Module]]:
    """Which modules each module imports, wherever in the file the import stands."""
    known = modules()
    found: dict[Module, set[Module]] = {module: set() for module in known}
    for module, path in known.items():
        package = module if path.name == "__init__.py" else module[:-1]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = package[: len(package) - node.level + 1] + tuple(
                    (node.module or "").split(".") * bool(node.module)
                )
                for alias in node.names:
                    target = (*base, alias.name) if (*base, alias.name) in known else base
                    if target != module and target in known:
                        found[module].add(target)
            elif isinstance(node, ast.ImportFrom | ast.Import):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
                assert not any(name.split(".")[0] == "sacvit" for name in names), f"{path}: imports inside are relative"
    return found


def test_every_folder_and_file_with_an_order_stands_in_it():
    for level, names in ORDER.items():
        inside = {module[len(level)] for module in modules() if module[: len(level)] == level and module != level}
        assert inside == set(names), level


def test_each_name_imports_only_from_names_before_it():
    wrong = []
    for level, names in ORDER.items():
        for module, targets in imports().items():
            for target in targets:
                if module[: len(level)] == target[: len(level)] == level and level not in (module, target):
                    here, there = module[len(level)], target[len(level)]
                    if here != there and names.index(there) > names.index(here):
                        wrong.append(f"{'.'.join(module)} imports {'.'.join(target)}")
    assert wrong == []


def circles(edges: dict[Module, set[Module]]) -> list[list[Module]]:
    """Groups of two or more nodes that reach each other: what is left when leaves are taken away from both ends."""
    edges = {node: set(targets) for node, targets in edges.items()}
    while True:
        pointed_at = set().union(*edges.values())
        ends = {node for node, targets in edges.items() if not targets or node not in pointed_at}
        if not ends:
            return [sorted(edges)] if edges else []
        edges = {node: targets - ends for node, targets in edges.items() if node not in ends}


def test_no_two_modules_form_a_circle():
    assert circles(imports()) == []


def test_no_two_folders_form_a_circle_at_any_level():
    edges = imports()
    for depth in range(1, max(map(len, edges))):
        folders: dict[Module, set[Module]] = {module[:depth]: set() for module in edges}
        for module, targets in edges.items():
            for target in targets:
                if module[: depth - 1] == target[: depth - 1] and module[:depth] != target[:depth]:
                    folders[module[:depth]].add(target[:depth])
        assert circles(folders) == []


def test_a_circle_is_found_behind_a_chain():
    assert circles({("a",): {("b",)}, ("b",): {("c",)}, ("c",): {("b",), ("d",)}, ("d",): set()}) == [[("b",), ("c",)]]


def test_no_folder_is_crowded():
    counts = Counter(module[:-1] for module, path in modules().items() if path.name != "__init__.py")
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


BLOCKED = ("torch", "onnx", "onnxscript", "onnx_graphsurgeon", "sklearn", "skimage", "matplotlib", "jinja2", "PIL")


def test_the_devices_side_imports_without_torch():
    modules = [
        ".".join(("sacvit", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for package in ("bundle", "machine", "images", "runtime", "profiles", "export/plans")
        for path in (ROOT / package).rglob("*.py")
    ]
    modules += [f"sacvit.commands.{path.stem}" for path in (ROOT / "commands").glob("*.py")]
    inside_triton = {"metrics", "model", "stages"}  # they import what only its stub offers
    modules += [
        f"sacvit.serving.{path.stem}" for path in (ROOT / "serving").glob("*.py") if path.stem not in inside_triton
    ]
    blocked = f"import sys\nfor name in {BLOCKED}: sys.modules[name] = None\n"
    code = blocked + "".join(f"import {module}\n" for module in modules) + "from sacvit import Pipeline, Gate, Result\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "before", ["", "import sacvit.export.graphs; ", "from sacvit.export.write_bundle import export; "]
)
def test_export_is_a_function_whatever_was_imported_before(before, warm_bin):
    code = f"{before}from sacvit import export; assert callable(export)"
    done = subprocess.run([warm_bin / "python", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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
    [
        "sacvit-build",
        "sacvit-export",
        "sacvit-profile",
        "sacvit-report",
        "sacvit-run",
        "sacvit-serve",
        "sacvit-train",
        "sacvit-tune",
    ],
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
