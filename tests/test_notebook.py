"""Every idea in `docs/notebook.md` is a setting that changes the result of a fit."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from sounds import pluck

from ddaudio import Recording, fit, save_fit

PAGE = Path(__file__).parents[1] / "docs" / "notebook.md"
SINE: dict[str, Any] = {"model": "sine", "budget": 60, "frame_s": 0.05}
ADAM = SINE | {"optimiser": "adam", "steps": 20, "initialisation": "random", "learning_rate": 0.05}
CASCADE: dict[str, Any] = {"model": "cascade", "budget": 60, "frame_s": 0.05, "steps": 3}
STACK: dict[str, Any] = {"model": "stack", "budget": 120, "frame_s": 0.1, "steps": 20}
TREE: dict[str, Any] = {"model": "double-dutch", "frame_s": 0.03, "depth": 3, "steps": 2}
BINARY = TREE | {"reading": "binary"}
CUT = BINARY | {"cut": "0.05"}
SUM: dict[str, Any] = {"model": "sine+cascade", "budget": 120, "steps": 3, "frame_s": 0.05}
AVERAGED = ADAM | {"ema": 0.9}
CROPS = ADAM | {"crops": True, "crop_s": 0.05}

SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "--model stack": (SINE, STACK),
    "--widths 100,10,1": (STACK, {"widths": "6,3,1", "budget": None}),
    "--positive softplus": (STACK | {"initialisation": "random"}, {"positive": "relu"}),
    "--pass-on": (STACK, {"pass_on": True}),
    "--model siren": (SINE, {"model": "siren", "budget": 200, "steps": 5, "frame_s": None}),
    "--whole": ({"model": "siren", "budget": 200, "steps": 5}, {"whole": True}),
    "--span 4,7": (ADAM, {"span": "4,7"}),
    "--model cascade": (SINE, CASCADE),
    "--activation tanh": (CASCADE, {"activation": "tanh"}),
    "--layer-decay 0.9": (CASCADE, {"layer_decay": 0.9}),
    "--ladder octave": (CASCADE, {"ladder": "octave"}),
    "--base learned": (CASCADE | {"ladder": "octave"}, {"base": "learned"}),
    "--ladder 440,880": (CASCADE, {"ladder": "440,880"}),
    "--ladder above-nyquist": (CASCADE, {"ladder": "above-nyquist"}),
    "--above-nyquist": (TREE | {"depth": None, "denominators": "60,30,2"}, {"denominators": "60,30,1.5", "above_nyquist": True}),
    "--local": (CASCADE | {"optimiser": "adam", "steps": 20}, {"local": True}),
    "--grow-layers": (CASCADE | {"optimiser": "adam", "steps": 20, "local": True}, {"grow_layers": True}),
    "--greedy": (CASCADE, {"greedy": True}),
    "--phase centred": (CASCADE, {"phase": "centred"}),
    "--model sine+cascade": (SINE, SUM),
    "--together": (SUM, {"together": False}),
    "--budget-split 3,1": (SUM, {"budget_split": "3,1"}),
    "--model surrogate": (SINE, {"model": "surrogate", "steps": 5}),
    "--model double-dutch": (SINE, TREE | {"budget": 60}),
    "--depth 16": (TREE, {"depth": 5}),
    "--pair shifted": (TREE, {"pair": "shifted"}),
    "--pair quadrature": (TREE, {"pair": "quadrature"}),
    "--pair sigmoid": (TREE, {"pair": "sigmoid"}),
    "--reading leaf": (TREE, {"reading": "leaf"}),
    "--reading binary": (TREE, {"reading": "binary"}),
    "--cut learned": (BINARY, {"cut": "learned"}),
    "--cut 0.05 --cutoffs 0.05": (CUT | {"cutoffs": "fixed"}, {"cutoffs": "0.05"}),
    "--reading gates": (CUT, {"reading": "gates"}),
    "--cutoffs shared": (CUT, {"cutoffs": "shared"}),
    "--gating soft": (TREE | {"gating": "beam", "beam": 2}, {"gating": "soft"}),
    "--gating hard": (TREE, {"gating": "hard"}),
    "--leaves sine": (TREE, {"leaves": "sine", "depth": None}),
    "--losses mse=1,pdl=0.5": (SINE, {"losses": "mse=1,pdl=0.5"}),
    "--losses pdl:near": (SINE, {"losses": "pdl:near"}),
    "--losses huber": (SINE, {"losses": "huber"}),
    "--losses mse=1,pdl=0.5,mss=0.1": (SINE | {"losses": "mse=1,pdl=0.5"}, {"losses": "mse=1,pdl=0.5,mss=0.1"}),
    "--penalties zero=0.01": (ADAM, {"penalties": "zero=0.1"}),
    "--estimator annihilating-filter": (SINE | {"frame_s": None, "steps": 1}, {"estimator": "annihilating-filter"}),
    "--schedule rise": (ADAM, {"schedule": "rise"}),
    "--rise-at 0.8": (ADAM | {"schedule": "rise"}, {"rise_at": 0.2}),
    "--rate-tilt=-0.5": (ADAM, {"rate_tilt": -0.5}),
    "--amplitude-tilt 0.5": (ADAM, {"amplitude_tilt": 0.5}),
    "--momentum-delay 1": (ADAM, {"momentum_delay": 1}),
    "--momentum-from 20": (ADAM, {"momentum_from": 10}),
    "--grow 3": (ADAM, {"grow": 3}),
    "--grow-from start": (ADAM | {"grow": 3, "steps": 60}, {"grow_from": "start"}),
    "--crops": (ADAM | {"crop_s": 0.05}, {"crops": True}),
    "--batch-order in-order": (CROPS, {"batch_order": "in-order"}),
    "--batch-steps 100": (CROPS | {"batch_order": "in-order"}, {"batch_steps": 5}),
    "--epochs 100": (CROPS | {"batch_order": "in-order"}, {"steps": None, "epochs": 2}),
    "--ema 0.99": (ADAM | {"learning_rate": 1.0, "schedule": "constant"}, {"ema": 0.5}),
    "--teacher 0.1": (AVERAGED | {"teacher": 0.0}, {"teacher": 10.0}),
}
"""Settings of a fit by their words on the page: those of a fit without, and what is changed."""
OTHERS = {"--compete", "--from-model MODEL", "--teacher-model MODEL"}
"""Tested below, and in `tests/fitting/test_competition.py`."""


def fitted(settings: dict[str, Any], recording: Recording | None = None) -> dict[str, torch.Tensor]:
    return fit(recording or pluck(0.2), **settings).network.to_tensors()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_settings_are_those_of_the_page() -> None:
    words = {span for span in re.findall(r"`([^`]+)`", PAGE.read_text(encoding="utf-8")) if span.startswith("--")}
    assert words == SETTINGS.keys() | OTHERS


@pytest.mark.parametrize("words", SETTINGS)
def test_a_setting_changes_the_result(words: str) -> None:
    base, change = SETTINGS[words]
    changed = {name: value for name, value in (base | change).items() if value is not None}
    assert not same(fitted({name: value for name, value in base.items() if value is not None}), fitted(changed))


def test_models_as_start_and_as_teacher_change_the_result(tmp_path: Path) -> None:
    recording = pluck(0.2)
    piece = Recording(recording.samples[:, :800], recording.sample_rate)
    save_fit(fit(piece, model="sine", budget=30), tmp_path / "piece")
    save_fit(fit(recording, model="sine", budget=200), tmp_path / "teacher")
    alone = {"model": "sine", "budget": 60}
    assert not same(fitted(alone), fitted(alone | {"from_model": str(tmp_path / "piece")}))
    taught = ADAM | {"teacher": 10.0, "teacher_model": str(tmp_path / "teacher")}
    assert not same(fitted(ADAM), fitted(taught))
