"""The ladder of modules, and documentation that must stay true."""

import ast
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import ddaudio

ROOT = Path(__file__).parents[1]
RUNGS = (
    {"errors", "meeting"},
    {"options.checks", "sealed"},
    {"options.losses", "options.networks", "options.recordings"},
    {"options.training"},
    {"options.fit"},
    {"options"},
    {"histogram", "spool"},
    {"survey"},
    {"wav"},
    {"audio"},
    {"grid"},
    {"beside", "tree"},
    {"recipes.stepping", "recipes.transport"},
    {"recipes.notches", "recipes.windows"},
    {"recipes"},
    {"factored"},
    {"nufft"},
    {"oscillators"},
    {"losses.base", "losses.pairs", "losses.pointwise", "losses.spectrograms", "losses.penalties"},
    {"losses.differences", "losses.foreign", "losses.spectral"},
    {"losses.named"},
    {"losses.objective"},
    {"losses", "mdct", "noisiness", "stft_distance"},
    {"metrics"},
    {"models.partials"},
    {"models.pursuit"},
    {"models.base", "models.descended"},
    {"models.bank"},
    {"models.ladders"},
    {"models.sine", "models.cascade", "models.surrogate", "models.sines"},
    {"models.siren", "models.stack"},
    {"models.double_dutch", "models.double_dutch.ladder"},
    {"models.double_dutch.gates"},
    {f"models.double_dutch.{name}" for name in ("fold", "walk", "shape", "start")},
    {"models.double_dutch.trees"},
    {f"models.double_dutch.{name}" for name in ("sizing", "binary", "tangent")},
    {"models.double_dutch.network", "models.sums"},
    {"models"},
    {"models.company"},
    {"allocation", "averaging", "checkpoints", "division", "gauss_newton", "optimisers", "rendering", "schedules"},
    {"threads"},
    {"training", "landscape"},
    {"landscape_figure"},
    {"refining"},
    {"blocks", "unit_sizing"},
    {"passes"},
    {"fitting"},
    {"model_file", "tables", "saved"},
    {"playing"},
    {"report.contents", "report.history", "report.pictures"},
    {"report.evidence", "report.listening", "report.words"},
    {"report.page"},
    {"report.gallery", "report.figures"},
    {"report.notebook"},
    {"report"},
    {"export"},
    {"crews"},
    {f"batching.{name}" for name in ("names", "places", "settings")},
    {"batching.finding", "batching.rows"},
    {"batching.durations", "batching.standing", "batching.summary"},
    {"batching.pages", "batching.task"},
    {"batching.fits"},
    {"batching.run"},
    {"batching"},
    {"comparing.results", "comparing.settings", "comparing.stretches"},
    {"comparing.page", "comparing.task"},
    {"comparing.run"},
    {"comparing"},
)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "ddaudio").with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ddaudio"):
            module = (node.module or "").removeprefix("ddaudio").lstrip(".")
            inside = {f"{module}.{alias.name}".lstrip(".") for alias in node.names}
            modules = {name for name in inside if (ROOT / "ddaudio" / f"{name.replace('.', '/')}.py").exists()}
            names |= modules or ({module} if module else {alias.name for alias in node.names})
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "ddaudio").rglob("*.py")), ids=module_name)
def test_a_module_imports_from_lower_rungs_only(path: Path) -> None:
    name = module_name(path)
    if name == "__init__":
        return
    rung = next((index for index, rung in enumerate(RUNGS) if name in rung), None)
    assert rung is not None, f"{name} stands on no rung: give it one"
    above = imported(path) - set().union(*RUNGS[:rung])
    assert not above, f"{name} imports {above}, which stand beside or above it"


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
