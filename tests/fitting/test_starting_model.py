"""A trained model as the start of a fit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from sounds import RATE, pluck, tones

import ddaudio
from ddaudio.errors import CheckpointError, ModelError, OptionError
from ddaudio.io.audio import Recording

UNTRAINED = {"steps": 0, "exchanges": 0}


def saved(recording: Recording, folder: Path, **settings: Any) -> str:
    """Return the folder of a fit."""
    ddaudio.save_fit(ddaudio.fit(recording, **settings), folder, html=False)
    return str(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "sine", "budget": 300},
        {"model": "sine", "budget": 300, "frame_s": 0.05},
        {"model": "sine+surrogate", "budget": 300},
        {"model": "sine+noise", "budget": 300},
        {"model": "double-dutch", "budget": 300},
        {"model": "stack", "budget": 300},
        {"model": "siren", "budget": 300, "steps": 3},
    ],
)
def test_an_untrained_fit_from_a_model_is_the_model(settings: dict[str, Any], tmp_path: Path) -> None:
    """With no steps, the waves are those of the model: nothing else determines them."""
    first = saved(pluck(0.4), tmp_path / "first", **settings)
    waves = ddaudio.render(ddaudio.load_model(first), only="waves")[:, :]
    # The budget of the model is spent, so that hardly a component is added; seeds other than the model's change nothing.
    again = ddaudio.fit(pluck(0.4), **{**settings, **UNTRAINED}, from_model=first, seed=7)
    found = ddaudio.render(again.network, only="waves")[:, :]
    added = float((found - waves).square().sum() / waves.square().sum())
    assert added < 1e-2


def test_training_from_a_model_goes_on_where_it_ended(tmp_path: Path) -> None:
    """It begins with the loss that was reached, and reaches less."""
    settings = {"model": "siren", "budget": 300, "optimiser": "adam", "tolerance": 0.0, "schedule": "constant"}
    piece = saved(pluck(0.3), tmp_path / "piece", **settings, steps=40)
    alone = ddaudio.fit(pluck(0.3), **settings, steps=40)
    onward = ddaudio.fit(pluck(0.3), **settings, steps=40, learning_rate=0.002, from_model=piece)
    begun, ended = (one.stages[0].blocks[0][0] for one in (onward, alone))
    assert begun.evaluations[0].total == pytest.approx(ended.best.total, rel=1e-3)  # rounded as in files
    assert onward.snr_db > alone.snr_db


def test_a_piece_then_the_whole(tmp_path: Path) -> None:
    """The components of the piece stay in its cells, and the rest of the recording is fitted as well."""
    whole = pluck(1.2)
    piece = Recording(whole.samples[:, : int(0.1 * RATE)], RATE)  # shorter than a root cell of the whole
    for name, more in (("adaptive", {}), ("equal", {"frame_s": 0.02})):
        first = saved(piece, tmp_path / name, model="sine", target_snr_db=25, **more)
        result = ddaudio.fit(whole, model="sine", target_snr_db=20, from_model=first, **UNTRAINED, **more)
        assert result.snr_db > 19.5, name  # it is pruned to its goal
        begun, grown = ddaudio.load_model(first).terms[0], result.network.terms[0]
        sizes = begun.grid.cells.size
        assert torch.equal(grown.grid.cells.size[: len(sizes)], sizes)
        assert grown.shape == whole.samples.shape


def test_another_recording_begins_with_the_frequencies_of_the_model(tmp_path: Path) -> None:
    """From a tone of 440 Hz a tone of 441 Hz is found by training alone."""
    tone = {hz: Recording(tones([hz], [0.5], [0.3], 0.2), RATE) for hz in (440.0, 441.0, 3000.0)}
    settings = {"model": "sine", "budget": 8, "frame_s": 0.4}
    near, far = (saved(tone[hz], tmp_path / f"{hz:g}", **settings) for hz in (440.0, 3000.0))
    exchanged = {**settings, "exchanges": 0}
    assert ddaudio.fit(tone[441.0], **exchanged, from_model=near).snr_db > 40
    assert ddaudio.fit(tone[441.0], **exchanged, steps=0, from_model=near).snr_db < 30
    kept = ddaudio.fit(tone[441.0], **exchanged, steps=0, from_model=far).network.describe()["frequency_hz"]
    assert float((kept - 3000.0).abs().min()) < 1.0


def test_models_that_do_not_fit_are_refused_before_work(tmp_path: Path) -> None:
    first = saved(pluck(0.3), tmp_path / "first", model="sine", budget=90)
    for given, reason in (
        ({"model": "double-dutch"}, "which is a model of sine; allowed: models of double-dutch"),
        ({"model": "sine+siren"}, "allowed: models of sine.siren"),
        ({"model": "sine", "frame_s": 0.05}, "whose cells have .* samples; allowed: models of equal cells of 200 samples"),
        ({"model": "sine", "partials": 3}, "give only one of the two"),
        ({"model": "sine", "initialisation": "random"}, "give only one of the two"),
        ({"model": "sine+noise", "compete": True, "budget": 400}, "give only one of the two"),
        ({"model": "noise"}, "but noise is fitted in closed form"),
    ):
        with pytest.raises(OptionError, match=f"from_model is .*{reason}"):
            ddaudio.plan_fit(pluck(0.3), from_model=first, **given)
    for recording in (pluck(0.2), pluck(0.3, rate=16000)):
        with pytest.raises(OptionError, match="which has 1 channels of 2400 samples at 8000 Hz"):
            ddaudio.plan_fit(recording, from_model=first, model="sine")
    with pytest.raises(ModelError, match="there is no model file"):
        ddaudio.plan_fit(pluck(0.3), from_model=str(tmp_path / "nothing"), model="sine")
    tree = saved(pluck(0.2), tmp_path / "tree", model="double-dutch", depth=4, budget=90)
    with pytest.raises(OptionError, match=r"whose double-dutch network has other settings than the fit; allowed: .*depth=4"):
        ddaudio.plan_fit(pluck(0.2), from_model=tree, model="double-dutch", depth=5, budget=90)
    siren = saved(pluck(0.2), tmp_path / "siren", model="siren", steps=1, frame_s=0.05, widths="4,4")
    with pytest.raises(OptionError, match="siren adds no components in further cells"):
        ddaudio.plan_fit(pluck(0.3), from_model=siren, model="siren", steps=1, frame_s=0.05, widths="4,4")


def test_a_fit_resumes_from_the_same_model_only(tmp_path: Path) -> None:
    first = saved(pluck(0.3), tmp_path / "first", model="sine", budget=90)
    given: dict[str, Any] = {"model": "sine", "budget": 120, "from_model": first, "checkpoint_every_s": 0.0}
    checkpoint = tmp_path / "checkpoint"
    result = ddaudio.fit(pluck(0.3), checkpoint=checkpoint, **given)
    again = ddaudio.fit(pluck(0.3), checkpoint=checkpoint, resume=True, **given)
    assert torch.equal(result.estimate[:, :], again.estimate[:, :])
    ddaudio.save_fit(ddaudio.fit(pluck(0.3), model="sine", budget=30), first, force=True, html=False)
    with pytest.raises(CheckpointError):
        ddaudio.fit(pluck(0.3), checkpoint=checkpoint, resume=True, **given)
