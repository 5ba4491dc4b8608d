"""The track synthesiser against closed forms, as a function of all controls, and as any module of torch."""

import copy
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.func import functional_call
from tracks_reference import reference

from ddaudio.errors import OptionError
from ddaudio.nn import NoiseSynth, TrackSynth, synthesise_tracks
from ddaudio.synthesis.tracks import Knots

F = torch.float64


def controls(*shape: int, dtype: torch.dtype = F, seed: int = 0) -> list[torch.Tensor]:
    """Return frequencies in Hz below 3,500, amplitudes and phases."""
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(3, *shape, generator=generator, dtype=F)
    return [part.to(dtype) for part in (200 + 3300 * unit[0], 0.1 + unit[1], 6 * unit[2])]


def test_a_glide_is_a_chirp_whatever_the_knots() -> None:
    """Linear frequency from 500 to 2,500 Hz over 8,000 samples at 16 kHz: the phase is its integral."""
    time = torch.arange(8000, dtype=F) / 16000
    slope = 2000 / (7999 / 16000)
    wanted = torch.cos(2 * math.pi * (500 * time + slope * time**2 / 2) + 0.7)
    for n_knots in (2, 3, 50):
        frequency_hz = torch.linspace(500, 2500, n_knots, dtype=F)[None, None]
        found = synthesise_tracks(
            frequency_hz, torch.ones_like(frequency_hz), 16000, 8000, phase=torch.full((1, 1, 1), 0.7, dtype=F)
        )
        torch.testing.assert_close(found[0], wanted, rtol=0, atol=1e-10)  # 4,700 rad, each knot rounded to 1e-12


def test_phases_given_are_those_of_the_cubic() -> None:
    frequency_hz, amplitude, phase = controls(2, 3, 5)
    times_s = torch.tensor([0.001, 0.01, 0.0225, 0.03, 0.05], dtype=F)
    found = synthesise_tracks(frequency_hz, amplitude, 8000, 500, phase=phase, times_s=times_s)
    radians = frequency_hz * (2 * math.pi / 8000)
    values = (part.flatten() for part in ((times_s * 8000).expand(2, 3, 5), amplitude, radians, phase))
    knots = Knots(torch.full((6,), 5), *values)
    torch.testing.assert_close(found, torch.tensor(reference(knots, [0, 0, 0, 1, 1, 1], (2, 500))), rtol=0, atol=1e-11)


def test_the_same_controls_at_another_rate_are_the_same_sound() -> None:
    """Every third sample at 48 kHz is one at 16 kHz, if the knots are at the same times."""
    frequency_hz, amplitude, _ = controls(1, 4, 6)
    times_s = torch.linspace(0, 0.05, 6, dtype=F)
    low, high = (synthesise_tracks(frequency_hz, amplitude, 16000 * up, 800 * up, times_s=times_s) for up in (1, 3))
    torch.testing.assert_close(high[:, ::3], low, rtol=0, atol=1e-10)


def test_the_phase_is_exact_after_ten_minutes() -> None:
    """A constant tone of 440 Hz at 2 kHz has 11 periods in 50 samples: it is known at each sample; required is 1e-4 rad."""
    rate, n_samples = 2000, 2000 * 600
    times_s = torch.tensor([0.0, 300.0, 599.9, 600.0], dtype=F)
    frequency_hz = torch.full((1, 1, 4), 440.0)
    amplitude = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])
    found = synthesise_tracks(frequency_hz, amplitude, rate, n_samples, times_s=times_s)[0, -200:]
    n = torch.arange(n_samples - 200, n_samples)
    assert float((found - torch.cos(2 * math.pi * (n * 440 % rate).double() / rate)).abs().max()) < 1e-4


@pytest.mark.parametrize("log_amplitude", [False, True])
def test_gradients_by_all_controls(log_amplitude: bool) -> None:
    frequency_hz, amplitude, phase = controls(2, 2, 3)
    times_ms = torch.tensor([0.53, 2.13, 4.31], dtype=F).expand(2, 2, 3).clone()

    def render(
        khz: torch.Tensor, amplitude: torch.Tensor, phase: torch.Tensor | None = None, times_ms: torch.Tensor | None = None
    ) -> torch.Tensor:
        # In kHz and ms, so that differences of 1e-6 are small for all.
        times_s = None if times_ms is None else times_ms / 1000
        return synthesise_tracks(1000 * khz, amplitude, 8000, 40, phase=phase, times_s=times_s, log_amplitude=log_amplitude)

    inputs = [part.requires_grad_() for part in (frequency_hz / 1000, amplitude, phase, times_ms)]
    assert torch.autograd.gradcheck(render, inputs)
    assert torch.autograd.gradcheck(render, inputs[:2])


def test_knots_outside_of_the_band_are_silent() -> None:
    frequency_hz = torch.tensor([[[-5.0, 0.0, 0.0], [4000.0, 9000.0, 4000.0], [440.0, 440.0, 440.0]]], requires_grad=True)
    amplitude = torch.ones(1, 3, 3, requires_grad=True)
    found = synthesise_tracks(frequency_hz, amplitude, 8000, 300)
    torch.testing.assert_close(found, synthesise_tracks(frequency_hz[:, 2:], amplitude[:, 2:], 8000, 300))
    found.square().sum().backward()
    assert frequency_hz.grad is not None
    assert amplitude.grad is not None
    assert bool((amplitude.grad[0, :2] == 0).all())
    assert bool((frequency_hz.grad[0, :2] == 0).all())
    assert bool((frequency_hz.grad[0, 2] != 0).all())


def test_a_batch_is_its_sounds_one_by_one() -> None:
    """64 sounds in float32, in blocks of another length than each alone; relative to the peak, 1e-6 is required."""
    frequency_hz, amplitude, _ = controls(64, 4, 20, dtype=torch.float32)
    whole = synthesise_tracks(frequency_hz, amplitude, 16000, 16000)
    alone = [synthesise_tracks(*(part[row : row + 1] for part in (frequency_hz, amplitude)), 16000, 16000) for row in range(64)]
    assert float((whole - torch.cat(alone)).abs().max() / whole.abs().max()) < 1e-6


class Encoder(torch.nn.Module):
    """A network whose last layers are the synthesisers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 24)
        self.tracks, self.noise = TrackSynth(8000, 400), NoiseSynth(8000, 400, seed=3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        first, second, third = self.linear(features).view(-1, 3, 2, 4).unbind(1)
        return self.tracks(1000 + 500 * torch.tanh(first), torch.sigmoid(second)) + self.noise(third - 40)


def gradients(network: torch.nn.Module, features: torch.Tensor) -> list[torch.Tensor]:
    found = network(features)
    return [found.detach(), *torch.autograd.grad(found.square().sum(), list(network.parameters()))]


def test_they_are_modules_like_any_other() -> None:
    torch.manual_seed(0)
    own, twin, features = Encoder(), Encoder(), torch.randn(5, 3)
    twin.load_state_dict(own.state_dict())
    wanted = gradients(own, features)
    for other in (twin, copy.deepcopy(own)):
        torch.testing.assert_close(gradients(other, features), wanted, rtol=0, atol=0)
    torch.testing.assert_close(functional_call(own, dict(own.named_parameters()), (features,)), wanted[0], rtol=0, atol=0)
    assert str(own.tracks) == "TrackSynth(sample_rate=8000, n_samples=400, log_amplitude=False)"
    assert str(own.noise) == "NoiseSynth(sample_rate=8000, n_samples=400, seed=3)"


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own, when it compiles
def test_a_compiled_network_does_the_same() -> None:
    torch.manual_seed(0)
    own, features = Encoder(), torch.randn(5, 3)
    compiled = torch.compile(own, backend="eager")
    torch.testing.assert_close(gradients(compiled, features), gradients(own, features))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"frequency_hz": torch.ones(2, 3, 1)}, r"frequency_hz is \[2, 3, 1\]; allowed: \[batch, tracks, knots\] with 2 knots"),
        ({"frequency_hz": torch.ones(2, 3)}, r"frequency_hz is \[2, 3\]"),
        ({"amplitude": torch.ones(2, 3, 5)}, r"amplitude is \[2, 3, 5\]; allowed: \[2, 3, 4\]"),
        ({"phase": torch.ones(2, 1, 4)}, r"phase is \[2, 1, 4\]; allowed: \[2, 3, 4\], as frequency_hz, or \[2, 3, 1\]"),
        ({"amplitude": torch.full((2, 3, 4), math.nan)}, "amplitude has 24 values NaN or infinite"),
        ({"frequency_hz": torch.full((2, 3, 4), math.inf)}, "frequency_hz has 24 values"),
        ({"sample_rate": 0}, "sample_rate is 0; allowed: above 0"),
        ({"n_samples": 1}, "n_samples is 1; allowed: 2 or more"),
        ({"times_s": torch.tensor([0.0, 0.1, 0.1, 0.2])}, "times_s does not rise"),
        ({"times_s": torch.tensor([0.0, 0.1, math.nan, 0.2])}, "times_s does not rise"),
        ({"times_s": torch.tensor([0.0, 0.1])}, r"times_s is \[2\]; allowed: \[2, 3, 4\] or \[4\]"),
        ({"times_s": torch.tensor([0.0, 1e-6, 2e-6, 3e-6])}, "shorter than two samples"),
    ],
)
def test_bad_controls_are_refused(changed: dict[str, Any], said: str) -> None:
    fine = {"frequency_hz": torch.full((2, 3, 4), 440.0), "amplitude": torch.ones(2, 3, 4), "sample_rate": 8000, "n_samples": 50}
    with pytest.raises(OptionError, match=said):
        synthesise_tracks(**fine | changed)


def test_no_sound_and_no_track_are_silent() -> None:
    assert synthesise_tracks(torch.zeros(2, 0, 4), torch.zeros(2, 0, 4), 8000, 50).tolist() == [[0.0] * 50] * 2
    assert synthesise_tracks(torch.zeros(0, 3, 4), torch.zeros(0, 3, 4), 8000, 50).shape == (0, 50)
    with pytest.raises(OptionError, match="n_samples is 0"):
        TrackSynth(8000, 0)


def test_the_example_of_the_docs_learns() -> None:
    page = (Path(__file__).parents[2] / "docs" / "synths.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"print": lambda _: None}
    exec(block, names)
    # 0.49 and 0.12 were measured.
    assert names["after"] < names["before"] / 2.5
