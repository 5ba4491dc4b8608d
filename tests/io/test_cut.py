"""Samples cut to ones and zeros."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import RATE, pluck
from sounds import fit_waves as fit

import ddaudio
from ddaudio.errors import OptionError
from ddaudio.io.audio import Recording
from ddaudio.io.cut import cut, learned_cutoffs
from ddaudio.options import FitOptions

BARK = Path(__file__).parents[2] / "recordings" / "bark.wav"


def error_of(samples: np.ndarray, cutoff: float) -> float:
    """Squared error of the best two levels for a cutoff."""
    high = samples > cutoff
    return sum(float(((part - part.mean()) ** 2).sum()) for part in (samples[high], samples[~high]) if part.size)


def test_the_learned_cutoff_of_a_real_sound_has_the_least_error() -> None:
    """Of all cutoffs, to a bin of the histogram: against a search over 2,000 of them."""
    recording = ddaudio.read(BARK)
    samples = recording.samples[:, :][0].double().numpy()
    found = float(learned_cutoffs(recording)[0])
    errors = [error_of(samples, cutoff) for cutoff in np.linspace(samples.min(), samples.max(), 2001)[1:-1]]
    assert error_of(samples, found) <= min(errors) * (1 + 1e-3)
    ones = cut(recording, None).samples[:, :]
    np.testing.assert_array_equal(ones[0].numpy(), samples > found)


def test_channels_have_cutoffs_of_their_own_and_slices_are_those_of_the_whole() -> None:
    sound = torch.stack([torch.linspace(-1, 0, 1000), torch.linspace(0, 0.5, 1000)])
    recording = Recording(sound, RATE, "ramps")
    torch.testing.assert_close(learned_cutoffs(recording), torch.tensor([-0.5, 0.25]), atol=1e-3, rtol=0)
    found = cut(recording, None).samples
    assert torch.equal(found[:, 480:520], found[:, :][:, 480:520])
    assert torch.equal(found[1:, :], found[:, :][1:])
    assert cut(recording, -0.25).samples[:, :].mean(1).tolist() == pytest.approx([0.25, 1.0], abs=2e-3)
    assert torch.isfinite(learned_cutoffs(Recording(torch.zeros(1, 10), RATE, "silence"))).all()


def test_a_fit_is_that_of_ones_and_zeros() -> None:
    settings = {"model": "double-dutch", "reading": "binary", "depth": 6}
    results = {name: fit(pluck(0.2), cut=name, **settings) for name in ("learned", "0.5", None)}
    assert results["learned"].options.input.cut == "learned"
    wanted = cut(pluck(0.2), None).samples[:, :]
    assert set(wanted.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(results["learned"].recording.samples[:, :], wanted)
    # Two levels that are learned are nearly those of the target: no drift is taken away from ones and zeros.
    exact = fit(pluck(0.2), cut="learned", model="double-dutch", reading="binary", max_parameters_per_sample=2.0)
    assert exact.snr_db > 6
    assert results["learned"].network.drift is None
    assert len({round(result.snr_db, 3) for result in results.values()}) == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [("learnd", "did you mean 'learned'?"), ("2", "allowed: learned, or a cutoff from -1 to 1"), ("nan", "from -1 to 1")],
)
def test_bad_cutoffs_are_refused(given: str, said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)):
        FitOptions().with_settings({"cut": given})
