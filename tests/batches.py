"""What the tests of batches share: small sounds, quick settings, and what a batch has left behind."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ddaudio.parallel.executors import Executor, SerialExecutor

QUICK: dict[str, Any] = {"model": "sine", "frame_s": 0.05, "steps": 1, "exchanges": 0, "target_snr_db": 10.0}
"""Settings of a fit that takes some hundredths of a second."""
FLAGS = ("--model", "sine", "--frame", "0.05", "--steps", "1", "--exchanges", "0", "--target-snr", "10")
"""The same on the command line."""
FILES = {"resynth.wav", "residual.wav", "model.safetensors", "fit.toml", "report.json"}


def work_alone(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """Let this process do what a module asks a crew to do."""

    @contextmanager
    def nobody_else(*_: object) -> Iterator[Executor]:
        yield SerialExecutor()

    monkeypatch.setattr(module, "make_executor", nobody_else)


def write_tone(path: Path, place: int = 0, duration_s: float = 0.1) -> Path:
    """Write a tone with a little noise, another one for each place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = 0.02 * np.random.default_rng(place).standard_normal(round(8000 * duration_s))
    soundfile.write(path, 0.5 * np.sin(2 * math.pi * (200 + 37 * place) / 8000 * np.arange(noise.size)) + noise, 8000)
    return path


def write_tones(folder: Path, count: int) -> Path:
    """Write tones into a folder, every third one into a folder below."""
    for place in range(count):
        write_tone(folder / ("sub" if place % 3 == 2 else ".") / f"tone {place}.wav", place)
    return folder


def fits(output: Path) -> dict[str, dict[str, Any]]:
    """Return the reports of all fits below an output, by folder; none of them may be in part."""
    found = {}
    for path in output.rglob("report.json"):
        assert {file.name for file in path.parent.iterdir()} - {"report.html"} == FILES, path
        found[path.parent.relative_to(output).as_posix()] = json.loads(path.read_text())
    return found


def models(output: Path) -> dict[str, bytes]:
    """Return what was fitted, to the bit, by folder."""
    return {folder: (output / folder / "model.safetensors").read_bytes() for folder in fits(output)}


def assert_same_sounds(output: Path, expected: Path) -> None:
    """Check that two batches fitted the same, however their recordings were put into stacks."""
    one, other = fits(output), fits(expected)
    assert sorted(one) == sorted(other)
    for folder in one:
        assert one[folder]["model"]["n_parameters"] == other[folder]["model"]["n_parameters"]
        sounds = (soundfile.read(place / folder / "resynth.wav", dtype="float32")[0] for place in (output, expected))
        # Float32 sums in another order, as in `test_beside.assert_alike`; tones of two places differ by their whole level.
        np.testing.assert_allclose(*sounds, rtol=0, atol=5e-4)
