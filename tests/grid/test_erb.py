"""The ERB-number scale against published values."""

import pytest
import torch

from ddaudio.grid.erb import erb_hz, erb_number, evenly_spaced_hz


def test_the_scale_counts_equivalent_rectangular_bandwidths() -> None:
    hz = torch.tensor([50.0, 1000.0, 10000.0], dtype=torch.float64)
    # Glasberg and Moore (1990), equation 3: ERB = 24.7 (0.00437 f + 1); a step of one ERB is one Cam.
    erb = 24.7 * (0.00437 * hz + 1)
    # The second derivative makes the difference quotient 0.5 % off over half an ERB; 21.4 and 24.7 are rounded to three digits.
    assert torch.allclose(erb_number(hz + erb / 2) - erb_number(hz - erb / 2), torch.ones(3, dtype=torch.float64), rtol=0.01)
    assert float(erb_number(torch.tensor(0.0))) == 0


def test_the_inverse_undoes_the_scale() -> None:
    hz = torch.linspace(0, 24000, 100, dtype=torch.float64)
    assert torch.allclose(erb_hz(erb_number(hz)), hz, rtol=1e-12, atol=1e-9)


def test_even_spacing_has_equal_steps_and_both_ends() -> None:
    hz = evenly_spaced_hz(50, 16000, 25)
    assert hz[[0, -1]].tolist() == pytest.approx([50, 16000], rel=1e-12)
    steps = erb_number(hz).diff()
    assert torch.allclose(steps, steps[:1].expand(24), rtol=1e-10)
