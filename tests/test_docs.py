"""The documentation against the program: every command line is accepted, every flag exists, every TOML block loads."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from commands import chirp, run
from cyclopts import CycloptsError
from ddaudio_cli.app import app

from ddaudio.options import FitOptions, option_tables, read_settings
from ddaudio.options.compare import CompareOptions, read_variants
from ddaudio.options.search import SearchOptions

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "recordings" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = (
    "fit",
    "batch",
    "compare",
    "search",
    "edit",
    "morph",
    "render",
    "info",
    "export",
    "import",
    "report",
    "play",
    "landscape",
)
FOREIGN = {"log-cosh", "tsv"}
"""Names that the examples of docs/extending.md register."""


def fences(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def spans(text: str) -> list[str]:
    """Return the inline code of a page, each on one line."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def command_lines(text: str) -> Iterator[str]:
    """Yield what follows ``ddaudio`` in code blocks, indented code and inline code that names a command."""
    lines = [line for block in fences(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    lines += [line for line in text.splitlines() if line.startswith("    ddaudio ")]
    for line in [*lines, *spans(text)]:
        found = re.match(rf"(?:.*&& |\s*)(?:uv run )?ddaudio ((?:{'|'.join(COMMANDS)})\b.*)", line)
        if found:
            yield found[1].partition(" > ")[0].partition(" #")[0].replace("$SOUNDS", "a.wav b.wav")


def arguments_of(line: str) -> list[str]:
    """Return the arguments of a line; one without arguments names a command, and gets those that it needs."""
    arguments = [word for word in shlex.split(line) if not word.startswith("--help")]
    needs = {"batch": ["sounds", "--out", "fits"], "landscape": ["--tone", "1000"], "render": ["bark-fit", "--out", "bark.wav"]}
    is_bare = len(arguments) == 1 or arguments[1:] == ["--dry-run"]
    return [*arguments, *needs.get(arguments[0], ["bark.wav"])] if is_bare else arguments


def check_settings(command: str, given: dict[str, Any]) -> None:
    """Check the values of settings as the command does before its work."""
    settings = dict(given.get("settings") or {})
    if command in ("fit", "batch"):
        FitOptions().with_settings(settings)
    elif command == "compare":
        how = dict(given.get("how") or {})
        if "variants" in how:
            how["variants"] = str(ROOT / how["variants"])
        CompareOptions(**how).entries(settings)


PARSED = [pytest.param(line, id=f"{page.name}: {line}") for page in PAGES for line in command_lines(page.read_text("utf-8"))]


@pytest.mark.parametrize("line", PARSED)
def test_every_command_line_is_accepted(line: str) -> None:
    arguments = arguments_of(line)
    if not FOREIGN & set(arguments):
        _, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        check_settings(arguments[0], bound.arguments)


def sounds_for(arguments: list[str], folder: Path) -> list[str]:
    """Write short sounds under the names of recordings and folders in ``folder``; return arguments that name existing files."""
    given = list(arguments)
    for place, word in enumerate(arguments[1:], 1):
        is_sound = Path(word).suffix in (".wav", ".flac", ".ogg") and arguments[place - 1] != "--out"
        if is_sound or (arguments[0] == "batch" and place == 1):
            path = folder / word.lstrip("/") / ("" if is_sound else "a.wav")
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, chirp(), 8000)
            given[place] = word.lstrip("/")
    return given


RUN = [line for line in PARSED if re.match(r"(fit|batch)\b(?!.*(FOLDER|RECORDING|s3:|--help|--resume))", str(line.values[0]))]


@pytest.mark.parametrize("line", RUN)
def test_every_fit_can_be_planned(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands run as far as the plan, on a short sound: settings that contradict each other are refused there."""
    arguments = sounds_for(arguments_of(line), tmp_path)
    monkeypatch.chdir(tmp_path)
    if not FOREIGN & set(arguments):
        code, out, err = run(*arguments, *({"--dry-run"} - {*arguments}))
        assert code == 0, err
        assert out


def test_command_lines_are_found_in_blocks_in_indented_and_in_inline_code() -> None:
    block = "```sh\npip install uv && uv run ddaudio play c # x\n```\n"
    text = f"`ddaudio fit\na.wav` and\n\n    ddaudio info b.wav\n\n{block}`ddaudio.fit`"
    assert list(command_lines(text)) == ["play c", "info b.wav", "fit a.wav"]
    assert {str(line.values[0]).split()[0] for line in PARSED} == set(COMMANDS)


def flags() -> set[str]:
    """Return the flags of all commands."""
    found = {"--help", "--help-all", "--version", "--install-completion"}
    for name in COMMANDS:
        for argument in app[name].assemble_argument_collection():
            found |= {text for text in argument.names if text.startswith("--")}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_of_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = {flag for span in spans(text) if "pytest" not in span for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*", span)}
    assert sorted(named - flags()) == []


def accepting(span: str) -> bool:
    """Return whether any command takes the flags of a span."""
    for line in (
        "fit a.wav",
        "batch in --out out",
        "compare a.wav",
        "search a.wav",
        "render m --out a.wav",
        "report a",
        "export m",
        "edit m --out out",
        "morph m n --out out",
        "import a.sdif --out out",
        "landscape a.wav",
    ):
        try:
            app.parse_args([*shlex.split(line), *shlex.split(span)], exit_on_error=False, print_error=False)
        except CycloptsError:
            continue
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_value_of_a_flag_is_accepted(page: Path) -> None:
    given = [span for span in spans(page.read_text(encoding="utf-8")) if re.match(r"--[a-z-]+ [^-A-Z]", span)]
    assert [span for span in given if not FOREIGN & set(span.split()) and not accepting(span)] == []


TOML = [
    pytest.param(block, id=f"{page.name}-{place}")
    for page in PAGES
    for place, block in enumerate(fences(page.read_text("utf-8"), "toml"))
]


@pytest.mark.parametrize("block", TOML)
def test_every_toml_block_loads(block: str, tmp_path: Path) -> None:
    """As settings, as ranges of a search, as variants of a comparison, or as the entry points of a package."""
    tables = tomllib.loads(block)
    path = tmp_path / "block.toml"
    path.write_text(block, encoding="utf-8")
    if "project" in tables:
        assert all(group.startswith("ddaudio.") for group in tables["project"]["entry-points"])
    elif set(tables) <= {*option_tables(), "recording"}:
        FitOptions().with_settings(read_settings(path))
    elif all(isinstance(table, dict) and set(table) <= {"log", "linear", "choice"} for table in tables.values()):
        assert SearchOptions(ranges=str(path)).entries({"model": "sine"})
    else:
        entries = CompareOptions(variants=str(path)).entries({})
        assert {entry.variant for entry in entries} == set(read_variants(path)) != set()
