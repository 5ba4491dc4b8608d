"""The notebook's questions, answered by comparisons: each by one command, which stands above its table."""

import shlex
import tempfile
from pathlib import Path

from ddaudio_cli import main

from benchmarks.results import recordings

HOW = "--time 8"
SOUNDS = {"barks": "1-100032-A.ogg", "instruments": "violin-B3.wav", "speech": "sentence-16k.wav"}
HEAD_LINES = 2
"""Lines of a table before its rows."""
QUESTIONS = {
    "pdl": "--models sine,double-dutch,cascade,siren --losses mse,mse+pdl --seeds 2",
    "lags": "--models sine,siren --initialisation random --seeds 2 --variants docs/questions/lags.toml",
    "ladders": "--models cascade --losses mse --seeds 1 --variants docs/questions/ladders.toml",
    "order": "--models cascade --losses mse --seeds 1 --variants docs/questions/order.toml",
    "schedules": "--models sine,siren --losses mse --initialisation random --seeds 2 --variants docs/questions/schedules.toml",
    "teacher": "--models sine,siren --losses mse --initialisation random --seeds 2 --variants docs/questions/teacher.toml",
    "zero": "--models sine,cascade --losses mse --seeds 1 --variants docs/questions/zero.toml",
    "growing": "--models sine,siren --losses mse --initialisation random --seeds 2 --variants docs/questions/growing.toml",
    "sums": "--models sine,siren --losses mse,mss,mse+mss,mse+pdl+mss --seeds 2",
}
"""What `ddaudio compare` is given for each question."""


def run() -> tuple[str, list[str]]:
    """Answer all; return title and lines."""
    paths = [path for folder, name in SOUNDS.items() for path in recordings(folder) if path.name == name]
    lines = [f"Recordings: {', '.join(f'`{folder}/{name}`' for folder, name in SOUNDS.items())}.", ""]
    for name, flags in QUESTIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "out")
            main(["compare", *map(str, paths), "--out", str(out), *shlex.split(f"{flags} {HOW}"), "--quiet"])
            found = (out / "table.md").read_text(encoding="utf-8").splitlines()
        # Of three recordings what all come to: of their medians, median and range.
        overall = [line for place, line in enumerate(found) if place < HEAD_LINES or line.startswith("| all ")]
        lines += [f"**{name}**: `ddaudio compare ... {flags} {HOW}`", "", *overall, ""]
        print("\n".join(lines[-len(overall) - 3 :]), flush=True)
    return "the notebook's questions, by comparisons", lines[:-1]
