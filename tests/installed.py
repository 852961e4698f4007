"""Run with the Python of an empty environment, from another folder: everything of the source tree's packages is installed.

python -I tests/installed.py SOURCE_TREE
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

import sacvit

source, installed = Path(sys.argv[1]), Path(sacvit.__file__).parent
folders = [entry.parent for entry in source.glob("*/__init__.py")]
files = [path.relative_to(source) for folder in folders for path in folder.rglob("*") if path.is_file()]
missing = [
    str(path) for path in [*files, Path("py.typed")] if not (installed / path).exists() and path.suffix != ".pyc"
]
if installed.samefile(source) or missing or not files:
    sys.exit(f"{installed} lacks {', '.join(missing) or 'everything: it is the source tree'}")
commands = [entry for entry in entry_points(group="console_scripts") if entry.module.startswith("sacvit.")]
for entry in commands:
    entry.load()
print(f"{len(files)} files and {len(commands)} commands are installed in {installed}")
