"""The noise layer: what it renders, what it expects, what it stores."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddaudio.editing.render import render
from ddaudio.errors import ModelError, OptionError
from ddaudio.io.audio import read
from ddaudio.models import SumNetwork
from ddaudio.models.file import load_model, model_bytes
from ddaudio.models.noise import grid as noise_grid
from ddaudio.models.noise.fit import fit_noise
from ddaudio.models.noise.grid import NoiseGrid
from ddaudio.models.noise.network import NoiseNetwork, silent_noise

RECORDINGS = Path(__file__).parents[4] / "shared/recordings"
FULL_BANDS = slice(2, -2)
"""Bands with several bins of a frame each, away from both ends."""


def white(n_channels: int, n_samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n_channels, n_samples, generator=torch.Generator().manual_seed(seed)) / 10


def silence(signals: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(signals)


def band_levels_db(signals: torch.Tensor, sample_rate: int) -> torch.Tensor:
    """Return the level of each band over all time, ``[C, bands]``."""
    grid = NoiseGrid(sample_rate, signals.shape[1])
    powers = [grid.densities(signals, torch.zeros(len(signals)), chunk) for chunk in range(grid.n_chunks)]
    return 10 * torch.cat(powers, 1)[:, 3:-3].mean(1).log10()


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100, 96000])
def test_stationary_noise_keeps_the_level_of_each_band(sample_rate: int) -> None:
    """Five seconds of a band have some hundred independent values: their mean is known to 0.3 dB or so."""
    target = white(1, 5 * sample_rate)
    layer = fit_noise(target, silence(target), sample_rate)
    off = band_levels_db(layer.estimate(), sample_rate) - band_levels_db(target, sample_rate)
    assert float(off[:, FULL_BANDS].abs().max()) < 0.5
    assert layer.n_parameters() <= 440 * 5  # what the default allows: the scatter of short frames is followed, too


def test_a_step_in_level_is_followed_within_20_ms() -> None:
    rate = 16000
    target = white(1, rate)
    target[:, : rate // 2] /= 100
    noise = fit_noise(target, silence(target), rate).estimate()
    early, late = (noise[:, : rate // 2 - rate // 50], noise[:, rate // 2 + rate // 50 :])
    level_db = [20 * float((part.square().mean().sqrt()).log10()) for part in (early, late)]
    assert level_db[0] == pytest.approx(-60, abs=3)  # power under the onset's ramp is still there 20 ms before it
    assert level_db[1] == pytest.approx(-20, abs=1)


@settings(deadline=None, max_examples=15)
@given(first=st.integers(0, 30000), n_samples=st.integers(0, 5000), seed=st.integers(0, 2**31 - 1))
def test_an_excerpt_has_the_bits_of_that_part_of_the_whole(first: int, n_samples: int, seed: int) -> None:
    layer = LAYERS["stereo"]
    whole = layer.render(0, first + n_samples, seed)
    assert torch.equal(layer.render(first, n_samples, seed), whole[:, first:])


def test_seeds_differ_in_samples_and_not_in_level() -> None:
    layer = LAYERS["mono"]
    one, other = (render(layer, seed=seed)[:, :] for seed in (1, 2))
    assert torch.equal(one, render(layer, seed=1)[:, :])
    assert float((one * other).mean().abs()) < 0.1 * float(one.square().mean())
    assert float((one.square().mean() / other.square().mean()).log10().abs()) < 0.05


def test_it_is_rendered_at_another_rate() -> None:
    layer = LAYERS["mono"]
    higher = render(layer, 48000)[:, :]
    assert higher.shape[1] == -(-layer.shape[1] * 48000 // layer.sample_rate)
    low = torch.fft.rfft(higher[0]).abs().square()
    nyquist = int(len(low) * layer.sample_rate / 48000)
    assert float(low[int(1.05 * nyquist) :].sum()) < 1e-4 * float(low.sum())  # nothing above the layer's own Nyquist frequency
    assert float((higher.square().mean() / render(layer)[:, :].square().mean()).log10().abs()) < 0.05


@pytest.mark.parametrize(("shared", "coherence"), [(1.0, 1.0), (0.0, 0.0), (0.7, 0.49), (-1.0, -1.0)])
def test_channels_are_as_coherent_as_those_of_the_recording(shared: float, coherence: float) -> None:
    """Both channels are ``shared`` of one noise and the rest of another of their own, so that their coherence is its square."""
    rate, own = 16000, white(3, 32000)
    rest = (1 - shared**2) ** 0.5
    target = torch.stack([abs(shared) * own[0] + rest * own[1], shared * own[0] + rest * own[2]])
    left, right = fit_noise(target, silence(target), rate).estimate().double()
    found = float((left * right).sum() / (left.square().sum() * right.square().sum()).sqrt())
    assert found == pytest.approx(coherence, abs=0.1)


def test_the_expected_power_is_that_of_realisations() -> None:
    """The mean level of eight seeds, of bands of several bins, against `expected_density`, which has no random number in it."""
    layer = LAYERS["mono"]
    grid = layer.grid
    expected = (
        10 * layer.expected_density(torch.zeros(1, grid.covered(0), layer.grid.bands, dtype=torch.float64), 0).detach().log10()
    )
    rendered = [grid.densities(layer.render(0, grid.n_samples, seed), torch.zeros(1), 0) for seed in range(8)]
    mean_db = 10 * torch.stack(rendered).mean(0).log10()
    audible = expected > expected.max() - 40
    assert float((mean_db - expected)[audible].median().abs()) < 1.0
    assert float((mean_db - expected)[audible].abs().quantile(0.9)) < 4.0


def test_heights_have_gradients_of_the_expected_power() -> None:
    layer = LAYERS["mono"]
    density = layer.expected_density(torch.ones(1, layer.grid.covered(0), layer.grid.bands, dtype=torch.float64), 0)
    (gradient,) = torch.autograd.grad(density.log().sum(), layer.heights_db)
    before, step = float(density.detach().log().sum()), 1e-2
    changed = NoiseNetwork(layer.grid, 1, layer.places, layer.heights_db.detach() + step, layer.floor_db)
    after = float(changed.expected_density(torch.ones_like(density), 0).detach().log().sum())
    assert after - before == pytest.approx(step * float(gradient.sum()), rel=0.02)  # first order of a step of 0.01 dB


@pytest.mark.parametrize("name", ["mono", "stereo", "long", "silent"])
def test_a_file_gives_the_layer_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    layer = LAYERS[name] if name != "silent" else silent_noise(NoiseGrid(8000, 800), 1)
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(layer))
    again = load_model(path)
    assert isinstance(again, NoiseNetwork)
    assert again.n_parameters() == layer.n_parameters()
    n_samples = min(layer.shape[1], 4000)
    last = layer.shape[1] - n_samples
    assert torch.equal(again.render(last, n_samples, 7), layer.render(last, n_samples, 7))


@pytest.mark.parametrize("damage", ["place", "height_db", "floor_db", "extra"])
def test_tensors_that_do_not_fit_are_refused(damage: str) -> None:
    layer = LAYERS["mono"]
    tensors = layer.to_tensors()
    changed = {
        "place": tensors["place"].float(),
        "height_db": tensors["height_db"][1:],
        "floor_db": tensors["floor_db"] * torch.inf,
        "extra": torch.zeros(1),
    }
    with pytest.raises(ModelError):
        silent_noise(layer.grid, 1).from_tensors(tensors | {damage: changed[damage]})


def test_places_beyond_the_last_node_are_refused() -> None:
    layer = silent_noise(NoiseGrid(8000, 800), 1)
    hats = {"place": torch.full((4000,), -1, dtype=torch.int32), "height_db": torch.zeros(1), "floor_db": torch.zeros(1)}
    hats["place"][-1] = 0
    with pytest.raises(ModelError, match="place"):
        layer.from_tensors(hats)


def test_a_long_recording_is_fitted_in_chunks_and_sounds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With chunks of 0.64 s; levels of two neighbours may differ where they meet, but the noise has no seam of its own."""
    target = white(1, 8000 * 3)
    monkeypatch.setattr(noise_grid, "CHUNK_INTERVALS", 64)
    layer = fit_noise(target, silence(target), 8000)
    assert layer.grid.n_chunks == 5
    off = band_levels_db(layer.estimate(), 8000) - band_levels_db(target, 8000)
    assert float(off[:, FULL_BANDS].abs().max()) < 1.5  # three seconds of a band
    whole = layer.estimate()
    assert torch.equal(torch.cat(list(layer.pieces(8000)), 1), whole)
    assert torch.equal(layer.render(5000, 3000), whole[:, 5000:8000])


@pytest.mark.parametrize("most", [0, 1, 3, 20, 100, 101])
def test_no_more_parameters_are_stored_than_allowed(most: int) -> None:
    target = white(2, 8000) * torch.linspace(0, 1, 8000).square()
    assert fit_noise(target, silence(target), 8000, most).n_parameters() <= max(most, 11)  # of silence: the floor, 10 coherences


def test_nothing_is_asked_for_where_the_waves_are_exact() -> None:
    tone = torch.sin(torch.arange(16000) * 0.3)[None]
    exact = fit_noise(tone, tone, 16000)
    assert exact.n_parameters() < 50
    assert float(exact.estimate().abs().max()) < 1e-3 * float(tone.abs().max())


BAD = {
    "one sample": torch.ones(1, 1),
    "silence": torch.zeros(1, 4000),
    "DC": torch.full((1, 4000), 0.5),
    "click": torch.nn.functional.pad(torch.ones(1, 1), (2000, 1999)),
    "stereo, one silent": torch.cat([white(1, 4000), torch.zeros(1, 4000)]),
    "loud": white(1, 4000) * 1e6,
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("sample_rate", [1000, 44100])
def test_odd_inputs_give_a_finite_layer(name: str, sample_rate: int) -> None:
    target = BAD[name]
    layer = fit_noise(target, silence(target), sample_rate)
    noise = layer.estimate()
    assert noise.shape == target.shape
    assert bool(noise.isfinite().all())
    energies = [float(signals.double().square().sum()) for signals in (noise, target - target.mean(1, keepdim=True))]
    assert energies[0] <= 3 * energies[1] + 1e-12  # of a click the levels of a few random bins decide


@pytest.mark.parametrize(("settings_", "words"), [({"seed": -1}, "seed"), ({"seed": 2**31}, "seed"), ({"only": "tones"}, "only")])
def test_what_cannot_be_rendered_is_refused(settings_: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        render(LAYERS["mono"], **settings_)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="waves"):
        render(LAYERS["mono"], only="waves")


def test_a_sum_has_both_parts() -> None:
    noise = LAYERS["mono"]
    both = SumNetwork([LAYERS["mono"], noise])
    assert both.title == "noise+noise"
    torch.testing.assert_close(render(both)[:, :], 2 * render(noise)[:, :], rtol=0, atol=1e-7)  # rounding of float32


def test_a_recording_is_near_its_noise() -> None:
    """Rain is noise: the layer alone is as far from it as two realisations of a noise are (3.7 dB) or nearer."""
    from ddaudio.metrics.erb_distance import erb_distance  # noqa: PLC0415

    rain = read(RECORDINGS / "field/rain-stereo.flac")
    target = rain.samples[:, : 2 * rain.sample_rate]
    found = erb_distance(fit_noise(target, silence(target), rain.sample_rate).estimate(), target, rain.sample_rate)
    assert found.distance_db < 4
    assert found.dead_share < 0.02


def _long() -> NoiseNetwork:
    """Return a layer of two chunks: 25 s at 1 kHz."""
    target = white(1, 25_000)
    return fit_noise(target, silence(target), 1000)


def _stereo() -> NoiseNetwork:
    target = white(2, 40_000) * torch.linspace(0.1, 1, 40_000)
    return fit_noise(target, silence(target), 16_000)


def _mono() -> NoiseNetwork:
    rate = 16_000
    target = white(1, rate) * (1 + torch.sin(torch.arange(rate) / 800))
    return fit_noise(target, silence(target), rate)


LAYERS = {"mono": _mono(), "stereo": _stereo(), "long": _long()}
