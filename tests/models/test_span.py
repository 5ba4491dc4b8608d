"""Time as `span` gives it: phases of ``sine`` and ``cascade`` are those at time 0."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sounds import RATE, noise, pluck
from sounds import fit_waves as fit

import ddaudio
from ddaudio.errors import OptionError
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models import Budget, CascadeNetwork, SineNetwork
from ddaudio.options import CascadeOptions, SineOptions
from ddaudio.report import save as saving


@pytest.mark.parametrize(("span", "low", "high"), [("4,7", 4.0, 7.0), ("seconds", 0.0, 255 / RATE), ("-2,3", -2.0, 3.0)])
def test_trained_phases_are_those_at_time_0(span: str, low: float, high: float) -> None:
    time = np.linspace(low, high, 256)
    grid, target = TimeGrid.of_sizes(RATE, 256, [[256]]), noise(0.032)
    sine, cascade = SineNetwork(grid, SineOptions(span=span)), CascadeNetwork(grid, CascadeOptions(span=span))
    for network in (sine, cascade):
        network.initialise(target.double(), Budget(6), "peaks", torch.Generator())
    # Radians per unit of time: the frame's 255 steps take high - low.
    rate = 255 / (high - low)
    values = {name: (getattr(sine, name) * sine.scales[name]).detach().numpy() for name in ("frequency", "cosine", "sine")}
    angle = values["frequency"][:, None] * rate * time
    total = values["cosine"] @ np.cos(angle) + values["sine"] @ np.sin(angle)
    # Float64, with frequencies and amplitudes that were float32.
    np.testing.assert_allclose(sine.estimate()[0].detach().numpy(), total, atol=1e-6)
    frequency = (cascade.frequency * cascade.step_rad).detach().numpy()
    amplitude = (cascade.amplitude * cascade.unit).detach().numpy()
    angle = frequency[:, None] * rate * time + cascade.phase.detach().numpy()[:, None]
    np.testing.assert_allclose(cascade.estimate()[0].detach().numpy(), amplitude @ np.cos(angle), atol=1e-6)


@pytest.mark.parametrize("model", ["sine", "cascade"])
def test_a_span_changes_the_descent_but_not_the_model(model: str, tmp_path: Path) -> None:
    """The same start; frequency and phase are coupled, so Adam takes another way. Files are those without a span."""
    settings: dict[str, Any] = {"model": model, "optimiser": "adam", "exchanges": 0, "partials": 4}
    plain, other = (fit(pluck(0.3), span=span, steps=0, **settings) for span in (None, "4,7"))
    assert other.snr_db == pytest.approx(plain.snr_db, abs=1e-3)
    plain, other = (fit(pluck(0.3), span=span, steps=20, **settings) for span in (None, "4,7"))
    assert other.snr_db != plain.snr_db
    saving.save_fit(other, tmp_path / "fit", html=False)
    again = ddaudio.load_model(tmp_path / "fit")
    # Phases of some hundred radians in float32.
    torch.testing.assert_close(again.estimate(), other.network.estimate(), atol=1e-3, rtol=0)
    assert again.options.span is None


@pytest.mark.parametrize(
    ("span", "said"), [("7,4", "two rising numbers"), ("4", "two rising numbers"), ("4,x", "numbers separated")]
)
def test_bad_spans_are_refused(span: str, said: str) -> None:
    for model in ("sine", "cascade"):
        with pytest.raises(OptionError, match=re.escape(said)):
            fit(pluck(0.1), model=model, span=span)


def test_a_turn_of_time_is_no_change_of_frequency() -> None:
    tone = torch.cos(0.3 * torch.arange(512.0) + math.pi / 5)[None]
    network = SineNetwork(TimeGrid.of_sizes(RATE, 512, [[512]]), SineOptions(span="4,7"))
    network.initialise(tone, Budget(1), "peaks", torch.Generator())
    assert float(network.natural()["frequency"]) == pytest.approx(0.3, abs=1e-3)
