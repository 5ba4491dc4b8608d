"""The noise synthesiser against the noise layer of a fit, against levels measured in its output, and by finite differences."""

import math
from typing import Any

import pytest
import torch

from ddaudio.errors import OptionError
from ddaudio.models.noise.grid import STEP_S, NoiseGrid
from ddaudio.models.noise.network import NoiseNetwork
from ddaudio.nn import NoiseSynth, synthesise_noise

F = torch.float64


def test_it_is_the_noise_of_a_fit() -> None:
    """The same seed, the same levels at the same nodes: the layer's knots are 10 ms apart."""
    grid = NoiseGrid(8000, 4000)
    generator = torch.Generator().manual_seed(0)
    places = torch.randperm(grid.rows * grid.bands, generator=generator)[:200].sort().values
    layer = NoiseNetwork(grid, 1, places, -30 * torch.rand(200, generator=generator), -300.0)
    levels_db = layer.levels_db(0).mT  # [1, bands, K]
    times_s = torch.arange(levels_db.shape[2], dtype=F) * STEP_S
    found = synthesise_noise(levels_db.detach(), 8000, 4000, seed=5, times_s=times_s)
    wanted = layer.render(0, 4000, seed=5)
    assert found.dtype == F
    # The layer computes in float32.
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-6


def test_levels_are_those_of_the_output() -> None:
    """White noise of -20 dB (in full scale squared) that falls by 40 dB over time, and noise in the upper bands only."""
    white = -20 - 10 * math.log10(8000)
    levels_db = torch.full((2, 21, 2), white)
    levels_db[0, :, 1] -= 40
    levels_db[1, :12] = -300
    falling, high = synthesise_noise(levels_db, 16000, 64000)
    # A level that is linear in time: after a quarter it is 10 dB lower. 0.5 dB are four times the scatter of 250 ms of noise.
    for share in (0.25, 0.5, 0.75):
        power = falling[round(64000 * share) - 2000 : round(64000 * share) + 2000].square().mean()
        assert 10 * math.log10(float(power)) == pytest.approx(-20 - 40 * share, abs=0.5)
    spectrum = torch.fft.rfft(high).abs().square()
    hz = torch.arange(len(spectrum)) * (16000 / 64000)
    band_12_hz = 1838.0  # of 20 intervals of 1.66 ERB up to 8 kHz; the side lobes of frames are at -45 dB
    above, below = spectrum[hz > 1.05 * band_12_hz].mean(), spectrum[hz < 0.8 * band_12_hz].mean()
    assert 10 * math.log10(float(above / below)) > 40


def test_seeds_give_bits() -> None:
    levels_db = torch.full((3, 8, 4), -60.0)
    synth = NoiseSynth(8000, 1000, seed=7)
    assert torch.equal(synth(levels_db), synth(levels_db, seed=7))
    assert torch.equal(synth(levels_db)[0], synth(levels_db)[1])
    several = synth(levels_db, seed=[7, 8, 7])
    assert torch.equal(several[[0, 2]], synth(levels_db)[[0, 2]])
    assert float((several[1] * several[0]).mean().abs() / several[0].square().mean()) < 0.2


def test_gradients_by_all_levels() -> None:
    levels_db = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=F).requires_grad_()
    assert torch.autograd.gradcheck(lambda levels: synthesise_noise(levels, 400, 30, seed=[1, 2]), [levels_db])


def test_a_batch_is_its_sounds_one_by_one() -> None:
    levels_db = torch.randn(64, 12, 5, generator=torch.Generator().manual_seed(0)) * 10 - 50
    whole = synthesise_noise(levels_db, 8000, 2000, seed=2)
    alone = torch.cat([synthesise_noise(row[None], 8000, 2000, seed=2) for row in levels_db])
    assert float((whole - alone).abs().max() / whole.abs().max()) < 1e-6


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"levels_db": torch.ones(2, 1, 4)}, r"levels_db is torch.float32 \[2, 1, 4\]; allowed: .* 2 bands and 2 knots or more"),
        ({"levels_db": torch.ones(2, 3, 1)}, r"\[2, 3, 1\]"),
        ({"levels_db": torch.full((2, 3, 4), -math.inf)}, "24 values NaN or infinite; allowed: finite levels, such as -300"),
        ({"seed": -1}, r"seed is -1; allowed: 0 to 2\^64 - 1"),
        ({"seed": [1, 2, 3]}, "there are 3 seeds for 2 sounds"),
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"sample_rate": 8000.5}, "sample_rate is 8000.5; allowed: whole numbers, 1 or more"),
        ({"n_samples": 0}, "n_samples is 0"),
        ({"times_s": torch.tensor([0.0, 1.0])}, r"times_s is \[2\]; allowed: \[4\]"),
        ({"times_s": torch.tensor([0.0, 1.0, 1.0, 2.0])}, "times_s does not rise"),
    ],
)
def test_bad_controls_are_refused(changed: dict[str, Any], said: str) -> None:
    fine = {"levels_db": torch.ones(2, 3, 4), "sample_rate": 8000, "n_samples": 50}
    with pytest.raises(OptionError, match=said):
        synthesise_noise(**fine | changed)
