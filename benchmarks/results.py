"""Where figures go: one section a command in ``benchmarks/RESULTS.md``, with the machine, versions and date."""

import os
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import torch

from ddaudio import __version__

RESULTS = Path(__file__).with_name("RESULTS.md")
SHORT_FOLDERS = ("barks", "birds", "speech", "instruments", "percussion", "field")
HEAD = """# Results

Each section is written by the command in its title; good and bad rows alike. Recordings are real sounds that are not
part of this repository (`DDAUDIO_RECORDINGS` names their folder); each is fitted at its own rate, with its channels.
"""


def recordings(*folders: str) -> list[Path]:
    """Return the real recordings in some folders, sorted; exits with a message where there are none."""
    root = Path(os.environ.get("DDAUDIO_RECORDINGS", Path(__file__).parents[2] / "shared" / "recordings"))
    found = sorted(path for folder in folders for path in (root / folder).glob("*") if path.is_file())
    if not found:
        raise SystemExit(f"no recordings below {root}: set DDAUDIO_RECORDINGS to their folder")
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def write_section(name: str, title: str, lines: Sequence[str]) -> None:
    """Print a section and put it in place of the older one of the same name."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    versions = f"ddaudio {__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    made = f"`python -m benchmarks {name}` on {machine}; {versions}; {date.today().isoformat()}."
    section = "\n".join([f"## {name}: {title}", "", made, "", *lines, ""])
    print(section)
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else HEAD
    sections = {part.split(":")[0]: f"## {part}" for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]}
    sections[name] = section + "\n"
    body = "\n".join(part.rstrip("\n") + "\n" for _, part in sorted(sections.items()))
    RESULTS.write_text(HEAD + "\n" + body, encoding="utf-8")
