"""Fits with tracks: alone, in sums, in blocks, of odd input, and their files."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from sounds import RATE, noise

import ddaudio
from ddaudio.editing.render import render
from ddaudio.errors import OptionError
from ddaudio.fitting.plan import make_plan
from ddaudio.fitting.track_choice import Rival, cheaper
from ddaudio.io.audio import Recording
from ddaudio.models import Budget
from ddaudio.models.tracks.network import TracksNetwork
from ddaudio.options import FitOptions
from ddaudio.report import save as saving


def vibrato(seconds: float = 0.5, hz: float = 900.0) -> torch.Tensor:
    """A tone whose pitch goes up and down by 50 cents, 6 times a second, ``[1, T]``."""
    times = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    deviation = hz * (2 ** (50 / 1200) - 1)
    return (0.5 * torch.cos(2 * math.pi * hz * times - deviation / 6 * torch.cos(12 * math.pi * times)))[None].float()


def fitted(sound: torch.Tensor, **settings: Any) -> ddaudio.FitResult:
    return ddaudio.fit(Recording(sound, RATE, "made.wav"), **settings)


@pytest.fixture(scope="module")
def tone() -> ddaudio.FitResult:
    return fitted(vibrato(), model="tracks", budget=80)


def test_a_tone_with_vibrato_is_one_track_of_few_knots(tone: ddaudio.FitResult) -> None:
    assert tone.n_parameters <= 80
    # 24 knots for three periods: the error of a cubic phase falls with the eighth power of the distance, in energy.
    assert tone.snr_db is not None
    assert tone.snr_db > 40
    cells = fitted(vibrato(), model="sine", budget=80)
    assert cells.snr_db is not None
    assert tone.snr_db > cells.snr_db + 10


def test_its_frequency_is_that_of_the_tone(tone: ddaudio.FitResult) -> None:
    table = tone.network.describe()
    deviation = 900 * (2 ** (50 / 1200) - 1)
    right = 900 + deviation * torch.sin(12 * math.pi * table["time_s"])
    inner = (table["time_s"] > 0.02) & (table["time_s"] < 0.48)
    # At 40 dB a phase errs by 0.01 rad over some 10 ms.
    assert float((table["frequency_hz"] - right)[inner].abs().max()) < 1.0


def test_a_fit_comes_back_from_its_files(tone: ddaudio.FitResult, tmp_path: Path) -> None:
    saving.save_fit(tone, tmp_path / "fit")
    network = ddaudio.load_model(tmp_path / "fit")
    # Float32 values in natural units there and back, at phases of some 10 rad a knot.
    assert torch.allclose(render(network)[:, :], tone.estimate[:, :], atol=1e-4)
    assert network.n_parameters() == tone.n_parameters
    again = ddaudio.fit(
        Recording(vibrato(), RATE, "made.wav"),
        FitOptions().with_settings(ddaudio.options.read_settings(tmp_path / "fit" / "fit.toml")),
    )
    assert again.snr_db == tone.snr_db
    double = render(network, 2 * RATE)[:, ::2]
    assert torch.allclose(double[:, :3900], tone.estimate[:, :3900], atol=1e-3)


def test_a_goal_is_reached_with_fewer_knots_than_a_higher_one() -> None:
    results = [fitted(vibrato(0.25), model="tracks", target_snr_db=goal) for goal in (20.0, 40.0)]
    for result, goal in zip(results, (20.0, 40.0), strict=True):
        assert result.snr_db is not None
        assert result.snr_db >= goal
    assert results[0].n_parameters < results[1].n_parameters < 100


@pytest.mark.parametrize(
    "sound",
    [
        torch.zeros(1, 2000),
        noise(10 / RATE),
        torch.ones(1, 1),
        torch.full((1, 2000), 0.5),
        noise(0.2, channels=2),
    ],
    ids=["silence", "ten", "one", "dc", "noise"],
)
def test_odd_input_is_fitted(sound: torch.Tensor) -> None:
    result = fitted(sound, model="tracks", budget=60)
    assert result.n_parameters <= 60
    assert bool(result.estimate[:, :].isfinite().all())


def test_channels_have_tracks_of_their_own() -> None:
    sound = torch.cat([vibrato(0.25), vibrato(0.25, 1500.0)])
    table = fitted(sound, model="tracks", budget=100).network.describe()
    assert set(table["signal"].tolist()) == {0, 1}
    low, high = (float(table["frequency_hz"][table["signal"] == signal].mean()) for signal in (0, 1))
    assert low < 1000 < high


def test_blocks_add_up_to_one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddaudio.fitting.plan.BLOCK_SAMPLES", 2000)
    times = torch.arange(9000, dtype=torch.float64) / 1000
    sound = (0.5 * torch.cos(2 * math.pi * 100 * times + 3 * torch.sin(2 * math.pi * times)))[None].float()
    result = ddaudio.fit(Recording(sound, 1000, "slow.wav"), model="tracks", budget=300)
    assert len(result.stages[0].blocks) == 2
    assert result.n_parameters <= 300
    # The same tracks, rendered at once.
    assert torch.allclose(result.network.estimate(), result.estimate[:, :], atol=1e-4)
    assert result.snr_db is not None
    assert result.snr_db > 30


def test_sums_have_tracks_where_they_are_cheaper() -> None:
    """A tone with vibrato beside noise: the tone becomes a track, and cells or noise are for the rest."""
    sound = vibrato(0.25) + 0.02 * noise(0.25)
    both, alone = (fitted(sound, model=model, budget=36) for model in ("tracks+sine", "sine"))
    assert both.n_parameters <= 36
    assert both.network.terms[0].n_components() > 0
    assert both.snr_db is not None
    assert alone.snr_db is not None
    assert both.snr_db > alone.snr_db + 3
    with_noise = fitted(sound, model="tracks+sine+noise", budget=60)
    assert [term.name for term in with_noise.network.terms] == ["tracks", "sine", "noise"]
    assert with_noise.n_parameters <= 60


def test_tracks_that_are_dearer_than_cells_are_left_out(tone: ddaudio.FitResult) -> None:
    """The same track with few knots, and with one at every place of the lattice."""
    assert isinstance(tone.network, TracksNetwork)
    dear, tracks = TracksNetwork(tone.network.signals, None, tone.network.tracks), tone.network.tracks
    for _ in range(6):
        left = tracks.lefts
        wide = tracks.knots.position[left + 1] - tracks.knots.position[left] >= 2 * dear.step
        tracks = tracks.halved(left[wide], dear.step)[0]
    dear.replace_tracks(tracks)
    rival = Rival.of(vibrato(), RATE, Budget(100, n_parameters=100), "hann")
    assert cheaper(dear, rival).n_components() == 0
    assert cheaper(tone.network, rival).n_components() == tone.network.n_components()


def test_what_cannot_be_is_refused_before_any_work() -> None:
    recording = Recording(vibrato(), RATE, "made.wav")
    with pytest.raises(OptionError, match="levels"):
        make_plan(recording, FitOptions().with_settings({"model": "tracks", "levels": "cubic"}))
    with pytest.raises(OptionError, match="partials"):
        make_plan(recording, FitOptions().with_settings({"model": "tracks", "partials": 3}))
    with pytest.raises(OptionError, match="tracks have no frames"):
        make_plan(recording, FitOptions().with_settings({"model": "tracks", "frame_s": 0.05}))
    with pytest.raises(OptionError, match="linked from spectral peaks"):
        make_plan(recording, FitOptions().with_settings({"model": "tracks", "initialisation": "random"}))
    with pytest.raises(OptionError, match="whole"):
        make_plan(recording, FitOptions().with_settings({"model": "tracks", "whole": True}))


def test_adam_trains_tracks_too() -> None:
    result = fitted(vibrato(0.25), model="tracks", budget=60, optimiser="adam", steps=30)
    assert result.snr_db is not None
    assert result.snr_db > 20
    assert result.stages[0].blocks[0][-1].evaluations[-1].gradients.keys() == {"amplitude", "frequency", "phase"}


def test_levels_can_be_linear_in_decibels() -> None:
    """An exponential decay is a straight line in decibels."""
    times = torch.arange(2000, dtype=torch.float64) / RATE
    sound = (torch.exp(-20 * times) * torch.cos(2 * math.pi * 700 * times))[None].float()
    found = {levels: fitted(sound, model="tracks", levels=levels, budget=24).snr_db for levels in ("linear", "log")}
    assert found["log"] > found["linear"] + 6
