"""Rendering: what the formula of the network says at any time, in pieces as in one."""

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from commands import run
from sounds import fit_waves as fit
from sounds import pluck

import ddaudio
from ddaudio.editing import render as render_module
from ddaudio.editing.render import render
from ddaudio.errors import OptionError
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io.audio import Recording
from ddaudio.io.samples import DiskSamples
from ddaudio.models import framed
from ddaudio.models.sine import SineNetwork
from ddaudio.options import WindowName

RATE, N_SAMPLES = 8000, 1003
SIZES = [[64, 32, 32, 128, 256, 256, 64, 64, 128], [256, 128, 16, 16, 32, 64, 256, 256]]
"""Cells of two signals, shortest beside longest; the last of each goes beyond the signal's end."""


@pytest.fixture(scope="module", params=get_args(WindowName))
def network(request: pytest.FixtureRequest) -> SineNetwork:
    """Random partials from 0 to Nyquist in cells of many lengths, some with none."""
    grid = TimeGrid.of_sizes(RATE, N_SAMPLES, SIZES, request.param)
    generator = torch.Generator().manual_seed(4)
    counts = torch.randint(0, 4, (grid.n_frames,), generator=generator, dtype=torch.int32)
    total = int(counts.sum())
    frequency_hz = 4000 * torch.rand(total, generator=generator)
    frequency_hz[:2] = torch.tensor([0.0, 4000.0])
    cosine, sine = 0.3 * torch.randn(2, total, generator=generator)
    made = SineNetwork(grid)
    made.from_tensors({"partials_in_cell": counts, "frequency_hz": frequency_hz, "cosine": cosine, "sine": sine})
    return made


def fade(position: np.ndarray, shape: str) -> np.ndarray:
    """The rising side of a window, with every shape spelled out."""
    turn = np.clip(position, 0, 1)
    if shape == "triangle":
        return turn
    if shape == "gate":
        gate, end = (1 / (1 + np.exp(-16 / np.pi * np.sin((at - 0.5) * np.pi / 2))) for at in (turn, 0.0))
        return (gate - end) / (1 - 2 * end)
    rising, falling = np.sin(turn * np.pi / 2), np.cos(turn * np.pi / 2)
    return rising**2 if shape == "hann" else rising / (rising + falling)


def windows(time: np.ndarray, sizes: list[int], shape: str) -> list[tuple[np.ndarray, float]]:
    """The window of each cell at times counted in samples, and the middle from which its phases count.

    Sample ``n`` is the stretch from ``n - 1/2`` to ``n + 1/2``: cells meet between samples. Half of a fade is half of the
    shorter cell; at the ends of the signal nothing fades.
    """
    found, edge = [], -0.5
    for index, size in enumerate(sizes):
        window = np.ones_like(time)
        if index:
            half = min(sizes[index - 1], size) // 2
            window *= fade((time - edge + half) / (2 * half), shape)
        if index + 1 < len(sizes):
            half = min(size, sizes[index + 1]) // 2
            window *= fade((edge + size + half - time) / (2 * half), shape)
        found.append((window, edge + size / 2))
        edge += size
    return found


def spelled_out(network: SineNetwork, sample_rate: int, kept: set[int] | None = None) -> np.ndarray:
    """The sum over cells of window times partials in float64, from what a file holds."""
    stored = {name: tensor.double().numpy() for name, tensor in network.to_tensors().items()}
    time = np.arange(math.ceil(N_SAMPLES * sample_rate / RATE)) * RATE / sample_rate
    sounds, place = np.zeros((2, time.size)), 0
    cells = [(signal, cell) for signal in range(2) for cell in windows(time, SIZES[signal], network.grid.window)]
    for count, (signal, (window, middle)) in zip(stored["partials_in_cell"].astype(int), cells, strict=True):
        for k in range(place, place + count):
            hz, cosine, sine = (stored[name][k] for name in ("frequency_hz", "cosine", "sine"))
            if (kept is None or k in kept) and (sample_rate >= RATE or hz < sample_rate / 2):
                turn = 2 * np.pi * hz / RATE * (time - middle)
                sounds[signal] += window * (cosine * np.cos(turn) + sine * np.sin(turn))
        place += count
    return sounds


def worst(found: Any, wanted: np.ndarray) -> float:
    """The largest error, as a share of the largest sample."""
    assert tuple(found.shape) == wanted.shape
    return float(np.abs(found.double().numpy() - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("sample_rate", [8000, 44_100, 16_000, 11_025, 7999, 5000, 1000])
def test_every_rate_is_what_the_formula_says(sample_rate: int, network: SineNetwork) -> None:
    # Frequencies are float32: over half of the longest frame, 256 samples from its middle, the phase of one near Nyquist
    # is off by up to pi * 256 * 2^-24 = 5e-5 radians.
    assert worst(render(network, sample_rate), spelled_out(network, sample_rate)) < 5e-5


@pytest.mark.parametrize(
    ("n_samples", "rate", "new_rate"), [(147, 44_100, 48_000), (44_100, 44_100, 48_000), (441, 44_100, 16_000)]
)
def test_a_length_that_is_whole_at_the_new_rate_is_not_rounded_up(n_samples: int, rate: int, new_rate: int) -> None:
    # 147 * (48000 / 44100) is 160.00000000000003 in float64
    assert math.ceil(n_samples * (new_rate / rate)) == n_samples * new_rate // rate + (new_rate > rate)
    network = SineNetwork(TimeGrid.of_sizes(rate, n_samples, [[256] * math.ceil(n_samples / 256)], "hann"))
    assert render(network, new_rate).shape == (1, n_samples * new_rate // rate)


@pytest.mark.parametrize("piece", [1, 1 << 21])
def test_lengths_are_exact_ceilings(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framed, "PIECE_SAMPLES", piece)
    for n_samples in (146, 147, 148, 293, 294, 295, 4410, 4411):
        network = SineNetwork(TimeGrid.of_sizes(44_100, n_samples, [[64] * math.ceil(n_samples / 64)], "hann"))
        # the smallest n with n / 48000 >= n_samples / 44100
        wanted = next(n for n in range(2 * n_samples) if n * 44_100 >= n_samples * 48_000)
        assert render(network, 48_000).shape == (1, wanted)


def test_the_own_rate_is_the_estimate(network: SineNetwork) -> None:
    with torch.no_grad():
        estimate = network.estimate()
    assert torch.equal(render(network), estimate)
    assert torch.equal(render(network, RATE), estimate)
    assert not render(network).requires_grad


def test_a_fit_renders_to_its_estimate() -> None:
    result = fit(pluck(), steps=2)
    assert torch.equal(render(result.network), result.estimate)


@pytest.mark.parametrize("piece", [1, 600, 1500])
@pytest.mark.parametrize("sample_rate", [8000, 44_100, 7999, 3000])
def test_pieces_are_the_whole(sample_rate: int, piece: int, network: SineNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = render(network, sample_rate)
    monkeypatch.setattr(framed, "PIECE_SAMPLES", piece)
    # Phases are turned to another first sample in float64, then rounded to float32 once; sums are of two frames.
    assert float((render(network, sample_rate) - whole).abs().max()) < 2e-6


def test_a_long_sound_is_kept_in_a_file(network: SineNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = render(network, 16_000)
    monkeypatch.setattr(framed, "PIECE_SAMPLES", 1)
    monkeypatch.setattr("ddaudio.io.samples.IN_MEMORY_SAMPLES", 500)
    spool = render(network, 16_000)
    assert isinstance(spool, DiskSamples)
    assert float((spool.tensor() - whole).abs().max()) < 2e-6


def energies(network: SineNetwork) -> np.ndarray:
    """Energy that each stored partial brings: half its squared amplitude, times its window's sum of squares."""
    stored = {name: tensor.double().numpy() for name, tensor in network.to_tensors().items()}
    time = np.arange(N_SAMPLES, dtype=float)
    squares = [(window**2).sum() for signal in range(2) for window, _ in windows(time, SIZES[signal], network.grid.window)]
    square = np.repeat(squares, stored["partials_in_cell"].astype(int))
    return square * (stored["cosine"] ** 2 + stored["sine"] ** 2) / 2


@pytest.mark.parametrize("sample_rate", [8000, 3000])
@pytest.mark.parametrize("count", [0, 1, 5, 12, 10_000])
def test_only_the_strongest_partials_are_kept(count: int, sample_rate: int, network: SineNetwork) -> None:
    strongest = set(np.argsort(-energies(network))[:count].tolist())
    found, wanted = render(network, sample_rate, partials=count), spelled_out(network, sample_rate, strongest)
    if count == 0:
        assert not found.any()
    else:
        # As above, and as a share of what may be a few weak partials.
        assert np.abs(found.double().numpy() - wanted).max() < 5e-5 * np.abs(spelled_out(network, sample_rate)).max()
    assert network.n_prunable() > 12, "the network itself is as it was"


@pytest.mark.parametrize("sample_rate", [999, 384_001, -1, 0, True, 8000.5, 16_000.0, "8000", math.nan])
def test_rates_out_of_range_are_refused(sample_rate: Any, network: SineNetwork) -> None:
    with pytest.raises(OptionError, match=r"sample_rate is .*; allowed: whole numbers from 1000 to 384000 Hz"):
        render(network, sample_rate)


@pytest.mark.parametrize("partials", [-1, True, 1.5, "3"])
def test_counts_that_are_none_are_refused(partials: Any, network: SineNetwork) -> None:
    with pytest.raises(OptionError, match=r"partials is .*; allowed: whole numbers, 0 or more"):
        render(network, partials=partials)


def test_a_very_long_sound_asks_to_be_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a kilobyte may claim months of silence."""
    monkeypatch.setattr(render_module, "LONGEST_SAMPLES", 1000)
    network = ddaudio.fit(Recording(torch.zeros(2, 501), 8000), steps=0).network
    for rate in (None, 16_000):
        with pytest.raises(OptionError, match=r"the sound has 0\.0 h in 2 channels.*give force=True"):
            ddaudio.render(network, rate)
    assert ddaudio.render(network, 7900).shape == (2, 495)
    assert ddaudio.render(network, force=True).shape == (2, 501)
    folder = tmp_path / "fit"
    ddaudio.save_fit(ddaudio.fit(Recording(torch.zeros(2, 501), 8000), steps=0), folder, html=False)
    code, _, err = run("render", folder, "--out", tmp_path / "a.wav")
    assert code == 2
    assert "--force" in err
    assert not (tmp_path / "a.wav").exists()
    assert run("render", folder, "--out", tmp_path / "a.wav", "--force")[0] == 0


def test_components_are_counted_of_what_is_rendered(tmp_path: Path) -> None:
    result = ddaudio.fit(pluck(0.25), model="sine+noise")
    ddaudio.save_fit(result, tmp_path / "fit", html=False)
    waves, noise = (term.n_components() for term in result.network.terms)
    made = {
        only: render_module.render_file(tmp_path / "fit", tmp_path / f"{only}.wav", only=only).n_components  # type: ignore[arg-type]
        for only in (None, "waves", "noise")
    }
    assert made == {None: waves + noise, "waves": waves, "noise": noise}
    few = render_module.render_file(tmp_path / "fit", tmp_path / "few.wav", only="waves", partials=2)
    assert few.n_components == 2
