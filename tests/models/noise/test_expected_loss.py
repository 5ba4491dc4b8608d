"""Losses on expected power: where they are least, and that they are differentiable."""

import pytest
import torch

from ddaudio.models.noise.expected_loss import expected_loss
from ddaudio.models.noise.grid import NoiseGrid
from ddaudio.models.noise.network import NoiseNetwork
from ddaudio.options.noise import NoiseLossName

RATE, N_SAMPLES = 16000, 32000
NAMES: tuple[NoiseLossName, ...] = ("erb", "mss", "mel")


def white(seed: int = 0) -> torch.Tensor:
    return torch.randn(1, N_SAMPLES, generator=torch.Generator().manual_seed(seed)) / 10


def flat(level_db: float) -> NoiseNetwork:
    """Return noise of one level, dB re full scale squared per Hz, at all times and frequencies."""
    return NoiseNetwork(NoiseGrid(RATE, N_SAMPLES), 1, torch.zeros(1).long(), torch.tensor([level_db]), -200.0)


TRUE_DB = 10 * float(torch.tensor(2 / RATE * 0.01).log10())
"""Density of white noise of variance 0.01."""


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_white_noise_is_least_at_its_own_level(name: NoiseLossName) -> None:
    """Within 0.75 dB: the median of magnitudes in mel bands, of several bins each, is nearer to the mean than that of a bin."""
    target = white()
    offsets = torch.arange(-4, 4.25, 0.25)
    layers = [flat(TRUE_DB + float(offset)) for offset in offsets]
    loss = expected_loss(name, target, layers[0])
    values = torch.stack([loss(torch.zeros_like(target), layer) for layer in layers]).detach()
    assert abs(float(offsets[values.argmin()])) <= 0.75
    assert float(values.min()) < 0.8 * float(values[0])


@pytest.mark.parametrize("name", NAMES)
def test_waves_that_are_the_recording_need_no_noise(name: NoiseLossName) -> None:
    target = white()
    loss = expected_loss(name, target, flat(TRUE_DB))
    alone, both = (loss(target, flat(level_db)).detach() for level_db in (-200.0, TRUE_DB))
    assert float(alone) == pytest.approx(0, abs=1e-6)
    assert float(both) > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_by_levels_is_that_of_differences(name: NoiseLossName) -> None:
    """Central differences of 0.05 dB; absolute differences have kinks, which add up to a few per cent."""
    target, waves = white(), white(1)
    layer = flat(TRUE_DB + 3)
    loss = expected_loss(name, target, layer)
    loss(waves, layer).backward()  # type: ignore[no-untyped-call]
    up, down = (float(loss(waves, flat(TRUE_DB + 3 + step)).detach()) for step in (0.05, -0.05))
    assert layer.heights_db.grad is not None
    assert float(layer.heights_db.grad[0]) == pytest.approx((up - down) / 0.1, rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_reaches_the_waves(name: NoiseLossName) -> None:
    target, waves = white(), (0.5 * white()).requires_grad_()
    expected_loss(name, target, flat(TRUE_DB - 20))(waves, flat(TRUE_DB - 20)).backward()  # type: ignore[no-untyped-call]
    assert waves.grad is not None
    # Louder waves of the same form would be nearer.
    assert float((waves.grad * target).sum()) < 0
