"""What is audible in a recording and missing in the result is a warning that names the band, whatever the SNR."""

import re

import pytest
import torch
from sounds import fit_waves, noise, pluck

from ddaudio.fitting.diagnosis import _missing_band_warnings
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import fit
from ddaudio.io.audio import Recording
from ddaudio.metrics.erb_distance import band_edges_hz
from ddaudio.metrics.measure import measure
from ddaudio.options import FitOptions

RATE = 16_000


def within(signal: torch.Tensor, low_hz: float, high_hz: float) -> torch.Tensor:
    """Return what a signal has between two frequencies: a brick wall."""
    spectrum = torch.fft.rfft(signal)
    hz = torch.fft.rfftfreq(signal.shape[1], 1 / RATE)
    return torch.fft.irfft(spectrum * ((hz >= low_hz) & (hz < high_hz)), signal.shape[1])


@pytest.fixture(scope="module")
def hissing() -> Recording:
    """A harmonic sound up to 1.5 kHz, and noise from 3 kHz on that has a thousandth of its energy."""
    low = within(pluck(1.0, RATE).samples, 0, 1600)
    high = within(noise(1.0, rate=RATE), 3000, 8000)
    return Recording(low + high * (0.03 * low.norm() / high.norm()), RATE, "hissing.wav")


@pytest.fixture(scope="module")
def waves(hissing: Recording) -> FitResult:
    return fit_waves(hissing)


def test_waves_that_reach_their_goal_are_warned_of_a_band_without_any(waves: FitResult) -> None:
    """25 dB leave three thousandths of the energy, more than all of the noise has."""
    assert waves.reached_goal
    (warning,) = (one for one in waves.warnings if one.startswith("nothing above"))
    found = re.fullmatch(
        r"nothing above (\d\.\d) kHz, where the recording has (\d+) % of its audible cells of time and frequency", warning
    )
    assert found is not None
    edges = band_edges_hz(RATE)
    # The band begins at the edge of the ERB band that contains 3 kHz, or at the next one below.
    below = edges[edges <= 3000]
    assert float(below[-2]) / 1000 - 0.05 <= float(found[1]) <= float(edges[len(below)]) / 1000 + 0.05
    (band,) = (one for one in waves.metrics.missing_bands if one.high_hz == RATE / 2)
    assert int(found[2]) == round(100 * sum(one.share for one in waves.metrics.missing_bands))
    assert band.share > 0.1


def test_noise_fills_the_band(hissing: Recording) -> None:
    result = fit(hissing, FitOptions())
    assert not any("audible cells" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        # Frames of 20 ms leak over 100 Hz, so that the next edge from 2 kHz may be the end: 1.8, 2.1 or 2.4 kHz.
        ((0, 2000), r"nothing above 2\.[14] kHz, where the recording has \d+ % of its audible cells of time and frequency$"),
        ((2000, 8000), r"nothing below (1\.8|2\.1) kHz, where"),
    ],
)
def test_ends_are_named(kept: tuple[float, float], words: str) -> None:
    target = noise(1.0, rate=RATE)
    (warning, *rest) = _missing_band_warnings(measure(within(target, *kept), target, RATE), RATE / 2)
    assert re.match(words, warning)
    assert not rest


def test_a_gap_is_named_and_several_are_one_warning() -> None:
    target = noise(1.0, rate=RATE)
    gap = within(target, 500, 1000)
    (warning,) = _missing_band_warnings(measure(target - gap, target, RATE), RATE / 2)
    # Frames of 20 ms leak over 100 Hz, so the ends are the nearest edges inside: 633 and 914 Hz, with two of 24 bands in between.
    assert re.match("nothing from 633 Hz to 914 Hz, where the recording has 8 % of its", warning)
    (both,) = _missing_band_warnings(measure(target - gap - within(target, 4000, 8000), target, RATE), RATE / 2)
    assert re.match(r"nothing from 633 Hz to 914 Hz and above 4\.\d kHz, where", both)


def test_most_other_dead_cells_are_located() -> None:
    """Half of the time nothing above 4 kHz: no band is missing, and all of the dead cells are there."""
    target = noise(1.0, rate=RATE)
    estimate = target.clone()
    estimate[:, RATE // 2 :] = within(target, 0, 4000)[:, RATE // 2 :]
    metrics = measure(estimate, target, RATE)
    (warning,) = _missing_band_warnings(metrics, RATE / 2)
    # Four of 24 bands, half of the time.
    assert warning == "8 % of the audible cells of time and frequency are 15 dB or more too soft, most of them above 4.5 kHz"
    found = metrics.most_dead
    assert found is not None
    # The band from 3.8 to 4.5 kHz keeps its lower part.
    assert (found.low_hz, found.high_hz) == (pytest.approx(4451, abs=2), RATE / 2)


def test_cells_without_a_band_of_their_own_are_counted() -> None:
    """Half of the time missing everywhere: no band is missing, and half of the cells are."""
    target = noise(1.0, rate=RATE)
    estimate = target.clone()
    estimate[:, RATE // 2 :] = 0
    (warning,) = _missing_band_warnings(measure(estimate, target, RATE), RATE / 2)
    assert warning == "50 % of the audible cells of time and frequency are 15 dB or more too soft"
