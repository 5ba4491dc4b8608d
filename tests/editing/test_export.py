"""Exported tables: the sound is rebuilt from the table alone, by the code of docs/export.md."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import chirp
from tables import CODE, rebuilt

import ddaudio
from ddaudio.io.audio import Recording

MOST_DB = -100
"""Error of a rebuilt sound: float32 samples and parameters have -140 dB each, and phases of long frames some 20 dB more."""


def recording(seconds: float, channels: int) -> Recording:
    """Return a decaying chirp, other in each channel."""
    return Recording(torch.from_numpy(np.stack([chirp(seconds)[::order] for order in (1, -1)[:channels]])), 8000)


def test_the_code_of_the_page_is_short() -> None:
    assert len([line for line in CODE[0].splitlines() if line.strip()]) <= 30


@pytest.mark.parametrize(
    ("channels", "settings"),
    [
        pytest.param(1, {"frame_s": 0.02}, id="mono, short frames"),
        pytest.param(2, {"frame_s": 0.1}, id="stereo, long frames"),
        pytest.param(2, {"frame_s": 0.05, "overlap": 0.0}, id="no fades"),
        pytest.param(1, {}, id="cells of adaptive length"),
        pytest.param(1, {"frame_s": 0.05, "window": "sine"}, id="sine"),
        pytest.param(1, {"frame_s": 0.05, "window": "triangle"}, id="triangle"),
        pytest.param(1, {"model": "double-dutch", "leaves": "sine"}, id="gate"),
        pytest.param(2, {"model": "surrogate", "frame_s": 0.05}, id="damped"),
        pytest.param(2, {"model": "surrogate", "frame_s": 0.05, "steps": 20}, id="more damped"),
        pytest.param(1, {"model": "cascade", "layer_decay": 0.9, "frame_s": 0.05}, id="cascade"),
        pytest.param(1, {"model": "cascade", "ladder": "above-nyquist", "frame_s": 0.03}, id="cascade above Nyquist"),
        pytest.param(2, {"model": "sine+surrogate", "budget": 300}, id="sum"),
    ],
)
def test_a_table_is_the_sound(channels: int, settings: dict[str, Any], tmp_path: Path) -> None:
    """The last frames end beyond the 0.27 s, which no frame length of these divides."""
    network = ddaudio.fit(recording(0.27, channels), **{"model": "sine", "steps": 3, **settings}).network
    path = tmp_path / "table.csv"
    path.write_text(ddaudio.partials_table(network, "csv"), encoding="utf-8")
    sound = network.estimate().detach().double().numpy()
    error = rebuilt(path) - sound
    assert 10 * np.log10((error**2).sum() / (sound**2).sum()) < MOST_DB
    with path.open(encoding="utf-8") as file:
        times = [float(row["time_s"]) for row in csv.DictReader(file)]
    assert len(times) > 10
    assert min(times) >= 0
    assert max(times) < 0.27


@pytest.mark.parametrize(
    "settings", [{"model": "double-dutch"}, {"model": "stack"}, {"model": "double-dutch", "reading": "binary"}]
)
def test_the_times_of_other_networks_are_within_the_sound(settings: dict[str, Any]) -> None:
    network = ddaudio.fit(recording(0.27, 1), steps=0, frame_s=0.05, **settings).network
    time_s = network.describe()["time_s"]
    assert float(time_s.min()) >= 0
    assert float(time_s.max()) <= 0.27
