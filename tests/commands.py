"""The command, run in this process or as a process of its own."""

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
from ddaudio_cli import main

FILES = ["fit.toml", "model.safetensors", "report.html", "report.json", "residual.wav", "resynth.wav"]
QUICK = ("--model", "sine", "--steps", "5", "--frame", "0.02")
COMMAND = [
    sys.executable,
    "-c",
    # A test run in the background is deaf to SIGINT, and so would be its children.
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from ddaudio_cli import main; sys.exit(main())",
]


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Run the command in this process; return its exit code, stdout and stderr."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder with their bytes: equal if and only if nothing was written or harmed."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def chirp(seconds: float = 0.3, sample_rate: int = 8000) -> np.ndarray:
    """Return a tone that glides from 300 to 900 Hz and dies away, with a little noise."""
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    tone = np.sin(2 * np.pi * (300 + 300 * time_s / seconds) * time_s) * np.exp(-5 * time_s)
    return (0.5 * tone + 0.01 * np.random.default_rng(3).normal(size=len(time_s))).astype(np.float32)
