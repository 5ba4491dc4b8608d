"""The table of a noise layer: the levels are rebuilt from its rows alone, by the formula of docs/export.md."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run
from sounds import RATE, fit_waves, noise, pluck

from ddaudio.editing.tables import noise_table
from ddaudio.errors import OptionError
from ddaudio.io.audio import Recording
from ddaudio.models.noise import grid as noise_grid
from ddaudio.models.noise.fit import fit_noise
from ddaudio.models.noise.grid import STEP_S
from ddaudio.models.noise.network import NoiseNetwork
from ddaudio.report.save import save_fit

DOCS = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def documented() -> Any:
    """The function of the documentation that rebuilds levels."""
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL) if "def level_db" in block)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["level_db"]


def layer_of(sound: torch.Tensor) -> NoiseNetwork:
    return fit_noise(sound, torch.zeros_like(sound), RATE)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("chunk_intervals", [32, 2048])
def test_levels_are_rebuilt_from_the_table(
    channels: int, chunk_intervals: int, documented: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At all nodes of all channels and chunks; heights are written with all digits, so that only sums are rounded."""
    monkeypatch.setattr(noise_grid, "CHUNK_INTERVALS", chunk_intervals)
    sound = noise(0.9, channels) * torch.linspace(0.01, 1, channels)[:, None]
    sound[:, RATE // 3 : RATE // 2] /= 100  # fine hats
    layer = layer_of(sound)
    assert (layer.grid.n_chunks > 1) == (chunk_intervals == 32)
    rows = list(csv.DictReader(io.StringIO(noise_table(layer, "csv"))))
    assert len(rows) == layer.n_components() > 20
    for chunk in range(layer.grid.n_chunks):
        levels = layer.levels_db(chunk).detach().numpy()
        times = (np.arange(levels.shape[1]) + chunk * layer.grid.chunk_intervals) * STEP_S
        times[-1] -= 1e-9  # the end of a chunk belongs to the next one
        for channel in range(channels):
            found = documented(rows, channel, times[:, None], layer.grid.hz.numpy()[None])
            assert np.abs(found - levels[channel]).max() < 1e-4


def test_between_nodes_levels_are_linear_in_time_and_erb_number(documented: Any) -> None:
    layer = layer_of(noise(0.3))
    rows = list(csv.DictReader(io.StringIO(noise_table(layer, "csv"))))
    times = np.array([0.05, 0.055, 0.06])
    before, between, after = documented(rows, 0, times, 1000.0)
    assert between == pytest.approx((before + after) / 2)


def test_both_formats_have_the_same_rows_with_the_size_of_the_sound(tmp_path: Path) -> None:
    fitted = save_fit(fit_waves(Recording(noise(0.2, 2), RATE), model="noise"), tmp_path / "fit", html=False)
    assert fitted["model"]["name"] == "noise"
    code, out, err = run("export", tmp_path / "fit")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, err) == (0, "")
    assert len(rows) == fitted["model"]["n_components"]
    assert {(row["sample_rate"], row["n_samples"], row["n_signals"]) for row in rows} == {("8000", "1600", "2")}
    assert {row["signal"] for row in rows} == {"", "1"}
    listed = json.loads(run("export", tmp_path / "fit", "--format", "json")[1])
    assert [{name: "" if value is None else str(value) for name, value in one.items()} for one in listed] == rows


def test_a_sum_has_two_tables(tmp_path: Path) -> None:
    save_fit(fit_waves(pluck(), model="sine+noise", budget=200, steps=1), tmp_path / "fit", html=False)
    _, waves, note = run("export", tmp_path / "fit")
    assert "--only noise" in note
    assert run("export", tmp_path / "fit", "--only", "waves")[1:] == (waves, "")
    assert "height_db" in run("export", tmp_path / "fit", "--only", "noise")[1]
    assert "amplitude" in waves.splitlines()[0]


def test_a_model_without_noise_has_no_table_of_it() -> None:
    with pytest.raises(OptionError, match="only is 'noise', but the model 'sine' has no noise"):
        noise_table(fit_waves(pluck(0.1), steps=0).network, "csv")
