"""Competition of the networks of a sum for one budget."""

import json
from pathlib import Path

import pytest
import torch
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from sounds import RATE, noise, pluck

import ddaudio
from ddaudio.errors import OptionError
from ddaudio.fitting.competition import UNIT, _moved
from ddaudio.fitting.run import fit
from ddaudio.io.audio import Recording
from ddaudio.options import FitOptions

SUM = "sine+double-dutch"
FAST = {"steps": 2, "exchanges": 1}


def steps() -> Recording:
    """Two levels with jumps in odd places: what trees are good at, and partials are not."""
    places = torch.tensor([311, 502, 1203, 1310, 1822, 2444, 2971, 3333, 3600])
    flips = torch.zeros(4000).index_fill(0, places, 1).cumsum(0) % 2
    return Recording((flips - 0.5)[None], RATE)


def test_a_pluck_is_left_to_partials() -> None:
    found = fit(pluck(0.5), model=SUM, budget=60, compete=True, **FAST)
    alone = fit(pluck(0.5), model="sine", budget=60, **FAST)
    assert (found.options.model.model, found.options.model.budget_split) == ("sine", None)
    # The competition ends with ordinary settings, and their fit is that of these settings, to the bit.
    assert torch.equal(found.waves[:, :], alone.waves[:, :])


def test_jumps_are_left_to_the_tree() -> None:
    found = fit(steps(), model=SUM, budget=120, compete=True, **FAST)
    equal = fit(steps(), model=SUM, budget=120, **FAST)
    assert "double-dutch" in found.options.model.terms
    assert found.snr_db is not None
    assert equal.snr_db is not None
    assert found.snr_db > equal.snr_db + 1


def test_noise_gets_the_budget_of_a_noise() -> None:
    recording = Recording(noise(0.4), RATE)
    found, fixed = (fit(recording, model="sine+noise", budget=120, compete=how, **FAST) for how in (True, False))
    share = found.network.terms[-1].n_parameters() / found.n_parameters
    assert share > 0.25
    assert found.n_parameters <= 120
    distances = [result.metrics["erb_db"].value for result in (found, fixed)]
    assert distances[0] <= distances[1] + 0.1


def test_a_competition_is_repeated_by_its_settings_file(tmp_path: Path) -> None:
    ddaudio.write_wav(tmp_path / "a.wav", steps().samples, RATE, "float32")
    flags = ["--model", SUM, "--budget", "120", "--compete", "--steps", "2", "--exchanges", "0"]
    assert run("fit", tmp_path / "a.wav", "--out", tmp_path / "one", *flags)[0] == 0
    assert run("fit", tmp_path / "a.wav", "--config", tmp_path / "one" / "fit.toml", "--out", tmp_path / "two")[0] == 0
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert models[0] == models[1]
    settings = json.loads((tmp_path / "one" / "report.json").read_text())["settings"]["model"]
    assert settings["compete"] is False


def test_batches_compete_too() -> None:
    results = ddaudio.fit_many([pluck(0.2), pluck(0.25)], model=SUM, budget=40, compete=True, **FAST)
    assert [result.options.model.model for result in results] == ["sine", "sine"]


@given(split=st.lists(st.integers(0, UNIT), min_size=2, max_size=4), size=st.integers(1, 2))
def test_moves_keep_the_whole(split: list[int], size: int) -> None:
    for moved in _moved(tuple(split), size):
        assert sum(moved) == sum(split)
        assert min(moved) >= 0
        assert sorted(after - before for after, before in zip(moved, split, strict=True) if after != before) == [-size, size]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "sine", "budget": 100}, "sum"),
        ({"model": SUM}, "budget"),
        ({"model": SUM, "budget": 100, "budget_split": "1,1"}, "budget_split"),
        ({"model": SUM, "budget": 100, "compete": "yes"}, "true or false"),
    ],
)
def test_what_cannot_compete_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        FitOptions().with_settings({"compete": True} | settings)
