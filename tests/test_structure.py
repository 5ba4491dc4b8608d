"""The levels of packages, and documentation that must stay true."""

import ast
import re
import tomllib
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path

import pytest

import ddaudio

ROOT = Path(__file__).parents[1]
LEVELS = (
    {"errors"},
    {"options", "synthesis", "parallel"},
    {"io", "grid", "losses"},
    {"analysis", "metrics"},
    {"models"},
    {"training", "editing", "nn"},
    {"fitting"},
    {"results"},
    {"report"},
    {"batching", "comparing"},
)
"""Packages from the ground up: those of one level do not know each other, and each imports from lower levels only."""
FILES = sorted((ROOT / "ddaudio").rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


def imported(path: Path) -> set[str]:
    """Return the modules of ddaudio that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if whole in MODULES else node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.split(".")[0] == "ddaudio"}


def level_of(module: str) -> int:
    package = ([*module.split("."), ""])[1]
    return next(index for index, level in enumerate(LEVELS) if package in level)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "ddaudio"])
def test_a_package_imports_from_lower_levels_only(module: str) -> None:
    package = module.split(".")[1]
    others = {name for name in imported(MODULES[module]) if name.split(".")[1:2] != [package]}
    assert {name for name in others if name == "ddaudio" or level_of(name) >= level_of(module)} == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    """A package's own `__init__` counts as imported by each module that imports from the package itself."""
    graph = {name: imported(path) - {name} for name, path in MODULES.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_below_the_package_are_only_errors_and_packages() -> None:
    assert {path.stem for path in (ROOT / "ddaudio").glob("*.py")} == {"__init__", "errors"}
    assert {path.parent.name for path in (ROOT / "ddaudio").glob("*/__init__.py")} == set().union(*LEVELS) - {"errors"}


def test_tests_mirror_the_packages() -> None:
    folders = {path.parent.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("*/test_*.py")}
    assert folders == set().union(*LEVELS) - {"errors"} | {"cli"}


def test_the_public_surface_is_what_is_declared() -> None:
    assert sorted(ddaudio.__all__) == sorted(name for names in ddaudio._HOMES.values() for name in names)
    assert all(getattr(ddaudio, name).__doc__ for name in ddaudio.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = ddaudio.fitt


def test_one_version() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert ddaudio.__version__ == version("ddaudio") == declared
    assert f"## {declared}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_package_is_installed() -> None:
    """From a checkout all modules are found; from a wheel only those whose packages are named."""
    named = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    homes = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "ddaudio").rglob("*.py")}
    assert homes | {"ddaudio_cli"} == set(named)


def test_links_in_the_documents_lead_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "recordings" / "README.md"]
    links = [(page, link) for page in documents for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))]
    assert links, "no links found: the pattern is wrong"
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_the_example_of_a_page_is_made_of_what_pages_are_made_of_now() -> None:
    """`python -m benchmarks.picture` makes it anew; what is in it of the sound differs from machine to machine."""
    example = (ROOT / "docs" / "bark.html").read_text(encoding="utf-8")
    assets = [path for path in (ROOT / "ddaudio" / "report" / "assets").iterdir() if path.suffix in (".js", ".css")]
    of_galleries = {"gallery.js"}
    assert [path.name for path in assets if (path.read_text(encoding="utf-8") in example) == (path.name in of_galleries)] == []
    headings = re.findall(r"<h[23][^>]*>([^<{]+)</h", (ROOT / "ddaudio" / "report" / "assets" / "report.html.jinja").read_text())
    assert [heading for heading in headings if f">{heading}</h" not in example] == ["Tree"]
    assert f"ddaudio {version('ddaudio')}," in example


def test_the_library_names_no_flag() -> None:
    """Messages name settings; only the command line writes flags. The one exception is a command to copy from a page."""
    constants = {
        (module, node.value)
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    named = {(module, text) for module, text in constants if re.search(r"(^|[\s'\"(`])--[a-z]", text)}
    assert {module for module, _ in named} <= {"ddaudio.report.text"}, named
