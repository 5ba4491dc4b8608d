"""The examples of docs/extending.md, and packages that register rows by entry points."""

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ddaudio.options.registry import Registry

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


def example(heading: str) -> str:
    """Return the first code block of a section of the page."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]


def install(site: Path, module: str, group: str, name: str, code: str) -> None:
    """Write a module to a folder, with the metadata of a package that registers its ``SPEC``."""
    site.mkdir(exist_ok=True)
    (site / f"{module}.py").write_text(code, encoding="utf-8")
    metadata = site / f"{module}-1.5.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.5\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:SPEC\n", encoding="utf-8")


@contextmanager
def site_packages(folder: Path, monkeypatch: pytest.MonkeyPatch, registries: Iterable[Registry[Any]]) -> Iterator[Path]:
    """Make packages of a folder importable within the block, and read the registries again after it."""
    monkeypatch.syspath_prepend(folder)
    try:
        yield folder
    finally:
        monkeypatch.undo()
        for path in folder.glob("*.py"):
            sys.modules.pop(path.stem, None)
        for registry in registries:
            registry.refresh()
