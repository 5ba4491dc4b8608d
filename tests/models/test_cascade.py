"""Ladders of the cascade: chosen frequencies, learned bases, local losses, and layers by number."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from sounds import RATE, noise, pluck
from sounds import fit_waves as fit

import ddaudio
from ddaudio.analysis.partials import Partials
from ddaudio.editing.tables import partials_table
from ddaudio.errors import OptionError
from ddaudio.grid.extents import EXTENTS
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io.audio import Recording
from ddaudio.losses import Objective
from ddaudio.models import Budget, CascadeNetwork
from ddaudio.options import CascadeOptions, TrainingOptions
from ddaudio.report import save as saving
from ddaudio.training.gauss_newton import GaussNewton
from ddaudio.training.trainer import train

NORTH = Path(__file__).parents[2] / "recordings"


def network_of(length: int = 512, **settings: Any) -> CascadeNetwork:
    return CascadeNetwork(TimeGrid.of_sizes(RATE, length, [[length]]), CascadeOptions(**settings))


def waves_of(frequencies: list[float], amplitudes: list[float], length: int = 512) -> torch.Tensor:
    """A sum of cosines, frequencies in radians per sample, phases 0.3 at the first sample, float64."""
    n = torch.arange(length, dtype=torch.float64)
    return sum(a * torch.cos(w * n + 0.3) for w, a in zip(frequencies, amplitudes, strict=True))[None]


def test_chosen_frequencies_are_those_of_every_frame(tmp_path: Path) -> None:
    result = fit(pluck(0.5), model="cascade", ladder="440,1320.5,880", frame_s=0.05)
    network = result.network
    counts = network.layout.counts
    assert set(counts.tolist()) <= {0, 3}
    assert int(counts.sum()) > 0
    torch.testing.assert_close(
        network.describe()["frequency_hz"].reshape(-1, 3),
        torch.tensor([[1320.5, 880, 440]], dtype=torch.float64).expand(int((counts > 0).sum()), 3),
        rtol=1e-6,
        atol=0,
    )
    assert not network.frequency.numel()
    saving.save_fit(result, tmp_path / "fit", html=False)
    again = ddaudio.load_model(tmp_path / "fit")
    torch.testing.assert_close(again.estimate(), network.estimate(), rtol=1e-4, atol=1e-5)


def test_chosen_frequencies_within_a_budget_are_given_to_the_loudest_frames() -> None:
    target = torch.cat([0.1 * noise(0.128), noise(0.128)], 1)
    network = CascadeNetwork(TimeGrid.of_sizes(RATE, 2048, [[512] * 4]), CascadeOptions(ladder="500,1000"))
    network.initialise(target, Budget(4), "peaks", torch.Generator())
    energies = torch.cat([frames.square().sum(1) for frames in network.grid.frame(target)])
    assert int((network.layout.counts == 2).sum()) == 2
    assert float(energies[network.layout.counts == 2].min()) > float(energies[network.layout.counts == 0].max())


@pytest.mark.parametrize(("ladder", "multiples"), [("harmonic", [1, 2, 3, 5]), ("octave", [1, 1 / 2, 1 / 4])])
def test_a_learned_base_is_found_and_refined(ladder: str, multiples: list[float]) -> None:
    """A base between bins, from which the ladder makes the sound exactly."""
    base = (17.3 if ladder == "harmonic" else 150.4) * 2 * math.pi / 512
    target = waves_of([base * each for each in multiples], [0.4, 0.3, 0.2, 0.1][: len(multiples)])
    network = network_of(ladder=ladder, base="learned")
    network.initialise(target, Budget(5 if ladder == "harmonic" else 3), "peaks", torch.Generator())
    # The spectrum shows the base to a fifth of a bin, Gauss-Newton finds it.
    found = float((network.base * network.scales["base"]).detach())
    assert abs(found - base) < 0.2 * 2 * math.pi / 512
    descent = GaussNewton(network, target)
    for _ in range(30):
        descent.step()
    assert float((network.base * network.scales["base"]).detach()) == pytest.approx(base, rel=1e-6)
    assert float((network.estimate() - target).detach().square().sum() / target.square().sum()) < 1e-6


@pytest.mark.parametrize("sound", ["bell.wav", "vowel.wav"])
def test_a_harmonic_ladder_is_good_where_a_fixed_one_is_not(sound: str) -> None:
    """At equal size, on half a second; docs/networks.md has the figures of recordings."""
    if sound == "bell.wav":
        n = torch.arange(RATE // 2) / RATE
        pitch = 2 * math.pi * (220 * n + 3 * torch.sin(2 * math.pi * 5 * n) / (2 * math.pi * 5) * 6)
        recording = Recording(sum(0.3 / k * torch.sin(k * pitch) for k in range(1, 9))[None], RATE, "vibrato")
    else:
        whole = ddaudio.read(NORTH / sound)
        recording = Recording(whole.samples[:, 44100:66150], whole.sample_rate, sound)
    budget = round(0.06 * recording.n_samples)
    found = {
        name: fit(recording, model="cascade", budget=budget, frame_s=0.05, **settings)
        for name, settings in {
            "harmonic": {"ladder": "harmonic"},
            "learned": {"ladder": "octave", "base": "learned"},
            "fixed": {"ladder": "octave"},
        }.items()
    }
    assert all(one.n_parameters <= budget for one in found.values())
    assert found["harmonic"].snr_db > 10
    assert found["harmonic"].snr_db > found["learned"].snr_db + 3 > found["fixed"].snr_db + 6


def test_a_base_keeps_all_layers_below_nyquist() -> None:
    network = network_of(ladder="harmonic")
    network.initialise(noise(0.064), Budget(10), "peaks", torch.Generator())
    with torch.no_grad():
        network.base.mul_(100)
    network.project()
    assert float(network.wave_frequencies().max()) == pytest.approx(math.pi, rel=1e-6)
    assert len(network.wave_frequencies()) > 1


def test_local_losses_choose_the_best_point() -> None:
    """Two waves half a bin apart, both exact: the sum has nothing to learn, but the first layer alone leaves half."""
    target = waves_of([0.500, 0.507], [1.0, 1.0]).float()
    network = network_of(local=True)
    turn = torch.tensor([0.507, 0.500]) * 255.5 + 0.3
    network.replace_partials(Partials(torch.tensor([0, 0]), torch.tensor([0.507, 0.500]), turn.cos(), -turn.sin()))
    torch.testing.assert_close(network.estimate().detach(), target, atol=1e-3, rtol=0)
    objective = Objective({"mse": 1.0}, target, 512, 1, RATE)
    options = TrainingOptions(optimiser="adam", steps=60, evaluate_every=5, tolerance=0.0)
    start = [float(objective.evaluate(layer)["mse"]) for layer in network.estimates()]
    run = train(network, target, objective, options, lambda _: None)
    assert run.evaluations[0].total == pytest.approx(sum(start), rel=1e-6)
    assert run.best.step > 0
    after = [float(objective.evaluate(layer)["mse"]) for layer in network.estimates()]
    assert run.best.total == pytest.approx(sum(after), rel=1e-5)
    assert after[0] < 0.9 * start[0], "the first layer on its own is better"


def test_layers_are_grown_one_by_one() -> None:
    """In the first half of the steps the second of two layers is not trained, and convergence does not end the run there."""
    target = waves_of([0.9, 0.3], [1.0, 0.7]).float()
    network = network_of(local=True, grow_layers=True)
    network.initialise(1.1 * target, Budget(2), "peaks", torch.Generator())
    assert (network.n_phases, len(network.estimates()), network_of(local=True).n_phases) == (2, 2, 1)
    objective = Objective({"mse": 1.0}, target, 512, 1, RATE)
    seen = []

    def look(_: object) -> None:
        seen.append(network.amplitude.detach().clone())

    start = [float(objective.evaluate(layer)["mse"]) for layer in network.estimates()]
    options = TrainingOptions(optimiser="adam", steps=80, evaluate_every=5, tolerance=0.5)
    run = train(network, target, objective, options, look)
    assert run.losses[0]["mse"] == pytest.approx(start[0], rel=1e-5), "the loss of the first layer alone"  # float32
    assert len(seen) > 9, "four equal evaluations in the first half end nothing"
    assert not torch.equal(seen[8][0], seen[0][0])
    assert torch.equal(seen[8][1], seen[0][1])
    assert not torch.equal(seen[9][1], seen[0][1])


def test_layers_without_losses_of_their_own_are_not_grown() -> None:
    with pytest.raises(OptionError, match="grow_layers is True, but layers have no losses; give local=True as well"):
        CascadeOptions(grow_layers=True)


def test_rates_and_gradients_have_layers() -> None:
    result = fit(pluck(0.3), model="cascade", partials=3, optimiser="adam", steps=10, exchanges=0, initialisation="equal")
    gradients = result.stages[0].blocks[0][0].evaluations[-1].gradients
    assert set(gradients) == {f"{kind}, layer {k}" for kind in ("amplitude", "phase", "frequency") for k in (1, 2, 3)}
    slow = fit(
        pluck(0.3),
        model="cascade",
        partials=3,
        optimiser="adam",
        steps=10,
        exchanges=0,
        initialisation="equal",
        rates="layer 2=0",
    )
    assert slow.snr_db != result.snr_db


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ladder": "harmonics"}, "did you mean 'harmonic'"),
        ({"ladder": "440,x"}, "ladder is '440,x'; allowed: numbers separated by commas"),
        ({"ladder": "440,440"}, "allowed: different frequencies above 0 Hz"),
        ({"ladder": "440,0"}, "allowed: different frequencies above 0 Hz"),
        (
            {"ladder": "440,9000"},
            "ladder is '440,9000', with 9000 Hz at 8000 samples per second; allowed: frequencies of up to 4000 Hz",
        ),
        ({"ladder": "octave", "base": "learnt"}, "did you mean 'learned'"),
        ({"base": "learned"}, "but octave and harmonic ladders have a learned base"),
        ({"ladder": "harmonic", "base": "fixed"}, "give fixed frequencies as in ladder='220,440,660'"),
        ({"ladder": "octave", "initialisation": "random"}, "but this ladder has its frequencies; use ladder='free'"),
        ({"ladder": "440", "initialisation": "equal"}, "but this ladder has its frequencies"),
    ],
)
def test_bad_ladders_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)):
        fit(pluck(0.1), model="cascade", **settings)


def test_tables_have_the_true_frequencies_above_nyquist() -> None:
    """They are those that are trained, and at whole samples both cosines have the same values."""
    result = fit(pluck(0.25), model="cascade", ladder="above-nyquist", partials=5, steps=2)
    table = result.network.describe()
    assert list(table)[-5:] == ["true_frequency_hz", *EXTENTS]
    true_hz, hz = table["true_frequency_hz"], table["frequency_hz"]
    own = result.network.wave_frequencies().double() * (RATE / (2 * math.pi))
    torch.testing.assert_close(true_hz.sort().values, own.sort().values, rtol=1e-6, atol=0)
    assert bool(((true_hz >= RATE / 2) & (hz <= RATE / 2)).all())
    n = torch.arange(50, dtype=torch.float64)[:, None] / RATE
    # Float64 rounding of phases up to 600 rad.
    torch.testing.assert_close(torch.cos(2 * math.pi * true_hz * n), torch.cos(2 * math.pi * hz * n), rtol=0, atol=1e-9)
    assert "true_frequency_hz" not in fit(pluck(0.25), model="cascade", partials=5, steps=0).network.describe()
    header, *rows = partials_table(result.network, "csv").splitlines()
    place = header.split(",").index("true_frequency_hz")
    assert [float(row.split(",")[place] or "nan") for row in rows][: len(true_hz)] == pytest.approx(true_hz.tolist())
